"""Reads MyST Markdown line by line: front matter, directives, roles, pictures, footnotes and labels, each with its line.

It is not a parser. What stands in code, comments or formulas is left out, so that an example of MyST is not taken for MyST.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

MAX_LINE = 20_000
MAX_ALT = 4_000

FENCE = re.compile(r"^(?:[\s>]|[-*+]\s|\d{1,9}[.)]\s)*(?P<mark>`{3,}|~{3,}|:{3,})[ \t]*(?P<info>.*)$")
DIRECTIVE = re.compile(r"^\{(?P<name>[^}\s]+)\}\s*(?P<argument>.*)$")
OPTION = re.compile(r"^\s*:(?P<name>[\w.#-]+):\s*(?P<value>.*)$")
ROLE = re.compile(r"\{(?P<name>[a-zA-Z][\w:.+-]*)\}(?P<mark>`+)(?P<text>[^`]+)(?P=mark)")
CODE = re.compile(r"(?<!`)(`{1,4})(?!`)[^`](?:[^`]|`(?!\1))*?(?<!`)\1(?!`)")
COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
MATH_BLOCK = re.compile(r"^\s*\$\$.*?\$\$", re.DOTALL | re.MULTILINE)
MATH = re.compile(r"(?<![\\$\w])\$[^\s$][^$\n]*\$")
IMAGE_TAG = re.compile(r"<img\b[^<>]{0,2000}?\bsrc\s*=\s*[\"'](?P<url>[^\"'<>]+)[\"'][^<>]*>", re.IGNORECASE)
TARGET = re.compile(r"\(\s*(?:<(?P<quoted>[^<>\n]*)>|(?P<plain>[^\s()<>]+(?:\([^\s()]*\)[^\s()<>]*)*))")

# Directives with text of MyST in them. What stands in any other is taken for code: a plugin may define it.
CONTAINER_NAMES = (
    "abstract admonition aside attention blockquote card caution container danger dedication details div dropdown embed epigraph error "
    "exercise figure footer glossary grid grid-item grid-item-card header hint iframe image important include list-table margin note "
    "pull-quote seealso sidebar simple solution tab-item tab-set table tip topic warning"
)
CONTAINERS = frozenset(CONTAINER_NAMES.split())
CONTAINER_PREFIXES = ("prf:", "proof:", "exercise", "solution")


@dataclass(frozen=True)
class Directive:
    name: str
    argument: str
    line: int
    options: dict[str, str] = field(default_factory=dict)
    body: str = ""
    """The text of a directive whose content is not MyST."""


@dataclass(frozen=True)
class Picture:
    url: str
    line: int
    is_link: bool = False
    """Whether it is written as a link, ``![](url)``, whose address mystmd encodes."""


@dataclass(frozen=True)
class Role:
    name: str
    text: str
    line: int


class Markdown:
    """A text in MyST Markdown. ``first_line`` is the number of its first line in its file."""

    def __init__(self, text: str, first_line: int = 1) -> None:
        self.lines = [line[:MAX_LINE] for line in text.split("\n")]
        self.first_line = first_line
        self.directives: list[Directive] = []
        self.roles: list[Role] = []
        self._plain = self._without_directives()
        self._take_roles()
        self.commented = "\n".join(self._plain)
        """The text with its comments, and without code."""
        self.plain = self._without_code()
        self._starts = [0, *accumulate(len(line) + 1 for line in self.plain.split("\n"))]

    def line_at(self, offset: int) -> int:
        """The line in the file of an offset in ``plain``."""
        return bisect_right(self._starts, offset) - 1 + self.first_line

    def _without_directives(self) -> list[str]:
        """The lines, with fences, options, comments and all code blanked; the directives are kept beside."""
        plain: list[str] = []
        opened: list[tuple[str, int]] = []  # the character and length of each fence that is open
        number = 0
        while number < len(self.lines):
            line = self.lines[number]
            plain.append("" if line.lstrip().startswith("%") else line)
            number += 1
            fence = FENCE.match(line)
            if not fence:
                continue
            plain[-1] = ""
            mark, info = fence["mark"], fence["info"].strip()
            if opened and not info and mark[0] == opened[-1][0] and len(mark) >= opened[-1][1]:
                opened.pop()
            elif mark[0] != ":" or info.startswith("{"):
                number = self._open(number, mark, info, opened)
                plain.extend([""] * (number - len(plain)))
        return plain

    def _open(self, number: int, mark: str, info: str, opened: list[tuple[str, int]]) -> int:
        """Open a fence whose body begins at line index ``number``. Returns the index of the first line that may hold MyST."""
        found = DIRECTIVE.match(info)
        name = found["name"].lower() if found else info.split(" ")[0]
        start, (options, number) = number, self._options(number) if found else ({}, number)
        is_text = bool(found) and (name in CONTAINERS or name.startswith(CONTAINER_PREFIXES) or name.endswith("admonition"))
        body = ""
        if is_text:
            opened.append((mark[0], len(mark)))
        else:
            end = self._end(number, mark)
            body, number = "\n".join(self.lines[number:end]), min(end + 1, len(self.lines))
        if found or name:
            directive = Directive(
                name if found else f"```{name}",
                found["argument"].strip() if found else "",
                start - 1 + self.first_line,
                options,
                body,
            )
            self.directives.append(directive)
        return number

    def _end(self, number: int, mark: str) -> int:
        closing = re.compile(rf"^[\s>]*{re.escape(mark[0])}{{{len(mark)},}}\s*$")
        return next((each for each in range(number, len(self.lines)) if closing.match(self.lines[each])), len(self.lines))

    def _options(self, number: int) -> tuple[dict[str, str], int]:
        """The options at the start of a directive's body, and the index of the line after them."""
        options: dict[str, str] = {}
        if number < len(self.lines) and self.lines[number].strip() == "---":
            for at in range(number + 1, min(number + 60, len(self.lines))):
                if self.lines[at].strip() == "---":
                    return options, at + 1
                name, colon, value = self.lines[at].partition(":")
                if colon:
                    options[name.strip()] = value.strip()
            return {}, number
        while number < len(self.lines) and (option := OPTION.match(self.lines[number])):
            options[option["name"]] = option["value"].strip()
            number += 1
        return options, number

    def _take_roles(self) -> None:
        for index, line in enumerate(self._plain):
            if "`" in line:
                self.roles += [Role(role["name"], role["text"], index + self.first_line) for role in ROLE.finditer(line)]
                self._plain[index] = CODE.sub(_blank, ROLE.sub(_blank, line))

    def _without_code(self) -> str:
        text = self.commented
        for pattern in (COMMENT, MATH_BLOCK, MATH):
            text = pattern.sub(_blank, text)
        return text

    def pictures(self) -> Iterator[Picture]:
        """The pictures, also those of directives."""
        for each in self.directives:
            if each.name in ("figure", "image") and each.argument:
                yield Picture(each.argument, each.line)
        for tag in IMAGE_TAG.finditer(self.plain):
            yield Picture(tag["url"], self.line_at(tag.start()))
        at = self.plain.find("![")
        while at >= 0:
            end = _closing_bracket(self.plain, at + 1)
            if target := TARGET.match(self.plain, end + 1) if end else None:
                yield Picture(target["quoted"] or target["plain"] or "", self.line_at(at), is_link=True)
            at = self.plain.find("![", at + 2)


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _closing_bracket(text: str, at: int) -> int:
    """Where the bracket that opens at ``at`` is closed; 0 if it is not."""
    depth = 0
    for index in range(at, min(at + MAX_ALT, len(text))):
        if text[index] == "[":
            depth += 1
        elif text[index] == "]":
            depth -= 1
            if not depth:
                return index
    return 0
