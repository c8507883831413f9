"""One process of the web server: the settings, the socket and Django, put together."""

from __future__ import annotations

import ctypes
import os
import socket
import sys

from django.conf import settings
from django.core.management import CommandError
from django.core.wsgi import get_wsgi_application

from builds.record.waiting import limit_waiting
from builds.service import fork
from builds.service.preload import load_all
from builds.service.start import prepare
from jobsite.web.admission import admit
from jobsite.web.channel import Patience
from jobsite.web.request import Limits
from jobsite.web.server import Server

BACKLOG = 2048
THREADS = 4
SYSTEMD_FIRST_FILE = 3
M_ARENA_MAX = -8  # of mallopt(3)


def run(listening: socket.socket) -> None:
    """Serve on ``listening`` until SIGTERM."""
    prepare()
    load_all()
    fork.freeze()  # a process that serve forked has only little left to freeze
    share_one_arena()
    limit_waiting()
    patience = Patience(
        head=settings.REQUEST_HEAD_SECONDS,
        body=settings.REQUEST_BODY_SECONDS,
        idle=settings.KEEP_ALIVE_SECONDS,
        answer=settings.ANSWER_SECONDS,
    )
    limits = Limits(max_headers=settings.REQUEST_HEADERS_MAX, max_body_bytes=settings.SUBMISSION_MAX_BYTES, admit=admit)
    server = Server(
        get_wsgi_application(),
        listening,
        threads=THREADS,
        max_connections=settings.WEB_CONNECTIONS,
        max_head_bytes=settings.REQUEST_HEAD_MAX_BYTES,
        patience=patience,
        limits=limits,
    )
    server.run()


def share_one_arena() -> None:
    """Let all threads allocate from one arena. glibc gives each its own by default, and what one has freed there the others can't use."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):  # musl has none
        libc.mallopt(M_ARENA_MAX, 1)


def listening_socket() -> socket.socket:
    """The socket of HOST and PORT. systemd may hand one over instead (sd_listen_fds(3)), and keeps it open over a restart.

    Raises:
        CommandError: the port cannot be used.
    """
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return socket.socket(fileno=SYSTEMD_FIRST_FILE)
    address = (settings.HOST, settings.PORT)
    try:
        return socket.create_server(address, family=socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET, backlog=BACKLOG)
    except OSError as error:
        raise CommandError(f"Port {settings.PORT} can't be used ({error.strerror}). Stop what uses it, or set PORT.") from error
