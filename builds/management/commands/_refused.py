"""Commands of django-rq that Jobsite does not support. Django does not list this module: its name starts with an underscore."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser


class RefusedCommand(BaseCommand):
    """Ignores its arguments and ends with one line that says what to use instead."""

    requires_system_checks: list[str] = []
    advice = ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ignored", nargs="*")

    def run_from_argv(self, argv: list[str]) -> None:
        super().run_from_argv(argv[:2])  # without the options, which would be reported as unknown

    def handle(self, *args: Any, **options: Any) -> None:
        raise CommandError(self.advice)
