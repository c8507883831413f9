"""``manage.py rqresume``: resumes the queue, as the queue page does."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from builds.lifecycle import COMMAND_LINE, ActionRefused, pausing


class Command(BaseCommand):
    help = "Resume the queue, as the queue page does: builds start again, oldest first."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            pausing.resume(actor=COMMAND_LINE)
        except ActionRefused as error:
            raise CommandError(str(error)) from error
        self.stdout.write("The queue is resumed.")
