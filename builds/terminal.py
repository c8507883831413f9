"""One manuscript through the stages in a terminal: what the service would do with it, without server, queue or database."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TextIO

from builds import exports
from builds.cgroups import Groups
from builds.clients.archive import ArchiveHost
from builds.clients.desci import DesciServer
from builds.errors import ProjectFileMissing
from builds.front_matter import UNPRINTABLE
from builds.manuscript_url import ManuscriptUrl
from builds.myst import read_settings
from builds.output import COLOUR
from builds.sandbox import Sandbox
from builds.stages import Archive, Context, Export, Hosts, Limits, NoReport, Project, Stop
from builds.stages.build import build
from builds.stages.collect import collect
from builds.stages.fetch import fetch
from builds.stages.unpack import unpack

SandboxOf = Callable[[str, Path], Sandbox | None]
NO_ADDRESS = ManuscriptUrl("local", "archive", ("local", "myst.yml"))


def printable(text: str) -> str:
    """``text`` without what a terminal would obey: a stranger's words are in it."""
    return UNPRINTABLE.sub(" ", COLOUR.sub("", text))


class PrintedLog:
    """A build's log, printed as it comes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._number = 0

    def line(self, text: str, *, stream: str = "service") -> int:
        self._number += 1
        text = printable(text)
        print(text if stream == "stdout" else f"[{stream}] {text}", file=self._out, flush=True)
        return self._number

    def warning(self, text: str) -> int:
        return self.line(text, stream="warning")


def run(
    source: str,
    to: Path,
    *,
    host: ArchiveHost,
    command: str,
    limits: Limits,
    network: bool,
    hosts: Hosts,
    sandbox_of: SandboxOf,
    groups: Groups | None = None,
) -> list[Export]:
    """Build ``source``, the address of a project file or the path of a repository's zip, and copy its exports to ``to``.

    Raises:
        BuildError: the build failed, with the cause that an author would be told.
    """
    stop = Stop()
    signal.signal(signal.SIGINT, lambda number, frame: stop.set("Interrupted."))
    with tempfile.TemporaryDirectory(prefix="jobsite-") as folder:
        context = _context(source, Path(folder), host=host, command=command, limits=limits, stop=stop, network=network)
        context = replace(context, build_hosts=hosts, groups=groups, sandbox=sandbox_of(context.build_id, context.workspace))
        archive = _local(Path(source)) if _is_file(source) else fetch(context)
        project = unpack(context, archive)
        context = _with_exports(context, project)
        made = collect(context, build(context, project))
        return [_copied(export, to) for export in made]


def _is_file(source: str) -> bool:
    return "://" not in source and Path(source).is_file()


def _local(path: Path) -> Archive:
    """An archive on this machine: its project file is the uppermost one by name."""
    with zipfile.ZipFile(path) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
        commit = archive.comment.decode("ascii", "replace")
    candidates = [name for name in names if name.name in ("myst.yml", "myst.yaml", "curvenote.yml")]
    if not candidates:
        raise ProjectFileMissing(f"{path.name} holds no myst.yml.")
    nearest = min(candidates, key=lambda name: (len(name.parts), str(name)))
    return Archive(path, commit, "", str(PurePosixPath(*nearest.parts[1:])))


def _context(
    source: str, workspace: Path, *, host: ArchiveHost, command: str, limits: Limits, stop: Stop, network: bool
) -> Context:
    return Context(
        build_id=f"terminal-{workspace.name}",
        job_id="terminal",
        node_uuid="terminal",
        url=NO_ADDRESS if _is_file(source) else ManuscriptUrl.parse(source),
        declared_exports=(),
        workspace=workspace,
        limits=limits,
        archive_host=host,
        desci_server=DesciServer("http://127.0.0.1:9", ""),
        log=PrintedLog(sys.stderr),
        report=NoReport(),
        stop=stop,
        build_command=command,
        build_network=network,
    )


def _with_exports(context: Context, project: Project) -> Context:
    """desci-server sends the exports along; here they are read from the project file."""
    settings = read_settings(project).get("project") or {}
    declared = settings.get("exports") or settings.get("export") or ()
    entries = tuple(declared) if isinstance(declared, list) else (declared,)
    context.log.line(f"declared exports: {', '.join(str(e) for e in map(exports.declared, entries) if e) or 'none'}")
    return replace(context, declared_exports=entries)


def _copied(export: Export, to: Path) -> Export:
    target = to / export.path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(export.path, target)
    return Export(export.role, export.name, target, export.size, export.sha256)
