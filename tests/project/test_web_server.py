"""What the web server's loop does with connections that end."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from waitress.channel import HTTPChannel

from jobsite.web.channel import Channel, Patience
from jobsite.web.request import Limits
from jobsite.web.server import Server


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
