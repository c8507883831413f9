"""``manage.py diagnose LOGFILE``: what the lines of any log complain about."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from builds.engine.diagnosis import Clues, Pages
from builds.engine.findings import Finding
from builds.engine.manuscript.project import Project
from builds.errors import Cause
from builds.lib.text import printable
from builds.management.commands._json import cause_as_json, finding_as_json

# The beginning of a line in a log that was downloaded from a page, and in one of `manage.py build`.
STREAM = re.compile(r"^(?:\d{4}-\d\d-\d\dT[^\t]*\t[^\t]*\t(?P<downloaded>\w+)\t|\[(?P<printed>stderr|warning|service)\] )")
# The folder in which a build ran.
WORKSPACE = re.compile(r"(/[^\s'\":]*/repository)(?=[/\s'\"]|$)")
OWN_STREAMS = ("service", "warning")
# What the service writes into a log before and after a command. The output of another build has neither.
STARTED = re.compile(r"^\$ (?P<command>.+)")
ENDED = re.compile(r"^(?:exit code (?P<code>\d+)|ended by signal (?P<signal>\d+)) after \d")
CHOSEN_BY_US = ("myst ", "mystmd ")  # the commands of the bundled recipe


@dataclass
class Log:
    """What a log holds: its lines' clues, the last command, and how that ended."""

    clues: Clues
    command: str = "the build"
    exit_code: int = 1

    def see_own(self, line: str) -> None:
        """Check a line that the service may have written."""
        if started := STARTED.match(line):
            self.command = started["command"]
        elif ended := ENDED.match(line):
            code = int(ended["code"] or 0) or -int(ended["signal"] or 0)
            self.exit_code = code or self.exit_code

    def failure(self) -> Cause:
        by_author = not self.command.startswith(CHOSEN_BY_US)
        return self.clues.failure(exit_code=self.exit_code, command=self.command, by_author=by_author).cause


class Command(BaseCommand):
    help = "Print what the lines of a log complain about, and what would be the cause of a failed build."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("log", help="a log file: downloaded from a page, or the output of any build; - for standard input")
        parser.add_argument("--repository", type=Path, help="folder of the manuscript, to find the lines of its files")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, log: str, repository: Path | None, json: bool, **options: Any) -> None:
        try:
            text = sys.stdin.read() if log == "-" else Path(log).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise CommandError(f"{log} can't be read: {error.strerror}.") from error
        read = _read(text, Pages(Project(repository.resolve(), repository.resolve() / "myst.yml")) if repository else None)
        findings = list({finding.identity: finding for finding in reversed(list(read.clues.findings()))}.values())[::-1]
        cause = read.failure()
        if json:
            self.stdout.write(_as_json(cause, findings))
        else:
            self.stdout.write("\n".join(_in_words(cause, findings)))


def _read(text: str, pages: Pages | None) -> Log:
    folder = WORKSPACE.search(text)
    log = Log(Clues(Path(folder[1]) if folder else None, pages=pages))
    for number, line in enumerate(text.splitlines(), 1):
        found = STREAM.match(line)
        stream = (found["downloaded"] or found["printed"]) if found else ""
        said = line[found.end() :] if found else line
        is_own = stream in OWN_STREAMS or (not stream and (STARTED.match(said) or ENDED.match(said)))
        if is_own:
            log.see_own(said)
        else:
            log.clues.see(number, stream or "stdout", said)
    return log


def _as_json(cause: Cause, findings: Iterable[Finding]) -> str:
    return json.dumps({"cause": cause_as_json(cause), "findings": [finding_as_json(each) for each in findings]}, indent=2)


def _in_words(cause: Cause, findings: Iterable[Finding]) -> Iterator[str]:
    for each in findings:
        place = f"{each.file}:{each.line}" if each.line else each.file
        yield printable(f"line {each.log_line}: {each.severity} {each.code} {place} {each.text}")
    yield f"If the build failed, the cause is ({cause.fault}, {cause.code}): {printable(cause.sentence)}"
