"""Citations of which an export prints more than was asked for: mystmd's Typst writes authors and year where a page has one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .content import Content, walk
from .passages import Text, line_of, plain, words_in

AROUND = 24
MIN_LETTERS = 8


def wrong_forms(page: Content, text: Text) -> Iterator[tuple[int | None, str]]:
    """The line and the text of each citation that stands in the page's own words, but not in the PDF's."""
    for parent in page.nodes:
        written = parent.get("children")
        children: list[Any] = written if isinstance(written, list) else []
        for at, child in enumerate(children):
            shown = _partial(child)
            before, after = _words(children, at - 1)[-AROUND:], _words(children, at + 1)[:AROUND]
            if (
                shown
                and len(plain(before)) >= MIN_LETTERS
                and plain(before) in text
                and plain(before + shown + after) not in text
            ):
                yield line_of(child) or line_of(parent), shown


def _partial(node: Any) -> str:
    """The text of a citation of the authors or the year alone; empty for everything else."""
    if not isinstance(node, dict) or node.get("type") not in ("cite", "citeGroup"):
        return ""
    cites = [each for each in walk(node) if each.get("type") == "cite"]
    is_partial = bool(cites) and all(each.get("partial") in ("author", "year") for each in cites)
    return "".join(words_in({"children": each.get("children")}) for each in cites) if is_partial else ""


def _words(children: list[Any], at: int) -> str:
    """The words of a neighbour that is plain text."""
    node = children[at] if 0 <= at < len(children) else None
    return str(node.get("value") or "") if isinstance(node, dict) and node.get("type") == "text" else ""
