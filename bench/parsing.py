"""What the worst input costs that a bound of docs/sandbox.md lets through: seconds, and the memory that the reading process gains.

Each case runs in its own process. A limited child's own memory is not counted: the kernel limits it.
"""

from __future__ import annotations

import io
import os
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from bench.results import Result, report
from builds.engine.clients.git_refs import MAX_BYTES, Listing
from builds.engine.manuscript import limited
from builds.engine.manuscript.paths import MAX_READ_BYTES
from builds.engine.manuscript.project import Project
from builds.engine.manuscript.templates import find_templates
from builds.engine.manuscript.url import ManuscriptUrl
from builds.engine.stages import unpack
from builds.lib import zips
from builds.lib.json_text import indented
from tests.lib.test_zips import list_of

ENTRIES, SHOWN_ENTRIES = 100_000, 20_000
MAX_VALUES = 500_000  # as in builds/api/parsers.py, which needs Django's settings
EMPTY_FIELD = struct.pack("<HH", 0x9999, 0)
Case = Callable[[Path], Callable[[], object]]


def json_of_myst(piece: bytes) -> Case:
    text = b'{"exports": [' + b",".join([piece] * ((MAX_READ_BYTES - 20) // (len(piece) + 1))) + b"]}"
    return lambda folder: lambda: limited.json_values(text, ["exports"])


def zip_list(entries: int, *, name: int, extra: int, least: int = 0) -> Case:
    def prepare(folder: Path) -> Callable[[], object]:
        path = list_of(folder / "a.zip", entries, name=name, extra=EMPTY_FIELD * (extra // 4))

        def read() -> None:
            with zips.opened(path, max(entries, least)) as archive:
                archive.infolist()

        return read

    return prepare


def refs(line: bytes) -> Case:
    data = b"001e# service=git-upload-pack\n0000" + line * (MAX_BYTES // len(line) + 1)

    def read() -> None:
        listing = Listing(ManuscriptUrl.parse("https://github.com/o/r/blob/ffff/myst.yml"))
        try:
            for at in range(0, len(data), 1 << 18):
                listing.add(data[at : at + (1 << 18)])
        except ValueError:
            return

    return lambda folder: read


def body(piece: bytes) -> Case:
    each = sum(map(piece.count, (b",", b"[", b"{"))) + 1
    text = b'{"a":[' + b",".join([piece] * ((MAX_VALUES - 2) // each)) + b"]}"
    return lambda folder: lambda: parse_body(text)


def long_body(text: str) -> Case:
    data = b'{"a":"' + text.encode() * (99_000_000 // len(text.encode())) + b'"}'
    return lambda folder: lambda: parse_body(data)


def parse_body(data: bytes) -> None:
    from builds.api.parsers import LimitedJSONParser  # noqa: PLC0415 - once Django has its settings

    LimitedJSONParser().parse(io.BytesIO(data))


def modules(text: bytes) -> Case:
    def prepare(folder: Path) -> Callable[[], object]:
        (folder / ".gitmodules").write_bytes(text)
        return lambda: unpack._submodules(folder)

    return prepare


def pages(text: str) -> Case:
    def prepare(folder: Path) -> Callable[[], object]:
        (folder / "myst.yml").write_text("version: 1\n")
        for number in range(1000):
            (folder / f"{number}.md").write_text(text)
        return lambda: find_templates(Project(folder, folder / "myst.yml"), "https://example.org")

    return prepare


CASES: dict[str, Callable[[], Case]] = {
    "myst's JSON, 8 MB of lists": lambda: json_of_myst(b"[]"),
    "myst's JSON, 8 MB of mappings": lambda: json_of_myst(b'{"a":0}'),
    "a repository's zip, 100,000 entries": lambda: zip_list(ENTRIES, name=206, extra=4),
    "a repository's zip, 23,000 entries with 1 kB of extra fields": lambda: zip_list(23_000, name=5, extra=1024, least=ENTRIES),
    "a bundle's zip for the desk, 20,000 entries": lambda: zip_list(SHOWN_ENTRIES, name=206, extra=4),
    "a list of refs, empty lines": lambda: refs(b"0000"),
    "a list of refs, 250,000 tips": lambda: refs(b"003e" + b"f" * 40 + b" refs/heads/12345\n"),
    "a body of 500,000 values, lists": lambda: body(b"[]"),
    "a body of 500,000 values, mappings": lambda: body(b'{"":0}'),
    "a body of one text, 99 MB": lambda: long_body("\U0001f600"),
    ".gitmodules, 30 MB of empty lines": lambda: modules(b"\n" * 30_000_000),
    "1,000 pages with front matter that does not end": lambda: pages("---\n" + "exports:\n- a\n" * 20_000),
    "a preview of JSON, 400 kB of numbers": lambda: lambda folder: lambda: indented("[" + "1," * 200_000),
}


def main() -> None:
    settings.configure(SUBMISSION_MAX_BYTES=100_000_000)
    for name, make in CASES.items():
        seconds, memory = measure(make)
        report(Result(name, seconds, "s"), Result(f"{name}: memory", memory, "MB"))


def measure(make: Callable[[], Case]) -> tuple[float, float]:
    """The seconds and megabytes of one run in a process of its own."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        with tempfile.TemporaryDirectory() as folder:
            read = make()(Path(folder))
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak (proc_pid_clear_refs(5))
            before, started_at = _peak(), time.perf_counter()
            read()
            os.write(writing, f"{time.perf_counter() - started_at} {_peak() - before}".encode())
        os._exit(0)
    os.close(writing)
    os.wait()
    seconds, memory = os.read(reading, 100).decode().split()
    return float(seconds), float(memory)


def _peak() -> float:
    """The most resident memory so far, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


if __name__ == "__main__":
    main()
