"""``manage.py diagnose``."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

LINES = (
    "$ myst build --all",
    "⛔️ index.md:9 unknown directive: figur",
    "⛔️ index.md:9 unknown directive: figur",
    "Error: Unable to read config file /tmp/jobsite-x/repository/myst.yml as YAML",
    "",
    "duplicated mapping key (4:3)",
    " 4 |   title: Another title",
)


def diagnose(path: Path, *options: str) -> str:
    out = StringIO()
    call_command("diagnose", str(path), *options, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("start", ["", "[stderr] ", "2026-03-31T10:00:00.000Z\tbuild\tstderr\t"])
def test_the_findings_and_the_cause_of_a_log_are_printed(tmp_path: Path, start: str) -> None:
    log = tmp_path / "build.log"
    log.write_text("".join(f"{start}{line}\n" for line in LINES))
    answer = json.loads(diagnose(log, "--json"))
    assert [(each["code"], each["file"], each["line"], each["logLine"]) for each in answer["findings"]] == [
        ("directive-unknown", "index.md", 9, 2),
        ("yaml-duplicate-key", "myst.yml", 4, 4),
    ]
    assert (answer["cause"]["code"], answer["cause"]["class"]) == ("yaml-duplicate-key", "manuscript")
    assert "line 2: broken directive-unknown index.md:9 " in diagnose(log)


def test_lines_of_the_service_itself_are_no_complaints(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text("[warning] ⛔️ index.md:9 unknown directive: figur\n")
    answer = json.loads(diagnose(log, "--json"))
    assert (answer["findings"], answer["cause"]["class"]) == ([], "manuscript")


@pytest.mark.parametrize("start", ["", "2026-03-31T10:00:00.000Z\tbuild\tservice\t"])
@pytest.mark.parametrize(
    ("command", "ended", "code", "fault"),
    [
        ("pixi run build-meca", "exit code 3 after 0.2 s", "command-silent", "manuscript"),
        ("pixi run build-meca", "ended by signal 11 after 0.2 s", "tool-crashed", "unknown"),
        ("myst build --all", "exit code 3 after 0.2 s", "unexplained", "unknown"),
    ],
)
def test_the_command_and_how_it_ended_are_read_from_the_lines_of_the_service(
    tmp_path: Path, start: str, command: str, ended: str, code: str, fault: str
) -> None:
    log = tmp_path / "build.log"
    log.write_text(f"{start}$ {command}\n{start}{ended}\n")
    cause = json.loads(diagnose(log, "--json"))["cause"]
    assert (cause["code"], cause["class"]) == (code, fault)
    assert command in cause["text"]


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"none\.log can't be read"):
        diagnose(tmp_path / "none.log")
