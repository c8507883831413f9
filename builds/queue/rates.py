"""Counts requests in the queue store, for all web processes. Whoever can write to the store can change the counts, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from builds.queue.connections import connect

# A request waits for this when the store is down.
STORE_SECONDS = 0.2
PREFIX = "rate:"
# One round trip for all counts, each of which expires by itself. What exceeds one limit does not count towards the next.
COUNT = """
for at, key in ipairs(KEYS) do
    local count = redis.call('INCR', key)
    if count == 1 then
        redis.call('EXPIRE', key, ARGV[#KEYS + 1])
    end
    if count > tonumber(ARGV[at]) then
        return 1
    end
end
return 0
"""


@cache
def connection() -> Redis:
    return connect(
        settings.REDIS_URL,
        socket_connect_timeout=STORE_SECONDS,
        socket_timeout=STORE_SECONDS,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )


def exceed(limits: Sequence[tuple[str, int]], *, seconds: int) -> bool:
    """Count a request under each name in ``limits``, and return whether there are more than its limit. A limit of 0 is none.

    A count is forgotten after ``seconds``. One that exceeds its limit leaves those after it as they are.

    Raises:
        RedisError, OSError: the store is not available, and nothing is counted.
    """
    limited = [(f"{PREFIX}{name}", limit) for name, limit in limits if limit]
    if not limited:
        return False
    names, most = zip(*limited, strict=True)
    return bool(connection().eval(COUNT, len(names), *names, *most, seconds))
