"""The colours of a line: ECMA-48 "select graphic rendition" (SGR) codes as classes of the style sheet.

Codes that hide text are ignored. Colours of the larger palettes become the nearest of the sixteen that the style sheet shows legibly
in both themes. Each line starts without colours, because a page can start at any line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import islice

from builds.lib.text import COLOUR, without_colour

ATTRIBUTES = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike", 21: "underline"}
ENDED_BY = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("inverse",), 29: ("strike",)}
# The usual RGB values of the sixteen colours.
PALETTE = (
    *((0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229)),
    *((127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255)),
)
# A line of 16,000 characters can hold thousands of codes, or one code of thousands of numbers. Reading them all would take seconds
# per page.
MAX_CODES_PER_PIECE = 4
MAX_NUMBERS = 32
CUBE = (0, 95, 135, 175, 215, 255)


@dataclass(frozen=True)
class Style:
    """``colour`` and ``ground`` (the background) are numbers from 0 to 15."""

    colour: int | None = None
    ground: int | None = None
    attributes: frozenset[str] = frozenset()

    @property
    def classes(self) -> str:
        colours = (f"{kind}{number}" for kind, number in (("c", self.colour), ("g", self.ground)) if number is not None)
        return " ".join((*colours, *sorted(self.attributes)))


@dataclass(frozen=True)
class Piece:
    text: str
    classes: str = ""


PLAIN = Style()


def split_pieces(line: str, limit: int) -> list[Piece]:
    """``line`` split into pieces of one style each, without the codes. After ``limit`` pieces the rest has no style."""
    if "\x1b" not in line:
        return [Piece(line)] if line else []
    found: list[Piece] = []
    style, at = PLAIN, 0
    for codes in islice(COLOUR.finditer(line), limit * MAX_CODES_PER_PIECE):
        if len(found) >= limit:
            break
        _add(found, line[at : codes.start()], style.classes)
        style, at = _apply_codes(style, codes[1]), codes.end()
    _add(found, without_colour(line[at:]), style.classes if len(found) < limit else "")
    return found


def _add(found: list[Piece], text: str, classes: str) -> None:
    if text and found and found[-1].classes == classes:
        found[-1] = Piece(found[-1].text + text, classes)
    elif text:
        found.append(Piece(text, classes))


def _apply_codes(style: Style, codes: str) -> Style:
    """``style`` after ``codes``. Unknown codes are ignored."""
    numbers = [int(code) if len(code) < 4 and code.isdecimal() else 0 for code in re.split("[;:]", codes)[:MAX_NUMBERS]]
    while numbers:
        code = numbers.pop(0)
        if code in (38, 48):
            colour, numbers = _read_extended_colour(numbers)
            style = replace(style, colour=colour) if code == 38 else replace(style, ground=colour)
        else:
            style = _apply_code(style, code)
    return style


def _apply_code(style: Style, code: int) -> Style:
    if code == 0:
        return PLAIN
    if code in ATTRIBUTES:
        return replace(style, attributes=style.attributes | {ATTRIBUTES[code]})
    if code in ENDED_BY:
        return replace(style, attributes=style.attributes - set(ENDED_BY[code]))
    if 30 <= code <= 37 or code == 39:
        return replace(style, colour=None if code == 39 else code - 30)
    if 40 <= code <= 47 or code == 49:
        return replace(style, ground=None if code == 49 else code - 40)
    if 90 <= code <= 97:
        return replace(style, colour=code - 82)
    if 100 <= code <= 107:
        return replace(style, ground=code - 92)
    return style


def _read_extended_colour(numbers: list[int]) -> tuple[int | None, list[int]]:
    """The colour after a 38 or 48, and the remaining codes."""
    if numbers[:1] == [5] and len(numbers) > 1:
        return _from_palette_of_256(numbers[1]), numbers[2:]
    if numbers[:1] == [2] and len(numbers) > 3:
        red, green, blue = numbers[1:4]
        return _find_nearest(red, green, blue), numbers[4:]
    return None, []


def _from_palette_of_256(number: int) -> int | None:
    if number < 16:
        return number
    if number < 232:
        red, rest = divmod(number - 16, 36)
        green, blue = divmod(rest, 6)
        return _find_nearest(CUBE[red], CUBE[green], CUBE[blue])
    level = 8 + 10 * (number - 232)
    return _find_nearest(level, level, level) if number < 256 else None


def _find_nearest(red: int, green: int, blue: int) -> int:
    return min(range(16), key=lambda n: sum((a - b) ** 2 for a, b in zip(PALETTE[n], (red, green, blue), strict=True)))
