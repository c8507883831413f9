"""New rows get the values that the ORM would send."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models import Model

from builds.models import Build, Event, FrontMatter, State, StatusUpdate, Submission, clock
from builds.record.inserts import values_of

pytestmark = pytest.mark.django_db

MODELS = (Submission, Build, Event, FrontMatter, StatusUpdate)


def as_the_orm(row: Model) -> list[Any]:
    fields = [field for field in row._meta.concrete_fields if field is not row._meta.auto_field]
    return [field.get_db_prep_save(field.pre_save(row, add=True), connection) for field in fields]


@pytest.mark.parametrize("model", MODELS)
def test_a_row_of_defaults_is_the_same(model: type[Model]) -> None:
    row = model()
    assert repr(values_of(row, connection)) == repr(as_the_orm(row))  # PostgreSQL's JSON values equal nothing


def test_what_differs_from_a_default_is_written() -> None:
    build = Build(submission_id=7, number=2, state=State.FAILED, problems=3, automatic=True, finished_at=clock.now(), cause="é")
    assert repr(values_of(build, connection)) == repr(as_the_orm(build))
    assert all(each in values_of(build, connection) for each in (7, 2, State.FAILED, 3, True, "é"))


def test_what_is_made_anew_for_each_row_is_not_written_twice() -> None:
    assert values_of(Build(), connection)[0] != values_of(Build(), connection)[0]
