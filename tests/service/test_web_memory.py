"""How the threads of a web process use memory."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Allocates in four threads and counts the reserves of 64 MB: glibc makes one for each arena beside the first.
CODE = """
import sys, threading
import django
django.setup()
from builds.service import web
if sys.argv[1] == "one":
    web.share_one_arena()
ready = threading.Barrier(5)
def work():
    kept = [bytes(10_000) for _ in range(10)]
    ready.wait()
    ready.wait()
for _ in range(4):
    threading.Thread(target=work).start()
ready.wait()
sizes = [[int(end, 16) for end in line.split()[0].split("-")] for line in open("/proc/self/maps") if line.split()[1] == "---p"]
print(sum((60 << 20) < end - begin <= (64 << 20) for begin, end in sizes))
ready.wait()
"""

# Counts what a garbage collection would look at when the first request comes.
COLLECTED = """
import gc, socket
import django
django.setup()
from builds.service import web
web.prepare = lambda: None  # it wants a database
web.Server.run = lambda self: print(len(gc.get_objects()))
web.run(socket.create_server(("127.0.0.1", 0)))
"""


def printed(folder: Path, code: str, *arguments: str) -> int:
    """The number that ``code`` prints."""
    environment = {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "x" * 30,
        "INTERNAL_SERVICE_SECRET": "y" * 30,
        "DATA_DIR": str(folder),
    }
    environment |= {"DJANGO_SETTINGS_MODULE": "jobsite.settings", "REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-c", code, *arguments]
    return int(subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc has arenas")
@pytest.mark.slow
def test_the_threads_of_a_web_process_share_one_arena(tmp_path: Path) -> None:
    assert printed(tmp_path, CODE, "many") > 0
    assert printed(tmp_path, CODE, "one") == 0


@pytest.mark.slow
def test_no_garbage_collection_looks_at_what_was_loaded(tmp_path: Path) -> None:
    """It is some 130,000 objects, and a page would wait while a collection looks at them."""
    assert printed(tmp_path, COLLECTED) < 20_000
