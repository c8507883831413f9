"""``manage.py build URL-or-archive``: one manuscript in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from builds import isolation, tasks, terminal
from builds.clients.archive import ArchiveHost
from builds.errors import BuildError, BuildStopped
from builds.manuscript_url import InvalidManuscriptUrl


class Command(BaseCommand):
    help = "Build one manuscript as the service would, and write its exports to a folder. Nothing is delivered."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", help="the address of a project file on GitHub, or the path of a repository's zip")
        parser.add_argument("--to", type=Path, default=Path("exports"), help="the folder for the exports (default: exports)")

    def handle(self, *args: Any, source: str, to: Path, **options: Any) -> None:
        host = ArchiveHost(settings.GITHUB_URL, token=settings.GITHUB_TOKEN)
        try:
            isolation.choice().check()
            made = terminal.run(
                source,
                to,
                host=host,
                command=settings.BUILD_COMMAND,
                limits=tasks.limits(),
                network=settings.BUILD_NETWORK,
                hosts=tasks.hosts(),
                sandbox_of=isolation.sandbox_of,
                groups=isolation.groups(),
            )
        except BuildError as error:
            raise CommandError(f"{terminal.printable(error.sentence)}\n{error.advice}") from error
        except (BuildStopped, InvalidManuscriptUrl) as error:
            raise CommandError(str(error)) from error
        for export in made:
            self.stdout.write(
                f"{export.path} ({export.role}, {export.size} bytes): delivered as {terminal.printable(export.name)}"
            )
