"""What a check has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ANY = "*"


@dataclass(frozen=True)
class Found:
    """A finding's code, its place, and the words for its text.

    ``subject`` is the name that mystmd also prints when it complains about the same thing: a picture, a date. Empty if it is silent, and
    ``ANY`` if everything that it prints about this line is about the same thing. ``is_fatal`` says that the manuscript can't be built.
    """

    code: str
    file: str
    line: int | None = None
    subject: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    is_fatal: bool = False


def found(code: str, file: str, line: int | None = None, subject: str = "", **words: object) -> Found:
    return Found(code, file, line, subject, {name: str(word)[:300] for name, word in words.items()})
