"""Leaves out the complaints that change nothing because there have been as many as are kept: a burst can have hundreds of thousands.

To look for the rule of each is what such a burst costs most, so several lines are looked at together. Some may stay although they
change nothing.
"""

from __future__ import annotations

import re

from builds.engine.diagnosis.content import SOMETHING_ODD
from builds.engine.diagnosis.first_look import MARKS, TRIGGERS
from builds.engine.diagnosis.plain_lines import PlainLines
from builds.engine.diagnosis.rules import INDEX
from builds.lib.scan import encoded

SIGNS = (encoded("⛔"), encoded("⚠"))
# What begins so is something odd, at least: that rule matches it, or one before.
SIGNED = re.compile(b"(?:%b|%b)(?:%b)? +[!-~]" % (*SIGNS, encoded("\ufe0f")))
# With more, a look costs less for each line, and leaves fewer out where not all are alike.
TOGETHER = 16


def without_surplus(said: PlainLines) -> bytes:
    """The data of the lines, with empty ones for those that only complain, and say nothing of other lines."""
    if not any(sign in said.data for sign in SIGNS):
        return said.data
    lines = said.data.split(b"\n")
    signed = [at for at, line in enumerate(lines) if line.startswith(SIGNS) and SIGNED.match(line) and not said.is_cut(at)]
    for start in range(0, len(signed), TOGETHER):
        some = signed[start : start + TOGETHER]
        if _only_complain(b"\n".join([lines[at] for at in some])):
            for at in some:
                lines[at] = b""
    return b"\n".join(lines)


def _only_complain(lines: bytes) -> bool:
    """Whether the first rule that matches each of these lines, all ``SIGNED``, is certainly one of those that only complain.

    A pattern that matches a line matches it among others too, so what is not found in all of them is in none.
    """
    if [*MARKS.of(lines)] != [TRIGGERS]:
        return False
    for rule in INDEX.of_any(lines):
        if not rule.only_complains:
            return False
        if rule is SOMETHING_ODD:
            return True
    return False
