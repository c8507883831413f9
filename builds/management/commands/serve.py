"""``manage.py serve``: the whole service on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from builds.service import serve
from builds.service.installed import Installation


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # load_all() runs them
    help = (
        "Run the whole service of one machine until SIGTERM: migrations, queue store (unless REDIS_URL is set), web server, workers, "
        "outbox and reconciler. Exit code 0: it was asked to stop. 1: it could not start or continue."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        # The link that it was started through. It gives this option to itself.
        parser.add_argument("--started-in", type=Path, help=argparse.SUPPRESS)

    def handle(self, *args: Any, started_in: Path | None = None, **options: Any) -> None:
        installation = Installation(started_in)
        if started_in is None:
            installation.restart_in_own_folder()
        if command := serve.serve(installation=installation):
            command.run()
