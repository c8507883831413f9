"""Slow and hostile clients: the web server disconnects them, and serves honest clients meanwhile."""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import requests

from tests.e2e.conftest import SECRET, Service
from tests.e2e.hostile_clients import (
    GET,
    GET_LARGE,
    KINDS,
    KNOWN,
    LARGE_FILE,
    LARGE_FILE_BYTES,
    SIGN_IN,
    STRANGE,
    Kind,
    connections,
)
from tests.standins import ArchiveHost, DesciServer

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

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
# With default settings: what an honest client waits at most while hostile ones hold this many connections of one kind.
HOSTILE = 64
ANSWERED_WITHIN = 1.0
HONEST_REQUESTS = 10


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


def read_to_end(connection: socket.socket) -> bytes:
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
    """Send a little now and then. What the server answers until it closes the connection."""
    closed = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            while not closed.wait(0.1):
                connection.sendall(drop)

    sender = threading.Thread(target=drip)
    sender.start()
    try:
        return read_to_end(connection)
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
def test_a_slow_request_is_answered_408(service: Service, head: str, drop: bytes) -> None:
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
def test_an_oversized_or_invalid_request_is_refused_in_the_envelope(service: Service, request_: str, code: int) -> None:
    with connected(service, request_) as connection:
        assert refusal(read_to_end(connection)) == (code, False)


@pytest.mark.parametrize(("head", "code"), [(KNOWN, 413), (STRANGE, 401), (SIGN_IN, 413)])
def test_an_endless_body_is_refused(service: Service, head: str, code: int) -> None:
    """The answer comes while the client still sends."""
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
        assert read_to_end(connection).count(b"200 OK") == 1


def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    with connected(service, f"{GET}\r\n" * 3 + GET) as connection:
        assert read_to_end(connection).count(b"200 OK") == 3


def test_a_client_that_expects_100_continue_gets_it_once(service: Service) -> None:
    with connected(service, f"{KNOWN}Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n") as connection:
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert refusal(read_to_end(connection)) == (400, False)


@pytest.mark.parametrize("first", ["", "G", GET, f"{SIGN_IN}Content-Length: 9\r\n\r\na", f"{GET}Connection: close\r\n\r\n"])
def test_an_honest_client_is_served_beside_more_connections_than_fit(service: Service, first: str) -> None:
    """The others send nothing, or only a part, or stay connected after their answer."""
    with ExitStack() as stack:
        idle = [stack.enter_context(connected(service, first)) for _ in range(MANY)]
        for _ in range(20):
            serve_honest(service)
        for connection in idle:
            read_to_end(connection)


def test_a_header_cannot_change_the_path_of_a_request(service: Service) -> None:
    """A server that believes SCRIPT_NAME lets a client choose where its request seems to go."""
    asked = "GET /elsewhere/readyz HTTP/1.1\r\nHost: localhost\r\nSCRIPT_NAME: /elsewhere\r\nConnection: close\r\n\r\n"
    with connected(service, asked) as asking:
        assert read_to_end(asking).split()[1] == b"404"


def test_the_large_file_that_attackers_request_exists(service: Service) -> None:
    """Otherwise the clients that never read would get a 404 of a few hundred bytes, and the test would prove nothing."""
    answer = requests.get(f"{service.url}/static/{LARGE_FILE}", timeout=PATIENCE)
    assert (answer.status_code, len(answer.content)) == (200, LARGE_FILE_BYTES)
    assert LARGE_FILE_BYTES > 300_000


def test_a_client_that_never_reads_is_disconnected(service: Service) -> None:
    with connected(service, f"{GET_LARGE}\r\n" * 10) as connection:
        wait_until_closed(connection)


def wait_until_closed(connection: socket.socket) -> None:
    """Wait without reading: the kernel says when the other side has gone."""
    with selectors.PollSelector() as watched:
        watched.register(connection, selectors.EVENT_WRITE)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(BlockingIOError):
                try:
                    connection.send(b"x", socket.MSG_DONTWAIT)
                except (BrokenPipeError, ConnectionResetError):
                    return
            time.sleep(0.1)
    raise AssertionError("the server still holds the connection")


def test_no_attack_left_a_traceback(service: Service) -> None:
    assert "Traceback" not in service.output()


@pytest.fixture(scope="module")
def default_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with default limits. Only the rate limit is off, because all clients here have one address."""
    settings = {"WORKERS": "0", "WEB_WORKERS": "2", "API_RATE": "0", "API_RATE_PER_CLIENT": "0"}
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        running = Service(tmp_path_factory.mktemp("default") / "data", archive, desci, **settings)
        running.start()
        yield running
        running.stop()


def seconds_of_honest_requests(service: Service, name: str) -> list[float]:
    """The duration of each request. They go to /readyz and submit in turn."""
    taken = []
    for number in range(HONEST_REQUESTS):
        submission = {
            "url": "https://github.com/a/b/blob/main/myst.yml",
            "jobId": f"{name}-{number}",
            "uuid": f"node-{name}-{number}.",
            "parsedDocument": {},
        }
        started_at = time.monotonic()
        if number % 2:
            serve_honest(service)
        else:
            assert service.call("POST", json=submission).status_code == 202
        taken.append(time.monotonic() - started_at)
    return taken


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_honest_client_is_answered_within_a_second_beside_hostile_ones(default_service: Service, kind: Kind) -> None:
    """The median is below a second. On a busy machine it is below ten times the median without hostile clients."""
    quiet = statistics.median(seconds_of_honest_requests(default_service, f"before-{kind.name}"))
    with connections(default_service, kind, HOSTILE):
        beside = statistics.median(seconds_of_honest_requests(default_service, f"beside-{kind.name}"))
    assert beside < max(ANSWERED_WITHIN, 10 * quiet)


def test_no_attack_with_default_settings_left_a_traceback(default_service: Service) -> None:
    assert "Traceback" not in default_service.whole_output()
