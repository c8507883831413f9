"""What belongs to one running build."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from django.conf import settings

from builds.engine.context import Context
from builds.models import Build
from builds.pipeline.lease import Lease
from builds.pipeline.report import StageReport
from builds.record.findings import FindingWriter
from builds.record.logs import LogWriter
from builds.record.patience import retry_while_away
from builds.record.workspaces import remove_folder

T = TypeVar("T")


@dataclass
class Run:
    """One running build: its row, log, report, findings and lease, and the context of its stages."""

    build: Build
    log: LogWriter
    report: StageReport
    findings: FindingWriter
    lease: Lease
    context: Context
    cache_key: str = ""
    """What the result is known by in the build cache; empty if it is not to be used again."""
    started_at: float = field(default_factory=time.monotonic)

    def write(self, call: Callable[[], T]) -> T:
        """Call ``call`` until the database is available. After :meth:`make_room`, a full disk is waited for too."""
        return retry_while_away(call, even_full=self.log.even_full)

    def make_room(self) -> None:
        """Remove the workspace: the writes that follow may need its disk space. Takes no longer than the lease allows."""
        remove_folder(self.context.workspace, seconds=settings.LEASE_SECONDS / 4)
        self.log.even_full = True
