"""Clients that take the web server's time: each is ended by the server, and an honest one is served meanwhile."""

from __future__ import annotations

import json
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import requests

from tests.e2e.conftest import SECRET, SUBMISSIONS, Service
from tests.standins import ArchiveHost, DesciServer

pytestmark = pytest.mark.e2e

LIMITS = {
    "WEB_CONNECTIONS": "120",
    "REQUEST_HEAD_SECONDS": "2",
    "REQUEST_BODY_SECONDS": "2",
    "KEEP_ALIVE_SECONDS": "1",
    "ANSWER_SECONDS": "1",
    "API_RATE": "0",
    "API_RATE_PER_CLIENT": "0",
}
MANY = 200
PATIENCE = 60.0
JSON = "Content-Type: application/json\r\n"
KNOWN = f"POST {SUBMISSIONS} HTTP/1.1\r\nHost: localhost\r\nX-Internal-Secret: {SECRET}\r\n{JSON}"
STRANGE = f"POST {SUBMISSIONS} HTTP/1.1\r\nHost: localhost\r\n{JSON}"
SIGN_IN = "POST /sign-in/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
GET = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        running = Service(tmp_path_factory.mktemp("slow") / "data", archive, desci, WORKERS="0", **LIMITS)
        running.start()
        yield running
        running.stop()


@contextmanager
def connected(service: Service, first: str) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as connection:
        connection.sendall(first.encode())
        yield connection


def told(connection: socket.socket) -> bytes:
    """What the server says until it closes the connection."""
    answer = bytearray()
    with suppress(ConnectionResetError):
        while data := connection.recv(65536):
            answer += data
    return bytes(answer)


def refusal(answer: bytes) -> tuple[int, bool]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), bool(json.loads(body)["ok"])


def serve_honest(service: Service) -> None:
    assert requests.get(f"{service.url}/readyz", timeout=PATIENCE).status_code == 200


def dripped(connection: socket.socket, drop: bytes) -> bytes:
    """What the server says to who sends a little now and then, until it closes the connection."""
    closed = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            while not closed.wait(0.1):
                connection.sendall(drop)

    sender = threading.Thread(target=drip)
    sender.start()
    try:
        return told(connection)
    finally:
        closed.set()
        sender.join()


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (GET, b"X"),
        (GET, b"X-More: 1\r\n"),
        (f"{STRANGE}Content-Length: 1000\r\n\r\n", b" "),
        (f"{KNOWN}Content-Length: 1000\r\n\r\n", b" "),
        (f"{KNOWN}Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (f"{KNOWN}Content-Length: 900000\r\n\r\n" + " " * 200_000, b" "),
        (f"{KNOWN}Transfer-Encoding: chunked\r\n\r\n30d40\r\n" + " " * 200_000 + "\r\n", b"1\r\n \r\n"),
        (f"{SIGN_IN}Content-Length: 1000\r\n\r\n", b"a"),
    ],
    ids=["header", "headers", "stranger", "body", "chunked", "large", "large-chunked", "form"],
)
def test_a_slow_request_is_ended(service: Service, head: str, drop: bytes) -> None:
    with connected(service, head) as connection:
        serve_honest(service)
        assert refusal(dripped(connection, drop)) == (408, False)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (GET + "X-Many: 1\r\n" * 101 + "\r\n", 431),
        (GET + f"X-Huge: {'x' * 9000}\r\n\r\n", 431),
        (GET + f"X-Large: {'x' * 5000}\r\n" * 10, 431),
        (f"GET /{'x' * 5000} HTTP/1.1\r\n\r\n", 414),
        (GET + "no header\r\n\r\n", 400),
        ("\x16\x03\x01\x02 hello\r\n\r\n", 400),
        (f"{KNOWN}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (f"{KNOWN}Content-Length: 100000001\r\n\r\n" + " " * 200_000, 413),
        (f"{SIGN_IN}Content-Length: 1000000\r\n\r\n", 413),
        (f"{STRANGE}Content-Length: 1000000\r\n\r\n" + " " * 200_000, 401),
    ],
    ids=["many", "huge", "head", "address", "header", "tls", "both", "body", "form", "stranger"],
)
def test_too_much_is_refused_in_the_envelope(service: Service, request_: str, code: int) -> None:
    with connected(service, request_) as connection:
        assert refusal(told(connection)) == (code, False)


@pytest.mark.parametrize(("head", "code"), [(KNOWN, 413), (STRANGE, 401), (SIGN_IN, 413)])
def test_a_body_without_an_end_is_ended(service: Service, head: str, code: int) -> None:
    """Whatever the answer, it is given while the client still sends."""
    megabyte = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    with connected(service, f"{head}Transfer-Encoding: chunked\r\n\r\n") as connection, selectors.DefaultSelector() as heard:
        heard.register(connection, selectors.EVENT_READ)
        with suppress(ConnectionError):
            while not heard.select(0):
                connection.sendall(megabyte)
        with suppress(ConnectionError):
            assert connection.recv(12).split()[1] == str(code).encode()
    serve_honest(service)


def test_an_idle_connection_is_closed(service: Service) -> None:
    with connected(service, f"{GET}\r\n") as connection:
        assert told(connection).count(b"200 OK") == 1


def test_requests_that_are_sent_ahead_are_answered_in_turn(service: Service) -> None:
    with connected(service, f"{GET}\r\n" * 3 + GET) as connection:
        assert told(connection).count(b"200 OK") == 3


def test_who_asks_whether_to_go_on_is_told_once(service: Service) -> None:
    with connected(service, f"{KNOWN}Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n") as connection:
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert refusal(told(connection)) == (400, False)


@pytest.mark.parametrize("first", ["", "G", GET, f"{SIGN_IN}Content-Length: 9\r\n\r\na", f"{GET}Connection: close\r\n\r\n"])
def test_an_honest_client_is_served_beside_two_hundred_others(service: Service, first: str) -> None:
    """More than there is room for: they say nothing, or not all, or stay after their answer."""
    with ExitStack() as stack:
        idle = [stack.enter_context(connected(service, first)) for _ in range(MANY)]
        for _ in range(20):
            serve_honest(service)
        for connection in idle:
            told(connection)


def test_no_header_says_where_a_request_goes(service: Service) -> None:
    """As it comes, gunicorn believes it of who connects from this machine: a proxy, that is, and whoever is behind it."""
    asked = "GET /elsewhere/readyz HTTP/1.1\r\nHost: localhost\r\nSCRIPT_NAME: /elsewhere\r\nConnection: close\r\n\r\n"
    with connected(service, asked) as asking:
        assert told(asking).split()[1] == b"404"


def test_who_does_not_take_an_answer_holds_no_thread(service: Service) -> None:
    """As many as there are threads, each with more to be sent than fits between the two."""
    request = "GET /static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(8):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", service.port))
            connection.sendall(request.encode() * 10)
        serve_honest(service)


def test_no_attack_left_a_traceback(service: Service) -> None:
    assert "Traceback" not in service.output()
