"""A context for a stage without database, queue or worker."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builds.clients.archive import ArchiveHost
from builds.clients.desci import DesciServer
from builds.manuscript_url import ManuscriptUrl
from builds.stages import Context, Limits, Stop

NOWHERE = "http://127.0.0.1:9"


class KeptLog:
    """A log that keeps its lines for a test to look at."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def line(self, text: str, *, stream: str = "service") -> int:
        self.lines.append((stream, text))
        return len(self.lines)

    def warning(self, text: str) -> int:
        return self.line(text, stream="warning")

    @property
    def warnings(self) -> list[str]:
        return [text for stream, text in self.lines if stream == "warning"]

    def __str__(self) -> str:
        return "\n".join(text for _stream, text in self.lines)


class KeptReport:
    """A report that keeps what a stage told."""

    def __init__(self) -> None:
        self.details: list[str] = []
        self.steps: list[tuple[int, int | None]] = []
        self.commands: list[Sequence[str]] = []
        self.version = ""
        self.exit_codes: list[int | None] = []
        self.pinned: list[dict[str, str]] = []

    def detail(self, text: str) -> None:
        self.details.append(text)

    def progress(self, done: int, total: int | None) -> None:
        self.steps.append((done, total))

    def command(self, *, argv: Sequence[str], version: str = "") -> None:
        self.commands.append(argv)
        self.version = version

    def exited(self, *, exit_code: int | None, peak_memory_bytes: int | None) -> None:
        self.exit_codes.append(exit_code)

    def commit(self, **pinned: str) -> None:
        self.pinned.append(pinned)


def make_context(tmp_path: Path, **overrides: Any) -> Context:
    workspace = tmp_path / "workspace"
    workspace.mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "build_id": str(uuid.uuid4()),
        "job_id": "job-1",
        "node_uuid": "node-1.",
        "url": ManuscriptUrl.parse("https://github.com/a/b/blob/main/myst.yml"),
        "declared_exports": (),
        "workspace": workspace,
        "limits": Limits(build_seconds=120, delivery_patience_seconds=5),
        "archive_host": ArchiveHost(NOWHERE, patience_seconds=0),
        "desci_server": DesciServer(NOWHERE, "test-secret"),
        "log": KeptLog(),
        "report": KeptReport(),
        "stop": Stop(),
        "build_command": "myst",
    }
    return Context(**{**values, **overrides})
