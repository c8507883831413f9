"""The constraints on builds in the database."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from builds.models import Build
from tests.lifecycle.helpers import submit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "row",
    [
        {"state": "running", "number": 2},
        {"state": "failed", "number": 2, "cause": "x"},
        {"state": "queued", "number": 2, "finished_at": timezone.now()},
        {"state": "queued", "number": 1},
        {"state": "queued", "number": 2},
    ],
    ids=["running without lease", "final without end", "queued with end", "number twice", "two unfinished"],
)
def test_the_database_rejects_impossible_rows(row: dict[str, Any]) -> None:
    submission = submit()
    with pytest.raises(IntegrityError), transaction.atomic():
        Build.objects.create(submission=submission, requested_by="x", **row)
