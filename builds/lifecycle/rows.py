"""What every verb writes: the build's state, by the table of transitions; the submission's state; the event; the status update."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from builds.errors import Fault
from builds.lib.text import one_line
from builds.lifecycle import turns
from builds.lifecycle.counting import count_ended, count_stage
from builds.models import FINAL, Build, Event, EventKind, Stage, State, StatusUpdate, Submission, clock
from builds.record import outbox_bell, steps
from builds.record.inserts import insert
from builds.record.steps import Step

# Actors in the history that are not persons. No account may have such a name: the history would mix up who did what.
DESCI_SERVER, JOBSITE, API, COMMAND_LINE = "desci-server", "jobsite", "the API", "the command line"
NO_PERSONS = frozenset(name.casefold() for name in (DESCI_SERVER, JOBSITE, API, COMMAND_LINE))
MAX_MESSAGE_CHARACTERS = 4000
# What a submission repeats of its newest build beside the state, and the values of a build that has not failed and has no problems.
MIRRORED = {"fault": "", "cause_code": "", "fingerprint": "", "problems": 0}

TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    **{state: frozenset() for state in FINAL},
}


class StaleBuild(Exception):
    """The build is not in a state that this change may start from: it has ended, or another process was first."""


class ActionRefused(Exception):
    """The action is not possible in this state; the message says why."""


def lock_node(node_uuid: str) -> None:
    """Lock a node until the transaction ends, so that two new submissions of it at once can see each other.

    A verb that concerns several submissions calls this before :func:`lock`. On SQLite, transactions that write run one after the other.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [node_uuid])


def lock(submission_id: int) -> None:
    """Lock a submission until the transaction ends. Every verb does this before it writes to the submission or its build.

    Two verbs that locked them in different orders would wait for each other. The lock also makes the status updates of a submission get
    their ids, by which they are sent, in the order in which they are committed. On SQLite, transactions that write run one after the other.
    """
    if connection.features.has_select_for_update:
        list(Submission.objects.select_for_update(no_key=True).filter(pk=submission_id).values_list("pk"))


def end(build: Build, state: State, *, retried: bool = False, **fields: Any) -> None:
    """Move the build to a final state, with ``fields`` of its row, and close its open stage. Locks the submission first.

    ``retried``: an automatic retry follows.

    Raises:
        StaleBuild: the table of transitions does not allow it.
    """
    lock(build.submission_id)
    now = clock.now()
    moved = Build.objects.filter(pk=build.pk, state__in=_sources(state)).update(
        state=state, finished_at=now, lease_expires_at=None, **fields
    )
    if not moved:
        raise StaleBuild
    close_stages(
        build.stages.filter(state=Stage.State.RUNNING),
        Stage.State.CANCELLED if state == State.CANCELLED else Stage.State.FAILED,
        at=now,
    )
    count_ended(build.pk, state, now, retried=retried)
    _log_end(build, state, fields)
    transaction.on_commit(lambda: turns.wake(build.owner), robust=True)
    mirror_state(build.submission, state, **fields)


def _log_stage_end(stage: Stage, state: Stage.State) -> None:
    steps.log(Step.STAGE_ENDED, stage.build, stage=stage.name, state=state, duration=steps.seconds_since(stage.started_at))


def _log_end(build: Build, state: State, fields: dict[str, Any]) -> None:
    is_ours = fields.get("fault") == Fault.SERVICE
    steps.log(
        Step.BUILD_ENDED,
        build,
        level=logging.WARNING if is_ours else logging.INFO,
        state=state,
        causeClass=fields.get("fault"),
        causeCode=fields.get("cause_code"),
        problems=fields.get("problems"),
        duration=steps.seconds_since(build.started_at),
    )


def _sources(state: State) -> list[State]:
    return [source for source, targets in TRANSITIONS.items() if state in targets]


def close_stages(stages: Iterable[Stage], state: Stage.State, *, at: datetime) -> None:
    """Close the rows of those of ``stages`` that are running."""
    for stage in stages:
        if Stage.objects.filter(pk=stage.pk, state=Stage.State.RUNNING).update(state=state, finished_at=at):
            count_stage(stage, state, at)
            _log_stage_end(stage, state)


def mirror_state(submission: Submission, state: State, **fields: Any) -> None:
    """Copy the newest build's state, and those of its ``fields`` that the submission has as well, to its submission."""
    mirrored = {name: fields.get(name, empty) for name, empty in MIRRORED.items()}
    Submission.objects.filter(pk=submission.pk).update(state=state, updated_at=clock.now(), **mirrored)


def record_event(build: Build, kind: EventKind, actor: str, reason: str) -> None:
    insert(Event(submission=build.submission, build=build, kind=kind, actor=actor[:200], reason=reason, at=clock.now()))


def queue_update(build: Build, status: StatusUpdate.Status, message: str, *, link: bool = True, at_once: bool = True) -> None:
    """Queue a status update of one line, with the link to the submission's page. The outbox sends it, ``at_once`` or a moment later.

    ``message`` may contain untrusted text.
    """
    line = one_line(message, MAX_MESSAGE_CHARACTERS)
    text = f"{line} {build.submission.link}" if link else line
    now = clock.now()
    insert(StatusUpdate(submission=build.submission, build=build, status=status, message=text, created_at=now, next_try_at=now))
    if at_once:
        transaction.on_commit(outbox_bell.ring, robust=True)
