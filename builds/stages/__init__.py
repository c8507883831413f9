"""The stages of a build, and the values that pass between them.

A stage is a function ``(context, value before) -> value``. It knows nothing of Django, RQ, HTTP views or the other stages; the
runner in :mod:`builds.pipeline` opens and closes the stage's row, its log section, its deadline and the cancel check around it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from builds.ceilings import Ceilings
from builds.errors import BuildError, BuildStopped

if TYPE_CHECKING:
    from builds.cgroups import Groups
    from builds.clients.archive import ArchiveHost
    from builds.clients.desci import DesciServer
    from builds.diagnosis import Clues
    from builds.manuscript_url import ManuscriptUrl
    from builds.sandbox import Sandbox


class Log(Protocol):
    """The log of one build. ``line`` returns the number that the line got (from 1)."""

    def line(self, text: str, *, stream: str = "service") -> int: ...

    def warning(self, text: str) -> int:
        """Log ``text`` and keep it as a warning on the build, for staff."""


class Report(Protocol):
    """What a stage tells of itself while it runs; kept on its row."""

    def detail(self, text: str) -> None: ...

    def progress(self, done: int, total: int | None) -> None: ...

    def command(self, *, argv: Sequence[str], version: str = "") -> None: ...

    def exited(self, *, exit_code: int | None, peak_memory_bytes: int | None) -> None: ...

    def commit(self, *, commit: str, ref: str, path: str) -> None:
        """Pin the commit: kept on the build before anything is downloaded."""


class NoReport:
    """A stage's report that nobody keeps."""

    def detail(self, text: str) -> None:
        """Nothing is kept."""

    def progress(self, done: int, total: int | None) -> None:
        """Nothing is kept."""

    def command(self, *, argv: Sequence[str], version: str = "") -> None:
        """Nothing is kept."""

    def exited(self, *, exit_code: int | None, peak_memory_bytes: int | None) -> None:
        """Nothing is kept."""

    def commit(self, *, commit: str, ref: str, path: str) -> None:
        """Nothing is kept."""


class Stop:
    """Whether the build has to stop: it was told to, or its time is over. Set once, by the thread that renews the lease; never unset.

    It sets itself when the lease has run out: a worker that was paused learns so from the clock, before it does anything more.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.reason = ""
        self._holds_until = float("inf")
        self._time_limits: list[tuple[float, BuildError]] = []

    def hold_until(self, moment: float) -> None:
        """The lease holds until ``moment``, by the monotonic clock."""
        self._holds_until = moment

    @contextmanager
    def within(self, seconds: float, error: BuildError) -> Iterator[None]:
        """Let the block last no longer; :meth:`check` raises ``error`` from then on."""
        limit = (time.monotonic() + seconds, error)
        self._time_limits.append(limit)
        try:
            yield
        finally:
            self._time_limits.remove(limit)

    def set(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.event.set()

    @property
    def is_set(self) -> bool:
        return self._is_told() or self._overdue() is not None

    def check(self) -> None:
        """Raise :class:`builds.errors.BuildStopped` if the build has to stop, or the error of a time limit that is over."""
        if self._is_told():
            raise BuildStopped(self.reason)
        if error := self._overdue():
            raise error

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until the build has to stop; then raise as :meth:`check` does."""
        ends = [at - time.monotonic() for at, _error in self._time_limits]
        self.event.wait(max(min([seconds, *ends]), 0))
        self.check()

    def _is_told(self) -> bool:
        if time.monotonic() > self._holds_until:
            self.set("The lease of this build ran out.")
        return self.event.is_set()

    def _overdue(self) -> BuildError | None:
        return next((error for at, error in self._time_limits if time.monotonic() > at), None)


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    archive_bytes: int = 1 << 30
    unpacked_bytes: int = 4 << 30
    entry_bytes: int = 2 << 30
    entries: int = 100_000
    ratio: int = 200
    ratio_from_bytes: int = 100 << 20  # below this, even an extreme ratio is harmless: a blank image has one
    log_bytes: int = 200_000_000
    log_bytes_per_second: int = 0
    build_seconds: float = 3600
    stage_seconds: float = 3600  # of each other stage
    attempt_seconds: float = 3600 * 3
    delivery_patience_seconds: float = 900
    exports: int = 100
    exports_bytes: int = 4 << 30
    ceilings: Ceilings = field(default_factory=Ceilings)


@dataclass(frozen=True)
class Hosts:
    """Whom a build with network may ask; ``private`` ones also at a private address; ``mirrors`` instead of whom it would ask for
    packages, by the address that each stands for."""

    listed: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    mirrors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """All that a stage may use. Made once per build; nothing in it changes."""

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
    pinned_commit: str = ""
    pinned_path: str = ""
    acknowledged: Callable[[], bool] = lambda: True
    redact: Callable[[str], str] = str
    sandbox: Sandbox | None = None
    check_sandbox: Callable[[], None] = lambda: None
    groups: Groups | None = None
    template_cache: Path | None = None
    template_service: str = ""


@dataclass(frozen=True)
class Archive:
    """A downloaded repository: the zip, the commit it is of, and where in it the project file is (POSIX, relative)."""

    path: Path
    commit: str
    ref: str
    project_path: str


@dataclass(frozen=True)
class Project:
    """An unpacked repository: ``root`` is its folder, ``file`` the absolute path of the project file inside it."""

    root: Path
    file: Path

    @property
    def folder(self) -> Path:
        return self.file.parent


@dataclass(frozen=True)
class PlannedExport:
    """What the build was to make and what is delivered of it: ``path`` is where it has to be, absolute, inside the repository.

    ``role`` and ``name`` as in :class:`Export`. ``declared`` is what the author wrote; empty for what Jobsite adds by itself.
    ``articles`` are the pages that it is of; none where myst chooses.
    """

    role: str
    name: str
    path: Path
    declared: str = ""
    articles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Built:
    """A build whose command has ended well: what it was to make, and the lines of its log that may explain what is missing."""

    project: Project
    exports: tuple[PlannedExport, ...]
    clues: Clues


@dataclass(frozen=True)
class Export:
    """A file that is delivered: the file itself, or, for a MECA, every file in the zip at ``path``.

    ``name`` is the part's filename as CONTRACT §3 has it; for a MECA the folder that its files come under.
    ``role`` is one of ``pdf``, ``typst``, ``meca``, ``page-content``.
    """

    role: str
    name: str
    path: Path
    size: int
    sha256: str
