"""Decides whether a PDF is missing through its template: only then does Jobsite's own template replace the journal's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from builds.engine.diagnosis import Clue
from builds.engine.diagnosis.rule import Weight
from builds.engine.manuscript.exports import PlannedExport
from builds.engine.manuscript.paths import is_file, read_text
from builds.engine.manuscript.project import Project
from builds.errors import Fault

# Typst shows the place of an error, and below it the line of the source.
BEGINS = "^error: "
ERROR = re.compile(rf"{BEGINS}(?!warning|unknown font)")
PLACE = re.compile(r"^[^┌]*┌─ (?P<file>.+?):\d+:\d+\s*$")
QUOTED = re.compile(r"^\s*\d+\s*│\s?(?P<source>.*\S)")
LATEX_PACKAGE = (".sty", ".cls", ".bst", ".fd", ".def", ".clo")
TEMPLATES = "_build/templates"
TYPST_CODES = ("typst-error", "image-unreadable")
MIN_QUOTED, MAX_TEMPLATE_FILES, MAX_PLACES = 8, 400, 50


class TypstPlaces:
    """The places that Typst's errors name: the first of each error, with the source line that it quotes."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self._is_error = False
        self._file = ""

    @property
    def is_in_the_middle(self) -> bool:
        """Whether the next line may belong to an error, whatever it is."""
        return self._is_error or bool(self._file)

    def see(self, text: str) -> None:
        """Check a line of the log. Other lines than those with ``BEGINS`` mean something only after one with it."""
        if ERROR.search(text):
            self._is_error = True
        elif self._is_error and (place := PLACE.search(text)):
            self._file, self._is_error = place["file"], False
        elif self._file and (quoted := QUOTED.search(text)):
            if len(self.found) < MAX_PLACES:
                self.found.append((self._file, quoted["source"].strip()))
            self._file = ""


def is_of_template(project: Project, plan: PlannedExport, clue: Clue | None, places: TypstPlaces) -> bool:
    """Whether ``clue``, the reason why the PDF is missing, is about its template, or about a program or package that it needs.

    A picture, reference or formula of the manuscript is not: our template would leave it out or print it wrong.
    """
    if not plan.is_logged:
        return True  # myst did not even try: only the submission declares the export, or its output ends as none of myst's
    if clue is None or clue.rule.weight < Weight.THROWN:
        return False
    if clue.fault not in (Fault.MANUSCRIPT, Fault.UNKNOWN):
        return True
    if (clue.groups.get("name") or "").endswith(LATEX_PACKAGE):
        return True
    return _is_template_code(project, plan, places) if clue.code in TYPST_CODES else False


def _is_template_code(project: Project, plan: PlannedExport, places: TypstPlaces) -> bool:
    """Whether Typst's first error is in a file or a line of a template."""
    if not places.found:
        return False
    file, source = places.found[0]
    name = Path(file).name
    if "@preview" in file or "/typst/packages/" in file:
        return True
    return any(name == path.name or _has_line(text, source) for path, text in _template_files(project, plan))


def _has_line(template: str, source: str) -> bool:
    """Whether a line of the template, up to the first place that it fills in, starts the line that Typst quotes."""
    starts = (line.partition("[-")[0].partition("[#")[0].strip() for line in template.splitlines())
    return any(len(start) >= MIN_QUOTED and source.startswith(start) for start in starts)


def _template_files(project: Project, plan: PlannedExport) -> Iterator[tuple[Path, str]]:
    """The Typst files of the templates: those that were fetched, and the one in the repository that the export names."""
    folders = [project.folder / TEMPLATES, *([project.folder / plan.template] if plan.template else [])]
    for folder in folders:
        for path in islice(folder.rglob("*.typ"), MAX_TEMPLATE_FILES) if folder.is_dir() else ():
            try:
                yield path, read_text(project, path) if is_file(path) else ""
            except (OSError, ValueError):
                continue
