"""What a rule of the diagnosis is: a pattern, and what a line that matches it means to an author."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from builds.errors import BuildError, CommandFailed


class Weight(IntEnum):
    """How much a line explains. Of two lines the heavier one is the cause."""

    ECHO = 0  # follows from another line; tells something only where that one is missing
    COMPLAINT = 1  # something is wrong, but the build goes on
    THROWN = 2  # ended a program or an export, in words of its own
    BLOCKED = 3  # one export is not made
    FATAL = 4  # the command ends


ANY: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A line that matches ``pattern`` means ``sentence``, filled with the named groups.

    ``follow`` is looked for in the lines after it, and adds its groups; ``else_`` is the sentence where it is not found. ``roles``
    are the exports that the line explains (all, if empty). ``line_offset`` is added to the group ``line``.
    """

    pattern: re.Pattern[str]
    sentence: str
    weight: Weight
    error: type[BuildError] = CommandFailed
    advice: str = ""
    roles: tuple[str, ...] = ANY
    follow: re.Pattern[str] | None = None
    else_: str = ""
    line_offset: int = 0


def rule(
    weight: Weight,
    pattern: str,
    sentence: str,
    error: type[BuildError] = CommandFailed,
    *,
    advice: str = "",
    roles: tuple[str, ...] = ANY,
    follow: str = "",
    else_: str = "",
    line_offset: int = 0,
) -> Rule:
    following = re.compile(follow) if follow else None
    return Rule(re.compile(pattern), sentence, weight, error, advice, roles, following, else_ or sentence, line_offset)


YAML_REASON = r"^\s*(?P<reason>[^\s│|].*?) \((?P<line>\d+):\d+\)$"
STOP = r"⛔\ufe0f?\s+"
FILE = r"(?P<file>\S+?|.+?\.\w{1,5})"
WORD = r"[\w./+-]+"

PDF = ("pdf",)
BOTH_PDFS = ("pdf", "typst")
MECA = ("meca",)
SITE = ("page-content",)
OTHER = ("docx",)

MEND_CONFIG = "Correct the project file, check it with `myst build` on your machine, then submit again."
VENDOR = "Put the template into the repository and name its folder in the export, or retry when its host answers again."
NO_NETWORK = "Put what is fetched from the web into the repository: builds run without network access."
NO_LATEX = "Use a Typst template for the PDF, or ask the operators to install what is missing."
SMALLER = "Make the build smaller (fewer or smaller notebooks and resources), or ask the journal's staff to raise the limit."
MEND_FILE = "Correct that file, check it with `myst build` on your machine, then submit again."
MEND_PIXI = "Run `pixi run build-meca` on a Linux machine with a fresh clone, mend what it reports, then submit again."
