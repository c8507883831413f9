"""The order in which queued builds start, owner by owner, and the limit of running builds per repository owner.

docs/decisions/fair-turns.md explains the order. It is always computed from the rows of the builds, so nothing can contradict them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import F, Min, OuterRef, Q, Subquery, Value, Window
from django.db.models.functions import Coalesce, Greatest, RowNumber

from builds.lib.units import counted
from builds.models import Build, BuildQuerySet, Mode, QueueControl, Rank, State, Submission, clock
from builds.queue import store

# A retry by hand goes before every owner that has waited for less than this. Without it, endless retries would keep all others waiting.
HAND_ADVANTAGE = timedelta(days=1)
MAX_OWNER = 100
# How often in a row others may change what is being read.
MAX_CHANGES = 100
PLACED = ("pk", "owner", "created_at", "place")
# When a queued build was created, its id, and its owner.
Waiting = tuple[datetime, UUID, str]


@dataclass(frozen=True)
class Turn:
    """An owner with builds that may start: how many of its builds run, and since when it has waited for its turn."""

    running: int
    since: datetime
    owner: str


def owner_of(submission: Submission) -> str:
    """Names on GitHub are the same in upper and lower case."""
    return submission.repository.partition("/")[0].lower()[:MAX_OWNER]


def rank_in(mode: Mode, rank: Rank) -> Rank:
    """The rank of a build in this mode, if it was asked for with ``rank``. A delivery does not wait for its owner's turn."""
    if rank in (Rank.NEXT, Rank.BY_HAND):
        return rank
    return Rank.DELIVERY if mode == Mode.DELIVER else Rank.IN_TURN


# --- the limit


def running_by_owner(taken: Collection[UUID] = ()) -> Counter[str]:
    """How many builds of each owner run, on all hosts. Deliveries of kept exports are not counted.

    ``taken``: queued builds that count as running, because another worker is starting them. One query reads both: between two, such a build
    could start or end, and would be counted twice or not at all.
    """
    running = Build.objects.filter(Q(state=State.RUNNING) | Q(state=State.QUEUED, pk__in=taken)).exclude(mode=Mode.DELIVER)
    return Counter(running.order_by().values_list("owner", flat=True))


def at_limit(running: Counter[str]) -> set[str]:
    """The owners that may not start any more builds. Builds without an owner were queued by an older release."""
    limit = settings.BUILDS_PER_OWNER
    return {owner for owner, count in running.items() if owner and count >= limit} if limit else set()


def has_room(build: Build) -> bool:
    """Whether the owner's limit lets this build start. Locks the owner until the transaction ends, so that two workers do not exceed it."""
    if not _is_limited(build):
        return True
    _lock_owner(build.owner)
    if build.owner not in at_limit(running_by_owner()):
        return True
    # ``build`` may have been read before its submission was locked, and an admin may have wanted it next since.
    return Build.objects.filter(pk=build.pk, rank=Rank.NEXT).exists()


def _is_limited(build: Build) -> bool:
    return bool(settings.BUILDS_PER_OWNER) and build.rank != Rank.NEXT and build.mode != Mode.DELIVER


def _lock_owner(owner: str) -> None:
    """On SQLite, transactions that write run one after the other."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"owner {owner}"])


def startable(taken: Collection[UUID] = ()) -> BuildQuerySet:
    """Queued builds that are due and not held back. ``taken``: builds that another worker is starting."""
    held, due = at_limit(running_by_owner(taken)), _due(taken)
    return due.filter(Q(rank=Rank.NEXT) | Q(mode=Mode.DELIVER) | ~Q(owner__in=held)) if held else due


def _due(taken: Collection[UUID] = ()) -> BuildQuerySet:
    """Queued builds that need not wait for their time, except ``taken``. A queued build has never started: an index depends on this."""
    due = Build.objects.filter(Q(not_before=None) | Q(not_before__lte=clock.now()), state=State.QUEUED, started_at=None)
    return due.exclude(pk__in=taken)


def explain_held(build: Build, running: Counter[str]) -> str:
    """Why the owner's limit holds a queued build back, in a sentence; empty if it does not."""
    if build.state != State.QUEUED or not _is_limited(build) or build.owner not in at_limit(running):
        return ""
    are = "1 build of {} is" if running[build.owner] == 1 else f"{running[build.owner]} builds of {{}} are"
    most = counted(settings.BUILDS_PER_OWNER, "build")
    return f"{are.format(build.owner)} running, and one owner may have {most} running at a time. This one starts when one of them ends."


def why_held(build: Build) -> str:
    """As :func:`explain_held`, for one build."""
    return explain_held(build, running_by_owner()) if _is_limited(build) and build.state == State.QUEUED else ""


