"""Compares the texts of two articles, within limits: texts can be written so that a comparison takes hours.

Standard input has JSON with the HTML of the ``old`` and the ``new`` article. Standard output gets JSON: ``changes``, and ``left_out``, the
number of further changes. Each change has the ``section`` that it is in, and its ``old`` and ``new`` text: pairs of words and whether they
changed. The kernel kills the program when it exceeds its time or memory limit.
"""

import json
import resource
import sys
from collections.abc import Iterator
from difflib import SequenceMatcher
from html.parser import HTMLParser
from itertools import zip_longest
from typing import Any

SECONDS, MEMORY_BYTES = 3, 1 << 30
MAX_CHANGES = 300
MAX_WORDS = 2000
BLOCKS = {
    "p",
    "li",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "td",
    "th",
    "pre",
    "dt",
    "dd",
    "figcaption",
    "div",
    "blockquote",
    "section",
    "hr",
    "figure",
}
HEADINGS = {"h2", "h3", "h4", "h5", "h6"}
Pieces = list[tuple[str, bool]]


class Blocks(HTMLParser):
    """The paragraphs, headings, items and cells of an article, each with the heading above it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.sections: list[str] = []
        self._words: list[str] = []
        self._section = ""
        self.feed(html)
        self._end("")

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in BLOCKS:
            self._end("")

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self._end(tag)

    def handle_data(self, data: str) -> None:
        self._words.append(data)

    def _end(self, tag: str) -> None:
        text = " ".join("".join(self._words).split())
        self._words.clear()
        if text:
            self._section = text if tag in HEADINGS else self._section
            self.texts.append(text)
            self.sections.append(self._section)


def main() -> None:
    for limit, value in ((resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (value, value))
    articles = json.load(sys.stdin)
    changes = list(compare(Blocks(articles["old"]), Blocks(articles["new"])))
    json.dump({"changes": changes[:MAX_CHANGES], "left_out": max(len(changes) - MAX_CHANGES, 0)}, sys.stdout)


def compare(old: Blocks, new: Blocks) -> Iterator[dict[str, Any]]:
    """The blocks that differ. Those between the same two neighbours are taken in pairs."""
    for kind, a, b, c, d in SequenceMatcher(None, old.texts, new.texts, autojunk=False).get_opcodes():
        if kind != "equal":
            for before, after in zip_longest(range(a, b), range(c, d)):
                section = new.sections[after] if after is not None else old.sections[before]
                texts = old.texts[before] if before is not None else "", new.texts[after] if after is not None else ""
                yield {"section": section, **dict(zip(("old", "new"), _words(*texts), strict=True))}


def _words(old: str, new: str) -> tuple[Pieces, Pieces]:
    before, after = old.split(), new.split()
    if not before or not after or len(before) + len(after) > MAX_WORDS:
        return [(old, True)] if old else [], [(new, True)] if new else []
    left: Pieces = []
    right: Pieces = []
    for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        left += [(" ".join(before[a:b]), kind != "equal")] if a < b else []
        right += [(" ".join(after[c:d]), kind != "equal")] if c < d else []
    return left, right


if __name__ == "__main__":
    main()
