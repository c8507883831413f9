"""What it takes to send a MECA of 500 MB in 5,000 files: seconds and resident memory, beside what ``requests`` itself does with files.

Each sender is a process of its own; the receiver, the stand-in desci-server, reads all and keeps nothing.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import requests

from builds.clients.desci import DesciServer as Client
from builds.clients.multipart import FilePart, Multipart
from builds.stages.deliver import meca_files
from tests.e2e.conftest import SECRET
from tests.standins import DesciServer

FILES, BYTES = 5_000, 100_000


def make(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(FILES):
            archive.writestr(f"bundle/{number % 50}/file-{number}.bin", os.urandom(BYTES))


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
        address = f"{url}/v1/nodes/node./finalize-myst-import/plain/receiveFiles"
        return requests.post(address, files=files, headers={"X-Internal-Secret": SECRET}, timeout=600).status_code


def send(name: str, url: str, path: Path) -> None:
    """In a process of its own: send, and print what it took."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started_at = time.perf_counter()
    code = {"ours": ours, "requests": plain}[name](url, path)
    seconds = time.perf_counter() - started_at
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{name:12}{code:>6}{seconds:>10.2f} s{peak / 1024:>10.0f} MB resident at most, {before / 1024:.0f} MB before")


def main() -> None:
    if len(sys.argv) > 1:
        send(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
        return
    with tempfile.TemporaryDirectory() as folder, DesciServer(SECRET, keep_files=False) as desci:
        path = Path(folder) / "article.zip"
        make(path)
        for _ in range(3):
            for name in ("ours", "requests"):
                subprocess.run([sys.executable, "-m", "bench.delivery", name, desci.url, str(path)], check=True)


if __name__ == "__main__":
    main()
