"""A PostgreSQL server with a standby that takes its place, and its address, when it dies."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.postgres import PostgreSQL

RULES = "local all all trust\nlocal replication all trust\nhost all all {network} trust\n"
# A commit is answered once the standby has it, so that a failover loses none.
SYNCHRONOUS = ("synchronous_commit=on", "synchronous_standby_names=*")


class Pair:
    """Both servers run on this machine. Clients reach the one that is in charge at ``host``."""

    def __init__(self, folder: Path, host: str, network: str) -> None:
        self._listens = f"listen_addresses={host}"
        first, second = folder / "first", folder / "second"
        for each in (folder, first, second):
            each.mkdir(exist_ok=True)
            each.chmod(0o755)
        self._second = second
        self._primary = PostgreSQL(first, *SYNCHRONOUS, self._listens, rules=RULES.format(network=network))
        self._standby = PostgreSQL(second)

    def start(self) -> None:
        self._primary.make()
        self._primary.start()
        self._standby.make_standby(self._primary)
        self._standby.start()

    def fail_over(self) -> None:
        """Kill the first server. The standby is promoted and takes over its address."""
        self._primary.kill()
        self._standby.execute("SELECT pg_promote()")
        self._standby.stop()
        self._standby = PostgreSQL(self._second, self._listens)
        self._standby.start()

    def stop(self) -> None:
        self._primary.stop()
        self._standby.stop()


@contextmanager
def pair(host: str, network: str) -> Iterator[Pair]:
    """A running :class:`Pair` with an empty database."""
    with tempfile.TemporaryDirectory(prefix="jobsite-postgres-") as folder:
        servers = Pair(Path(folder), host, network)
        try:
            servers.start()
            yield servers
        finally:
            servers.stop()
