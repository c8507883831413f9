"""Finds the line of a project file or front matter that a complaint is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from builds.engine.diagnosis.clue import Clue
from builds.engine.diagnosis.pages import Pages
from builds.engine.findings.kind import KINDS

KEYS = ("key",)
# A value of YAML that begins with a quotation mark or bracket, and a line that begins the next key.
OPENED = re.compile(r"^\s*(?:- )?(?:[\w-]+:\s+)?(?P<mark>[\"'\[{])")
CLOSING = {'"': '"', "'": "'", "[": "]", "{": "}"}
EMPTY = re.compile(r"^\s*-\s*(?:~|null)?\s*(?:#.*)?$")
KEY = re.compile(r"^\s*(?:- )?[\w-]+:(?:\s|$)")


def placed_empty(clue: Clue, key: str, pages: Pages) -> Clue:
    """The clue at the first entry of a front matter's ``key`` that is empty, or else at a key."""
    keys = [
        (file, number)
        for file in pages.sources()
        for number, line in enumerate(pages.lines(file), 1)
        if line.strip().removeprefix("- ").startswith(f"{key.rstrip('s')}") and KEY.search(line)
    ]
    for file, number in keys:
        below = takewhile(lambda line: not line.strip() or line[:1] in " -\t", pages.lines(file)[number:])
        if empty := next((at for at, line in enumerate(below, number + 1) if EMPTY.search(line)), 0):
            return replace(clue, file=file, line=empty)
    return replace(clue, file=keys[0][0], line=keys[0][1]) if len(keys) == 1 else clue


def placed_toc(clue: Clue, clues: Sequence[Clue], pages: Pages) -> Clue:
    """A complaint about the table of contents at the entry that it, or another complaint, says is wrong; else at its first line."""
    entry = next((found for other in (clue, *clues) if (found := entry_of(other))), "")
    if clue.code == "toc-empty" and (invalid := next((other for other in clues if other.code == "toc-invalid"), None)):
        clue = replace(clue, kind=invalid.kind, template=invalid.template)
    file = clue.file or pages.project_file
    at_key = clue.code == "toc-empty" and not entry
    lines = pages.lines(file)
    return replace(clue, file=file, line=(line_of_key("toc", lines) or None) if at_key else line_of_entry("toc", entry, lines))


def line_of_entry(key: str, entry: str, lines: Sequence[str]) -> int | None:
    """The line of a list's entry that mystmd calls, for example, ``toc.1.children.0``, here its second; of the key if it has none."""
    top = line_of_key(key, lines)
    items = [at for at, line in enumerate(lines[top:], top + 1) if line.strip().startswith("- ")] if top else []
    indent = len(lines[items[0] - 1]) - len(lines[items[0] - 1].lstrip()) if items else 0
    same = [at for at in items if not lines[at - 1][:indent].strip() and lines[at - 1][indent : indent + 1] == "-"]
    number = int(next((part for part in entry.split(".") if part.isdecimal()), 0))
    return (same[number] if number < len(same) else top) or None


def entry_of(clue: Clue) -> str:
    return clue.groups.get("entry") or clue.groups.get("entry_at") or ""


def quote_opened(lines: Sequence[str]) -> int:
    """The line of a YAML file in which the first text begins whose quotation mark or bracket is not closed before the next key.

    The parser only notices it further below. 0 if there is none.
    """
    for number, line in enumerate(lines, 1):
        if not (found := OPENED.search(line)):
            continue
        closing = CLOSING[found["mark"]]
        following = list(takewhile(lambda below: not KEY.search(below), lines[number:]))
        rest = " ".join([line[found.end() :], *following])
        if rest.count(closing) - (rest.count(found["mark"]) if closing != found["mark"] else 0) < 1:
            return number
    return 0


def keys_of(clue: Clue) -> Iterator[str]:
    """The keys of a front matter that a complaint names, the innermost first: of ``authors.0.name``, ``name`` and then ``authors``."""
    for group in KEYS:
        parts = reversed((clue.groups.get(group) or "").split("."))
        yield from (part for part in parts if part and not part.isdecimal())


def line_of_key(key: str, lines: Sequence[str]) -> int:
    pattern = re.compile(rf"^\s*(?:- )?[\"']?{re.escape(key)}[\"']?\s*:")
    return next((at for at, line in enumerate(lines, 1) if pattern.search(line)), 0)


def placed_wrong_type(clue: Clue, clues: Sequence[Clue], pages: Pages) -> Clue:
    """A front matter that mystmd can't read, at its empty entry, or at the key that this or another complaint about the file names."""
    lines = pages.lines(clue.file)
    end = next((at for at, line in enumerate(lines[1:], 1) if line.startswith("---")), 0)
    head = lines[:end]
    empty = next((at for at, line in enumerate(head, 1) if at > 1 and EMPTY.search(line)), 0)
    others = (other for other in clues if other.file == clue.file and other.groups.get("key"))
    keys = [*(key for other in others for key in keys_of(other)), *re.findall(r"\.(\w+)", clue.groups.get("reason") or "")]
    line = empty or next((at for key in keys if (at := line_of_key(key, head))), None)
    return (
        replace(clue, line=line) if line else replace(clue, kind=KINDS["page-unreadable"], template=KINDS["page-unreadable"].text)
    )
