"""The two outside parties as real HTTP servers on loopback, with faults that can be switched on."""

from __future__ import annotations

from tests.standins.archive_host import ArchiveHost
from tests.standins.desci_server import DesciServer

__all__ = ["ArchiveHost", "DesciServer"]
