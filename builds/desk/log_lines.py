"""Lines of a log as a page shows them, and as text. What a build wrote is data: nothing of it is markup, a link, or a terminal's trick."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from django.utils.html import escape

from builds.admin_columns import visible
from builds.desk.log_colours import SGR, Piece, pieces
from builds.logs import LogLine
from builds.logs_search import is_error
from builds.output import CUT

# More of a line, more coloured or marked pieces of a line, or more of them in an answer, are not shown: they would be a page that no
# browser can scroll.
SHOWN_CHARACTERS = 4000
MOST_PIECES = 40
MOST_PIECES_IN_ALL = 800

TAGS = {"stderr": "stderr", "warning": "Warning", "service": "Jobsite", "error": "Error", "error is-cause": "Cause"}


@dataclass(frozen=True)
class Look:
    """How a reader wants the lines: with the clock's time or the time since ``start``, broken to the page's width or not, and with
    what is looked for marked, the line that says why the build failed, and lines that were chosen. ``download`` is where a part of the
    log is had as text."""

    start: datetime
    download: str = ""
    elapsed: bool = False
    wrap: bool = True
    q: str = ""
    chosen: range = range(0)
    cause: int | None = None

    def time(self, at: datetime) -> str:
        return since(self.start, at) if self.elapsed else f"{at:%H:%M:%S}"


def since(start: datetime, at: datetime) -> str:
    """``0:07.3``, ``1:02:07.3``."""
    tenths = max(int((at - start).total_seconds() * 10), 0)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{clock}:{rest // 10:02d}.{rest % 10}"


def rows(lines: Iterable[LogLine], look: Look) -> Iterator[str]:
    """Each line as HTML."""
    wanted = re.compile(re.escape(look.q), re.IGNORECASE) if look.q else None
    left = MOST_PIECES_IN_ALL
    for line in lines:
        parts = pieces(line.text, min(MOST_PIECES, left))
        plain = "".join(part.text for part in parts)
        shown = _beginning(parts) if len(plain) > SHOWN_CHARACTERS else parts
        if wanted:
            shown = _marked(shown, wanted, min(MOST_PIECES, left))
        left = max(left - sum(1 for part in shown if part.classes), 0)
        yield _row(line, look, _body(shown) + _cut(line, plain, look), error=is_error(line.stream, plain))


def _row(line: LogLine, look: Look, body: str, *, error: bool) -> str:
    number = line.number
    kind = "error is-cause" if number == look.cause else "error" if error else line.stream if line.stream in TAGS else ""
    tag = f'<b class="tag">{TAGS[kind]}</b>' if kind else ""
    time = f'<time datetime="{iso(line.time)}">{look.time(line.time)}</time>'
    classes = f"{f' is-{kind}' if kind else ''}{' chosen' if number in look.chosen else ''}"
    return (
        f'<div class="line{classes}" id="L{number}">'
        f'<a class="n" href="#L{number}" tabindex="-1">{number}</a>{time}{tag}<bdi class="t" dir="ltr">{body}</bdi></div>'
    )


def iso(at: datetime) -> str:
    return f"{at.astimezone(UTC).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def _body(parts: Iterable[Piece]) -> str:
    return "".join(_element(part) for part in parts)


def _element(part: Piece) -> str:
    text = escape(visible(part.text))
    if not part.classes:
        return text
    name = "mark" if part.classes.startswith("mark") else "span"
    return f'<{name} class="{part.classes}">{text}</{name}>'


def _beginning(parts: Iterable[Piece]) -> list[Piece]:
    kept, left = [], SHOWN_CHARACTERS
    for part in parts:
        if left > 0:
            kept.append(Piece(part.text[:left], part.classes))
        left -= len(part.text)
    return kept


def _cut(line: LogLine, plain: str, look: Look) -> str:
    """That a line goes on, where it is cut."""
    more = len(plain) - SHOWN_CHARACTERS
    if more <= 0:
        return ""
    goes_on = ", and it goes on in the next line" if line.text.endswith(CUT) else ""
    words = f"cut here: {more:,} more characters{goes_on}. Download this line"
    return f' <a class="cut" href="{escape(look.download)}?from={line.number}&amp;to={line.number}">… {words}</a>'


def _marked(parts: Iterable[Piece], wanted: re.Pattern[str], most: int) -> list[Piece]:
    """``parts`` with what is looked for as pieces of their own, also where it lies across several."""
    parts = list(parts)
    plain = "".join(part.text for part in parts)
    spans = [found.span() for found, _ in zip(wanted.finditer(plain), range(most), strict=False)]
    edges = sorted({edge for span in spans for edge in span})
    found, at = [], 0
    for part in parts:
        end = at + len(part.text)
        cuts = [at, *(edge for edge in edges if at < edge < end), end]
        for left, right in pairwise(cuts):
            is_mark = any(start <= left and right <= stop for start, stop in spans)
            text = part.text[left - at : right - at]
            found.append(Piece(text, f"mark {part.classes}".rstrip() if is_mark else part.classes))
        at = end
    return found


def as_text(line: LogLine) -> str:
    """A line for a file: time, stage, stream and text, parted by tabs. Safe to be printed on a terminal."""
    return f"{iso(line.time)}\t{line.stage}\t{line.stream}\t{plain(line.text)}\n"


def plain(text: str) -> str:
    """A line's text as a terminal may show it: without colours, and with what would turn it around written out."""
    return visible(SGR.sub("", text))
