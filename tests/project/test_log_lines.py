"""The form of a line of the service's log: one JSON object or one line of text, masked, whatever is in it."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from builds.lib import log_context
from builds.record import steps
from builds.record.steps import Step
from jobsite import log_lines
from jobsite.log_lines import JsonLines, NoPolls, TextLines, role

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-that-nobody-may-see"
NASTY = f'x\r\n{{"event": "build_ended"}}\x1b[31m\x7f\x9b\u2028\u202e\ud800 {SECRET}'


@pytest.fixture(autouse=True)
def secret(settings: Any) -> None:
    settings.GITHUB_TOKEN = SECRET


def record(message: str = "something", *args: object, error: Exception | None = None, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("builds.some.module", logging.WARNING, __file__, 1, message, args, None)
    if error:
        try:
            raise error
        except Exception:
            made.exc_info = sys.exc_info()
    made.__dict__.update(extra)
    return made


def as_json(made: logging.LogRecord) -> dict[str, Any]:
    line = JsonLines().format(made)
    assert line.isascii()
    assert line.isprintable()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_plain_message() -> None:
    found = as_json(record("%s left", "nothing"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert {"role", "host"} <= found.keys()
    del found["role"], found["host"]
    assert found == {"level": "WARNING", "logger": "builds.some.module", "event": "message", "message": "nothing left"}


def test_a_step_has_no_message_and_no_empty_field() -> None:
    found = as_json(record("build_ended", event="build_ended", attempt=2, causeCode="", worker=None, problems=0))
    assert "message" not in found
    assert (found["event"], found["attempt"], found["problems"]) == ("build_ended", 2, 0)
    assert not {"causeCode", "worker"} & found.keys()


@pytest.mark.parametrize("form", [JsonLines, TextLines])
def test_a_text_from_outside_can_neither_begin_a_line_nor_show_a_secret(form: type[JsonLines]) -> None:
    nasty = record("%s", NASTY, reason=NASTY, nested={"list": [NASTY, (NASTY,)], NASTY: 1}, path=Path(f"/{NASTY}"))
    line = form().format(nasty)
    assert "\n" not in line
    assert line.isprintable()
    assert SECRET not in line
    assert line.count("***") >= 6


@pytest.mark.parametrize("form", [JsonLines, TextLines])
def test_secrets_in_tracebacks_are_masked(form: type[JsonLines]) -> None:
    line = form().format(record(error=ValueError(NASTY)))
    assert "ValueError" in line
    assert SECRET not in line
    assert "\x1b" not in line


def test_the_text_form_indents_tracebacks_only() -> None:
    first, *others = TextLines().format(record("a\nb", error=ValueError("x\n2026-01-01T00:00:00.000Z INFO forged"))).splitlines()
    assert first.endswith("a\\nb")
    assert others
    assert all(line.startswith("    ") for line in others)


def test_a_long_text_keeps_its_start_and_its_end() -> None:
    message = as_json(record(f"start{'x' * 100_000}end"))["message"]
    assert message.startswith("start")
    assert message.endswith("xend")
    assert "92008 characters left out" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"bytes", Step.BUILD_LOST])
def test_any_value_is_valid_json(value: object) -> None:
    line = JsonLines().format(record(value=value))
    json.loads(line, parse_constant=lambda name: pytest.fail(name))


def test_a_time_is_iso_8601() -> None:
    assert as_json(record(notBefore=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)))["notBefore"] == "2026-01-02T03:04:05+00:00"


def test_fields_of_the_process_are_in_every_line_and_a_step_overrides_them() -> None:
    with log_context.bound(stage="fetch", attempt=1):
        assert as_json(record())["stage"] == "fetch"
        assert as_json(record(attempt=2))["attempt"] == 2
    assert "stage" not in as_json(record())


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/x/manage.py", "serve"], "supervisor"),
        (["manage.py", "rqworker", "builds"], "worker"),
        (["manage.py", "build", "web"], "command"),
        (["/x/jobsite/demo.py"], "supervisor"),
        (["pytest"], "command"),
        ([], "command"),
    ],
)
def test_the_role_of_a_process(argv: list[str], expected: str) -> None:
    assert role(argv) == expected


@pytest.mark.parametrize(
    ("method", "level", "kept"), [("GET", "WARNING", False), ("POST", "WARNING", True), ("GET", "ERROR", True)]
)
def test_a_poll_that_is_refused_has_no_line(method: str, level: str, kept: bool) -> None:
    made = record(request=type("Request", (), {"method": method})())
    made.levelno = getattr(logging, level)
    assert NoPolls().filter(made) is kept


@pytest.mark.django_db(transaction=True)
def test_a_step_is_logged_only_after_the_commit(caplog: pytest.LogCaptureFixture) -> None:
    from django.db import transaction  # noqa: PLC0415 - beside its use

    caplog.set_level(logging.INFO)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        steps.log(Step.BUILD_LOST)
        raise ZeroDivisionError
    assert caplog.messages == []
    with transaction.atomic():
        steps.log(Step.BUILD_LOST)
        assert caplog.messages == []
    assert caplog.messages == ["build_lost"]


def test_the_page_lists_every_step() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert [step for step in Step if f"`{step}`" not in page] == []


@pytest.mark.parametrize(("form", "is_json"), [("json", True), ("auto", True), ("text", False)])
def test_warnings_and_uncaught_errors_of_a_service_process_are_lines_too(tmp_path: Path, form: str, is_json: bool) -> None:
    script = tmp_path / "demo.py"  # its name gives it a role
    script.write_text("import warnings, django\ndjango.setup()\nwarnings.warn('old', stacklevel=1)\n1 / 0\n")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SECRET_KEY": "x" * 30, "DATA_DIR": str(tmp_path)}
    environment |= {"DJANGO_SETTINGS_MODULE": "jobsite.settings", "LOG_FORMAT": form}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("{") is is_json
    if is_json:
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(line["logger"], line["level"], line["role"]) for line in found] == [
            ("py.warnings", "WARNING", "supervisor"),
            ("jobsite", "CRITICAL", "supervisor"),
        ]
        assert "ZeroDivisionError" in found[1]["exc_info"]


def test_a_command_logs_to_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    for argv, stream in ((["manage.py", "build"], "stderr"), (["manage.py", "web"], "stdout")):
        monkeypatch.setattr(sys, "argv", argv)
        assert log_lines.settings_of("INFO", "json")["handlers"]["line"]["stream"] == f"ext://sys.{stream}"
