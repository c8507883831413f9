"""What the web server's loop does with connections that end, and with answers that go on."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from waitress import wasyncore
from waitress.channel import HTTPChannel

from jobsite.web.channel import Channel, Patience, Phase
from jobsite.web.request import Limits
from jobsite.web.server import MOMENT_SECONDS, Server
from jobsite.web.stream import STREAM, Stream


@pytest.fixture
def server() -> Iterator[Server]:
    listening = socket.create_server(("127.0.0.1", 0))
    patience = Patience(head=60, body=60, idle=60, answer=60)
    limits = Limits(max_headers=100, max_body_bytes=1000, admit=lambda path, headers: None)
    made = Server(
        lambda environ, start_response: [],
        listening,
        threads=1,
        max_connections=10,
        max_head_bytes=1000,
        patience=patience,
        limits=limits,
    )
    yield made
    for channel in list(made.active_channels.values()):
        channel.drop()
    made.close()
    listening.close()


def test_a_dropped_connection_is_not_watched_any_more(server: Server) -> None:
    """The loop asks a connection that it has just ended. Watched by its number, it would end the next connection with that number."""
    with socket.create_connection(server.socket.getsockname()):
        server.handle_accept()
        (channel,) = server.active_channels.values()
        assert isinstance(channel, Channel)
        assert channel.readable()
        channel.drop()
        assert (channel.readable(), channel.writable()) == (False, False)


def test_a_client_that_was_answered_since_is_not_idle_for_longer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that the loop looks, a fast client has its answer and has not sent its next request yet."""
    monkeypatch.setattr(HTTPChannel, "service", lambda channel: None)
    with socket.create_connection(server.socket.getsockname()):
        server.handle_accept()
        (channel,) = server.active_channels.values()
        channel.service()
        answered_at = time.monotonic()
        channel.end_if_late(answered_at)
        monkeypatch.setattr(time, "monotonic", lambda: answered_at + 59)
        channel.service()
        channel.end_if_late(answered_at + 61)
        assert channel.connected
        channel.end_if_late(answered_at + 120)
        assert not channel.connected


# --- answers that go on


class View:
    """An application whose answers go on, one after the other."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/ordinary":
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]
        environ[STREAM](self.streams.append)
        start_response("200 OK", [])
        return [b"begin\n", b""]

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.streams) == count)


def wait_until(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def view(server: Server) -> Iterator[View]:
    """The server at work, with the application."""
    server.application, is_over = View(), threading.Event()

    def work() -> None:
        server._loop_thread = threading.get_ident()
        while not is_over.is_set():
            wasyncore.loop(timeout=0.05, use_poll=True, map=server._sockets, count=1)

    thread = threading.Thread(target=work)
    thread.start()
    yield server.application
    is_over.set()
    thread.join()


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[..., socket.socket]]:
    opened: list[socket.socket] = []

    def connected(path: str = "/", version: str = "1.1", *, rest: bytes = b"") -> socket.socket:
        client = socket.create_connection(server.socket.getsockname(), timeout=60)
        opened.append(client)
        client.sendall(f"GET {path} HTTP/{version}\r\nHost: any\r\n\r\n".encode() + rest)
        return client

    yield connected
    for client in opened:
        client.close()


def read_until(client: socket.socket, end: bytes) -> bytes:
    found = b""
    while end not in found:
        part = client.recv(1)
        assert part, found
        found += part
    return found


def read_all(client: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionError):
        while part := client.recv(1 << 16):
            found += part
    return found


Connect = Callable[..., socket.socket]


def test_answers_that_go_on_take_no_thread(view: View, connect: Connect) -> None:
    """The server has one thread."""
    clients = [connect() for _ in range(5)]
    view.wait_for(5)
    assert read_until(connect("/ordinary"), b"ok").startswith(b"HTTP/1.1 200")
    Stream.write_to_all(view.streams, b"more\n")
    for client in clients:
        read_until(client, b"6\r\nbegin\n\r\n5\r\nmore\n\r\n")
    Stream.end_all(view.streams)
    assert [read_all(client) for client in clients] == [b"0\r\n\r\n"] * 5
    assert not any(stream.is_open for stream in view.streams)
    Stream.write_to_all(view.streams, b"after the end\n")


def test_an_older_client_reads_to_the_end_of_the_connection(view: View, connect: Connect) -> None:
    client = connect(version="1.0")
    view.wait_for(1)
    Stream.write_to_all(view.streams, b"more\n")
    Stream.end_all(view.streams)
    assert read_all(client).endswith(b"\r\n\r\nbegin\nmore\n")


def test_a_client_that_has_gone_is_no_listener(view: View, connect: Connect) -> None:
    client = connect()
    view.wait_for(1)
    client.close()
    wait_until(lambda: not view.streams[0].is_open)
    Stream.write_to_all(view.streams, b"more\n")


def test_a_client_that_sends_more_loses_its_answer(view: View, connect: Connect) -> None:
    client = connect()
    view.wait_for(1)
    client.sendall(b"GET /ordinary HTTP/1.1\r\n")
    assert b"0\r\n\r\n" not in read_all(client)
    assert not view.streams[0].is_open


def test_the_answer_does_not_go_on_if_another_request_waits(view: View, connect: Connect) -> None:
    found = read_all(connect(rest=b"GET /ordinary HTTP/1.1\r\nHost: any\r\n\r\n"))
    assert found.endswith(b"6\r\nbegin\n\r\n0\r\n\r\n")
    assert not view.streams


def test_a_client_that_does_not_read_loses_its_answer(view: View, connect: Connect) -> None:
    connect()
    view.wait_for(1)
    for _ in range(200):
        Stream.write_to_all(view.streams, bytes(1 << 18))
    wait_until(lambda: not view.streams[0].is_open)


def test_an_answer_that_cannot_be_written_costs_the_others_nothing(
    server: Server, view: View, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = connect()
    view.wait_for(1)
    [channel] = server.active_channels.values()

    def fail(data: bytes) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(channel, "write_soon", fail)
    other = connect()
    view.wait_for(2)
    Stream.write_to_all(view.streams, b"more\n")
    read_until(other, b"more\n")
    assert b"more" not in read_all(broken)
    assert [stream.is_open for stream in view.streams] == [False, True]


def test_what_was_sent_is_not_kept(server: Server, view: View, connect: Connect) -> None:
    client = connect()
    view.wait_for(1)
    read_until(client, b"begin\n\r\n")
    (channel,) = server.active_channels.values()
    with client.makefile("rb") as answer:
        for _ in range(20):
            Stream.write_to_all(view.streams, bytes(100_000))
            assert len(answer.read(len(b"186A0\r\n\r\n") + 100_000)) > 100_000
    assert sum(sys.getsizeof(buffer.getfile()) for buffer in channel.outbufs) < 300_000


def test_answers_that_go_on_end_when_the_server_stops(server: Server, view: View, connect: Connect) -> None:
    client = connect()
    view.wait_for(1)
    server.is_stopping = True
    assert read_all(client).endswith(b"0\r\n\r\n")


def test_an_answer_that_goes_on_gives_up_its_place_last(server: Server, view: View, connect: Connect) -> None:
    client = connect()
    view.wait_for(1)
    for channel in server.active_channels.values():
        assert channel.observe(time.monotonic()) is Phase.STREAMED  # since then, which is longer than the other
    idle = socket.create_connection(server.socket.getsockname(), timeout=60)
    time.sleep(MOMENT_SECONDS)
    for _ in range(9):  # the tenth and the eleventh connection
        connect("/ordinary")
    assert idle.recv(1) == b""
    assert view.streams[0].is_open
    idle.close()
    client.close()
