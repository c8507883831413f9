"""Calls with a deadline, against servers that answer slowly at every point of a call."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import requests

from builds.engine.clients.http import CALL_FAILURES, BoundedAdapter, DeadlineSession, read_beginning

pytestmark = pytest.mark.usefixtures("must_end")

SECONDS = 0.5
EVERY = 0.05
HEAD = b"HTTP/1.1 200 OK\r\n"
# The beginning of a TLS record of 16 kB with a ServerHello.
TLS = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03"


@contextmanager
def serving(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """A server on the yielded port that handles each connection with ``talk``."""
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _address = listener.accept()
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

    def handle(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            talk(connection, ended)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def dripping(beginning: bytes, drop: bytes = b"a") -> Callable[[socket.socket, threading.Event], None]:
    def talk(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(beginning)
        while not ended.wait(EVERY):
            connection.sendall(drop)

    return talk


DRIPS = {
    "status line": dripping(b"HTTP/1.1 200 "),
    "headers": dripping(HEAD + b"X: "),
    "many headers": dripping(HEAD, b"X: a\r\n"),
    "continue": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body with a length": dripping(HEAD + b"Content-Length: 1000000\r\n\r\n"),
    "body without a length": dripping(HEAD + b"Connection: close\r\n\r\n"),
    "chunks": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "size of a chunk": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "end of the chunks": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: a\r\n"),
}


@pytest.mark.parametrize("talk", DRIPS.values(), ids=DRIPS)
def test_a_server_that_drips_is_cut_off(talk: Callable[[socket.socket, threading.Event], None]) -> None:
    with serving(talk) as port, DeadlineSession(SECONDS) as session, pytest.raises(CALL_FAILURES):
        with session.get(f"http://127.0.0.1:{port}/", timeout=30, stream=True) as response:
            read_beginning(response, 1_000_000)
        session.deadline.check()


# urllib3 leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("address", ["https://127.0.0.1:{port}/", "https://elsewhere.invalid/"], ids=["direct", "by a proxy"])
@pytest.mark.parametrize("beginning", [TLS, b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\n\r\n" + TLS], ids=["TLS", "proxy", "both"])
def test_a_handshake_that_drips_is_cut_off(address: str, beginning: bytes) -> None:
    with serving(dripping(beginning, b"\0")) as port, DeadlineSession(SECONDS) as session:
        proxies = {"https": f"http://127.0.0.1:{port}"} if "elsewhere" in address else {"no": "127.0.0.1"}
        with pytest.raises(CALL_FAILURES):
            session.get(address.format(port=port), timeout=30, stream=True, proxies=proxies, verify=False)
    gc.collect()


def test_a_request_that_is_not_read_is_cut_off() -> None:
    def talk(_connection: socket.socket, ended: threading.Event) -> None:
        ended.wait()

    with serving(talk) as port, DeadlineSession(SECONDS) as session:
        with pytest.raises(CALL_FAILURES):
            session.post(f"http://127.0.0.1:{port}/", data=b"x" * 50_000_000, timeout=30)
        assert session.deadline.is_over


def test_a_call_that_makes_progress_may_prolong_its_deadline() -> None:
    def talk(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(HEAD + b"Content-Length: 20\r\n\r\n")
        for _ in range(20):
            ended.wait(EVERY)
            connection.sendall(b"a")

    with serving(talk) as port, DeadlineSession(SECONDS) as session:
        session.deadline.prolong(60)
        with session.get(f"http://127.0.0.1:{port}/", timeout=30, stream=True) as response:
            assert read_beginning(response, 100) == b"a" * 20
        session.deadline.check()


def test_the_body_of_a_redirect_is_not_read() -> None:
    sent = []

    def talk(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n")
        while not ended.is_set():
            sent.append(connection.send(b"a" * 65536))

    with serving(talk) as port, DeadlineSession(60) as session:
        with session.get(f"http://127.0.0.1:{port}/", timeout=30, stream=True, allow_redirects=False) as response:
            assert response.status_code == 302
        assert sum(sent) < 100_000_000


def test_no_socket_and_no_thread_is_left_behind() -> None:
    def talk(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(HEAD + b"Content-Length: 1\r\n\r\na")
        connection.recv(1)  # the client closes the connection
        closed.set()

    closed = threading.Event()
    with serving(talk) as port:
        with DeadlineSession(600) as session, session.get(f"http://127.0.0.1:{port}/", timeout=30) as response:
            assert response.text == "a"
        assert closed.wait(30)
        until = time.monotonic() + 30
        while any(thread.name == "deadline" for thread in threading.enumerate()):
            assert time.monotonic() < until
            time.sleep(0.01)


def bounded(port: int, max_bytes: int = 1000) -> requests.Response:
    with requests.Session() as session:
        session.mount("http://", BoundedAdapter(SECONDS, max_bytes))
        return session.get(f"http://127.0.0.1:{port}/", timeout=30)


@pytest.mark.parametrize("talk", DRIPS.values(), ids=DRIPS)
def test_a_bounded_adapter_cuts_off_a_server_that_drips(talk: Callable[[socket.socket, threading.Event], None]) -> None:
    with serving(talk) as port, pytest.raises(requests.RequestException):
        bounded(port, 1_000_000)


@pytest.mark.parametrize("size", [1000, 1001])
def test_a_bounded_adapter_limits_the_answer(size: int) -> None:
    def talk(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % size + b"a" * size)

    with serving(talk) as port:
        if size == 1000:
            assert bounded(port).text == "a" * size
        else:
            with pytest.raises(requests.RequestException):
                bounded(port)
