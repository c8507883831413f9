"""``manage.py outbox``: Send status updates to desci-server until it has them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from builds import outbox
from builds.loops import run_until_told_to_end


class Command(BaseCommand):
    help = "Send status updates to desci-server until it has them."

    def handle(self, *args: Any, **options: Any) -> None:
        run_until_told_to_end(outbox.run)
