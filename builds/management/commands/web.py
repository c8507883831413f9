"""``manage.py web``: one process of the web server."""

from __future__ import annotations

import socket
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from builds.service import web


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # load_all() runs them
    help = (
        "Serve pages and the API with one process, until SIGTERM. It then finishes the requests in progress. "
        "Exit code 0: it was asked to stop. 1: it could not start or continue."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fd", type=int, help="descriptor of a listening socket; by default one is opened on HOST and PORT")

    def handle(self, *args: Any, fd: int | None = None, **options: Any) -> None:
        web.run(socket.socket(fileno=fd) if fd is not None else web.listening_socket())
