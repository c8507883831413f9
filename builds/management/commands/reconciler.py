"""``manage.py reconciler``: Mend what crashes and restarts leave behind, every few seconds."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from builds import reconciler
from builds.loops import run_until_told_to_end


class Command(BaseCommand):
    help = "Mend what crashes and restarts leave behind, every few seconds."

    def handle(self, *args: Any, **options: Any) -> None:
        run_until_told_to_end(reconciler.run)
