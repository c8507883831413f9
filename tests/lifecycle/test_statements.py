"""How many SQL statements it takes to accept a request and to run a build: a number that grows unseen makes every job slower."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from builds import lifecycle
from builds.models import Stage, StageName, State
from tests.lifecycle.helpers import claimed, ended, submit

pytestmark = pytest.mark.django_db(transaction=True)


def statements(job_id: str) -> list[str]:
    """The statements after the begin of the transaction, the commit included."""
    submit("warm-up", node_uuid="warm-up.")
    with CaptureQueriesContext(connection) as captured:
        submit(job_id)
    begin, *asked = [query["sql"] for query in captured.captured_queries]
    assert begin.startswith("BEGIN")
    return asked


def with_lock(count: int, *, locks: int = 1) -> int:
    """PostgreSQL needs statements that SQLite does not: one for each lock of a node or a submission."""
    return count + locks * (connection.vendor == "postgresql")


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
    assert len(statements("new")) == with_lock(27, locks=3)


def test_the_rows_around_a_stage() -> None:
    build = claimed(submit("new"))
    with CaptureQueriesContext(connection) as entering:
        stage = lifecycle.enter_stage(build, StageName.FETCH)
    assert len(entering) == with_lock(6)
    with CaptureQueriesContext(connection) as leaving:
        lifecycle.leave_stage(stage, Stage.State.SUCCEEDED)
    assert len(leaving) == 4


def test_the_start_and_the_end_of_a_build() -> None:
    submission = submit("new")
    with CaptureQueriesContext(connection) as claiming:
        build = claimed(submission)
    assert len(claiming) == with_lock(9)
    with CaptureQueriesContext(connection) as ending:
        lifecycle.succeed(build)
    assert len(ending) == with_lock(13, locks=2)
