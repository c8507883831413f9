"""Jupyter notebooks: files that can't be read, and outputs that a printed version can't show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .found import Found, found
from .source import Source

STATIC = ("image/", "application/pdf", "text/latex", "text/markdown")
INTERACTIVE = re.compile(
    r"^application/(?:vnd\.(?:plotly|jupyter\.widget|bokehjs|holoviews|vega|vegalite|altair|deck|itkwidgets|pyvista)|javascript|geo\+json)"
)
SCRIPT = re.compile(r"<(?:script|iframe|video|audio)\b", re.IGNORECASE)
PROGRESS = re.compile(r"\d+%\|| \d+/\d+ |^\s*(?:HBox|VBox|Output)\(")
SHOWS = re.compile(r"\b(?:print|show|display|plot|imshow|figure|hist|scatter|head|describe)\s*\(|\bplt\.|\bpx\.|\balt\.Chart")
OBJECT = re.compile(r"<[\w.]+(?: object| at 0x).*>$")
HIDDEN = {"remove-output", "remove_output", "remove-cell", "remove_cell", "remove-outputs"}
CONFLICT = re.compile(r"^\s*<{7}(?: |$)", re.MULTILINE)


class Notebook:
    """A notebook. ``cells`` is None if it can't be read."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = source.name
        self.text = source.text or ""
        self.cells: list[dict[str, Any]] | None = None
        self.found = list(self._read())

    @classmethod
    def at(cls, root: Path, path: Path) -> Notebook:
        return cls(Source(root, path))

    def _read(self) -> Iterator[Found]:
        yield from self.source.found
        if self.source.text is None:
            return
        if not self.text.strip():
            yield found("nb-empty-file", self.name)
            return
        try:
            value = json.loads(self.text)
        except (ValueError, RecursionError) as error:
            yield self._unreadable(error)
            return
        if isinstance(value, dict) and "worksheets" in value and "cells" not in value:
            yield found("nb-old-format", self.name)
        cells = value.get("cells") if isinstance(value, dict) else None
        self.cells = [cell for cell in cells if isinstance(cell, dict)] if isinstance(cells, list) else []

    def _unreadable(self, error: Exception) -> Found:
        if conflict := CONFLICT.search(self.text):
            return found("nb-conflict", self.name, self.text.count("\n", 0, conflict.end()) + 1, "<<<<<<<")
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        return found("nb-not-json", self.name, line, reason=getattr(error, "msg", "it is nested too deeply"))

    def lines_of(self, name: str) -> list[int]:
        """The lines with the key ``name``, in the order of the file. A key inside a text does not match: its quotes are escaped."""
        lines, line, at = [], 1, 0
        for key in re.finditer(rf'"{name}"\s*:', self.text):
            line, at = line + self.text.count("\n", at, key.start()), key.start()
            lines.append(line)
        return lines

    def markdown(self) -> Iterator[tuple[str, int | None]]:
        """The texts of the Markdown cells, each with the line of its cell in the file."""
        lines = self._lines("cell_type", len(self.cells or []))
        for cell, line in zip(self.cells or [], lines, strict=True):
            if cell.get("cell_type") == "markdown":
                yield joined(cell.get("source")), line

    def _lines(self, name: str, number: int) -> list[int | None]:
        lines = self.lines_of(name)
        return [*lines] if len(lines) == number else [None] * number

    def check_outputs(self) -> Iterator[Found]:
        """Check the outputs that are stored in the file."""
        code = [cell for cell in self.cells or [] if cell.get("cell_type") == "code" and joined(cell.get("source")).strip()]
        every = [output for cell in self.cells or [] for output in _outputs(cell)]
        lines = dict(zip(map(id, every), self._lines("output_type", len(every)), strict=True))
        for cell in code:
            if not _tags(cell) & HIDDEN:
                for output in _outputs(cell):
                    yield from self._check_output(cell, output, lines.get(id(output)))
        if code and not every and not any(cell.get("execution_count") for cell in code):
            shows = any(SHOWS.search(joined(cell.get("source"))) for cell in code)
            yield found("nb-no-outputs" if shows else "nb-not-run", self.name)

    def _check_output(self, cell: dict[str, Any], output: dict[str, Any], line: int | None) -> Iterator[Found]:
        if output.get("output_type") == "error":
            if "raises-exception" not in _tags(cell):
                yield found("nb-error-output", self.name, line, error=f"{output.get('ename')}: {output.get('evalue')}")
            return
        data = output.get("data")
        if isinstance(data, dict) and is_interactive_only(data):
            yield found("nb-widget-output", self.name, line)
        elif isinstance(data, dict) and is_unprintable(data):
            yield found("nb-output-unprinted", self.name, line)


def is_interactive_only(data: dict[str, Any]) -> bool:
    """Whether an output needs a browser: it has no picture, and its text only names the object."""
    if any(kind.startswith(STATIC) for kind in data):
        return False
    if PROGRESS.search(joined(data.get("text/plain"))):
        return False
    return any(INTERACTIVE.match(kind) for kind in data) or bool(SCRIPT.search(joined(data.get("text/html"))[:200_000]))


def is_unprintable(data: dict[str, Any]) -> bool:
    """Whether the PDF shows at most the name of a Python object for an output: MyST prints no formula and no Markdown of an output."""
    if any(kind.startswith(("image/", "application/pdf", "text/html")) for kind in data):
        return False
    text = joined(data.get("text/plain")).strip()
    return any(kind in data for kind in ("text/latex", "text/markdown")) and (not text or bool(OBJECT.match(text)))


def joined(value: Any) -> str:
    """A text of a notebook, which may be a list of lines."""
    parts = value if isinstance(value, list) else [value]
    return "".join(part for part in parts if isinstance(part, str))


def _outputs(cell: dict[str, Any]) -> list[dict[str, Any]]:
    outputs = cell.get("outputs")
    return [output for output in outputs if isinstance(output, dict)] if isinstance(outputs, list) else []


def _tags(cell: dict[str, Any]) -> set[str]:
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return {tag for tag in tags if isinstance(tag, str)} if isinstance(tags, list) else set()
