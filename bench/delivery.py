"""Seconds and memory to send a MECA of 500 MB in 5,000 files, beside ``curl -F`` and ``requests`` sending the same files.

Each sender is a process of its own; the receiver, the stand-in desci-server, reads all and keeps nothing. We and ``requests`` read the
files from the MECA, ``curl`` from a folder.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import requests

from bench.results import Aim, Result, report
from builds.engine.clients.desci import DesciServer as Client
from builds.engine.clients.multipart import FilePart, Multipart
from builds.engine.stages.deliver import meca_files

SECRET = "s" * 40
FILES, BYTES = 5_000, 100_000
ROUNDS = 3
ADDRESS = "{}/v1/nodes/node./finalize-myst-import/{}/receiveFiles"


def make(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(FILES):
            archive.writestr(f"bundle/{number % 50}/file-{number}.bin", os.urandom(BYTES))
        archive.extractall(path.parent / "files")


def ours(url: str, path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        files = [
            FilePart(f"/exports/a.meca/{info.filename}", info.file_size, lambda info=info: archive.open(info))  # type: ignore[misc]
            for info in meca_files(archive)
        ]
        return Client(url, SECRET).receive_files("node.", "ours", Multipart(files, {"uuid": "node."})).code


def plain(url: str, path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        files = [("files", (info.filename, archive.open(info))) for info in meca_files(archive)]
        address = ADDRESS.format(url, "plain")
        return requests.post(address, files=files, headers={"X-Internal-Secret": SECRET}, timeout=600).status_code


def curl(url: str, path: Path) -> int:
    folder = path.parent / "files"
    names = sorted(str(each.relative_to(folder)) for each in folder.rglob("*.bin"))
    # In a file, because so many arguments may be too long for a command.
    forms = [f'form = "files=@{folder}/{name};filename=/exports/a.meca/{name}"' for name in names]
    arguments = path.parent / "curl.config"
    arguments.write_text("\n".join([*forms, 'form = "uuid=node."', f'header = "X-Internal-Secret: {SECRET}"']))
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-K", str(arguments), ADDRESS.format(url, "curl")]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


SENDERS: dict[str, Callable[[str, Path], int]] = {"ours": ours, "curl -F": curl, "requests": plain}


def send(name: str, url: str, path: Path) -> None:
    """Runs in a separate process: send, and print seconds, processor seconds and megabytes."""
    who = resource.RUSAGE_CHILDREN if name == "curl -F" else resource.RUSAGE_SELF
    before, started_at = resource.getrusage(who), time.perf_counter()
    code = SENDERS[name](url, path)
    seconds, after = time.perf_counter() - started_at, resource.getrusage(who)
    if code != 200:
        raise RuntimeError(f"{name} got {code}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(seconds, used, own_peak())


def own_peak() -> float:
    """The most resident memory of this process, in MB. getrusage(2) would count what the process that started it had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def measure(name: str, url: str, path: Path) -> tuple[float, ...]:
    command = [sys.executable, "-m", "bench.delivery", name, url, str(path)]
    return tuple(map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()))


def main() -> None:
    if len(sys.argv) > 1:
        send(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
        return
    from tests.standins import DesciServer  # noqa: PLC0415 - it would count in the memory of the senders

    with tempfile.TemporaryDirectory() as folder, DesciServer(SECRET, keep_files=False) as desci:
        path = Path(folder) / "article.zip"
        make(path)
        rounds = [[measure(name, desci.url, path) for name in SENDERS] for _ in range(ROUNDS)]
    own, bare, other = (tuple(map(statistics.median, zip(*way, strict=True))) for way in zip(*rounds, strict=True))
    report(
        Result("deliver 500 MB in 5,000 files, beside curl -F", own[0], "s", bare[0], Aim(1.3, of_baseline=True)),
        Result("processor time of that", own[1], "s", bare[1]),
        Result("the same beside requests", own[0], "s", other[0]),
        Result("memory at most, beside requests", own[2], "MB", other[2], Aim(60)),
    )


if __name__ == "__main__":
    main()
