"""Every form of DATABASE_URL, with a real PostgreSQL server, and what is said of a wrong one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.db import OperationalError
from django.db.utils import ConnectionHandler

from jobsite import database_url
from jobsite.env import WrongSetting
from tests.project.test_start import manage
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.postgres import PostgreSQL, postgres

PASSWORD, WRITTEN = "p/a:s@s?w#o%r d", "p%2Fa%3As%40s%3Fw%23o%25r%20d"
RULES = "local all jobsite trust\nhostssl all guest 127.0.0.1/32 scram-sha-256\nhostnossl all guest 127.0.0.1/32 reject\n"


def selected(url: str, query: str) -> tuple[Any, ...]:
    """The first row of the answer to ``query``."""
    handler = ConnectionHandler({"default": database_url.read(url)})
    connection = handler["default"]
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            row: tuple[Any, ...] = cursor.fetchone()
            return row
    finally:
        connection.close()


def user(url: str) -> str:
    """Who is connected, and whether by TLS."""
    name, is_tls = selected(url, "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    return f"{name}{' by TLS' if is_tls else ''}"


@dataclass
class Tls:
    server: PostgreSQL
    port: int
    authority: Authority
    other: Authority


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    """A server for TLS with a password, and two authorities: the certificate is the first one's, for localhost."""
    folder, port = tmp_path_factory.mktemp("authorities"), free_port()
    authority, other = Authority(folder), Authority(folder, "other")
    certificate, key = authority.sign("localhost")
    more = ("listen_addresses=127.0.0.1", "ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key")
    with postgres(*more, port=port, rules=RULES, files={"server.crt": certificate, "server.key": key}) as server:
        server.execute(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
        yield Tls(server, port, authority, other)


@pytest.mark.slow
@pytest.mark.django_db
def test_tls_is_verified_and_the_password_may_have_any_character(tls: Tls, tmp_path: Path) -> None:
    base, authority = f"@localhost:{tls.port}/postgres", f"sslrootcert={tls.authority.path}"
    good = f"postgresql://guest:{WRITTEN}{base}?sslmode=verify-full&{authority}"
    assert user(good) == "guest by TLS"
    refused = {
        "another authority": good.replace(str(tls.authority.path), str(tls.other.path)),
        "another host": good.replace("@localhost", "@127.0.0.1"),
        "another password": good.replace(WRITTEN, "wrong"),
        "no TLS": f"postgresql://guest:{WRITTEN}{base}?sslmode=disable",
    }
    for what, url in refused.items():
        with pytest.raises(OperationalError):
            user(url)
            pytest.fail(what)
    done = manage(tmp_path, "migrate", DATABASE_URL=refused["another authority"])
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "certificate verify failed" in done.stderr


@pytest.mark.slow
@pytest.mark.django_db
def test_the_folder_of_a_unix_socket_may_have_capital_letters(tls: Tls) -> None:
    link = tls.server.folder / "Sockets"
    link.symlink_to(tls.server.folder)
    assert user(f"postgresql://jobsite@{quote(str(link), safe='')}:{tls.port}/postgres") == "jobsite"


@pytest.mark.slow
@pytest.mark.django_db
def test_the_server_ends_the_transactions_of_a_host_that_was_cut_off(tls: Tls) -> None:
    """It would keep their locks for two hours, and what such a host has built could not be ended until then."""
    url = f"postgresql://guest:{WRITTEN}@localhost:{tls.port}/postgres"
    names = ("idle_in_transaction_session_timeout", "tcp_keepalives_idle", "tcp_user_timeout", "application_name")
    query = f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}"
    assert selected(url, query) == ("20s", "10", "20000", "")
    own = "?options=-c%20idle_in_transaction_session_timeout%3D5s%20-c%20application_name%3Down"
    assert selected(f"{url}{own}", query) == ("5s", "10", "20000", "own")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "is empty"),
        ("mysql://host/name", "must look like sqlite:///path or postgresql://"),
        ("nonsense", "must look like sqlite:///path or postgresql://"),
        ("postgres://user:a/secret@host/name", "in a password, write / : @ ? # and % as"),
        ("postgres://host/name?sslmode=full", "has sslmode=full; it must be one of disable"),
        ("postgres://host/name?sslmode=verify-full&sslrootcert=/not/there", "names a file in sslrootcert that does not exist"),
        ("postgres://host/name?nonsense=1", 'invalid connection option "nonsense"'),
    ],
)
def test_a_wrong_address_is_one_line_without_a_secret(url: str, words: str) -> None:
    with pytest.raises(WrongSetting) as wrong:
        database_url.read(url)
    assert words in wrong.value.line
    assert ("\n" in wrong.value.line, "secret" in wrong.value.line) == (False, False)