def wake(owner: str) -> None:
    """Tell the queue store of the owner's next build, after one of its builds has ended. Without a limit it knows it already."""
    if not settings.BUILDS_PER_OWNER:
        return
    own = startable().filter(owner=owner)
    if (first := own.order_by("rank", "created_at").values_list("pk", flat=True).first()) is not None:
        store.enqueue_missing_soon([str(first)])


# --- the order


def choose(taken: Collection[UUID] = ()) -> UUID | None:
    """The build that starts next; None if none may start. ``taken``: builds that another worker is starting."""
    if QueueControl.now().is_paused:
        return None
    for _ in range(MAX_CHANGES):
        if found := _line_up(_due(taken), running_by_owner(taken), 1):
            return found[0]
        # Between two queries, another worker may have started the build whose turn it was. That does not mean that no other may start.
        if not startable(taken).exists():
            break
    return None


def line_up(count: int, running: Counter[str]) -> list[UUID]:
    """The first builds in the order in which they start, if nothing is queued or ends meanwhile. Leaves out those that may not start."""
    return _line_up(_due(), running, count)


def _line_up(builds: BuildQuerySet, running: Counter[str], count: int) -> list[UUID]:
    held = at_limit(running)
    first, by_hand, deliveries = _out_of_turn(builds, held, count)
    if count > 1:  # they run by the time that their owners' other builds start
        running = running + Counter(owner for _at, _pk, owner in first + by_hand)
    placed = [((0, at - HAND_ADVANTAGE), pk) for at, pk, _owner in by_hand]
    placed += [((0, at), pk) for at, pk, _owner in deliveries]
    placed += _in_turn(builds.filter(rank=Rank.IN_TURN).exclude(owner__in=held), running, count)
    return [*(pk for _at, pk, _owner in first), *(pk for _at, pk in sorted(placed))][:count]


def _out_of_turn(builds: BuildQuerySet, held: set[str], count: int) -> tuple[list[Waiting], list[Waiting], list[Waiting]]:
    """The oldest builds that do not wait for their owner's turn: those that are next, those retried by hand, and the deliveries."""
    # A worker asks before each build, and as a rule there are none.
    if count == 1 and not builds.filter(rank__lt=Rank.IN_TURN).exists():
        return [], [], []
    free = Q(mode=Mode.DELIVER) | ~Q(owner__in=held)
    by_rank = {Rank.NEXT: Q(), Rank.BY_HAND: free, Rank.DELIVERY: Q()}
    first, by_hand, deliveries = (_oldest(builds.filter(condition, rank=rank), count) for rank, condition in by_rank.items())
    return first, by_hand, deliveries


def _oldest(builds: BuildQuerySet, count: int) -> list[Waiting]:
    return list(builds.order_by("created_at", "pk").values_list("created_at", "pk", "owner")[:count])


def _in_turn(builds: BuildQuerySet, running: Counter[str], count: int) -> list[tuple[tuple[int, datetime], UUID]]:
    """The first builds of the owners that come first, each with its round and the time since which its owner waits.

    An owner with two running builds has had two rounds, so its next build is in the third.
    """
    turns = {turn.owner: turn for turn in _turns(builds, running, count)}
    own = builds.filter(owner__in=list(turns)).order_by("created_at", "pk")
    if count == 1:
        numbered: Iterable[tuple[UUID, str, datetime, int]] = own.annotate(place=Value(1)).values_list(*PLACED)[:1]
    else:
        place = Window(RowNumber(), partition_by=F("owner"), order_by=("created_at", "pk"))
        # Of these owners at most this many builds come before the last that is wanted.
        most = 2 * count + sum(turn.running for turn in turns.values())
        numbered = own.annotate(place=place).order_by("place").values_list(*PLACED)[:most]
    return [((turns[owner].running + place - 1, max(turns[owner].since, at)), pk) for pk, owner, at, place in numbered]


def _turns(builds: BuildQuerySet, running: Counter[str], count: int) -> list[Turn]:
    """The owners whose turn comes first: those with the fewest running builds, and of these the one that has waited longest.

    An owner waits since its last build ended, or since its oldest queued build was queued if that is later. So an owner that comes later
    does not go before one that has been served less recently, and every turn comes.
    """
    served = Build.objects.filter(owner=OuterRef("owner"), started_at__isnull=False, finished_at__lte=clock.now())
    last = Subquery(served.exclude(mode=Mode.DELIVER).order_by("-finished_at").values("finished_at")[:1])
    owners = builds.order_by().values("owner").annotate(oldest=Min("created_at"))
    waiting = owners.annotate(since=Greatest("oldest", Coalesce(last, "oldest"))).order_by("since", "oldest", "owner")
    busy = list(running)
    found = list(waiting.exclude(owner__in=busy).values_list("since", "owner")[:count])
    if len(found) < count and busy:
        found += waiting.filter(owner__in=busy).values_list("since", "owner")
    return sorted((Turn(running[owner], since, owner) for since, owner in found), key=lambda turn: (turn.running, turn.since))[
        :count
    ]
