"""Stand-ins for other services: real HTTP servers on loopback, with faults that a test can switch on."""

from __future__ import annotations

from tests.standins._server import GARBAGE
from tests.standins.archive_host import ArchiveHost
from tests.standins.desci_server import DesciServer
from tests.standins.doi_service import DoiService
from tests.standins.webhook import Webhook

__all__ = ["GARBAGE", "ArchiveHost", "DesciServer", "DoiService", "Webhook"]
