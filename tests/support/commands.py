"""Runs commands as the engine does, with defaults for tests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builds.engine.process.command import Command, Completed
from builds.engine.process.run import run_command
from builds.lib.stop import Stop

ARGUMENTS = ("deadline_seconds", "stop", "redact", "output", "on_used")


def run_in(folder: Path, argv: Sequence[str], **options: Any) -> tuple[Completed, list[tuple[str, str]]]:
    """Run ``argv`` in ``folder``. ``options`` are fields of a Command or arguments of run_command, and ``on_line`` for each line.

    Returns how it ended, and its output as (stream, line); nothing of it with an ``on_line``.
    """
    lines: list[tuple[str, str]] = []
    on_line = options.pop("on_line", lambda stream, text: lines.append((stream, text)))
    arguments: dict[str, Any] = {
        "deadline_seconds": 30,
        "stop": Stop(),
        "on_lines": lambda stream, texts: [on_line(stream, text) for text in texts],
    }
    arguments |= {name: options.pop(name) for name in ARGUMENTS if name in options}
    fields = {"cwd": folder, "env": {"PATH": os.environ["PATH"]}, "marker": str(folder), "grace_seconds": 0.5, **options}
    return run_command(Command(argv, **fields), **arguments), lines
