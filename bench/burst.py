"""Measures what a burst of a million lines of output costs the worker: its processor time, without that of the program that writes them.

The lines go through the pipe, are masked, read for findings, and written to a database on SQLite, as in a build. The baseline reads the
same output line by line and writes it to a file with the time, stage and stream. No line may be lost. ``--lines 100000`` writes fewer, and
``--kind plain`` only one kind of line; the figures are those of a million all the same.
"""

from __future__ import annotations

import argparse
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.results import Aim, Result, report

LINES = 1_000_000
MAX_SECONDS = 3.0
HOSTILE_LINES = 50_000
HOSTILE = "each looks like many kinds of errors at once"
# What the lines look like: (an expression for line n, how many lines are written at once).
KINDS = {
    "plain": ("f'{n:07d} ' + WORDS[n % 97]", 200),
    "plain, each written by itself": ("f'{n:07d} ' + WORDS[n % 97]", 1),
    "coloured, with signs that are not ASCII": ("f'\\x1b[32m✓\\x1b[0m {n:07d} {WORDS[n % 97]} – 10 %'", 200),
    "one of 97 complaints in each tenth line": (
        "('⚠️ paper.md:12 Could not link citation ' if n % 10 == 0 else '') + WORDS[n % 97]",
        200,
    ),
    "another complaint in each tenth line": (
        "(f'⚠️ paper.md:{n} Could not link citation ' if n % 10 == 0 else '') + WORDS[n % 97]",
        200,
    ),
    HOSTILE: ("''.join(BEGINNINGS[(n * step + n // 25 // step) % 25][: n % 29 + 6] for step in (1, 7, 11))", 200),
}
WRITER = """
import os, sys
choices = "parse resolve transform reference citation figure chapter table abstract author equation".split()
WORDS = [" ".join(choices[(n * 7 + k * k) % len(choices)] for k in range(12))[:76] for n in range(97)]
BEGINNINGS = (
    "⛔️ paper.md:12 Could not |⚠️ a.ipynb Error reading file: |error: file not found (searched at |! LaTeX Error: File `x.sty' not found"
    "|Error: Cannot use invalid template.yml: |Template render error: (x.typ) |./paper.tex:12: Undefined control |sh: 1: quarto: not found"
    "|./make.sh: line 12: cd: |make[1]: *** [Makefile:3: all] |ModuleNotFoundError: No module named 'x'|pandas.errors.ParserError: x"
    "|npm ERR! code ENOENT |Traceback (most recent call last):|  File \\"a.py\\", line 3, in x|curl: (6) Could not resolve host: a.example"
    "|urllib.error.HTTPError: HTTP Error 403|× error sending request for url (|Could not find executable x |Error in read.csv(x): cannot"
    "|there is no package called 'x'|a.rb:3:in `x': undefined |fatal: could not read from |Killed: 9 |No space left on device "
).split("|")
for first in range(0, {lines}, {together}):
    text = "".join({line} + "\\n" for n in range(first, min(first + {together}, {lines})))
    data = text.encode()
    while data:
        data = data[os.write(1, data):]
"""


def used() -> float:
    """The processor time of this process, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def timed(action: Callable[[], object]) -> float:
    before = used()
    action()
    return used() - before


def in_a_build(script: str, lines: int) -> float:
    """The worker's processor time for one command that writes ``lines``, in seconds."""
    from builds import lifecycle  # noqa: PLC0415 - when Django is set up
    from builds.engine.manuscript.project import Project  # noqa: PLC0415
    from builds.engine.myst import toolchain  # noqa: PLC0415
    from builds.engine.myst.recipe import MystShell  # noqa: PLC0415
    from builds.errors import CommandFailed  # noqa: PLC0415
    from builds.lib.stop import Stop  # noqa: PLC0415
    from builds.pipeline.assembly import assemble  # noqa: PLC0415
    from builds.record import logs  # noqa: PLC0415
    from tests.support import rows  # noqa: PLC0415

    run = assemble(rows.claim(rows.submit(secrets.token_hex(8))), Stop())
    repository = run.context.workspace / "repository"
    repository.mkdir(parents=True)
    for name in ("home", "tmp"):
        (run.context.workspace / name).mkdir(exist_ok=True)
    with run.lease:
        run.log.stage = "build"
        environment = toolchain.environment(run.context.workspace, extra={}, network=False)
        shell = MystShell(run.context, Project(repository, repository / "myst.yml"), environment)
        seconds = timed(lambda: shell.run([sys.executable, "-c", script]))
    run.build.refresh_from_db()
    found = sum(line.stream == "stdout" for line in logs.read(run.build))
    assert found == lines == run.build.log_lines - 2, f"{found} lines of {lines}"  # noqa: S101
    lifecycle.fail(run.build, CommandFailed().cause)
    return seconds


def through(script: str, take: Callable[[subprocess.Popen[bytes]], object]) -> float:
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, bufsize=0) as process:
        return timed(lambda: take(process))


def into_a_file(folder: Path, script: str) -> float:
    def take(process: subprocess.Popen[bytes]) -> None:
        with (folder / "baseline").open("w") as file, open(process.stdout.fileno(), closefd=False) as pipe:  # type: ignore[union-attr]
            for line in pipe:
                file.write(f"{time.time_ns() // 1_000_000}\tbuild\tstdout\t{line}")

    return through(script, take)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--kind", choices=KINDS, action="append")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        set_up(folder)
        for kind in asked.kind or KINDS:
            line, together = KINDS[kind]
            lines = min(asked.lines, HOSTILE_LINES) if kind == HOSTILE else asked.lines
            script = WRITER.format(line=line, together=together, lines=lines)
            ours, baseline = in_a_build(script, lines), into_a_file(folder, script)
            per_million = 1_000_000 / lines
            aim = None if kind == HOSTILE else Aim(MAX_SECONDS)
            report(Result(f"processor time of 1,000,000 lines, {kind}", ours * per_million, "s", baseline * per_million, aim))


def set_up(folder: Path) -> None:
    import django  # noqa: PLC0415 - before any model is named
    from django.core.management import call_command  # noqa: PLC0415

    for setting in ("SECRET_KEY", "INTERNAL_SERVICE_SECRET", "GITHUB_TOKEN", "METRICS_TOKEN"):
        os.environ[setting] = secrets.token_hex(32)
    os.environ.update(
        DATA_DIR=str(folder),
        DATABASE_URL=f"sqlite:///{folder}/db.sqlite3",
        REDIS_URL="redis://:a-password-of-the-store@127.0.0.1:1/0",
        LOG_MAX_BYTES=str(10**12),
        LOG_MAX_BYTES_PER_SECOND="0",
        DJANGO_SETTINGS_MODULE="jobsite.settings",
    )
    django.setup()
    call_command("migrate", verbosity=0)


if __name__ == "__main__":
    main()
