"""References to figures and tables whose number is not the one in the PDF: mystmd counts in each page, and Typst in the whole PDF."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from .content import Content, walk
from .passages import Text, line_of, plain, words_in

MIN_LETTERS = 8
CAPTION = 40
BEFORE = 24


def wrong_numbers(pages: Sequence[Content], text: Text) -> Iterator[tuple[Content, int | None, str, str]]:
    """The page, the line, the text of the reference and the number that its target has in the PDF; one for each target and page."""
    printed: dict[str, str] = {}
    for page in pages:
        printed |= _printed(page, text)
    for page in pages:
        told: set[str] = set()
        for reference, before in _references(page):
            key, number = str(reference.get("identifier")), str(reference.get("enumerator") or "")
            shown = words_in({"children": reference.get("children")})
            if key not in printed or key in told or not number or printed[key] == plain(number):
                continue
            if plain(number) in plain(shown) and plain(before + shown) in text:
                told.add(key)
                yield page, line_of(reference), shown, printed[key]


def _printed(page: Content, text: Text) -> dict[str, str]:
    """The number that stands before each caption in the PDF, by the identifiers of the figures and tables, where it is not mystmd's."""
    numbers = {}
    for container in page.of("container"):
        key, number = container.get("identifier"), plain(str(container.get("enumerator") or ""))
        caption = next((child for child in container.get("children") or [] if child.get("type") == "caption"), None)
        words = plain(words_in(caption))[:CAPTION]
        if not key or not number.isdigit() or len(words) < MIN_LETTERS or words[0].isdigit():
            continue
        found = set(re.findall(rf"(?:fig(?:ure)?|tab(?:le)?)(\d{{1,4}}){re.escape(words)}", text.all))
        if len(found) == 1 and found != {number}:
            numbers[str(key)] = found.pop()
    return numbers


def _references(page: Content) -> Iterator[tuple[dict[str, Any], str]]:
    """The references to figures and tables, each with the text before it."""
    before = ""
    for node in walk(page.value.get("mdast")):
        if node.get("type") == "text":
            before = str(node.get("value") or "")[-BEFORE:]
        elif node.get("type") == "crossReference" and node.get("kind") in ("figure", "table"):
            yield node, before
