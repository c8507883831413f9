"""What a worker does with a job that it has taken from the queue: it starts the build that is next in turn.

A job says that one build can start. The database says which (:mod:`builds.lifecycle.turns`). The worker exchanges its job for that build's,
so that every job still stands for one build, and the claim still decides whether it starts.
"""

from __future__ import annotations

from uuid import UUID

from builds import lifecycle
from builds.models import Build, State
from builds.queue import store

# If this many builds in a row are not in the queue, the queue store has lost them. The reconciler puts them back.
MAX_MISSING = 20


def take(popped: str) -> str | None:
    """The id of the build to start, whose job this worker has now. None if no build may start: the job is forgotten.

    Raises:
        RedisError: the queue store is not available.
        DatabaseError: the database is not available.
    """
    taken: set[UUID] = set()
    while len(taken) < MAX_MISSING:
        chosen = lifecycle.choose(taken)
        if chosen is None:
            store.drop(popped)
            return None
        if str(chosen) == popped or store.take_instead(str(chosen), popped, keep=_is_queued(popped)):
            return str(chosen)
        taken.add(chosen)
    return popped


def _is_queued(popped: str) -> bool:
    """Whether the job stands for a queued build. The queue store may hold any text as the id of a job."""
    try:
        return Build.objects.filter(pk=UUID(popped), state=State.QUEUED).exists()
    except ValueError:
        return False
