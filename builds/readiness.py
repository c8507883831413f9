"""Whether submissions can be accepted, and which part is at fault where they can't."""

from __future__ import annotations

import shutil

from django.conf import settings
from django.db import DatabaseError, transaction

from builds import units
from builds.models import Submission


def problems() -> dict[str, str]:
    """What is wrong, by part; empty where submissions can be accepted. A busy worker or a queue store that is away is no problem."""
    found = {"database": _database_problem(), "disk": disk_problem()}
    return {part: problem for part, problem in found.items() if problem}


def _database_problem() -> str:
    """Takes the database's write lock for a moment: a database that can only be read can't accept anything."""
    try:
        with transaction.atomic():
            Submission.objects.select_for_update().filter(pk=0).update(title="")
    except DatabaseError as error:
        return f"The database can't be written: {error}"
    return ""


def disk_problem() -> str:
    try:
        free = shutil.disk_usage(settings.DATA_DIR).free
    except OSError as error:
        return f"The data folder can't be used: {error.strerror}"
    if free < settings.DISK_RESERVE:
        return f"Only {units.size(free)} are free in the data folder; {units.size(settings.DISK_RESERVE)} must be."
    return ""
