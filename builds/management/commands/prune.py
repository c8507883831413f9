"""``manage.py prune``: removes at once what the settings no longer keep. The reconciler does the same, slowly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from builds.record import kept_exports, retention


class Command(BaseCommand):
    help = "Remove what the settings *_KEPT_DAYS and LOGS_KEPT_MAX_LINES no longer keep. The reconciler does so automatically, but slowly."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        for what, number in old_rows():
            self.stdout.write(f"{number:>10,} {what}")
        if dry_run:
            self.stdout.write("Nothing was removed.")
        else:
            remove_all()
            self.stdout.write("Removed.")


def old_rows() -> Iterator[tuple[str, int]]:
    """What would be removed: in words, and how many."""
    for part in retention.PARTS:
        yield f"{part.name} ({part.setting}={getattr(settings, part.setting)})", retention.Sweep(part).count()
    yield f"lines of logs (LOGS_KEPT_MAX_LINES={settings.LOGS_KEPT_MAX_LINES})", retention.log_lines_over()
    limits = f"EXPORTS_KEPT_DAYS={settings.EXPORTS_KEPT_DAYS}, EXPORTS_KEPT_MAX_BYTES={settings.EXPORTS_KEPT_MAX_BYTES}"
    yield f"attempts' exports ({limits})", len(kept_exports.find_old())
    for name, rows in retention.expired().items():
        yield name, rows.count()


def remove_all() -> None:
    for part in retention.PARTS:
        sweep = retention.Sweep(part)
        while sweep.step():
            pass
    logs = retention.LogsOverSize()
    while logs.step():
        pass
    for folder in kept_exports.find_old():
        kept_exports.remove(folder)
    for rows in retention.expired().values():
        while retention.remove_group(rows):
            pass
