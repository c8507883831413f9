"""``manage.py reconciler``: repairs what crashes and restarts leave behind, every few seconds."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from builds.service import reconciler
from builds.service.loops import run_until_signal


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # they load every page: 20 MB that this process never uses
    help = (
        "Repair what crashes and restarts leave behind, every few seconds, until SIGTERM. Each machine with workers needs one, for the "
        "processes and files that are left on it. Exit code 0: it was asked to stop. 1: it could not start or continue."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        run_until_signal(reconciler.run)
