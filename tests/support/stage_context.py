"""A context for a stage without database, queue or worker."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builds.engine.clients.archive import ArchiveHost
from builds.engine.clients.desci import DesciServer
from builds.engine.context import Context, Limits
from builds.engine.manuscript.url import ManuscriptUrl
from builds.lib.stop import Stop

NOWHERE = "http://127.0.0.1:9"


class KeptLog:
    """A log that keeps its lines for a test."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def line(self, text: str, *, stream: str = "service") -> int:
        self.lines.append((stream, text))
        return len(self.lines)

    def write_lines(self, texts: Sequence[str], *, stream: str) -> int:
        self.lines += [(stream, text) for text in texts]
        return len(self.lines) - len(texts) + 1

    @property
    def warnings(self) -> list[str]:
        return [text for stream, text in self.lines if stream == "warning"]

    def __str__(self) -> str:
        return "\n".join(text for _stream, text in self.lines)


class KeptReport:
    """A report that keeps what a stage reports, for a test."""

    def __init__(self) -> None:
        self.details: list[str] = []
        self.steps: list[tuple[int, int | None]] = []
        self.commands: list[Sequence[str]] = []
        self.version = ""
        self.exit_codes: list[int | None] = []
        self.pinned: list[dict[str, str]] = []
        self.locked: dict[str, str] = {}
        self.processor_seconds = 0.0
        self.lookups: list[tuple[str, int, int]] = []

    def detail(self, text: str) -> None:
        self.details.append(text)

    def progress(self, done: int, total: int | None) -> None:
        self.steps.append((done, total))

    def command(self, *, argv: Sequence[str], version: str = "") -> None:
        self.commands.append(argv)
        self.version = version

    def used(self, processor_seconds: float) -> None:
        self.processor_seconds += processor_seconds

    def looked_up(self, cache: str, *, hits: int, misses: int) -> None:
        self.lookups.append((cache, hits, misses))

    def exited(self, *, exit_code: int | None, peak_memory_bytes: int | None) -> None:
        self.exit_codes.append(exit_code)

    def commit(self, **pinned: str) -> None:
        self.pinned.append(pinned)

    def packages(self, versions: Mapping[str, str]) -> None:
        self.locked.update(versions)


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
        "limits": Limits(build_seconds=120, delivery_seconds=5),
        "archive_host": ArchiveHost(NOWHERE, patience_seconds=0),
        "desci_server": DesciServer(NOWHERE, "test-secret"),
        "log": KeptLog(),
        "report": KeptReport(),
        "stop": Stop(),
        "build_command": "myst",
    }
    return Context(**{**values, **overrides})
