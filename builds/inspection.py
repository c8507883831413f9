"""Whether the exports are what they should be. The files are a stranger's: programs of ours read them in the build's sandbox."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builds import own_tools, units, zip_end
from builds.errors import ExportBroken
from builds.own_tools import Told
from builds.stages import Context, Limits

READER_SECONDS = 60
READER_MEMORY_BYTES = 3 << 30
READER_OUTPUT_BYTES = 1 << 20
# A MECA slower than this to unpack is not read to its end.
UNPACKED_PER_SECOND = 20_000_000
PAGE_BYTES = 256 << 20
LIST_BYTES_PER_ENTRY = 1024
ALARM_EXIT_CODE = 128 + signal.SIGALRM
UNREAD = {"pdf": "can't be opened as a PDF", "page": "is not valid JSON", "meca": "can't be read"}


@dataclass(frozen=True)
class Asked:
    """An export to be looked at: ``kind`` is ``pdf``, ``page`` or ``meca``, ``name`` is what it is called to people."""

    kind: str
    path: Path
    name: str


@dataclass
class _Answer:
    """What was told of an export. Without a ``problem``, be it the empty one, it was not read to its end."""

    warnings: list[str] = field(default_factory=list)
    mended: str = ""
    problem: str | None = None


def inspect(ctx: Context, exports: Sequence[Asked]) -> None:
    """Look at the exports, and mend the XML that mystmd made in a MECA.

    A PDF opens and has a page; a page's JSON is an object; of a MECA see builds/tools/meca.py.

    Raises:
        ExportBroken: one is not what it should be, or took too long to be read.
        DiskFull, MemoryFull: the service's disk is nearly full, or its machine has no memory left.
    """
    for export in exports:
        _check_size(export, ctx.limits)
    told, answers = _read(ctx, exports)
    for export, answer in zip(exports, answers, strict=True):
        if answer.mended:
            ctx.log.warning(
                f"Mended in {export.path.name}: {answer.mended}. mystmd writes names with & or <, and control characters in the "
                "text, as no XML has them."
            )
        for warning in answer.warnings:
            ctx.log.warning(warning)
        if answer.problem is None:
            _raise_unread(ctx, export, told)
        elif answer.problem:
            raise _broken(export.name, answer.problem)


def _broken(name: str, why: str) -> ExportBroken:
    return ExportBroken(f"Failed to build the repo files: {name} was made but {why}.", file=name)


def _check_size(export: Asked, limits: Limits) -> None:
    """What would take too much of whoever only opens it."""
    if export.kind == "page" and export.path.stat().st_size > PAGE_BYTES:
        raise _broken(export.name, f"is larger than {units.size(PAGE_BYTES)}")
    if export.kind == "meca":
        try:
            end = zip_end.read(export.path)
        except zip_end.NotAnArchive as error:
            raise _broken(export.name, f"is no intact zip archive ({error})") from error
        if max(end.entries, end.list_bytes // LIST_BYTES_PER_ENTRY) > limits.entries:
            raise _broken(export.name, f"holds more than the {limits.entries} files that this service takes")


def _seconds(export: Asked, limits: Limits) -> int:
    return READER_SECONDS + (limits.unpacked_bytes // UNPACKED_PER_SECOND if export.kind == "meca" else 0)


def _read(ctx: Context, exports: Sequence[Asked]) -> tuple[Told, list[_Answer]]:
    """What our program says of each, and how it ended. It runs without a network."""
    plan = {
        "memory": READER_MEMORY_BYTES,
        "bytes": ctx.limits.unpacked_bytes,
        "entries": ctx.limits.entries,
        "exports": [{"kind": each.kind, "path": str(each.path), "seconds": _seconds(each, ctx.limits)} for each in exports],
    }
    told = own_tools.run(
        ctx,
        ctx.sandbox,
        ("read_exports.py", json.dumps(plan)),
        seconds=sum(_seconds(each, ctx.limits) for each in exports) + READER_SECONDS,
        most_bytes=READER_OUTPUT_BYTES,
        env={},
    )
    answers = [_Answer() for _each in exports]
    for number, key, text in _told(told.lines):
        if 0 <= number < len(answers):
            _note(answers[number], key, text)
    return told, answers


def _told(lines: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """The number of an export, what is told of it, and the text. What was read may have made our program say anything."""
    for line in lines:
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            continue
        number = said.pop("export", None) if isinstance(said, dict) else None
        if isinstance(number, int):
            yield from ((number, key, text) for key, text in said.items() if isinstance(text, str))


def _note(answer: _Answer, key: str, text: str) -> None:
    if key == "warning":
        answer.warnings.append(text)
    elif key == "mended":
        answer.mended = text
    elif key == "problem":
        answer.problem = text


def _raise_unread(ctx: Context, export: Asked, told: Told) -> None:
    ended = told.ended
    if ended.timed_out or ended.signal == signal.SIGALRM or ended.exit_code == ALARM_EXIT_CODE:
        raise _broken(export.name, f"could not be read within {_seconds(export, ctx.limits)} s")
    told.check_service(f"{export.name} was read")
    why = ended.hit.text if ended.hit else told.last_complaint[:200]
    raise _broken(export.name, f"{UNREAD[export.kind]} ({why})")
