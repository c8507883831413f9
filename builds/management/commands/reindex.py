"""``manage.py reindex``: rebuilds the search words of submissions."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from builds.record import search


class Command(BaseCommand):
    help = "Rebuild the search words of all submissions, so that those accepted by an older release are found in the same way as new ones."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--batch", type=int, default=200, help="submissions in one transaction (default: 200)")
        parser.add_argument(
            "--after", type=int, default=0, help="start after the submission with this id, to continue an interrupted run"
        )
        parser.add_argument("--pause", type=float, default=0.1, help="seconds between two batches (default: 0.1)")

    def handle(self, *args: Any, batch: int, after: int, pause: float, **options: Any) -> None:
        count = 0
        while done := search.reindex(after, max(batch, 1)):
            after, count = done[-1], count + len(done)
            self.stdout.write(f"{count} submissions; the last one has the id {after}")
            time.sleep(pause)
        self.stdout.write("All submissions have new search words.")
