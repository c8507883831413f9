"""The server's loop: accepts connections, makes room for new ones, ends late ones, and stops without losing a request."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from jobsite.web.channel import Channel, Patience, Phase
from jobsite.web.refusal import Refusal
from jobsite.web.request import Limits, request_class
from jobsite.web.stream import Stream

# How often the loop looks for connections that are late.
ROUND_SECONDS = 1
# An honest client's request arrives within a moment: only a client that has been waited for longer gives up its place.
MOMENT_SECONDS = 0.5
# Once the server stops, a client that was just answered may have its next request under way.
STOPPING_IDLE_SECONDS = 2.0
STOPPING_SECONDS = 30.0
# Requests that wait for a thread. One more is answered 503.
MAX_WAITING = 200
# What clients have not read yet is kept on disk beyond a megabyte. Only people who have signed in get answers that large.
MAX_UNREAD_BYTES = 1 << 30


class Server(TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    """waitress's server for one listening socket."""

    def __init__(
        self,
        application: Callable[..., Any],
        listening: socket.socket,
        *,
        threads: int,
        max_connections: int,
        max_head_bytes: int,
        patience: Patience,
        limits: Limits,
    ) -> None:
        self.is_stopping = False
        self._stop_at = float("inf")
        self._sockets: dict[int, Any] = {}
        self._max_connections = max_connections
        self._refuser = _dispatcher(threads=1)  # refusals need no view, and must not wait for one
        self._follower = _dispatcher(
            threads=1
        )  # requests that were sent before the answer to the one before must not delay others
        self._loop_thread = 0
        self.channel_class = type("TimedChannel", (Channel,), {"patience": patience, "parser_class": request_class(limits)})
        adjustments = Adjustments(
            sockets=[listening],
            threads=threads,
            ident=None,
            connection_limit=max_connections + 100,  # ours makes room before it is reached
            cleanup_interval=ROUND_SECONDS,
            max_request_header_size=max_head_bytes + 1,
            max_request_body_size=limits.max_body_bytes + 1,
            outbuf_high_watermark=MAX_UNREAD_BYTES,
            clear_untrusted_proxy_headers=False,  # the settings say which are believed
            log_socket_errors=False,
            asyncore_use_poll=True,
        )
        information = (listening.family, listening.type, listening.proto, listening.getsockname())
        super().__init__(
            application,
            self._sockets,
            True,
            listening,
            dispatcher=_dispatcher(threads),
            adj=adjustments,
            sockinfo=information,
            bind_socket=False,
        )

    # --- the loop

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then finish what has begun."""
        logging.getLogger("waitress").setLevel(logging.ERROR)  # clients could fill the log with warnings
        self._loop_thread = threading.get_ident()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        while not self._is_done():
            wasyncore.loop(timeout=ROUND_SECONDS, use_poll=True, map=self._sockets, count=1)
        self.task_dispatcher.shutdown()

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self.is_stopping, self.accepting = True, False
        self._stop_at = min(self._stop_at, time.monotonic() + STOPPING_SECONDS)
        self.pull_trigger()

    def _is_done(self) -> bool:
        return self.is_stopping and (not self.active_channels or time.monotonic() > self._stop_at)

    def maintenance(self, now: float) -> None:
        """End the connections that are late. waitress's ``now`` is wall time."""
        now = time.monotonic()
        if self.is_stopping:
            Stream.end_all([channel.stream for channel in self.active_channels.values() if channel.stream])
        for channel in list(self.active_channels.values()):
            channel.end_if_late(now)
            if self.is_stopping and channel.phase is Phase.IDLE and now - channel.since > STOPPING_IDLE_SECONDS:
                channel.drop()

    # --- connections

    def readable(self) -> bool:
        wanted = bool(super().readable())
        return wanted and (len(self.active_channels) < self._max_connections or self._longest_waited_for() is not None)

    def handle_accept(self) -> None:
        """Accept first, so that the new connection does not get the number of the one that goes: events for that may be under way."""
        longest = self._longest_waited_for() if len(self.active_channels) >= self._max_connections else None
        super().handle_accept()
        if longest:
            longest.drop()

    def _longest_waited_for(self) -> Channel | None:
        """The client that has kept the server waiting for the longest, if for longer than a moment. Streams go last: they begin again."""
        now = time.monotonic()
        waited = [channel for channel in self.active_channels.values() if channel.observe(now) is not Phase.SERVED]
        late = [channel for channel in waited if now - channel.since > MOMENT_SECONDS]
        return min(late, key=lambda channel: (channel.phase is Phase.STREAMED, channel.since), default=None)

    def add_task(self, task: Channel) -> None:
        """Have a thread answer the request that is first in line."""
        request = task.requests[0]
        if request.error is None and len(self.task_dispatcher.queue) >= MAX_WAITING:
            request.refuse(Refusal(503))
        if request.error is not None:
            self._refuser.add_task(task)
        elif threading.get_ident() == self._loop_thread:
            self.task_dispatcher.add_task(task)
        else:  # a thread has answered a request of this client, and finds the next one waiting
            self._follower.add_task(task)

    def set_socket_options(self, conn: socket.socket) -> None:
        super().set_socket_options(conn)
        with suppress(OSError):
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _dispatcher(threads: int) -> ThreadedTaskDispatcher:
    dispatcher = ThreadedTaskDispatcher()
    dispatcher.set_thread_count(threads)
    return dispatcher
