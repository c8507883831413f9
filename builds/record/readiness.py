"""Whether submissions can be accepted and, if not, which part is the reason."""

from __future__ import annotations

import shutil
import time

from django.conf import settings
from django.db import DatabaseError, transaction

from builds.lib import units
from builds.models import Submission
from builds.record import schema

SCHEMA_SECONDS = 1.0
_complete_until = 0.0


def problems() -> dict[str, str]:
    """The problem of each part; empty if submissions can be accepted. Busy workers and an unreachable queue store are not problems."""
    found = {"database": _database_problem(), "disk": disk_problem()}
    return {part: problem for part, problem in found.items() if problem}


def refusal() -> str:
    """Why no submission is accepted although the database answers; empty if they are. It is looked at before each submission."""
    return _lack() or disk_problem()


def _lack() -> str:
    """As :func:`schema.lacks`, asked once a second while nothing lacks: reading the migrations takes as long as writing a submission."""
    global _complete_until
    if time.monotonic() < _complete_until:
        return ""
    lack = schema.lacks()
    _complete_until = 0.0 if lack else time.monotonic() + SCHEMA_SECONDS
    return lack


def notices() -> list[str]:
    """What operators must know although submissions are accepted."""
    unknown = schema.unknown()
    return [unknown] if unknown else []


def _database_problem() -> str:
    """Takes the database's write lock for a moment, because a read-only database can't accept submissions."""
    try:
        if lack := schema.lacks():
            return lack
        with transaction.atomic():
            Submission.objects.select_for_update().filter(pk=0).update(title="")
    except DatabaseError as error:
        return f"The database can't be written to: {error}"
    return ""


def disk_problem() -> str:
    try:
        free = shutil.disk_usage(settings.DATA_DIR).free
    except OSError as error:
        return f"The data folder can't be used: {error.strerror}"
    if free < settings.DISK_RESERVE:
        return f"The data folder has only {units.size(free)} of free disk space; it needs {units.size(settings.DISK_RESERVE)}."
    return ""
