"""A first look at a line of output: whether it means anything by itself, and what is worth a closer look in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from builds.engine.diagnosis import commands, network
from builds.engine.diagnosis.rule_index import LINES_REMEMBERED, loosened
from builds.engine.diagnosis.trace import MAYBE_PATTERN
from builds.engine.manuscript.settings import OVERLAY
from builds.lib.scan import Marks, Scan, encoded
from builds.lib.text import without_controls

# No rule matches a line without one of these.
TRIGGER_PATTERN = (
    r"⛔|⚠|📭|×|! |rror|ERROR|xception|MemoryError|ERR!|FATAL|atal: |failed|not found|not available|Permission denied|memory"
    r"|bad_alloc|ENO"
    r"|No space|quota|Cannot|Could not|No valid|Querying template|Problem |must be installed|not installed|Node\.js|\.tex:"
    r"|\.sty:"
    r"|\.cls:|\.bbl:|env: |temporarily unavailable|EAGAIN|new thread|File too large|EFBIG|size limit|stopping build|\*\*\*"
    r"|dns |TOC |CFF "
    r"|: line \d|panicked|tation fault|Bus error|Illegal inst|core dumped|Error in|[Pp]roxy|[Tt]unnel|Refused by Jobsite"
    r"|certificate|CERTIFICATE|SSL|TLS|Fehler|Erreur|Erro |No such|No module|No rule|can't|Can't|cannot|allocate|undefined"
    r"|does not"
    r"|unsatisfiable|halted|Quitting|No targets|no such|Unable|NotFound|ERR_|Killed|LaTeX went|\.rb:|couldn't|expecting"
    r"|(?:^|[^0-9\n])(?:40[03]|429|503)(?:[^0-9\n]|$)"
    r"|\.sh: |LaTeX Warning|Missing character|^warning: |template|unable|denied|Read-only|not in |DO NOT MATCH"
    r"|\.lock"
    r"|lock-?file|lock\.json|in sync|out-of-sync|anifest|nterpreter|shared librar|version `|unbound|not set|display|DISPLAY"
    r"|sudo|(?:as|be|you) root"
    r"|aemon|TTY|\btty|ioctl|Terminated|sending signal|Aborted|terminate called|panic|free\(|double free|goroutine|no such"
    r"|missing|matched no"
    r"|exit (?:code|status)|exited|return(?:ed|s)? |line \d|found no|is required|size changed|Failed|compiled|pickl|[Mm]agic"
    r"|not an? |had non-zero"
    r"|^--\d{4}-|trying URL|Retrieving '|lookup address|name resolution|service not known|nodename nor|by peer|ECONNRESET"
    r"|Disconnected|IncompleteRead|transfer closed|connection closed|End-of-c|tar archive|end of file|ERROR -|spawn|executable"
    r"|pkg-config|parameter|Entering dir|tlmgr: |could not get|expired|trusted|originates from"
)
# Lines that explain nothing.
NOISE = Scan(
    r"^[\pZ\t\v\f\r]*(?:at .*[\d>)]$|Node\.js v|Myst CLI Versions|- (?:node|npm|myst)[ \t]|To list valid templates|npm (?:ERR!"
    r"|error) A complete log"
    r"|building myst-cli session|[│┌└╰├╭·|-]|\^+$|~+$|→? *\d+ ?[│|]|📖|📚|📬|📑|🍡|🔌|🌎|🔍|🐕|\[\d+:0x|\d+: 0x)|^[\pZ\t\v\f\r]*$"
    r"|Update available|npm (?:i|install) -g mystmd|Run `npm|npm notice|Follow @mystmd|To resolve this, run: myst"
)
# The message of a program that needs the network in a build without one (see builds/engine/myst/toolchain.py).
NO_NETWORK = re.compile(r"(?:failed, reason: )?connect (?:ECONNREFUSED|ENETUNREACH) 127\.0\.0\.1:9\b|fetch failed")
# KaTeX underlines what it can't read, letter by letter.
UNDERLINED = "\u0332"
# What :func:`readable` changes in a line, beside colours.
UNREADABLE_PATTERN = rf"{UNDERLINED}|127\.0\.0\.1:9|fetch failed|[\x00-\x08\x0b-\x1f\x7f-\x{{9f}}]"
# A line without a match means nothing by itself: no rule and no trace needs it, and :func:`readable` changes nothing in it but colours.
SIGNIFICANT = Scan(f"{TRIGGER_PATTERN}|{MAYBE_PATTERN}|{re.escape(OVERLAY)}|{UNREADABLE_PATTERN}")
# What one look at a significant line finds in it: where a rule may match, and so on.
TRIGGERS, TRACES, UNREADABLE, ASKS, ENTERS, OURS = range(6)
MARKS = Marks(
    [
        TRIGGER_PATTERN,
        MAYBE_PATTERN,
        UNREADABLE_PATTERN,
        loosened(network.ASKED.pattern),
        loosened(commands.ENTERED.pattern),
        re.escape(OVERLAY),
    ]
)


def readable(text: str) -> str:
    """A line without colours, control characters, and what else stands between its words."""
    return NO_NETWORK.sub("builds run without network access", without_controls(text).replace(UNDERLINED, ""))


class Line(NamedTuple):
    """A line, and what one look finds in it."""

    text: str
    data: bytes  # the same in UTF-8
    marks: Sequence[int]


# Programs repeat themselves: a tool writes the same complaint for each export, and a loop the same warning in each turn.
@lru_cache(LINES_REMEMBERED)
def look_at(text: str) -> Line:
    data = encoded(text)
    return Line(text, data, MARKS.of(data))
