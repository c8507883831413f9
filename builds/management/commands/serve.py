"""``manage.py serve``: the whole service on this machine."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from builds import service


class Command(BaseCommand):
    help = "Run the whole service: queue store, web server, workers, outbox and reconciler, until it is told to end."

    def handle(self, *args: Any, **options: Any) -> None:
        service.serve()
