"""Consecutive lines of output as the rules read them: without colours, and without the path of the project's folder.

Most lines mean nothing, so they are looked through all together, in UTF-8. Only the few others are made into texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from builds.lib.scan import encoded
from builds.lib.text import COLOUR_BYTES, without_colour

MAX_LINE = 2000


class PlainLines:
    """``lines`` without colours and ``prefix``. A single one is cut to ``MAX_LINE`` characters."""

    def __init__(self, lines: Sequence[str], prefix: str) -> None:
        self._lines = lines
        self._prefix = prefix
        self._changed: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, at: int) -> str:
        if (text := self._changed.get(at)) is not None:
            return text
        text = without_colour(self._lines[at])
        return (text.replace(self._prefix, "") if self._prefix else text)[:MAX_LINE]

    def is_cut(self, at: int) -> bool:
        """Whether the line is so long that the rules may read less of it than ``data`` has."""
        return len(self._lines[at]) > MAX_LINE

    def change(self, at: int, text: str) -> None:
        """Show the line as ``text``: it was read as a part of those around it."""
        self._changed[at] = text

    @cached_property
    def data(self) -> bytes:
        """All lines in UTF-8, uncut, as they are before any change."""
        data = encoded("\n".join(self._lines))
        if b"\x1b" in data:
            data = COLOUR_BYTES.sub(b"", data)
        return data.replace(encoded(self._prefix), b"") if self._prefix else data

    def shown(self) -> bytes:
        """The same with each change, and with long lines cut."""
        shown = dict(self._changed)
        if max(map(len, self._lines)) > MAX_LINE:
            shown |= {at: self[at] for at, line in enumerate(self._lines) if len(line) > MAX_LINE}
        if not shown:
            return self.data
        lines = self.data.split(b"\n")
        for at, text in shown.items():
            lines[at] = encoded(text)
        return b"\n".join(lines)
