"""``manage.py rqsuspend``: pauses the queue, as the queue page does."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from builds.lifecycle import COMMAND_LINE, ActionRefused, pausing


class Command(BaseCommand):
    help = "Pause the queue, as the queue page does: submissions are accepted, no build starts, running builds finish normally."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", default="Paused with manage.py rqsuspend.", help="why; shown on the queue page")
        parser.add_argument("--duration", "-d", help="not supported")

    def handle(self, *args: Any, reason: str, duration: str | None, **options: Any) -> None:
        if duration is not None:
            raise CommandError("A pause has no duration. End it with 'manage.py rqresume' or on the queue page.")
        try:
            pausing.pause(actor=COMMAND_LINE, reason=reason)
        except ActionRefused as error:
            raise CommandError(str(error)) from error
        self.stdout.write("The queue is paused.")
