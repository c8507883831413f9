"""What every verb moves and writes: a build's state, by the table of transitions; the submission's; the event; the status update."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from builds import front_matter
from builds.models import FINAL, Build, Event, Stage, State, Submission
from builds.outbox_models import StatusUpdate

# Who acts in the history without being a person. No account may be called so: what it did would pass for theirs.
DESCI_SERVER, JOBSITE, API = "desci-server", "jobsite", "the API"
NO_PERSONS = frozenset(name.casefold() for name in (DESCI_SERVER, JOBSITE, API))
LONGEST_MESSAGE = 4000

TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    **{state: frozenset() for state in FINAL},
}


class StaleBuild(Exception):
    """The build is not where this change may start from: it has ended, or somebody else was first."""


class ActRefused(Exception):
    """The act isn't possible in this state; the message says why."""


def end(build: Build, state: State, **fields: Any) -> None:
    now = timezone.now()
    moved = Build.objects.filter(pk=build.pk, state__in=_sources(state)).update(
        state=state, finished_at=now, lease_expires_at=None, **fields
    )
    if not moved:
        raise StaleBuild
    ended_as = Stage.State.CANCELLED if state == State.CANCELLED else Stage.State.FAILED
    build.stages.filter(state=Stage.State.RUNNING).update(state=ended_as, finished_at=now)
    show(build.submission, state, fields.get("fault", ""))


def _sources(state: State) -> list[State]:
    return [source for source, targets in TRANSITIONS.items() if state in targets]


def show(submission: Submission, state: State, fault: str = "") -> None:
    Submission.objects.filter(pk=submission.pk).update(state=state, fault=fault, updated_at=timezone.now())


def event(build: Build, kind: str, actor: str, reason: str) -> None:
    Event.objects.create(submission=build.submission, build=build, kind=kind, actor=actor[:200], reason=reason)


def tell(build: Build, status: StatusUpdate.Status, message: str, *, link: bool = True) -> None:
    """Queue a status update of one line, with the link to our page; sent by the outbox. It may repeat what strangers wrote."""
    line = front_matter.clean(message, LONGEST_MESSAGE)
    text = f"{line} {build.submission.link}" if link else line
    StatusUpdate.objects.create(submission=build.submission, build=build, status=status, message=text)
