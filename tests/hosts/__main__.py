"""Runs several hosts as a program, in a network namespace of its own: ``three FOLDER``, or ``rolling FOLDER SUBMISSIONS``.

The folder is an empty one.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

from tests.hosts import rolling, three  # noqa: E402 - needs Django

if __name__ == "__main__":
    started_at = time.monotonic()
    kind, folder, *more = sys.argv[1:]
    if kind == "rolling":
        rolling.main(Path(folder), int(more[0]))
    else:
        three.main(Path(folder))
    sys.stdout.write(f"all is well after {time.monotonic() - started_at:.0f} s\n")
