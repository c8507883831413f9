"""Connections to the queue store with time limits of their own: to one server, or to the master that Sentinel names."""

from __future__ import annotations

from typing import Any

from django_rq.connection_utils import get_redis_connection
from redis import Redis

from jobsite import redis_url


def connect(url: str, **options: Any) -> Redis:
    """A client of the server that ``url`` (REDIS_URL) names. It connects when it is used. ``options`` are those of redis-py."""
    server = redis_url.configuration(url)
    if "URL" in server:
        return Redis.from_url(url, **options)
    # django-rq ignores options beside a URL, but takes them beside sentinels.
    return get_redis_connection({**server, "CONNECTION_KWARGS": {**server["CONNECTION_KWARGS"], **options}})
