"""``manage.py rqworker builds``: the same worker as ``manage.py worker``, with the name and options that django-rq's users know."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from builds.service import worker


class Command(BaseCommand):
    help = "Run one worker, as 'manage.py worker' does. Options of django-rq that would replace its classes do not exist here."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("queues", nargs="*", help=f"the only queue is {settings.QUEUE_NAME}")
        parser.add_argument(
            "--name", default="", help="the worker's name in the queue store (default: host, process id and a number)"
        )
        parser.add_argument("--burst", action="store_true", help="stop when the queue is empty")
        parser.add_argument("--max-jobs", type=int, help="stop after this many builds")
        parser.add_argument("--max-idle-time", type=int, help="stop when the queue has been empty for this many seconds")

    def handle(self, *args: Any, queues: list[str], name: str, burst: bool, **options: Any) -> None:
        if unknown := set(queues) - {settings.QUEUE_NAME}:
            raise CommandError(f"Unknown queue: {', '.join(sorted(unknown))}. The only queue is {settings.QUEUE_NAME}.")
        worker.run(name=name, burst=burst, max_jobs=options["max_jobs"], max_idle_time=options["max_idle_time"])
