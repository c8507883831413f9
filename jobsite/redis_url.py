"""Reads REDIS_URL: one server by redis://, rediss:// (TLS) or unix://, or the master that Sentinel names.

``redis+sentinel://user:password@host1:26379,host2:26379/master/0`` is the form that other libraries use, too; ``rediss+sentinel://`` is
the same with TLS. ``sentinel_username`` and ``sentinel_password`` are for the sentinels, which have accounts of their own.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from builds.lib.without import without
from jobsite.env import WrongSetting

with without("opentelemetry"):  # for metrics of redis, which nothing here turns on
    from redis import ConnectionPool, RedisError
    from redis.backoff import NoBackoff
    from redis.connection import parse_url
    from redis.retry import Retry
    from redis.sentinel import Sentinel

# The URL schemes of Sentinel, and those of the server that it names.
SENTINEL = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
SENTINEL_PORT = 26379
# How long to wait for one sentinel, in seconds. It is asked once: there are others.
SENTINEL_LIMITS = {"socket_timeout": 1, "socket_connect_timeout": 1, "retry": Retry(NoBackoff(), 0)}
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
FORMS = "redis://host:6379/0, rediss://host:6379/0, unix:///path or redis+sentinel://host:26379,host:26379/master/0"


def configuration(url: str) -> dict[str, Any]:
    """The server as django-rq takes it in a queue of RQ_QUEUES.

    Raises:
        ValueError: ``url`` has none of the forms.
    """
    return _sentinels(url) if urlsplit(url).scheme in SENTINEL else {"URL": url}


def _sentinels(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    account, _, hosts = parts.netloc.rpartition("@")
    master, _, database = parts.path.strip("/").partition("/")
    if not master:
        raise ValueError("The name of the master is missing.")
    query = parse_qsl(parts.query)
    own = {name.removeprefix("sentinel_"): value for name, value in query if name.startswith("sentinel_")}
    others = urlencode([(name, value) for name, value in query if not name.startswith("sentinel_")])
    scheme = SENTINEL[parts.scheme]
    options = _parsed(f"{scheme}://{account}@/{database}?{others}" if account else f"{scheme}:///{database}?{others}")
    options.pop("connection_class", None)
    tls = (
        {"ssl": True, **{name: value for name, value in options.items() if name.startswith("ssl_")}} if scheme == "rediss" else {}
    )
    return {
        "SENTINELS": [_address(host) for host in hosts.split(",")],
        "MASTER_NAME": unquote(master),
        "CONNECTION_KWARGS": {**options, **tls},
        "SENTINEL_KWARGS": {**SENTINEL_LIMITS, **tls, **own},
    }


def _parsed(url: str) -> dict[str, Any]:
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py does not annotate it
    return options


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("The host of a sentinel is missing.")
    return parts.hostname, parts.port or SENTINEL_PORT


@lru_cache(maxsize=4)  # each value of each log line is searched for them
def passwords(url: str) -> tuple[str, ...]:
    """Every password in ``url``."""
    options = configuration(url)
    of_the_server = _parsed(url) if "URL" in options else options["CONNECTION_KWARGS"]
    return tuple(words["password"] for words in (of_the_server, options.get("SENTINEL_KWARGS", {})) if words.get("password"))


def check(url: str) -> None:
    """Refuse a URL that no connection could be made with, before anything connects.

    Raises:
        WrongSetting: what is wrong. It never quotes the URL, because that may have a password.
    """
    try:
        options = configuration(url)
        plain = options.get("CONNECTION_KWARGS") or _parsed(url)
        _make_connection(options)
    except (ValueError, TypeError, RedisError) as error:
        hint = "in a password, write / : @ ? # and % as %2F %3A %40 %3F %23 %25"
        raise WrongSetting("REDIS_URL", f"can't be used ({type(error).__name__}): it must look like {FORMS}; {hint}") from None
    for name in FILES:
        if name in plain and not Path(plain[name]).is_file():
            raise WrongSetting("REDIS_URL", f"names a file in {name} that does not exist: {plain[name]}")


def _make_connection(options: dict[str, Any]) -> None:
    """Make a connection without opening it: that finds unknown options and wrong values."""
    if "URL" in options:
        ConnectionPool.from_url(options["URL"]).make_connection()
        return
    given = {"sentinel_kwargs": options["SENTINEL_KWARGS"], **options["CONNECTION_KWARGS"]}
    sentinel = Sentinel(options["SENTINELS"], **given)  # type: ignore[no-untyped-call]  # redis-py does not annotate it
    sentinel.master_for(options["MASTER_NAME"]).connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py does not annotate it
    for each in sentinel.sentinels:
        each.connection_pool.make_connection()
