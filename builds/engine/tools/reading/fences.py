"""Fences of directives and code that are not closed, and fences that close nothing: both swallow what follows them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

FENCE = re.compile(r"^(?P<mark>`{3,}|~{3,}|:{3,})[ \t]*(?P<info>.*?)\s*$")
HEADING, LOWER_HEADING = re.compile(r"#{1,6}\s+\S"), re.compile(r"#{2,6}\s+[A-Z]")
COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)


def check(lines: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Pairs of a state and the index of a line.

    ``open`` is a fence that nothing closes and that swallows more of the page, ``stray`` one that closes nothing.
    Only fences at the start of a line count: others end with the list or the quotation that they are in. As in markdown-it, the first
    fence of the same kind that is long enough closes one, whatever is between them.
    """
    text = COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), "\n".join(lines)).split("\n")
    number = 0
    while number < len(text):
        fence = FENCE.match(text[number])
        number += 1
        if not fence or (fence["mark"][0] == "`" and "`" in fence["info"]):
            continue
        if fence["mark"][0] == ":" and not fence["info"]:
            yield "stray", number - 1
            return  # it opens one itself, so nothing can be said of those that follow
        end = next((at for at in range(number, len(text)) if _closes(text[at], fence["mark"])), None)
        if end is None:
            if _swallows(text[number:], fence["info"]):
                yield "open", number - 1
            return
        number = end + 1


def _swallows(lines: Sequence[str], info: str) -> bool:
    """Whether what follows is more than the fence's own content: a page may properly end in a fence that nothing closes."""
    heading = HEADING if info.startswith("{") else LOWER_HEADING  # a comment of code looks like a heading
    return any(heading.match(line) or ((fence := FENCE.match(line)) and fence["info"]) for line in lines)


def _closes(line: str, mark: str) -> bool:
    """Whether a line closes a fence. It may be indented by three spaces."""
    text = line.strip()
    return len(line) - len(line.lstrip(" ")) <= 3 and len(text) >= len(mark) and set(text) == {mark[0]}
