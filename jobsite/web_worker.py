"""gunicorn's threaded worker, with a main loop that waits for clients: a thread is given only what has arrived.

As it comes, a thread waits for each new connection to say something, for the rest of what it says, and without an end. Here a slow
request, an idle connection and one that is told to go cost no thread, and each has its time.
"""

from __future__ import annotations

import errno
import json
import selectors
import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from django.conf import settings
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from jobsite.web_request import Connection, PatientSocket

NO_CONNECTION = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)
NO_ROOM = (errno.EMFILE, errno.ENFILE)
CHUNK = 1 << 16
# A worker that ends listens for so long to clients that it has just answered: their next request may be on its way.
STOPPING_SECONDS = 2.0
# A client that still sends is listened to for so long after its answer, lest the answer be lost to it.
LEAVING_SECONDS = 2.0
MOMENT = 0.5
STATUS_OF = {errors.LimitRequestLine: 414, errors.LimitRequestHeaders: 431, errors.ExpectationFailed: 417}
SENTENCES = {
    400: "The request is not valid HTTP.",
    408: "The request took too long to arrive.",
    413: "The body is larger than what is taken here.",
    414: "The address is too long.",
    417: "The header Expect asks for what can't be done here.",
    431: "The request has too many headers, or too large ones.",
    500: "Something went wrong inside Jobsite; its operators find the reason in its log.",
}


class Worker(ThreadWorker):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Connections that the main loop watches: those that no thread has. The oldest is the first.
        self._watched: dict[Connection, None] = {}

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in NO_ROOM:
                self._make_room()
            elif error.errno not in NO_CONNECTION:
                raise
            return
        self.nr_conns += 1
        connection = Connection(self.cfg, PatientSocket(fileno=client.detach()), address, listener.getsockname())
        connection.expect(settings.REQUEST_HEAD_SECONDS)
        self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        self._watched[connection] = None
        connection.watched_since = time.monotonic()
        self.poller.register(connection.sock, selectors.EVENT_READ, partial(self._hear, connection))

    def _unwatch(self, connection: Connection) -> None:
        if connection in self._watched:
            del self._watched[connection]
            self.poller.unregister(connection.sock)

    def _hear(self, connection: Connection, _file: object) -> None:
        try:
            data = connection.sock.recv_now(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
        elif not connection.is_leaving:
            self._take(connection, data)

    def _take(self, connection: Connection, data: bytes) -> None:
        connection.take(data)
        if refusal := connection.request.refusal:
            self._refuse(connection, refusal)
        elif connection.request.is_ready:
            self._unwatch(connection)
            connection.hand_over()
            self.enqueue_req(connection)
        elif connection.request.is_awaited():
            with suppress(OSError):
                connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def handle_request(self, req: Any, conn: Any) -> bool:
        """In a thread. What has not arrived in whole leaves nothing to begin a next request after."""
        req._expected_100_continue = False  # it was told
        if not conn.request.is_whole:
            req.force_close()
        return super().handle_request(req, conn)

    def finish_request(self, conn: Any, fs: Future[bool]) -> None:
        """In the main loop, after a thread."""
        if fs.cancelled() or fs.exception() or not fs.result():
            self._leave(conn)
            return
        received = conn.parser.unreader.take_buffered()
        conn.expect(self.cfg.keepalive if self.alive else STOPPING_SECONDS)
        self._watch(conn)
        if received:
            self._take(conn, received)

    def murder_pending(self) -> None:
        """In each turn of the main loop: end what had its time, and let somebody else in where all places are taken."""
        now = time.monotonic()
        for connection in [one for one in self._watched if one.deadline <= now]:
            if connection.is_leaving or not connection.request.held:
                self._drop(connection)
            else:
                self._refuse(connection, 408)
        if self.nr_conns >= self.worker_connections:
            self._make_room()

    def _make_room(self) -> None:
        """A request of an honest client is here in a moment: who has been waited for the longest, and for longer than that, goes."""
        oldest = next(iter(self._watched), None)
        if oldest and time.monotonic() - oldest.watched_since > MOMENT:
            self._drop(oldest)

    def _cap_keepalive(self, deadline: float) -> None:
        """The worker ends: clients that ask for nothing go."""
        for connection in self._watched:
            if not connection.request.held:
                connection.deadline = min(connection.deadline, deadline)

    def _refuse(self, connection: Connection, status: int) -> None:
        self._unwatch(connection)
        with suppress(OSError):
            connection.sock.send(answer(status))
        self._leave(connection)

    def _leave(self, connection: Connection) -> None:
        """Close it once the client has, or soon."""
        connection.is_leaving, connection.deadline = True, time.monotonic() + LEAVING_SECONDS
        try:
            connection.sock.shutdown(socket.SHUT_WR)
            connection.sock.setblocking(False)
        except OSError:
            self._drop(connection)
        else:
            self._watch(connection)

    def _drop(self, connection: Connection) -> None:
        self._unwatch(connection)
        self.nr_conns -= 1
        connection.sock.close()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """gunicorn's answers, in the API's envelope. A client's mistake is worth no warning: a stranger could fill the disk with them."""
        if isinstance(exc, errors.ParseException):
            self.log.info("a request is refused: %s", type(exc).__name__)
        else:
            self.log.error("a request failed", exc_info=exc)
        with suppress(OSError):
            client.sendall(answer(status_of(exc)))


def status_of(error: BaseException) -> int:
    if not isinstance(error, errors.ParseException):
        return 500
    return next((status for kind, status in STATUS_OF.items() if isinstance(error, kind)), 400)


def answer(status: int) -> bytes:
    """A whole answer of the API's shape, after which the connection is closed."""
    body = json.dumps({"ok": False, "message": SENTENCES[status]}).encode()
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
