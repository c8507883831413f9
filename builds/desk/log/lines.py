"""Lines of a log as HTML and as text. Build output is untrusted: none of it becomes markup, a link or a terminal sequence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from django.utils.html import escape

from builds.desk.log.colours import Piece, split_pieces
from builds.engine.process.lines import CUT
from builds.lib.text import plain, visible
from builds.record.log_search import is_error
from builds.record.logs import LogLine

# Limits of one line and of one response. Beyond them a browser could not scroll the page.
MAX_SHOWN_CHARACTERS = 4000
MAX_PIECES_PER_LINE = 40
MAX_PIECES = 800

TAGS = {
    **{"stderr": "stderr", "warning": "Warning", "service": "Jobsite"},
    **{"error": "Error", "error is-cause": "Cause", "missing": "Missing"},
}


@dataclass(frozen=True)
class Look:
    """How to show the lines.

    Times are clock times, or the time since ``start`` if ``elapsed``. Matches of ``q``, the ``chosen`` lines and the line of the
    ``cause`` are marked. ``download`` is the address of the log as text.
    """

    start: datetime
    download: str = ""
    elapsed: bool = False
    wrap: bool = True
    q: str = ""
    chosen: range = range(0)
    cause: int | None = None

    def time(self, at: datetime) -> str:
        return format_elapsed(self.start, at) if self.elapsed else f"{at:%H:%M:%S}"


def format_elapsed(start: datetime, at: datetime) -> str:
    """``0:07.3``, ``1:02:07.3``."""
    tenths = max(int((at - start).total_seconds() * 10), 0)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{clock}:{rest // 10:02d}.{rest % 10}"


def render_lines(lines: Iterable[LogLine], look: Look) -> Iterator[str]:
    """Each line as HTML."""
    wanted = re.compile(re.escape(look.q), re.IGNORECASE) if look.q else None
    left = MAX_PIECES
    for line in lines:
        parts = split_pieces(line.text, min(MAX_PIECES_PER_LINE, left))
        plain = "".join(part.text for part in parts)
        shown = _cut(parts) if len(plain) > MAX_SHOWN_CHARACTERS else parts
        if wanted:
            shown = _mark(shown, wanted, min(MAX_PIECES_PER_LINE, left))
        left = max(left - sum(1 for part in shown if part.classes), 0)
        yield _render_line(
            line, look, _render_pieces(shown) + _render_cut_note(line, plain, look), error=is_error(line.stream, plain)
        )


def _render_line(line: LogLine, look: Look, body: str, *, error: bool) -> str:
    number = line.number
    kind = "error is-cause" if number == look.cause else "error" if error else line.stream if line.stream in TAGS else ""
    tag = f'<b class="tag">{TAGS[kind]}</b>' if kind else ""
    time = f'<time datetime="{format_iso(line.time)}">{look.time(line.time)}</time>' if line.time else "<time></time>"
    classes = f"{f' is-{kind}' if kind else ''}{' chosen' if number in look.chosen else ''}"
    return (
        f'<div class="line{classes}" id="L{number}">'
        f'<a class="n" href="#L{number}" tabindex="-1">{number}</a>{time}{tag}<bdi class="t" dir="ltr">{body}</bdi></div>'
    )


def format_iso(at: datetime) -> str:
    return f"{at.astimezone(UTC).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def _render_pieces(parts: Iterable[Piece]) -> str:
    return "".join(_render_piece(part) for part in parts)


def _render_piece(part: Piece) -> str:
    text = escape(visible(part.text))
    if not part.classes:
        return text
    name = "mark" if part.classes.startswith("mark") else "span"
    return f'<{name} class="{part.classes}">{text}</{name}>'


def _cut(parts: Iterable[Piece]) -> list[Piece]:
    kept, left = [], MAX_SHOWN_CHARACTERS
    for part in parts:
        if left > 0:
            kept.append(Piece(part.text[:left], part.classes))
        left -= len(part.text)
    return kept


def _render_cut_note(line: LogLine, plain: str, look: Look) -> str:
    """The note at the end of a line that is cut; empty if it is not."""
    more = len(plain) - MAX_SHOWN_CHARACTERS
    if more <= 0:
        return ""
    continues = "; the line continues below" if line.text.endswith(CUT) else ""
    words = f"cut here: {more:,} more characters{continues}. Download this line"
    return f' <a class="cut" href="{escape(look.download)}?from={line.number}&amp;to={line.number}">… {words}</a>'


def _mark(parts: Iterable[Piece], wanted: re.Pattern[str], limit: int) -> list[Piece]:
    """``parts`` with each match split into its own pieces, even if it spans several parts."""
    parts = list(parts)
    plain = "".join(part.text for part in parts)
    spans = [found.span() for found, _ in zip(wanted.finditer(plain), range(limit), strict=False)]
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


def format_as_text(line: LogLine) -> str:
    """A line of the downloaded log: time, stage, stream and text, separated by tabs. Safe to print on a terminal."""
    return f"{format_iso(line.time) if line.time else ''}\t{line.stage}\t{line.stream}\t{plain(line.text)}\n"
