"""The base of both stand-ins: a threaded HTTP/1.1 server on loopback that records requests and can simulate faults."""

from __future__ import annotations

import json
import math
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Literal, Self
from urllib.parse import unquote

BLOCK = 64 * 1024
LOOPBACK = "127.0.0.1"

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"


# What is not an HTTP answer, though some of it begins as one.
GARBAGE = (
    b"",
    b"\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 99999 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3, 5\r\n\r\nabc",
)


@dataclass
class Request:
    """One request as it was received. ``code`` is the answer's code, 0 while there is no answer."""

    method: str
    path: str
    headers: dict[str, str]
    code: int = 0


@dataclass(frozen=True)
class Answer:
    """An answer to send; ``chunked`` sends its body without a Content-Length."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False

    @classmethod
    def json(cls, status: int, value: Any, **headers: str) -> Answer:
        return cls(status, json.dumps(value, ensure_ascii=False).encode(), {"Content-Type": JSON, **headers})

    @classmethod
    def text(cls, status: int, text: str, content_type: str = TEXT, **headers: str) -> Answer:
        return cls(status, text.encode(), {"Content-Type": content_type, **headers})


FaultAction = Literal["answer", "reset", "truncate", "hang", "drip-headers", "drip-body", "huge", "raw"]


@dataclass
class Fault:
    """A fault of the next ``times`` requests whose path contains ``part``, until the moment ``until``.

    ``drip-headers`` and ``drip-body`` begin to answer at once and then send a byte every ``every`` seconds, without an end.
    ``huge`` sends a body without an end, as fast as it is read. ``raw`` sends ``answer.body`` instead of an HTTP answer.
    """

    action: FaultAction
    part: str = ""
    answer: Answer = field(default_factory=lambda: Answer(500))
    times: float = math.inf
    until: float = math.inf
    every: float = 2.0

    def is_active(self) -> bool:
        return self.times > 0 and time.monotonic() < self.until

    def matches(self, path: str) -> bool:
        return self.part in path or self.part in unquote(path)


class Exchange(BaseHTTPRequestHandler):
    """One connection: reads its requests, and answers each of them, or simulates a fault."""

    protocol_version = "HTTP/1.1"
    # An answer is two writes. With Nagle's algorithm the second would wait for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    server: Listener

    def do_GET(self) -> None:
        self.body = self._body()
        self.record = Request(self.command, self.path, dict(self.headers.items()))
        self.server.stand_in.handle(self)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the stand-in's ``requests`` has the requests."""

    def _body(self) -> Iterator[bytes]:
        """The request's body in blocks, with a Content-Length or chunked."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._dechunked()
        return self._exactly(int(self.headers.get("Content-Length") or 0))

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            block = self.rfile.read(min(size, BLOCK))
            if not block:
                raise ConnectionAbortedError("the request's body ended early")
            size -= len(block)
            yield block

    def _dechunked(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().partition(b";")[0] or b"0", 16):
            yield from self._exactly(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def send(self, answer: Answer, *, half: bool = False) -> None:
        """Read the rest of the request, then send ``answer``. With ``half``, send half of its body and close."""
        self.drain()
        self.record.code = answer.status
        self._send_head(answer)
        body = answer.body[: len(answer.body) // 2] if half else answer.body
        if answer.chunked:
            self._send_chunks(body, end=not half)
        else:
            self.wfile.write(body)
        self.close_connection = self.close_connection or half

    def _send_head(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()

    def _send_chunks(self, body: bytes, *, end: bool) -> None:
        for at in range(0, len(body), BLOCK):
            block = body[at : at + BLOCK]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        if end:
            self.wfile.write(b"0\r\n\r\n")

    def drain(self) -> None:
        """Read and drop the rest of the request's body, so that the next request is read from its start."""
        for _ in self.body:
            pass

    def hang(self) -> None:
        """Read the request, do not answer, and keep the connection open until the stand-in is closed."""
        self.drain()
        self.server.ended.wait()
        self.close_connection = True

    def reset(self) -> None:
        """Close the connection in the middle of the request, so that the client gets a reset."""
        left = int(self.headers.get("Content-Length") or 0) // 2
        while left > 0 and (block := next(self.body, b"")):
            left -= len(block)
        self.close_connection = True
        # With a linger time of zero, closing sends a reset. The server would first shut the connection down properly, so its
        # descriptor is detached.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def drip(self, fault: Fault, answer: Answer) -> None:
        """Begin to answer, and go on slowly until the client or the stand-in closes the connection.

        A dripping body has no length and begins with the whole body of ``answer``: a client may mistake it for complete. At its end the
        connection is reset: otherwise the answer would be complete, although nothing was done.
        """
        self.drain()
        self.close_connection = True
        self.send_response_only(answer.status)
        if fault.action == "drip-headers":
            self.flush_headers()
            self.wfile.write(b"X-Drip: ")
        else:
            self.send_header("Content-Type", answer.headers.get("Content-Type", TEXT))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(answer.body)
        while not self.server.ended.wait(fault.every):
            self.wfile.write(b" ")
        self.reset()

    def send_without_end(self, answer: Answer) -> None:
        self.drain()
        self.close_connection = True
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", TEXT))
        self.send_header("Connection", "close")
        self.end_headers()
        while not self.server.ended.is_set():
            self.wfile.write(b" " * BLOCK)

    def send_raw(self, data: bytes) -> None:
        self.drain()
        self.close_connection = True
        self.wfile.write(data)

    def apply(self, fault: Fault, answer: Answer) -> None:
        """Apply ``fault`` to this request. ``answer`` is the answer that it would have had."""
        if fault.action == "reset":
            self.reset()
        elif fault.action == "hang":
            self.hang()
        elif fault.action == "truncate":
            self.send(answer, half=True)
        elif fault.action in ("drip-headers", "drip-body"):
            self.drip(fault, answer)
        elif fault.action == "huge":
            self.send_without_end(answer)
        elif fault.action == "raw":
            self.send_raw(fault.answer.body)
        else:
            self.send(fault.answer)


