"""Causes and findings, as the commands print them with ``--json``."""

from __future__ import annotations

from dataclasses import asdict

from builds.engine.findings import Finding
from builds.errors import Cause


def cause_as_json(cause: Cause) -> dict[str, object]:
    return {
        "class": cause.fault,
        "code": cause.code,
        "text": cause.sentence,
        "advice": cause.advice,
        "file": cause.file,
        "line": cause.line,
        "logLine": cause.log_line,
    }


def finding_as_json(finding: Finding) -> dict[str, object]:
    values = asdict(finding)
    return {"class": values.pop("fault"), "logLine": values.pop("log_line"), **values}
