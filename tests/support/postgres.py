"""A PostgreSQL server for tests, where the machine has its programs. As a program, it runs a command with the server's DATABASE_URL."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from tests.support.nobody import NOBODY

# Where Debian has them.
FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
SEARCHED = os.pathsep.join([*map(str, FOLDERS), os.environ["PATH"]])
# Nothing that the tests write must survive the machine. Several services and test processes connect at once.
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=400")
# Sorting by the rules of a language, as most installations do: ORDER BY and comparisons differ from SQLite's.
LANGUAGE = ("--locale-provider=icu", "--icu-locale=en")


def is_installed() -> bool:
    return all(shutil.which(name, path=SEARCHED) for name in ("initdb", "postgres"))


class PostgreSQL:
    """A server with its data in ``folder``, on a unix socket there. It runs as an unprivileged user, because it refuses root.

    ``options`` are settings of the server, as ``name=value``. ``rules`` is the content of its pg_hba.conf; without, everybody may connect.
    ``files`` are copied into its data folder.
    """

    def __init__(
        self, folder: Path, *options: str, port: int = 5432, rules: str = "", files: Mapping[str, Path] | None = None
    ) -> None:
        self.port = port
        self.folder, self._options, self._rules, self._files = folder, (*FAST, *options), rules, files or {}
        self._user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgres://jobsite@{quote(str(folder), safe='')}:{port}/postgres"

    def make(self) -> None:
        """Make an empty cluster."""
        self.own(self.folder)
        self._run("initdb", "-D", "data", "-U", "jobsite", "-A", "trust", "-E", "UTF8", "--no-sync", *LANGUAGE)
        if self._rules:
            (self.folder / "data" / "pg_hba.conf").write_text(self._rules)
        for name, file in self._files.items():
            copied = self.folder / "data" / name
            shutil.copy(file, copied)
            self.own(copied)

    def make_standby(self, primary: PostgreSQL) -> None:
        """Make a copy of a running server. Once started, it follows that server until it is promoted."""
        self.own(self.folder)
        source = ("-h", str(primary.folder), "-p", str(primary.port), "-U", "jobsite")
        self._run("pg_basebackup", "-D", "data", "-R", "-X", "stream", "-c", "fast", *source)

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def own(self, path: Path) -> None:
        """Give a file or folder to the server's user."""
        os.chown(path, self._user.get("user", -1), self._user.get("group", -1))

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        options = [word for option in self._options for word in ("-c", option)]
        command = [
            self._program("postgres"),
            "-D",
            "data",
            "-k",
            str(self.folder),
            "-p",
            str(self.port),
            "-c",
            "listen_addresses=",
            *options,
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._environment())
        wait = [self._program("pg_isready"), "-q", "-h", str(self.folder), "-p", str(self.port), "-t", "60"]
        while subprocess.run(wait, check=False).returncode:
            assert self._process.poll() is None, "PostgreSQL did not start"

    def stop(self) -> None:
        """Stop it at once, and cut every connection."""
        if self._process:
            self._process.send_signal(2)  # fast shutdown
            self._process.wait(60)
            self._process = None

    def kill(self) -> None:
        """Kill it, as if its machine had died: nobody hears from it again."""
        if self._process:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run([self._program(name), *arguments], check=True, stdout=subprocess.DEVNULL, **self._environment())

    @staticmethod
    def _program(name: str) -> str:
        return shutil.which(name, path=SEARCHED) or name

    def _environment(self) -> dict[str, Any]:
        return {"env": {"PATH": SEARCHED, "LC_ALL": "C.UTF-8"}, "cwd": self.folder, **self._user}


@contextmanager
def postgres(*options: str, **more: Any) -> Iterator[PostgreSQL]:
    """A running :class:`PostgreSQL` with an empty database. Skips the test where there is none."""
    if not is_installed():
        pytest.skip("no PostgreSQL server is installed")
    with tempfile.TemporaryDirectory(prefix="jobsite-postgres-") as name:
        server = PostgreSQL(Path(name), *options, **more)
        server.make()
        try:
            server.start()
            yield server
        finally:
            server.stop()


def own_database(address: str, name: str) -> str:
    """The address of the database ``name`` on the server of ``address``. It is made if it does not exist."""
    with psycopg.connect(address, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(f'CREATE DATABASE "{name}"')
    return f"{address.rpartition('/')[0]}/{name}"


def main(command: list[str]) -> int:
    if not is_installed():
        print("PostgreSQL: SKIPPED, no PostgreSQL server is installed (on Debian: apt-get install postgresql)")  # noqa: T201
        return 0
    with postgres() as server:
        return subprocess.run(command, env={**os.environ, "DATABASE_URL": server.url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