class Listener(ThreadingHTTPServer):
    """The listening socket and its connections."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, stand_in: StandIn, port: int) -> None:
        self.stand_in = stand_in
        self.ended = threading.Event()
        self.connections: set[Any] = set()
        super().__init__((stand_in.host, port), Exchange)

    def server_bind(self) -> None:
        # HTTPServer would look up this machine's name, which can take seconds.
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.connections.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Some tests make a client disconnect. Any other error is a bug in the stand-in, and is printed.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def end(self) -> None:
        """Stop listening, cut every connection, and wait until their threads have closed them."""
        self.ended.set()
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        until = time.monotonic() + 5
        while self.connections and time.monotonic() < until:
            time.sleep(0.005)


class StandIn:
    """A stand-in for another service. Subclasses answer in :meth:`respond`. All methods here are thread-safe.

    ``host`` is the address to listen on. It may be set before the start, to one of a network namespace.
    """

    host = LOOPBACK

    def __init__(self, *, port: int = 0) -> None:
        self.port = port
        self.lock = threading.RLock()
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._listener: Listener | None = None
        self._reserved: socket.socket | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Self:
        self.up()
        return self

    def close(self) -> None:
        self.down()
        self._release_port()

    def up(self) -> None:
        """Listen on the requested port; after :meth:`down`, on the same port again."""
        if self._listener is None:
            self._release_port()
            self._listener = Listener(self, self.port)
            self.port = self._listener.server_address[1]
            threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def _release_port(self) -> None:
        if self._reserved:
            self._reserved.close()
            self._reserved = None

    def down(self) -> None:
        """Refuse new connections and cut existing ones. The port stays reserved: bound, but not listening."""
        if self._listener is None:
            return
        self._listener.end()
        self._listener = None
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind((self.host, self.port))

    def add_fault(self, fault: Fault) -> None:
        with self.lock:
            self._faults.append(fault)

    def end_faults(self) -> None:
        """Remove every fault that has not been used yet."""
        with self.lock:
            self._faults.clear()

    def take_fault(self, path: str, fits: Callable[[Fault], bool] = lambda fault: True) -> Fault | None:
        """The first active fault that matches ``path`` and ``fits``, or None. Counts it as used once more."""
        with self.lock:
            self._faults = [fault for fault in self._faults if fault.is_active()]
            for fault in self._faults:
                if fault.matches(path) and fits(fault):
                    fault.times -= 1
                    return fault
        return None

    def handle(self, exchange: Exchange) -> None:
        with self.lock:
            self.requests.append(exchange.record)
        self.respond(exchange)

    def respond(self, exchange: Exchange) -> None:
        raise NotImplementedError
