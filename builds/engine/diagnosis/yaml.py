"""Reads what the YAML parser says after a complaint, and rephrases it for an author who does not know parsers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from builds.engine.diagnosis.rule import Read, find_first
from builds.engine.findings import Kind, Severity, kind

REASON = re.compile(r"^\s*(?P<reason>[^\s│|].*?) \((?P<line>\d+):(?P<column>\d+)\)$")
SOURCE = re.compile(r"^\s*(?P<line>\d+) \| (?P<source>.*)$")
SUBMIT = ", then submit again."


def _yaml(code: str, text: str, advice: str, *examples: str) -> Kind:
    start = "Error: Unable to read config file /w/repository/myst.yml as YAML\n"
    return kind(f"yaml-{code}", Severity.BROKEN, text, advice=advice + SUBMIT, examples=tuple(start + each for each in examples))


COLON = _yaml(
    "colon-in-text",
    "{file} can't be read: the text on line {line} has a colon, so it has to be in quotes.",
    'Put the text after the first colon in double quotes ("…")',
    "bad indentation of a mapping entry (3:15)\n\n 1 | version: 1\n 2 | project:\n 3 |   title: Paint: a study of "
    "drying\n-------------------^",
)
CONFLICT = _yaml(
    "conflict-markers",
    "{file} can't be read: it holds a merge conflict that was not resolved (<<<<<<<, ======= and >>>>>>>), at line {line}.",
    "Keep the version that is right, remove the lines with these marks",
    "can not read a block mapping entry; a multiline key may not be an implicit key (4:8)\n\n 2 | project:\n 3 | <<<<<<< HEAD\n"
    " 4 |   title: On the Drying of Paint",
)
DUPLICATE = _yaml(
    "duplicate-key",
    "{file} can't be read: line {line} repeats a key that is there already{shown}.",
    "Keep one of the two lines",
    "duplicated mapping key (4:3)\n\n 3 |   title: On the Drying of Paint\n 4 |   title: Another title",
)
TAB = _yaml(
    "tab",
    "{file} can't be read: line {line} is indented with a tab.",
    "Use spaces instead of tabs",
    "tab characters must not be used in indentation (3:1)\n\n 3 | \ttitle: x",
    "end of the stream or a document separator is expected (1:7)\n\n 1 | →title: x",
)
NULL = _yaml(
    "null-byte",
    "{file} can't be read: it holds characters that do not belong in a text file (null bytes), so it may be saved as UTF-16 or be damaged.",
    "Save the file as UTF-8",
    "null byte is not allowed in input (1:1)",
    "the stream contains non-printable characters (1:1)",
)
QUOTE = _yaml(
    "quote-open",
    "{file} can't be read: a quotation mark or bracket on or before line {line} is not closed.",
    "Close it",
    "unexpected end of the stream within a double quoted scalar (9:1)\n\n 8 |   x: y",
)
CHARACTER = _yaml(
    "special-character",
    "{file} can't be read: the text on line {line} begins or goes on with a character that has a meaning of its own, so it "
    "has to be in quotes.",
    'Put the text in double quotes ("…")',
    'unidentified alias "x" (4:12)\n\n 4 |   title: *x',
    "end of the stream or a document separator is expected (2:9)\n\n 2 | title: 'a' b",
    'bad indentation of a mapping entry (3:15)\n\n 3 |   title: "On" the Drying\n-------------------^',
    "end of the stream or a document separator is expected (3:10)\n\n 3 |   title: @home",
)
NO_COLON = _yaml(
    "colon-missing",
    "{file} can't be read: line {line} needs a colon and a space between the key and its text.",
    "Write the line as `key: text`",
    "can not read a block mapping entry; a multiline key may not be an implicit key (4:10)\n\n 2 | project:\n 3 |   title On the "
    "Drying of Paint\n 4 |   authors:\n--------------^",
    "bad indentation of a mapping entry (4:10)\n\n 2 | project:\n 3 |   title:On the Drying of Paint\n 4 |   authors:",
)
INDENTATION = _yaml(
    "indentation",
    "{file} can't be read: line {line} is not indented like the lines around it.",
    "Give lines of the same level the same number of spaces in front, without tabs",
    "bad indentation of a mapping entry (9:5)\n\n  8 |         - Example Institute\n  9 |     license: CC-BY-4.0\n----------^",
)

REASONS = (
    (re.compile(r"duplicated mapping key"), DUPLICATE),
    (re.compile(r"\btab characters?\b"), TAB),
    (re.compile(r"null byte|non-printable"), NULL),
    (re.compile(r"unexpected end of the stream|missed comma between flow|within a flow|in a flow"), QUOTE),
    (
        re.compile(
            r"unidentified alias|unknown tag|cannot be resolved|special char|tag name|directive|document separator|alias|anchor"
        ),
        CHARACTER,
    ),
    (re.compile(r"indentation|multiline key|block mapping entry|block sequence entr"), INDENTATION),
)
HAS_COLON = re.compile(r"^\s*(?:- )?[\w-]+:\s+[^\s'\"\[{|>&*!#][^#]*?:(?:\s|$)")
# A text that begins with a character of YAML's own, or goes on after its closing quotation mark.
IS_SPECIAL = re.compile(r"^\s*(?:- )?(?:[\w-]+:\s+)?(?:[@`%*&!]\S|\"[^\"]*\"\s*[^\s#]|'[^']*'\s*[^\s#'])")
LACKS_COLON = re.compile(r"^\s*(?:[\w-]+:[^\s/][^:]*|[A-Za-z][\w-]*(?: [^:#]*)?)$")
TABBED = re.compile(r"^ *[\t→]")  # the parser shows a tab as an arrow
MARKER = re.compile(r"^\s*(?:<{7}|={7}|>{7})(?:\s|$)")


def read(lines: Sequence[str]) -> Read:
    """What the lines after a complaint say: the parser's reason, and the lines of the source that it quotes."""
    found = find_first(REASON, lines)
    if found is None:
        return Read()
    number = int(found["line"])
    source = {int(match["line"]): match["source"] for line in lines if (match := SOURCE.search(line))}
    groups = {"reason": found["reason"], "line": found["line"], "shown": ""}
    if markers := [at for at, text in source.items() if MARKER.search(text)]:
        return Read(CONFLICT, {**groups, "line": str(min(markers))})
    if at := _with_colon(source, number, found["reason"]):
        return Read(COLON, {**groups, "line": str(at)})
    if TABBED.search(source.get(number, "")):
        return Read(TAB, groups)
    if "duplicated" not in found["reason"] and IS_SPECIAL.search(source.get(number, "")):
        return Read(CHARACTER, groups)
    if at := _without_colon(source, number, found["reason"]):
        return Read(NO_COLON, {**groups, "line": str(at)})
    for pattern, known in REASONS:
        if pattern.search(found["reason"]):
            key = source.get(number, "").strip().removeprefix("- ").partition(":")[0]
            return Read(known, {**groups, "shown": f" (`{key}`)" if key and known is DUPLICATE else ""})
    return Read(None, groups)


def _with_colon(source: dict[int, str], number: int, reason: str) -> int:
    """The line with a colon in its text, if that is what the parser stumbles over; 0 if there is none."""
    if "duplicated" in reason:
        return 0
    return next((at for at in (number, number - 1) if HAS_COLON.search(source.get(at, ""))), 0)


def _without_colon(source: dict[int, str], number: int, reason: str) -> int:
    """The line that the parser takes for a text that goes on, because it has no colon; 0 if there is none."""
    if not re.search(r"multiline key|indentation of a mapping|implicit", reason):
        return 0
    return next((at for at in (number - 1, number) if LACKS_COLON.search(source.get(at, ""))), 0)
