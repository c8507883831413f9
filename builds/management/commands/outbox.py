"""``manage.py outbox``: sends status updates to desci-server until it has received them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from builds.service import outbox
from builds.service.loops import run_until_signal


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # they load every page: 20 MB that this process never uses
    help = (
        "Send status updates to desci-server, and repeat each until it has arrived. Runs until SIGTERM. Any number of these may run, on "
        "any number of machines: each try is made by one of them. Exit code 0: it was asked to stop. 1: it could not start or continue."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        run_until_signal(outbox.run)
