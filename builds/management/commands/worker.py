"""``manage.py worker``: takes builds from the queue."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from builds.service import serve, worker

MAX_WORKERS = 256


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # they load every page: 20 MB that this process never uses
    help = (
        "Take builds from the queue, one at a time, until SIGTERM. The running build then gets STOP_GRACE seconds to finish; after "
        "that it is stopped and queued again. Exit code 0: it was asked to stop. 1: it could not start or continue."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--concurrency",
            type=_number,
            default=1,
            metavar="N",
            help="run N workers, so that N builds run at the same time, and restart the ones that die (default: 1, in this process)",
        )

    def handle(self, *args: Any, concurrency: int = 1, **options: Any) -> None:
        if concurrency == 1:
            worker.run()
        elif command := serve.run_workers(concurrency):
            command.run()


def _number(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= MAX_WORKERS):
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {MAX_WORKERS}, not {text!r}")
    return int(text)
