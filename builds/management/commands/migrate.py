"""``manage.py migrate`` of Django, one process at a time."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate
from django.db import connections

from builds.record.migration_lock import migration_lock

WAITING = "Another process is migrating this database: waiting until it has finished."


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        with migration_lock(connections[options["database"]], lambda: self.stderr.write(WAITING)):
            super().handle(*args, **options)
