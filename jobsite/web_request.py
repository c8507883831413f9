"""A request that arrives little by little, and the connection it arrives on."""

from __future__ import annotations

import errno
import math
import socket
import time
from typing import Any

from django.conf import settings
from gunicorn.asgi.parser import PythonProtocol
from gunicorn.workers.gthread import TConn

# So much of a request is held before a thread is given it; of a small one, all.
HELD_BYTES = 1 << 17
# A client that takes an answer has a second more for each so many bytes of it.
LEAST_BYTES_PER_SECOND = 50_000
# Only here may a body be larger than what is held: who may send it is asked before it is read.
LARGE_BODIES = b"/v1/"


class TooSlow(TimeoutError):
    """The client has had its time. To gunicorn it is a client that is gone, which is worth no traceback."""

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the client was too slow")


class PatientSocket(socket.socket):
    """Reads until a point in time, and sends to a client that takes it at a least pace. Both end in :class:`TooSlow`."""

    read_by = math.inf
    _sent, _sending_seconds = 0, 0.0

    def begin(self, read_by: float) -> None:
        """A new request: the rest of it must be here by ``read_by``."""
        self.read_by = read_by
        self._sent, self._sending_seconds = 0, 0.0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if (remaining := self.read_by - time.monotonic()) <= 0:
            raise TooSlow
        self.settimeout(None if remaining == math.inf else remaining)
        try:
            return super().recv(size, flags)
        except TimeoutError as error:
            raise TooSlow from error

    def recv_now(self, size: int) -> bytes:
        """What is there, without waiting.

        Raises:
            OSError: nothing is, or never will be.
        """
        return super().recv(size, socket.MSG_DONTWAIT)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        remaining = settings.ANSWER_SECONDS + self._sent / LEAST_BYTES_PER_SECOND - self._sending_seconds
        if remaining <= 0:
            raise TooSlow
        self.settimeout(remaining)
        begun = time.monotonic()
        try:
            super().sendall(data, flags)
        except TimeoutError as error:
            raise TooSlow from error
        finally:
            self._sent += len(data)
            self._sending_seconds += time.monotonic() - begun


class Arriving:
    """What is here of a request. gunicorn's own parser says how far it goes; the one that serves it reads it again, and judges it."""

    def __init__(self, cfg: Any) -> None:
        self.held = bytearray()
        self._is_broken = self._has_head = self._told = False
        self._parser = PythonProtocol(
            on_headers_complete=self._head_is_here,
            limit_request_line=cfg.limit_request_line,
            limit_request_fields=cfg.limit_request_fields,
            limit_request_field_size=cfg.limit_request_field_size,
        )

    def take(self, data: bytes) -> None:
        self.held += data
        try:
            self._parser.feed(data)
        except Exception:  # whatever is wrong with it is found again, and answered, by who serves it
            self._is_broken = True

    def _head_is_here(self) -> bool:
        self._has_head = True
        return False

    @property
    def has_head(self) -> bool:
        return self._has_head

    @property
    def is_whole(self) -> bool:
        return bool(self._parser.is_complete)

    @property
    def is_ready(self) -> bool:
        """Whether a thread can be given it: all of it is here, or more than is held, or nothing good will come."""
        return self.is_whole or self._is_broken or (self._has_head and len(self.held) >= HELD_BYTES)

    def is_awaited(self) -> bool:
        """Whether the client wants to hear, and has not heard, that its body is awaited."""
        awaited = self._has_head and not self._told and (b"expect", b"100-continue") in self._parser.headers
        self._told = self._told or awaited
        return awaited

    @property
    def refusal(self) -> int:
        """The status that it is refused with, as it is no request that anybody should wait for; 0 while it is well."""
        if self._is_broken:
            return 0
        if not self._has_head:
            return 431 if len(self.held) > settings.REQUEST_HEAD_MAX_BYTES else 0
        too_large = max(self._parser.content_length or 0, 0 if self.is_whole else len(self.held)) > HELD_BYTES
        return 413 if too_large and not (self._parser.path or b"").startswith(LARGE_BODIES) else 0


class Connection(TConn):
    """A client's connection, between requests and while one arrives."""

    sock: PatientSocket

    def __init__(self, cfg: Any, sock: PatientSocket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        self.request = Arriving(cfg)
        self.deadline = math.inf
        self.watched_since = 0.0
        self.is_leaving = False

    def expect(self, seconds: float) -> None:
        """A request that must begin within ``seconds``."""
        self.request = Arriving(self.cfg)
        self.deadline = time.monotonic() + seconds
        self.sock.setblocking(False)

    def take(self, data: bytes) -> None:
        """More of the request. Its head has a time of its own, and so has its body."""
        is_first, had_head = not self.request.held, self.request.has_head
        self.request.take(data)
        if self.request.has_head and not had_head:
            self.deadline = time.monotonic() + settings.REQUEST_BODY_SECONDS
        elif is_first and self.initialized:
            self.deadline = time.monotonic() + settings.REQUEST_HEAD_SECONDS

    def hand_over(self) -> None:
        """Make it ready for the thread that serves the request."""
        self.init()
        self.sock.begin(self.deadline)
        parser: Any = self.parser
        parser.unreader.unread(bytes(self.request.held))
        self.request.held.clear()
