"""The policy of automatic retries: which failures are retried, when, and what a retry reuses.

Most failures are retried a number of times (AUTOMATIC_RETRIES). Two kinds are retried for a time instead, because another service says
or shows that it is not ready: a delivery for DELIVERY_PATIENCE, and the archive host's rate limit for a day. A build that an outage of the
database interrupted is retried at once, and counts for no other limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from builds.errors import (
    ArchiveHostDown,
    ArchiveHostLimit,
    Cause,
    DatabaseAway,
    DeliveryTimedOut,
    DesciServerDown,
    DesciServerJobFailed,
    DiskFull,
    ExportsUnavailable,
    FetchTimedOut,
    MemoryFull,
    PackagesUnreachable,
    ProcessesFull,
    SandboxLost,
    SecretRefused,
    WorkerLost,
)
from builds.lifecycle.queueing import queue
from builds.lifecycle.rows import JOBSITE
from builds.models import Build, EventKind, Mode, Rank, clock
from builds.record import kept_exports

# This many outages in a row are probably not outages: something about the build makes the database fail.
MAX_OUTAGES = 20
RETRY_DELAYS = (timedelta(seconds=10), timedelta(seconds=60), timedelta(minutes=5))
# Failures that can pass without anyone's help.
TRANSIENT = {
    error.code
    for error in (
        *(ArchiveHostDown, FetchTimedOut, PackagesUnreachable),
        *(SandboxLost, DiskFull, MemoryFull, ProcessesFull, ExportsUnavailable),
    )
}
DELIVERY = {error.code for error in (DesciServerDown, DesciServerJobFailed, DeliveryTimedOut, SecretRefused)}
# The service that each cause waits for, if it is retried for a time.
AWAITED = {ArchiveHostLimit.code: "the archive host", **dict.fromkeys(DELIVERY, "desci-server")}
LIMIT_PATIENCE = timedelta(days=1)
# The first pause of a delivery, and of a rate limit without a stated time.
DELIVERY_PAUSE, LIMIT_PAUSE = timedelta(seconds=10), timedelta(minutes=1)
MAX_PAUSE = timedelta(minutes=15)
# A step of the clock must not use up the patience: fewer failures than this are not enough to give up, unless the pauses that were set
# add up to it.
MIN_FAILURES = 3


@dataclass(frozen=True)
class Waiting:
    """Which service the retries of a failed build wait for, since when, and until when at the latest, after how many failures."""

    service: str
    since: datetime
    until: datetime
    first_pause: timedelta
    failures: int

    @property
    def planned(self) -> timedelta:
        """The sum of the pauses since the first failure, as they were set. The clock shows at least this, unless it stepped back."""
        total = timedelta()
        for _ in range(self.failures - 1):
            total += self.pause_after(total)
        return total

    def pause_after(self, elapsed: timedelta) -> timedelta:
        """The next pause is as long as all before it together."""
        return min(max(elapsed, self.first_pause), MAX_PAUSE)


def automatic_retry_at(build: Build, cause: Cause) -> datetime | None:
    """When a build that failed of ``cause`` is retried automatically; None if it is not."""
    now = clock.now()
    asked = now + timedelta(seconds=cause.retry_after or 0)
    if waiting := waiting_for(build, cause.code):
        return _paced(waiting, now, asked)
    if cause.code == DatabaseAway.code:
        return now if _outages_in_a_row(build) < MAX_OUTAGES else None
    if cause.code not in TRANSIENT:
        return None
    retries = _automatic_in_a_row(build)
    if retries >= min(settings.AUTOMATIC_RETRIES, len(RETRY_DELAYS)):
        return None
    return max(now + RETRY_DELAYS[retries], asked)


def waiting_for(build: Build, code: str) -> Waiting | None:
    """What the retries of a build that failed with this cause wait for; None if they are counted by number."""
    if code in DELIVERY:
        return _waiting(build, code, DELIVERY, timedelta(seconds=settings.DELIVERY_PATIENCE), DELIVERY_PAUSE)
    if code == ArchiveHostLimit.code:
        return _waiting(build, code, {code}, LIMIT_PATIENCE, LIMIT_PAUSE)
    return None


def _waiting(build: Build, code: str, codes: set[str], patience: timedelta, first_pause: timedelta) -> Waiting:
    """Counts the builds in the current run of automatic retries, this one included, that failed with one of ``codes``."""
    ends = [build.finished_at or clock.now()]
    ends += [earlier.finished_at for earlier in _before(build) if earlier.cause_code in codes and earlier.finished_at]
    return Waiting(AWAITED[code], min(ends), min(ends) + patience, first_pause, len(ends))


def _paced(waiting: Waiting, now: datetime, asked: datetime) -> datetime | None:
    """When to try again. The last try is at the end of the patience; None after it."""
    enough = waiting.until - waiting.since - waiting.first_pause / 2
    planned, elapsed = waiting.planned, now - waiting.since
    if elapsed < planned or (elapsed >= enough and waiting.failures < MIN_FAILURES):
        elapsed = planned  # the clock may have stepped
    if elapsed >= enough:
        return None
    left = waiting.until - waiting.since - elapsed
    return min(max(now + waiting.pause_after(elapsed), asked), now + left)


def _automatic_in_a_row(build: Build) -> int:
    """How many builds, counted back from this one, were queued automatically without a person's request between them.

    Those that waited for another service or were interrupted by an outage of the database do not count.
    """
    return sum(earlier.cause_code not in {*AWAITED, DatabaseAway.code} for earlier in _before(build))


def _outages_in_a_row(build: Build) -> int:
    """How many of the builds that this one is an automatic retry of were interrupted by an outage of the database."""
    return sum(earlier.cause_code == DatabaseAway.code for earlier in _before(build))


def _before(build: Build) -> Iterator[Build]:
    """The builds that this one is an automatic retry of, directly or not, the newest first."""
    if not build.automatic:
        return
    earlier = build.submission.builds.filter(number__lt=build.number).order_by("-number")
    for previous in earlier.only("automatic", "cause_code", "finished_at", "number", "submission"):
        yield previous
        if not previous.automatic:
            return


def retry_after_loss_at(build: Build) -> datetime | None:
    """A build that lost its worker is retried at once. None after a second loss in a row: it is final."""
    before = build.submission.builds.filter(number=build.number - 1).first()
    lost_before = before is not None and build.automatic and before.cause_code == WorkerLost.code
    return None if lost_before else clock.now()


def queue_retry(build: Build, cause: Cause, at: datetime) -> None:
    """Queue the automatic retry of a failed build. It reuses the kept exports, or else the commit, if there is one.

    The retry of a clean build is clean too. A build that goes before others keeps that.
    """
    mode = _retry_mode(build)
    queue(
        build.submission,
        actor=JOBSITE,
        kind=EventKind.RETRIED_AUTOMATICALLY,
        mode=mode,
        source=_retry_source(build, mode),
        reason=cause.sentence,
        automatic=True,
        not_before=at,
        rank=Rank(build.rank),
    )


def _retry_mode(build: Build) -> Mode:
    if kept_exports.has_exports(build) or (build.mode == Mode.DELIVER and build.source):
        return Mode.DELIVER
    if build.mode == Mode.CLEAN:
        return Mode.CLEAN
    if build.commit:
        return Mode.SAME_COMMIT
    return Mode.LATEST if build.mode == Mode.DELIVER else Mode(build.mode)


def _retry_source(build: Build, mode: Mode) -> Build | None:
    """The build whose exports or commit the retry uses: this one, or the one that this one used."""
    match mode:
        case Mode.DELIVER:
            return build if build.artifacts.exists() else build.source
        case Mode.SAME_COMMIT:
            return build if build.commit else build.source
        case _:
            return None
