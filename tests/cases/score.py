"""Builds a case for real, and says what of its outcome is right."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).parents[2]
MANUSCRIPTS = Path(__file__).parent / "manuscripts"
INDEX = Path(__file__).parent / "index.json"
SECONDS = 300
# What a score counts. A case that must succeed without a word has no code, file or line.
COUNTED = ("outcome", "class", "code", "file", "line")


@dataclass(frozen=True)
class Case:
    """A manuscript and what must come of it. Empty values are not asked for. ``misses`` is what is not right yet, and ``why``.

    ``needs`` is a program without which the case can't be tried.
    """

    name: str
    symptom: str
    outcome: str
    expect: str
    fault: str = ""
    file: str = ""
    line: int | None = None
    code: str = ""
    needs: str = ""
    misses: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Score:
    """What is right of a case's outcome, by the names in COUNTED; what does not apply is missing. ``silent`` is silent damage."""

    case: Case
    right: dict[str, bool]
    silent: bool
    result: dict[str, Any]

    @property
    def wrong(self) -> list[str]:
        return [name for name, is_right in self.right.items() if not is_right] + ["silent damage"] * self.silent

    @property
    def told(self) -> str:
        """The cause and the findings, a line each."""
        complaints = [each for each in (self.result["cause"], *_findings(self.result)) if each]
        lines = [f"{each['code']} {each['file']}:{each['line']} {each['text']}" for each in complaints]
        return "\n".join([f"{self.case.name}: {self.result['state']}, expected {self.case.expect}", *lines])


def can_try(case: Case) -> bool:
    return not case.needs or shutil.which(case.needs) is not None


def read_cases() -> list[Case]:
    entries = json.loads(INDEX.read_text(encoding="utf-8"))
    return [Case(**{**entry, "misses": tuple(entry.get("misses", ()))}) for entry in entries]


def build(case: Case, folder: Path) -> dict[str, Any]:
    """Build a case with ``manage.py build --json``. Returns what that prints; the exports are in ``folder``."""
    source = folder / "case.zip"
    _zip(MANUSCRIPTS / case.name, source)
    command = [sys.executable, str(BASE_DIR / "manage.py"), "build", str(source), "--json", "--to", str(folder / "exports")]
    environment = {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "any",
        "DATA_DIR": str(folder / "data"),
        # Nothing listens there: a case must come out the same on a machine without a network.
        "BUILD_TEMPLATES_URL": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if not done.stdout:
        raise AssertionError(f"{case.name} printed nothing: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    (folder / "log.txt").write_text(done.stderr)
    return result


def _zip(folder: Path, target: Path) -> None:
    """A zip of a folder, with one folder at its top, as GitHub makes them."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, Path("case-main") / path.relative_to(folder))


def judge(case: Case, result: dict[str, Any]) -> Score:
    """Compare what came of a case with what must come."""
    failed = result["state"] == "failed"
    complaints = [result["cause"]] if failed else list(_findings(result))
    about = [each for each in complaints if _is_about(case, each)]
    told = bool(about) if case.outcome != "ok" else True
    right = {"outcome": _is_outcome_right(case, result, told)}
    if failed:
        right["class"] = (
            result["cause"]["class"] == case.fault if case.fault else result["cause"]["class"] in ("manuscript", "template")
        )
    if case.code:
        right["code"] = any(each["code"] in case.code.split("|") for each in complaints)
    if case.file:
        right["file"] = any(each["file"] == case.file for each in about or complaints)
    if case.line:
        right["line"] = any((each["file"], each["line"]) == (case.file, case.line) for each in about or complaints)
    silent = not failed and case.outcome != "ok" and not about
    return Score(case, right, silent, result)


def _is_outcome_right(case: Case, result: dict[str, Any], told: bool) -> bool:
    succeeded = result["state"] == "succeeded"
    if case.outcome == "ok":
        return succeeded and not result["problems"]
    if case.outcome == "fail":
        return not succeeded
    return told and (succeeded or case.outcome == "fail-or-warn")


def _is_about(case: Case, complaint: dict[str, Any]) -> bool:
    """Whether a cause or finding tells what is wrong with the case: by its code, else by its file."""
    if case.code:
        return complaint["code"] in case.code.split("|")
    if case.file:
        return bool(complaint["file"] == case.file)
    return complaint["class"] == case.fault if case.fault == "template" else complaint["code"] not in ROUTINE


# What Jobsite says of many sound manuscripts on a machine without a network.
ROUTINE = ("own-template-used", "template-unavailable", "meca-added", "stale-export-removed")


def _findings(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (each for each in result["findings"] if each["group"] == "build")


def run(case: Case) -> Score:
    with tempfile.TemporaryDirectory(prefix="jobsite-case-") as folder:
        return judge(case, build(case, Path(folder)))


def summary(scores: Iterable[tuple[dict[str, bool], bool]]) -> str:
    """One line: how many of the asked are right, of each name in COUNTED, and the silent damage."""
    every = list(scores)
    counts = []
    for name in COUNTED:
        asked = [right[name] for right, _silent in every if name in right]
        if asked:
            counts.append(f"{name} right {sum(asked)} of {len(asked)} ({100 * sum(asked) / len(asked):.0f} %)")
    return ", ".join([*counts, f"silent damage {sum(silent for _right, silent in every)} of {len(every)}"])
