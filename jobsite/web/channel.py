"""A client's connection: what it is waiting for, and since when. The server's loop ends it when its time is over.

No thread ever waits for a client: waitress gathers a request before a thread gets it, and keeps an answer that a client is slow to read.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from waitress.channel import HTTPChannel

from jobsite.web.refusal import Refusal, RefusalTask
from jobsite.web.request import Request
from jobsite.web.stream import Stream, StreamableTask

if TYPE_CHECKING:
    from jobsite.web.server import Server

# A client that reads an answer gets one second more for each so many bytes.
MIN_BYTES_PER_SECOND = 50_000
# How long a client that still sends is listened to after its answer. Closing at once could lose the answer.
LINGER_SECONDS = 2.0
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Patience:
    """How long a client may take, in seconds: to send a request's head, to send its body, to begin another request, and to read an
    answer (plus the time that its size allows)."""

    head: float
    body: float
    idle: float
    answer: float


class Phase(Enum):
    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    SERVED = "served"  # a view is at work: the client is not waited for
    STREAMED = "streamed"  # the client waits for the rest of an answer, and reads what there is
    READING = "reading"
    LINGERING = "lingering"


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """waitress's connection, with a budget of time for each phase. All but ``service`` runs in the server's loop."""

    task_class = StreamableTask
    error_task_class = RefusalTask
    patience: Patience  # set by the server for its subclass
    request: Request | None  # the one that is arriving
    requests: list[Request]  # those that wait for their answer

    def __init__(self, server: Server, *args: Any, **options: Any) -> None:
        super().__init__(server, *args, **options)
        self._phase = Phase.HEAD
        self._request_in_phase: Request | None = None
        self.since = time.monotonic()
        self._sent_in_phase = 0
        self._answered_at = 0.0
        self._has_answered = self._is_lingering = False
        self.stream: Stream | None = None

    def service(self) -> None:
        """In a thread: answer the request that is first in line."""
        if self.stream is not None:  # sent while the answer before was about to go on
            self.cancel()
            self.server.pull_trigger()
            return
        if self.server.is_stopping:
            self.requests[0].headers["CONNECTION"] = "close"
        self._has_answered = True
        super().service()
        self._answered_at = time.monotonic()

    def may_stream(self) -> bool:
        """In a thread: whether the response to the first request in line can stay open."""
        return bool(self.connected) and len(self.requests) == 1 and self.request is None and not self.server.is_stopping

    def received(self, data: bytes) -> bool:
        """As waitress does. A client that sends a request during a streaming response is cut off: the next answer could never be sent."""
        if self.stream is None:
            return bool(super().received(data))
        self.drop()
        return False

    def write_apart(self, data: bytes) -> None:
        """In the loop: write to a new buffer. A buffer keeps all that it has sent, and an answer may go on for long."""
        self.current_outbuf_count = self.adj.outbuf_high_watermark
        self.write_soon(data)

    # --- time

    @property
    def phase(self) -> Phase:
        if self._is_lingering:
            return Phase.LINGERING
        if self.total_outbufs_len:
            return Phase.READING
        if self.stream is not None:
            return Phase.STREAMED
        if self.requests:
            return Phase.SERVED
        if self.request is None:
            return Phase.IDLE if self._has_answered else Phase.HEAD
        return Phase.BODY if self.request.headers_finished else Phase.HEAD

    def observe(self, now: float) -> Phase:
        """Note when the connection came into its phase. A new request is a new phase."""
        phase, request = self.phase, self.request
        if phase is not self._phase or (request is not self._request_in_phase and self._request_in_phase is not None):
            self.since, self._sent_in_phase = now, 0
        if phase is Phase.IDLE:  # a fast client is idle each time that one looks, and may have had many answers in between
            self.since = max(self.since, self._answered_at)
        self._phase, self._request_in_phase = phase, request
        return phase

    def end_if_late(self, now: float) -> None:
        """End what has used up its time."""
        phase = self.observe(now)
        if now - self.since <= self._seconds(phase):
            return
        if phase in (Phase.HEAD, Phase.BODY) and self.request is not None:
            self.refuse(Refusal(408))
        else:
            self.drop()

    def _seconds(self, phase: Phase) -> float:
        patience = self.patience
        if phase is Phase.READING:
            return patience.answer + self._sent_in_phase / MIN_BYTES_PER_SECOND
        return {
            Phase.IDLE: patience.idle,
            Phase.HEAD: patience.head,
            Phase.BODY: patience.body,
            Phase.SERVED: float("inf"),
            Phase.STREAMED: float("inf"),
            Phase.LINGERING: LINGER_SECONDS,
        }[phase]

    # --- ends

    def refuse(self, refusal: Refusal) -> None:
        """Answer the request that has begun to arrive."""
        with self.requests_lock:
            if self.request is not None:
                self.request.refuse(refusal)
                self.requests.append(self.request)
                self.request = None
        self.server.add_task(self)

    def drop(self) -> None:
        """Close the connection now. A thread that writes to it learns so."""
        self._has_answered = False
        self.handle_close()

    def handle_close(self) -> None:
        """Close it, but listen to a client that was just answered until it has closed its side, or for a moment."""
        self.stream = None
        if self.socket is None:  # an error in the loop may close it twice
            return
        if self._has_answered and not self._is_lingering and self._has_begun_to_linger():
            return
        super().handle_close()

    def _has_begun_to_linger(self) -> bool:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the client has gone
            return False
        self._is_lingering, self.will_close, self.close_when_flushed = True, False, False
        self.observe(time.monotonic())
        return True

    # --- sockets

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent = int(super().send(data, do_close=do_close))
        self._sent_in_phase += sent
        return sent

    # A round of the loop may end a connection before it asks whether it is readable. Its descriptor must not be watched then: the next
    # connection may get the same number, and would be taken for the closed one.

    def readable(self) -> bool:
        return self.socket is not None and (self._is_lingering or bool(super().readable()))

    def writable(self) -> bool:
        return self.socket is not None and not self._is_lingering and bool(super().writable())

    def handle_read(self) -> None:
        if self._is_lingering:
            self.recv(CHUNK_BYTES)  # closes the connection at its end
        else:
            super().handle_read()
