"""Reads DATABASE_URL: a SQLite file, or a PostgreSQL database by TCP, TLS or a unix socket."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dj_database_url

from jobsite.env import WrongSetting

SQLITE, POSTGRESQL = "django.db.backends.sqlite3", "django.db.backends.postgresql"
FORMS = "sqlite:///path or postgresql://user:password@host:5432/name"
TLS_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Options of Django's own, which it does not give to libpq.
DJANGOS = {"assume_role", "isolation_level", "pool", "server_side_binding"}
FILES = ("sslrootcert", "sslcert", "sslkey")
# A connection over a network that was cut ends within half a minute at our end. Without these it would take a quarter of an hour.
TIME_LIMITS = {
    "connect_timeout": 10,
    "tcp_user_timeout": 20_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
# The same at the server's end, which keeps the locks of a host that was cut off until it gives the connection up: after two hours by
# default. The build that such a host ran could not be ended or begun again until then.
SERVER_TIME_LIMITS = {
    "idle_in_transaction_session_timeout": "20s",
    "tcp_user_timeout": "20s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


def read(url: str) -> dict[str, Any]:
    """The database as Django takes it in DATABASES.

    Raises:
        WrongSetting: what is wrong. It never quotes the URL, because that may have a password.
    """
    if not url:
        raise WrongSetting("DATABASE_URL", "is empty; leave it out for a SQLite file in DATA_DIR")
    try:
        database: dict[str, Any] = {**dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True)}
    except (ValueError, KeyError) as error:
        hint = "in a password, write / : @ ? # and % as %2F %3A %40 %3F %23 %25"
        raise WrongSetting("DATABASE_URL", f"can't be used ({type(error).__name__}): it must look like {FORMS}; {hint}") from None
    if database["ENGINE"] == POSTGRESQL:
        _check_postgresql(url, database)
    elif database["ENGINE"] != SQLITE:
        raise WrongSetting("DATABASE_URL", f"must look like {FORMS}, not {urlsplit(url).scheme}://…")
    return database


def _check_postgresql(url: str, database: dict[str, Any]) -> None:
    if not find_spec("psycopg"):
        raise WrongSetting("DATABASE_URL", "needs psycopg: pip install -r requirements-postgres.txt")
    if database["HOST"].startswith("/"):
        # The folder of a unix socket. The host of a URL is in small letters; a folder's name may have others.
        host = urlsplit(url).netloc.rpartition("@")[2]
        database["HOST"] = unquote(host.rpartition(":")[0] if database["PORT"] else host)
    options = database.get("OPTIONS", {})
    _check_options(options)
    if (mode := options.get("sslmode", "prefer")) not in TLS_MODES:
        raise WrongSetting("DATABASE_URL", f"has sslmode={mode}; it must be one of {', '.join(TLS_MODES)}")
    for name in FILES:
        if name in options and options[name] != "system" and not Path(options[name]).is_file():
            raise WrongSetting("DATABASE_URL", f"names a file in {name} that does not exist: {options[name]}")
    database["OPTIONS"] = {**TIME_LIMITS, **options, "options": _server_options(options)}


def _server_options(options: dict[str, Any]) -> str:
    """Our time limits for the server, then the options of the URL, which win."""
    limits = " ".join(f"-c {name}={value}" for name, value in SERVER_TIME_LIMITS.items())
    return f"{limits} {options.get('options', '')}".strip()


def _check_options(options: dict[str, Any]) -> None:
    from psycopg import ProgrammingError, conninfo  # noqa: PLC0415 - installed only where PostgreSQL is used

    try:
        conninfo.make_conninfo("", **{name: value for name, value in options.items() if name not in DJANGOS})
    except ProgrammingError as error:
        raise WrongSetting("DATABASE_URL", f"can't be used: {str(error).strip()}") from None
