"""The service's log: one JSON object a line on stdout, or readable text on a terminal.

Every value is masked (:mod:`builds.record.masking`) and cut. JSON escapes whatever could begin another line or control a terminal, and the
text form escapes it too. Fields come from the record (``extra``) and from the process (:mod:`builds.lib.log_context`).
"""

from __future__ import annotations

import json
import logging
import logging.config
import math
import socket
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from builds.lib import log_context
from builds.lib.text import visible
from builds.record.masking import redactor

# What each command is in the service. Any other command logs to stderr, because people and programs read its stdout.
ROLES = {
    "serve": "supervisor",
    "demo": "supervisor",
    "web": "web",
    "worker": "worker",
    "rqworker": "worker",
    "outbox": "outbox",
    "reconciler": "reconciler",
}
COMMAND = "command"
# The event of a line that is not a step with a fixed name.
MESSAGE = "message"
# The maximum length of one text. Its beginning and end are kept: the end of a traceback names the error.
MAX_TEXT, KEPT_START = 8000, 2000
MAX_DEPTH = 6


class JsonLines(JsonFormatter):
    """A record as one JSON object in one line."""

    def __init__(self) -> None:
        super().__init__(
            ("levelname", "name", "message"), rename_fields={"levelname": "level", "name": "logger"}, timestamp="time"
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        redact = redactor().redact  # once for all values: it reads a dozen settings
        time: datetime = log_data.pop("time")
        event, message = log_data.pop("event", MESSAGE), log_data.pop("message", "")
        head = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": log_data.pop("level"),
            "logger": log_data.pop("logger"),
            "event": _cleaned(event, redact),
        }
        log_data.pop("request", None)  # Django adds the whole object; the message names its path
        body = (
            {**log_context.fields(), **log_data} if message == event else {MESSAGE: message, **log_context.fields(), **log_data}
        )
        return {**head, **{name: _cleaned(value, redact) for name, value in body.items() if value not in (None, "")}}


class TextLines(JsonLines):
    """The same for a reader at a terminal. Only a traceback takes more than one line, and those are indented."""

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        head = [str(log_data.pop(name, "")) for name in ("time", "level", "role")]
        event, logger, message = log_data.pop("event"), log_data.pop("logger"), log_data.pop(MESSAGE, "")
        log_data.pop("host", None)
        blocks = [str(log_data.pop(name, "")) for name in ("exc_info", "stack_info")]
        head.append(f"{logger}:" if event == MESSAGE else event)
        if message:
            head.append(_one_line(str(message)))
        line = " ".join(_one_line(word) for word in (*head, *(f"{name}={_shown(value)}" for name, value in log_data.items())))
        below = [f"    {visible(row)}" for block in blocks for row in block.splitlines()]
        return "\n".join([line, *below])


def clean(value: Any) -> Any:
    """``value`` for a log line: secrets are masked, long texts are cut, and what JSON does not know is a text."""
    return _cleaned(value, redactor().redact)


def _cleaned(value: Any, redact: Callable[[str], str], depth: int = 0) -> Any:
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if depth < MAX_DEPTH and isinstance(value, dict):
        return {_cleaned(str(name), redact): _cleaned(item, redact, depth + 1) for name, item in value.items()}
    if depth < MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_cleaned(item, redact, depth + 1) for item in value]
    return _cut(redact(value.isoformat() if isinstance(value, datetime) else str(value)))


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:KEPT_START]} … {len(text) - MAX_TEXT} characters left out … {text[KEPT_START - MAX_TEXT :]}"


def _one_line(text: str) -> str:
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, str | int | float) else json.dumps(value)
    return json.dumps(text, ensure_ascii=False) if any(letter in text for letter in ' "=\\\n\t') else text


def role(argv: list[str]) -> str:
    """The role of the process that was started with these arguments."""
    program = Path(argv[0]).stem if argv else ""
    command = argv[1] if program == "manage" and len(argv) > 1 else program
    return ROLES.get(command, COMMAND)


def settings_of(level: str, form: str) -> dict[str, Any]:
    """Django's LOGGING for a level and a format: ``auto``, ``json`` or ``text``."""
    stream = "stderr" if role(sys.argv) == COMMAND else "stdout"
    is_text = form == "text" or (form == "auto" and getattr(sys, stream).isatty())
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "jobsite.log_lines.TextLines" if is_text else "jobsite.log_lines.JsonLines"}},
        "filters": {"no-polls": {"()": "jobsite.log_lines.NoPolls"}},
        "handlers": {"line": {"class": "logging.StreamHandler", "formatter": "line", "stream": f"ext://sys.{stream}"}},
        "root": {"handlers": ["line"], "level": "WARNING"},
        "loggers": {
            "builds": {"level": level},
            "jobsite": {"level": level},
            "django": {"level": "WARNING"},
            "django.request": {"filters": ["no-polls"]},
            "django.security.DisallowedHost": {"level": "CRITICAL"},  # it is answered 400; a wrong Host header needs no traceback
            "rq": {"level": "WARNING"},
        },
    }


class NoPolls(logging.Filter):
    """Leaves out reading requests that were answered 4xx: who polls for an unknown job would fill the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        method = getattr(getattr(record, "request", None), "method", "")
        return record.levelno >= logging.ERROR or method not in ("GET", "HEAD")


def configure(config: dict[str, Any]) -> None:
    """Django's LOGGING_CONFIG: also sends Python's warnings and uncaught exceptions to the log."""
    logging.config.dictConfig(config)
    logging.captureWarnings(True)
    name_process()


def name_process() -> None:
    """Let the log lines of this process have the role that its arguments give it, and its uncaught exceptions be such lines."""
    log_context.bind(role=role(sys.argv), host=socket.gethostname())
    if role(sys.argv) != COMMAND:
        sys.excepthook, threading.excepthook = _log_uncaught, _log_uncaught_in_thread


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, Exception):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("jobsite").critical("an error ended this process", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None and hook.exc_type is not SystemExit:
        info = (hook.exc_type, hook.exc_value, hook.exc_traceback)
        logging.getLogger("jobsite").critical("an error ended a thread", exc_info=info)
