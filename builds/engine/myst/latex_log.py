"""Reads the logs of LaTeX: mystmd runs it without output, and repeats only some of its errors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from builds.engine.manuscript.paths import read_beginning
from builds.engine.manuscript.project import Project

TEMP = Path("_build/temp")
ERROR = re.compile(r"^(?:\./)?(?P<file>[^\s:]+\.(?:tex|sty|cls|bbl)):(?=\d+: )|^! |^Missing character: ")
WRITTEN = re.compile(r"^Output written on ", re.MULTILINE)
SOURCE = re.compile(r"^l\.\d+ ")
MAX_LOGS, MAX_BYTES, MAX_LINES, MAX_BELOW = 20, 4 << 20, 200, 8


class LatexLogs:
    """The logs of LaTeX in a project's temporary folders. Each is read once."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._seen: set[Path] = set()

    def new_lines(self) -> Iterator[str]:
        """The errors in the logs that are new, each with the line of the source that LaTeX shows, at most MAX_LINES.

        A log in which LaTeX wrote its output in spite of errors ends with a line that says so.
        """
        return islice((line for path in self._new() for line in self._errors(path)), MAX_LINES)

    def _new(self) -> list[Path]:
        found = [path for path in islice((self._project.folder / TEMP).glob("*/*.log"), MAX_LOGS) if path not in self._seen]
        self._seen.update(found)
        return [path for path in found if not path.name.endswith(".shell.log")]

    def _errors(self, path: Path) -> Iterator[str]:
        try:
            text = read_beginning(self._project, path, MAX_BYTES).decode(errors="replace")
        except OSError:
            return
        lines = text.splitlines()
        folder = os.path.relpath(path.parent, self._project.folder)
        errors = 0
        for number, line in enumerate(lines):
            if found := ERROR.search(line):
                errors += not line.startswith("Missing character")
                yield f"{folder}/{line.removeprefix('./')}" if found["file"] else line
                yield from islice((below for below in lines[number + 1 : number + 1 + MAX_BELOW] if SOURCE.search(below)), 1)
        if errors and WRITTEN.search(text):
            yield f"LaTeX went on after errors: {errors}"
