"""``manage.py serve``: the whole service on this machine."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from builds.service import serve


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # each web process runs them; here they would only keep every page in memory
    help = (
        "Run the whole service of one machine until SIGTERM: migrations, queue store (unless REDIS_URL is set), web server, workers, "
        "outbox and reconciler. Exit code 0: it was asked to stop. 1: it could not start or go on."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        serve.serve()
