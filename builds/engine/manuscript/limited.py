"""Reads untrusted text in a child process with limits.

A crafted text can keep a parser busy for hours, and with it the process that parses. Only short JSON can't.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builds.engine.tools import TOOLS, read_text
from builds.lib import fork_server
from builds.lib.fork_server import ForkServer

# The reader has its own time limit. This one is for a machine that is too busy to run it.
READER_SECONDS = 20
YAML_SECONDS = 90
# A build asks for the same value of the same file again and again, and each time would start a process.
MAX_KEPT, MAX_KEPT_LENGTH = 32, 10_000
_picked: dict[tuple[bytes, str], str] = {}
# JSON has no references that grow when they are read: this much takes less than a tenth of a second and a few MB, whatever it holds.
SHORT_BYTES = 64 * 1024
# The programs that every build runs. They may run as forks of the process's fork server.
FORKED = ("read_text.py",)
# A program of builds/engine/tools exits with it where it refuses the text.
REFUSED = 3


class TooComplex(Exception):
    """A YAML document can't be read within the limits."""


class Interrupted(Exception):
    """The program could not run to its end this time: the machine is too busy, or has too little memory."""


def highlight(text: str, language: str) -> str | None:
    """The text as HTML with syntax highlighting, everything in it escaped. None where it can't be made within the limits."""
    return _run_reader(text.encode(), "highlight", language)


def pixi_tasks(manifest: bytes, table: Sequence[str]) -> list[str] | None:
    """The names of the tasks in a pixi manifest, whose settings are in ``table`` (its keys, outermost first).

    None where the manifest has no such table, or can't be read within the limits.
    """
    names: list[str] | None = json.loads(_run_reader(manifest, "tasks", *table) or "null")
    return names


def json_values(document: bytes, *places: Sequence[str | int]) -> list[Any]:
    """The values of a JSON document at ``places``, each the keys and positions that lead there, outermost first.

    None where there is no value, and for all places where the document can't be read within the limits.
    """
    asked = json.dumps(places)
    key = (hashlib.sha256(document).digest(), asked)
    answer = _picked.get(key) or _pick(document, asked)
    if answer and len(answer) <= MAX_KEPT_LENGTH:
        if len(_picked) >= MAX_KEPT:
            _picked.clear()
        _picked[key] = answer
    values: list[Any] = json.loads(answer) if answer else [None] * len(places)
    return values


def _pick(document: bytes, asked: str) -> str | None:
    if len(document) > SHORT_BYTES:
        return _run_reader(document, "pick", asked)
    try:
        return read_text.pick(document.decode(), [asked])
    except (ValueError, RecursionError, SystemExit):  # not JSON, nested too deeply, or more than the reader gives out
        return None


def yaml_values(texts: Sequence[str]) -> list[Any]:
    """The values of YAML documents in types of JSON. None where a document is not valid.

    Raises:
        TooComplex: they can't be read within the limits.
    """
    values: list[Any] = json.loads(_run_yaml(json.dumps(list(texts)), "yaml")) if texts else []
    return values


def unfold_yaml(text: str) -> str:
    """A YAML mapping with a line for each entry of its lists and mappings. ``{}`` where the text is not a mapping.

    Raises:
        TooComplex: it can't be read within the limits.
    """
    return _run_yaml(text, "unfold")


def patch_yaml(text: str, *, top: Mapping[str, Any], project: Mapping[str, Any]) -> str:
    """A YAML mapping with the values of ``top``, and in its mapping "project" those of ``project``. None removes a value.

    Raises:
        TooComplex: it can't be read within the limits.
    """
    return _run_yaml(text, "patch", json.dumps({"top": top, "project": project}))


def _run_yaml(text: str, *arguments: str) -> str:
    answer = _run_reader(text.encode(), *arguments, seconds=YAML_SECONDS)
    if answer is None:
        raise TooComplex
    return answer


def _run_reader(text: bytes, *arguments: str, seconds: float = READER_SECONDS) -> str | None:
    """What builds/engine/tools/read_text.py prints for the text. None where it fails."""
    return run("read_text.py", text, *arguments, seconds=seconds)


def run(program: str, text: bytes, *arguments: str, seconds: float) -> str | None:
    """What a program of builds/engine/tools, which limits itself, prints for the text. None where it fails."""
    try:
        return try_run(program, text, *arguments, seconds=seconds)
    except Interrupted:
        return None


def try_run(program: str, text: bytes, *arguments: str, seconds: float) -> str | None:
    """What the program prints for the text. None where it refuses the text, or uses up its processor time: it would do so again.

    Raises:
        Interrupted: it failed in any other way.
    """
    server = fork_server.current() if program in FORKED else None
    try:
        return _forked(server, program, text, arguments, seconds) if server else _started(program, text, arguments, seconds)
    except fork_server.Gone:  # while it ran, or before
        return _started(program, text, arguments, seconds)


def _forked(server: ForkServer, program: str, text: bytes, arguments: Sequence[str], seconds: float) -> str | None:
    """The same from a fork of a process that has imported what the program needs."""
    with fork_server.memory_file(text) as given, fork_server.memory_file() as answer, Path(os.devnull).open("w") as null:
        files = (given.fileno(), answer.fileno(), null.fileno())
        with server.start(program.removesuffix(".py"), arguments, files=files) as running:
            ended = running.wait(seconds)
        if ended and ended.code == 0:
            answer.seek(0)
            return str(answer.read().decode())
    if ended and ended.code in (REFUSED, -signal.SIGXCPU):
        return None
    raise Interrupted


def _started(program: str, text: bytes, arguments: Sequence[str], seconds: float) -> str | None:
    command = [sys.executable, "-I", str(TOOLS / program), *arguments]
    try:
        answer = subprocess.run(
            command,
            input=text,
            env={"PATH": os.defpath},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        if error.returncode in (REFUSED, -signal.SIGXCPU):
            return None
        raise Interrupted from error
    except (subprocess.SubprocessError, OSError) as error:
        raise Interrupted from error
    return answer.stdout.decode()
