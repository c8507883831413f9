"""What a build gives its stages to work with: its context, with the limits, the log, the report and the other hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from builds.engine.findings import Finding, Findings, Group, Kind
from builds.engine.process.ceilings import Ceilings
from builds.engine.process.spare import Spare
from builds.lib.unzip import UnzipLimits

if TYPE_CHECKING:
    from builds.engine.clients.archive import ArchiveHost
    from builds.engine.clients.desci import DesciServer
    from builds.engine.clients.kept_archives import KeptArchives
    from builds.engine.diagnosis import Clues
    from builds.engine.manuscript.exports import PlannedExport
    from builds.engine.manuscript.project import Project
    from builds.engine.manuscript.url import ManuscriptUrl
    from builds.engine.process.cgroups import Groups
    from builds.engine.sandbox.sandbox import Sandbox
    from builds.lib.stop import Stop


class Log(Protocol):
    """The log of one build. ``line`` returns the line's number, from 1, and ``write_lines`` that of the first line."""

    def line(self, text: str, *, stream: str = "service") -> int: ...

    def write_lines(self, texts: Sequence[str], *, stream: str) -> int: ...


class Report(Protocol):
    """What a stage reports while it runs, stored on its row."""

    def detail(self, text: str) -> None: ...

    def progress(self, done: int, total: int | None) -> None: ...

    def command(self, *, argv: Sequence[str], version: str = "") -> None: ...

    def exited(self, *, exit_code: int | None, peak_memory_bytes: int | None) -> None: ...

    def used(self, processor_seconds: float) -> None:
        """Add the processor time of a command of the build. Called at its end, also while the build has to stop."""

    def looked_up(self, cache: str, *, hits: int, misses: int) -> None:
        """Count look-ups in a cache that all builds share."""

    def commit(self, *, commit: str, ref: str, path: str) -> None:
        """Pin the commit: store it on the build before anything is downloaded."""

    def packages(self, versions: Mapping[str, str]) -> None:
        """Store the versions of the packages that the manuscript locks, by their names."""


class NoReport:
    """A report that stores nothing."""

    def detail(self, text: str) -> None:
        """Store nothing."""

    def progress(self, done: int, total: int | None) -> None:
        """Store nothing."""

    def command(self, *, argv: Sequence[str], version: str = "") -> None:
        """Store nothing."""

    def exited(self, *, exit_code: int | None, peak_memory_bytes: int | None) -> None:
        """Store nothing."""

    def used(self, processor_seconds: float) -> None:
        """Store nothing."""

    def looked_up(self, cache: str, *, hits: int, misses: int) -> None:
        """Store nothing."""

    def commit(self, *, commit: str, ref: str, path: str) -> None:
        """Store nothing."""

    def packages(self, versions: Mapping[str, str]) -> None:
        """Store nothing."""


@dataclass(frozen=True)
class Limits(UnzipLimits):
    """The limits of a build, those of its unpacked archive included. Sizes in bytes, times in seconds."""

    archive_bytes: int = 1 << 30
    log_bytes: int = 200_000_000
    log_bytes_per_second: int = 0
    build_seconds: float = 3600
    stage_seconds: float = 3600  # for each other stage
    attempt_seconds: float = 3600 * 3
    # How long one attempt waits for desci-server to accept the files, beside the time limit of a call. Its worker waits too.
    delivery_seconds: float = 10
    exports: int = 100
    exports_bytes: int = 4 << 30
    ceilings: Ceilings = field(default_factory=Ceilings)


@dataclass(frozen=True)
class Hosts:
    """The hosts that a build with network may reach.

    ``private`` ones may have a private address. ``mirrors`` maps the address of a package index to the mirror to use instead.
    """

    listed: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    mirrors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """Everything that a stage may use. Made once per build, and never changed."""

    build_id: str
    job_id: str
    node_uuid: str
    url: ManuscriptUrl
    declared_exports: tuple[Any, ...]
    workspace: Path
    limits: Limits
    archive_host: ArchiveHost
    desci_server: DesciServer
    log: Log
    report: Report
    stop: Stop
    build_command: str = ""
    build_environment: Mapping[str, str] = field(default_factory=dict)
    build_network: bool = False
    build_hosts: Hosts = Hosts()
    require_declared_exports: bool = False
    failing_findings: frozenset[str] = frozenset()
    """The codes of the findings that fail a build."""
    pinned_commit: str = ""
    pinned_path: str = ""
    acknowledged: Callable[[], bool] = lambda: True
    redact: Callable[[str], str] = str
    sandbox: Sandbox | None = None
    check_sandbox: Callable[[], None] = lambda: None
    groups: Groups | None = None
    spare: Spare = field(default_factory=Spare)
    """A sandbox for the next program of our own, made before it is needed."""
    unreachable: Callable[[], Sequence[str]] = tuple
    """The listed hosts that the build's proxy could not reach so far."""
    refused: Callable[[], Sequence[str]] = tuple
    """What the build's proxy has refused so far."""
    asked: Callable[[], Sequence[str]] = tuple
    """The hosts that the build's proxy has connected to so far."""
    template_cache: Path | None = None
    template_service: str = ""
    archives: KeptArchives | None = None
    """Archives that earlier attempts downloaded; None: keep none and use none."""
    doi_cache: Path | None = None
    doi_service: str = ""
    """Where DOIs are looked up; empty: nowhere."""
    findings: Findings = field(default_factory=Findings)

    def find(self, kind: Kind, *, file: str = "", line: int | None = None, export: str = "", **words: object) -> Finding:
        """Write a finding to the log and keep it. For the parameters, see :meth:`Kind.finding`."""
        return self.keep(kind.finding(file=file, line=line, log_line=None, export=export, **words))

    def keep(self, finding: Finding) -> Finding:
        """Keep a finding. Write it to the log, if it is new, comes from no line of the log and is not an editorial check.

        A complaint in the log about what a check of our own has found with its place is not kept beside it.
        """
        if finding.log_line is not None and self.findings.is_explained(finding):
            return finding
        if finding.log_line is None and finding.group is Group.BUILD and finding not in self.findings:
            number = self.log.line(f"{finding.text} {finding.advice}".strip(), stream="warning")
            finding = replace(finding, log_line=number)
        self.findings.add(finding)
        return finding


@dataclass(frozen=True)
class Built:
    """A build whose command succeeded: its planned exports, and the lines of its log that may explain a missing one.

    ``jats_pages`` are the pages that belong into the JATS, relative to the project's folder; without any, all.
    ``dropped_nodes`` are the types of nodes that mystmd left out of it.
    """

    project: Project
    exports: tuple[PlannedExport, ...]
    clues: Clues
    jats_pages: tuple[str, ...] = ()
    dropped_nodes: tuple[str, ...] = ()
