"""``manage.py build URL-or-archive``: builds one manuscript in the terminal."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from builds.engine import terminal
from builds.engine.context import Context, NoReport
from builds.engine.manuscript.exports import Export
from builds.engine.manuscript.url import InvalidManuscriptUrl
from builds.errors import BuildStopped, Cause
from builds.lib.stop import Stop
from builds.lib.text import printable
from builds.management.commands._json import cause_as_json, finding_as_json
from builds.models import State
from builds.pipeline import assembly, outcome


@dataclass(frozen=True)
class Result:
    """How a build ended. ``cause`` is empty unless it failed."""

    state: State
    cause: Cause | None
    progress: terminal.Progress
    context: Context


class Command(BaseCommand):
    help = "Build one manuscript as the service would, and write its exports to a folder. Delivers nothing."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", help="GitHub address of a project file, or path of a zip of its repository")
        parser.add_argument("--to", type=Path, default=Path("exports"), help="folder for the exports (default: exports)")
        parser.add_argument("--project-file", default="", help="the project file in a zip (default: the one nearest to its root)")
        parser.add_argument("--json", action="store_true", help="print the result as one JSON object; the log goes to stderr")

    def handle(self, *args: Any, source: str, to: Path, project_file: str, json: bool, **options: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="jobsite-") as folder:
            result = _build(source, to, Path(folder), project_file)
        if json:
            self.stdout.write(_as_json(result))
            if result.state != State.SUCCEEDED:
                sys.exit(1)
            return
        if result.cause:
            raise CommandError(f"{printable(result.cause.sentence)}\n{result.cause.advice}")
        if result.state == State.CANCELLED:
            raise CommandError(result.context.stop.reason)
        for export in result.progress.exports:
            self.stdout.write(f"{export.path} ({export.role}, {export.size} bytes): delivered as {printable(export.name)}")
        if problems := result.context.findings.problems:
            self.stdout.write(f"{problems} problems: the exports are not what the author wrote. The log above names them.")


def _build(source: str, to: Path, workspace: Path, project_file: str) -> Result:
    stop = Stop()
    signal.signal(signal.SIGINT, lambda number, frame: stop.set("Interrupted."))
    try:
        address = terminal.address_of(source)
    except InvalidManuscriptUrl as error:
        raise CommandError(str(error)) from error
    log = terminal.PrintedLog(sys.stderr)
    context = assembly.context_of(f"terminal-{workspace.name}", workspace, address, log=log, report=NoReport(), stop=stop)
    progress = terminal.Progress()
    try:
        terminal.run(context, source, to, progress, project_file=project_file)
    except BuildStopped:
        return Result(State.CANCELLED, None, progress, context)
    except Exception as error:
        return Result(State.FAILED, outcome.cause_of(error, context), progress, context)
    return Result(State.SUCCEEDED, None, progress, context)


def _as_json(result: Result) -> str:
    seconds = result.progress.seconds
    return json.dumps(
        {
            "state": result.state,
            "cause": cause_as_json(result.cause) if result.cause else None,
            "problems": result.context.findings.problems,
            "findings": [finding_as_json(finding) for finding in result.context.findings.all],
            "findingsLeftOut": result.context.findings.left_out,
            "exports": [_export(export) for export in result.progress.exports],
            "seconds": {**seconds, "total": round(sum(seconds.values()), 3)},
        },
        indent=2,
    )


def _export(export: Export) -> dict[str, object]:
    return {**asdict(export), "path": str(export.path)}
