"""How many SQL statements it takes to accept a request: a number that grows unseen makes every answer slower."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from builds.models import State
from tests.lifecycle.helpers import ended, submit

pytestmark = pytest.mark.django_db(transaction=True)


def statements(job_id: str) -> list[str]:
    """The statements after the begin of the transaction, the commit included."""
    submit("warm-up", node_uuid="warm-up.")
    with CaptureQueriesContext(connection) as captured:
        submit(job_id)
    begin, *asked = [query["sql"] for query in captured.captured_queries]
    assert begin.startswith("BEGIN")
    return asked


def with_lock(count: int, *, submissions: int = 0) -> int:
    """PostgreSQL needs one statement more than SQLite, to lock the node, and one for each other submission that it locks."""
    return count + (1 + submissions) * (connection.vendor == "postgresql")


def test_a_new_submission_takes_eight_at_most() -> None:
    asked = statements("new")
    assert len(asked) == with_lock(7) <= 8
    assert asked[-1] == "COMMIT"
    assert not [sql for sql in asked if "SAVEPOINT" in sql]


def test_a_repeated_request_changes_nothing() -> None:
    submit("same")
    assert len(statements("same")) == with_lock(5)


@pytest.mark.parametrize(("state", "count"), [(State.FAILED, 18), (State.SUCCEEDED, 17)])
def test_a_resubmission(state: State, count: int) -> None:
    ended(submit("again"), state)
    assert len(statements("again")) == with_lock(count)


def test_a_submission_that_supersedes_another_of_its_node() -> None:
    submit("old")
    assert len(statements("new")) == with_lock(27, submissions=1)
