"""Clients that try to hold the web server. Each kind is a way to behave on one connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from django.contrib import admin

from tests.e2e.conftest import SECRET, SUBMISSIONS, Service

# A large file that anyone may request. A test checks that it exists.
LARGE_FILE = "admin/js/vendor/xregexp/xregexp.js"
LARGE_FILE_BYTES = (Path(admin.__file__).parent / "static" / LARGE_FILE).stat().st_size

JSON = "Content-Type: application/json\r\n"
HOST = "Host: localhost\r\n"
GET = f"GET /readyz HTTP/1.1\r\n{HOST}"
GET_LARGE = f"GET /static/{LARGE_FILE} HTTP/1.1\r\n{HOST}"
KNOWN = f"POST {SUBMISSIONS} HTTP/1.1\r\n{HOST}X-Internal-Secret: {SECRET}\r\n{JSON}"
STRANGE = f"POST {SUBMISSIONS} HTTP/1.1\r\n{HOST}{JSON}"
SIGN_IN = f"POST /sign-in/ HTTP/1.1\r\n{HOST}Content-Type: application/x-www-form-urlencoded\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Kind:
    """``first`` is sent at once. Then, again and again, ``drip`` is sent and ``reads`` bytes are read, with ``pause`` seconds between."""

    name: str
    first: str = ""
    drip: bytes = b""
    reads: int = 0
    pause: float = 0.2


KINDS = [
    Kind("silent"),
    Kind("first-letter", "G"),
    Kind("headers-without-end", GET, b"X-More: 1\r\n"),
    Kind("header-without-end", GET, b"x"),
    Kind("empty-lines", "", b"\r\n"),
    Kind("tls-hello", "\x16\x03\x01\x02\x00\x01"),
    Kind("http2-preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Kind("upgrade", f"{GET}Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
    Kind("connect", f"CONNECT localhost:443 HTTP/1.1\r\n{HOST}\r\n"),
    Kind("body-never-comes", f"{SIGN_IN}Content-Length: 1000\r\n\r\n"),
    Kind("body-drips", f"{SIGN_IN}Content-Length: 100000\r\n\r\n", b"a"),
    Kind("known-body-drips", f"{KNOWN}Content-Length: 900000\r\n\r\n", b" "),
    Kind("large-body-of-a-stranger", f"{STRANGE}Content-Length: 90000000\r\n\r\n", b" " * 1000),
    Kind("chunks-drip", f"{STRANGE}{CHUNKED}", b"1\r\n \r\n"),
    Kind("chunk-without-end", f"{STRANGE}{CHUNKED}ffff\r\n", b" "),
    Kind("broken-chunk-size", f"{STRANGE}{CHUNKED}xyz\r\n"),
    Kind("broken-chunk-end", f"{STRANGE}{CHUNKED}1\r\n  \r\n"),
    Kind("chunk-extension-without-end", f"{STRANGE}{CHUNKED}1;", b"x"),
    Kind("trailers-without-end", f"{STRANGE}{CHUNKED}0\r\n", b"X-More: 1\r\n"),
    Kind("two-lengths", f"{STRANGE}Content-Length: 5\r\n{CHUNKED}"),
    Kind("waits-to-continue", f"{KNOWN}Expect: 100-continue\r\nContent-Length: 100\r\n\r\n"),
    Kind("keeps-alive", f"{GET}\r\n", f"{GET}\r\n".encode(), 65536, pause=4.0),
    Kind("never-reads", f"{GET_LARGE}\r\n" * 10),
    Kind("never-reads-many-small", f"{GET}\r\n" * 100),
    Kind("reads-slowly", f"{GET_LARGE}\r\n", b"", 16),
    Kind("pipelines-for-ever", f"{GET}\r\n" * 50, f"{GET}\r\n".encode() * 5, 1 << 20, pause=4.0),
]


@contextmanager
def connections(service: Service, kind: Kind, count: int) -> Iterator[list[socket.socket]]:
    """``count`` connections that behave as ``kind`` says. A connection that the server has closed is opened again."""
    stopped = threading.Event()
    opened: list[socket.socket] = [_connect(service, kind) for _ in range(count)]

    def go_on() -> None:
        while not stopped.wait(kind.pause):
            for place, connection in enumerate(opened):
                try:
                    _behave(connection, kind)
                except BlockingIOError:
                    continue
                except OSError:
                    connection.close()
                    with suppress(OSError):
                        opened[place] = _connect(service, kind)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield opened
    finally:
        stopped.set()
        thread.join()
        for connection in opened:
            connection.close()


def _connect(service: Service, kind: Kind) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", service.port))
    connection.setblocking(False)
    with suppress(BlockingIOError):
        connection.send(kind.first.encode("latin-1"))
    return connection


def _behave(connection: socket.socket, kind: Kind) -> None:
    if kind.reads and not connection.recv(kind.reads):
        raise ConnectionResetError
    if kind.drip:
        connection.send(kind.drip)
