"""A clue: a line of a build's log, and what it means."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from builds.engine.diagnosis.rule import Rule
from builds.engine.findings import Finding, Kind
from builds.engine.findings.kind import MAX_NAME, MAX_TEXT
from builds.errors import BuildError, Fault

START = "Failed to build the repo files: "
SOMEWHERE = "The manuscript"  # instead of a file that is not known
# Words that begin a sentence and are written small in its middle.
SMALL = ("No ", "A ", "An ", "The ", "This ", "There ", "In ", "On ", "Two ")
# How a text names a place, and what is left of that without a line.
WITHOUT_LINE = {
    " (on line {line} of {file})": "",
    " on line {line} of {file}": " in {file}",
    "On line {line} of {file}": "In {file}",
    ", on line {line}": "",
    ", line {line}": "",
    " on line {line}": "",
}


# What a word that a line had not leaves before a punctuation mark.
BEFORE_STOP = re.compile(r"[ :]+([.,:])(?=\s|$)")


class _Words(dict[str, object]):
    """The words of a text; empty where a line had none."""

    def __missing__(self, name: str) -> str:
        return ""


@dataclass(frozen=True)
class Clue:
    """A line of the log and what it means. ``file`` is relative to the repository's root; empty if it is not the author's."""

    number: int
    rule: Rule
    kind: Kind
    groups: Mapping[str, str | None] = field(default_factory=dict)
    file: str = ""
    line: int | None = None
    template: str = ""
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def fault(self) -> Fault:
        return self.kind.fault

    @property
    def code(self) -> str:
        return self.kind.code

    @property
    def text(self) -> str:
        """What happened, to go on where START ends."""
        text = self.sentence
        return text[:1].lower() + text[1:] if text.startswith(SMALL) else text

    @property
    def sentence(self) -> str:
        """What happened, as a sentence of its own."""
        template = self.template
        if self.line is None:
            for part, left in WITHOUT_LINE.items():
                template = template.replace(part, left)
        groups = {name: value or "" for name, value in self.groups.items()}
        place = {"file": self.file or SOMEWHERE, "line": self.line or ""}
        text = " ".join(template.format_map(_Words({**self.words, **groups, **place})).split())
        text = BEFORE_STOP.sub(r"\1", text).rstrip(":")
        text = text.removesuffix(".") if text.endswith("..") and not text.endswith("...") else text
        return text.replace(f" {SOMEWHERE}", f" {SOMEWHERE[:1].lower()}{SOMEWHERE[1:]}")[:MAX_TEXT]

    @property
    def key(self) -> tuple[str, str, int | None, str]:
        """What makes two clues the same: myst repeats a complaint for each export."""
        return self.code, self.file, self.line, self.sentence

    def explains(self, role: str) -> bool:
        return not self.rule.roles or role in self.rule.roles

    def error(self, start: str = START, *, advice: str = "") -> BuildError:
        """The error of a build that failed for this reason. ``advice`` is for a kind that has none."""
        return self.rule.error(
            f"{start}{self.text}",
            advice=self.kind.advice or advice,
            file=self.file,
            line=self.line,
            log_line=self.number,
            code=self.code,
            fault=self.fault,
        )

    def finding(self, *, export: str = "") -> Finding:
        place = (self.file[:MAX_NAME], self.line, self.number, export[:MAX_NAME])
        return Finding(self.code, self.kind.severity, self.sentence, self.kind.advice, *place, fault=self.fault)


# Files that myst writes: those in its folders, named by a checksum, or of a format that is not a source.
GENERATED = re.compile(r"(?:^|/)(?:_build|exports)/|[0-9a-f]{32}(?:\.\w+)?$|\.(?:xml|docx|zip|meca)$|^[^/]*\.typ$|://|^https?:/")


def author_file(name: str, within: str) -> str:
    """The author's file that a tool calls ``name`` in the folder ``within`` of the repository; empty if a tool made it."""
    path = posixpath.normpath(posixpath.join(within, name)) if name else ""
    if not path or path.startswith(("/", "..")) or GENERATED.search(path):
        return ""
    return path
