"""Fetching and unpacking a repository of 500 MB in 10,000 files, beside ``curl`` and ``unzip`` on the same archive.

Each runs in a process of its own, in turn. The server, the stand-in for GitHub, is the same. Processor time is that of the process and its
children; memory is what it has resident at most. Then the same commit once more, whose archive is kept by then.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from bench.results import Aim, Result, report
from builds.engine.clients.archive import ArchiveHost as Client
from builds.engine.clients.kept_archives import KeptArchives
from builds.engine.context import Limits, NoReport
from builds.engine.manuscript.url import ManuscriptUrl
from builds.engine.stages.fetch import fetch
from builds.lib.unzip import unzip
from tests.standins import ArchiveHost
from tests.support.stage_context import make_context

FILES, FOLDERS = 10_000, 400
ROUNDS = 3
COMMIT = "c" * 40


def archive(megabytes: int) -> bytes:
    """An archive as GitHub's. Deflate saves a third of each file, which is half text and half what does not compress."""
    size = megabytes * 1_000_000 // FILES
    chosen = random.Random(1)
    words = b" ".join(b"%x" % chosen.getrandbits(16) for _ in range(size))
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        zipped.comment = COMMIT.encode()
        for number in range(FILES):
            start = chosen.randrange(len(words) - size)
            content = words[start : start + size // 2] + chosen.randbytes(size - size // 2)
            zipped.writestr(f"r-main/{number % FOLDERS}/file-{number}.bin", content)
    return data.getvalue()


def ours(url: str, folder: Path) -> None:
    context = make_context(
        folder,
        url=ManuscriptUrl.parse("https://github.com/o/r/blob/main/myst.yml"),
        archive_host=Client(url),
        report=NoReport(),
        archives=KeptArchives(folder.parent / "archives", url, max_bytes=2_000_000_000),
        limits=Limits(),
    )
    fetched = fetch(context)
    entries, _size = unzip(fetched.path, folder / "unpacked", context.limits, check=context.stop.check)
    if len(entries.files) != FILES:
        raise RuntimeError(f"{len(entries.files)} files")


def curl_and_unzip(url: str, folder: Path) -> None:
    path = folder / "repository.zip"
    subprocess.run(["curl", "-sSfL", "-o", path, f"{url}/o/r/archive/{COMMIT}.zip"], check=True)
    subprocess.run(["unzip", "-q", path, "-d", folder / "unpacked"], check=True)


WAYS: dict[str, Callable[[str, Path], None]] = {"ours": ours, "curl and unzip": curl_and_unzip}


def run_here(name: str, url: str, folder: Path) -> None:
    """Runs in a separate process: fetch and unpack, and print seconds, processor seconds and megabytes."""
    folder.mkdir()
    started_at, before = time.perf_counter(), _used()
    WAYS[name](url, folder)
    seconds, used = time.perf_counter() - started_at, _used() - before
    print(seconds, used, own_peak())


def own_peak() -> float:
    """The most resident memory of this process, in MB. getrusage(2) would count what the process that started it had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _used() -> float:
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in times)


def measure(name: str, url: str, folder: Path) -> tuple[float, ...]:
    os.sync()  # what the round before wrote must not be written during this one
    command = [sys.executable, "-m", "bench.fetch", "--run", name, url, str(folder / "work")]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    shutil.rmtree(folder / "work")
    return tuple(map(float, answer.split()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        name, url, folder = asked.run
        run_here(name, url, Path(folder))
        return
    with tempfile.TemporaryDirectory() as made, ArchiveHost(content_length=True) as host:
        folder = Path(made)
        host.add_zip("o", "r", "main", archive(asked.megabytes))
        rounds: list[tuple[tuple[float, ...], ...]] = []
        for _ in range(ROUNDS):
            shutil.rmtree(folder / "archives", ignore_errors=True)
            rounds.append(tuple(measure(name, host.url, folder) for name in ("ours", "ours", "curl and unzip")))
        host.add_zip("o", "r", "main", archive(max(asked.megabytes // 10, 1)))
        shutil.rmtree(folder / "archives")
        small = measure("ours", host.url, folder)
    first, again, bare = (tuple(map(statistics.median, zip(*way, strict=True))) for way in zip(*rounds, strict=True))
    what = f"{asked.megabytes} MB in {FILES:,} files"
    report(
        Result(f"fetch and unpack {what}, beside curl and unzip", first[0], "s", bare[0], Aim(1.5, of_baseline=True)),
        Result("processor time of that", first[1], "s", bare[1]),
        Result("the same commit again, its archive kept", again[0], "s", bare[0]),
        Result("memory at most, beside a tenth of the size", first[2], "MB", small[2], Aim(1.1, of_baseline=True)),
    )


if __name__ == "__main__":
    main()
