"""What both stand-ins share: a threaded HTTP/1.1 server on loopback, its record of requests, and its faults."""

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


@dataclass
class Request:
    """One request as it came. ``code`` is what was answered, 0 where nothing was (yet)."""

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


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests, until ``until``, whose path contains ``part``."""

    action: Literal["answer", "reset", "truncate", "hang"]
    part: str = ""
    answer: Answer = field(default_factory=lambda: Answer(500))
    times: float = math.inf
    until: float = math.inf

    def is_live(self) -> bool:
        return self.times > 0 and time.monotonic() < self.until

    def concerns(self, path: str) -> bool:
        return self.part in path or self.part in unquote(path)


class Exchange(BaseHTTPRequestHandler):
    """One connection: reads its requests, and answers each of them, well or badly."""

    protocol_version = "HTTP/1.1"
    # An answer leaves as two writes; with Nagle's algorithm the second waits for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    server: Listener

    def do_GET(self) -> None:
        self.body = self._body()
        self.record = Request(self.command, self.path, dict(self.headers.items()))
        self.server.stand_in.handle(self)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what was asked is in the stand-in's ``requests``."""

    def _body(self) -> Iterator[bytes]:
        """The request's body in blocks, however it is framed."""
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
        """Send ``answer`` after reading what is left of the request; ``half`` of its body, and then close."""
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
        """Read and drop what is left of the request's body, so that the next request starts where it should."""
        for _ in self.body:
            pass

    def hang(self) -> None:
        """Read all, answer nothing, and keep the connection open until the stand-in is closed."""
        self.drain()
        self.server.ended.wait()
        self.close_connection = True

    def reset(self) -> None:
        """Close the connection midway in the request, so that the client's system sees a reset."""
        left = int(self.headers.get("Content-Length") or 0) // 2
        while left > 0 and (block := next(self.body, b"")):
            left -= len(block)
        self.close_connection = True
        # Lingering for no time makes closing a reset. The server's own way of closing would say goodbye first, so it gets no
        # descriptor to do that with.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def suffer(self, fault: Fault, answer: Answer) -> None:
        """Do to this request what ``fault`` says; ``answer`` is what it would have got."""
        if fault.action == "reset":
            self.reset()
        elif fault.action == "hang":
            self.hang()
        elif fault.action == "truncate":
            self.send(answer, half=True)
        else:
            self.send(fault.answer)


class Listener(ThreadingHTTPServer):
    """The listening socket, and the connections that came of it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, stand_in: StandIn, port: int) -> None:
        self.stand_in = stand_in
        self.ended = threading.Event()
        self.connections: set[Any] = set()
        super().__init__((LOOPBACK, port), Exchange)

    def server_bind(self) -> None:
        # HTTPServer's own would ask the resolver for this machine's name, which can take seconds.
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.connections.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away is what some tests are about; anything else is a mistake here, and is shown.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def end(self) -> None:
        """Stop listening, cut every connection, and wait until their threads have let go of them."""
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
    """A stand-in for an outside party. Subclasses answer in :meth:`respond`; everything here is safe from any thread."""

    def __init__(self, *, port: int = 0) -> None:
        self.port = port
        self.lock = threading.RLock()
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._listener: Listener | None = None
        self._held: socket.socket | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Self:
        self.up()
        return self

    def close(self) -> None:
        self.down()
        self._let_go()

    def up(self) -> None:
        """Listen: at first on the port asked for, and after :meth:`down` on the same one again."""
        if self._listener is None:
            self._let_go()
            self._listener = Listener(self, self.port)
            self.port = self._listener.server_address[1]
            threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def _let_go(self) -> None:
        if self._held:
            self._held.close()
            self._held = None

    def down(self) -> None:
        """Refuse connections, and cut those that there are. The port stays ours: bound, but not listened to."""
        if self._listener is None:
            return
        self._listener.end()
        self._listener = None
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind((LOOPBACK, self.port))

    def add_fault(self, fault: Fault) -> None:
        with self.lock:
            self._faults.append(fault)

    def mend(self) -> None:
        """End every fault that is still to come."""
        with self.lock:
            self._faults.clear()

    def take_fault(self, path: str, fits: Callable[[Fault], bool] = lambda fault: True) -> Fault | None:
        """The first live fault that concerns ``path`` and ``fits``, counted as used once more."""
        with self.lock:
            self._faults = [fault for fault in self._faults if fault.is_live()]
            for fault in self._faults:
                if fault.concerns(path) and fits(fault):
                    fault.times -= 1
                    return fault
        return None

    def handle(self, exchange: Exchange) -> None:
        with self.lock:
            self.requests.append(exchange.record)
        self.respond(exchange)

    def respond(self, exchange: Exchange) -> None:
        raise NotImplementedError
