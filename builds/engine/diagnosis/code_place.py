"""Finds the place in the author's code, lists of packages and templates that an error is about, by what it quotes and names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from builds.engine.diagnosis.clue import Clue
from builds.engine.diagnosis.pages import Pages

# What an error puts into quotation marks: a file, an object, a package.
NAMED = re.compile(r"[‘'\"`“](?P<name>[^’'\"`”]{1,80})[’'\"`”]")
IMPORT = r"(?:library|require|requireNamespace|loadNamespace|import|from|using|add|-m)\W+{name}\b|\b{name}::"
NAMES = ("name", "module", "failed", "needed", "backend", "zsh", "listed", "apt")
TEMPLATE_FILES = re.compile(r"\.(?:typ|tex|cls|sty)$")
MIN_START = 3
SAYS = ("because", "reason", "said", "why")


def in_code(clue: Clue, searched: re.Pattern[str], pages: Pages) -> Clue:
    """The clue at the only file that has what it quotes or names, and there at the first line.

    ``searched`` matches the files to look into, if the clue has none. A name in several files has no one place.
    """
    files = [clue.file] if clue.file else list(pages.named(searched))
    if clue.line is not None:
        return replace(clue, file=files[0]) if len(files) == 1 else clue
    for pattern in _patterns(clue):
        found = [(file, number) for file in files if (number := _first(pattern, pages.lines(file)))]
        if len(found) == 1:
            return replace(clue, file=found[0][0], line=found[0][1])
    return clue


def in_template(quoted: str, pages: Pages) -> tuple[str, int] | None:
    """The line of a template in the repository that begins as a quoted one, up to the first place that the template fills in."""
    for file in (name for name in pages.named(TEMPLATE_FILES) if pages.is_of_template(name)):
        for number, line in enumerate(pages.lines(file), 1):
            start = line.partition("[-")[0].partition("[#")[0].strip()
            if len(start) > MIN_START and quoted.strip().startswith(start):
                return file, number
    return None


def line_of_code(quoted: str, lines: Sequence[str]) -> int | None:
    """The first line that has a quoted line of code, in a script or as a notebook keeps it."""
    return _first(_quoted(quoted), lines) or None


def _patterns(clue: Clue) -> Iterator[re.Pattern[str]]:
    """What to look for, the surest first."""
    if quoted := (clue.groups.get("quoted") or "").strip():
        yield _quoted(quoted)
    names = [name for group in NAMES if (name := clue.groups.get(group) or "")]
    if clue.code.endswith(("-module-missing", "-package-missing")):
        yield from (re.compile(IMPORT.format(name=re.escape(name))) for name in names)
        return
    said = " ".join(clue.groups.get(group) or "" for group in SAYS)
    for name in (*names, *(found["name"] for found in NAMED.finditer(said))):
        yield re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])")


def _quoted(line: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(line)}|{re.escape(json.dumps(line, ensure_ascii=False)[1:-1])}")


def _first(pattern: re.Pattern[str], lines: Sequence[str]) -> int:
    return next((number for number, line in enumerate(lines, 1) if pattern.search(line)), 0)
