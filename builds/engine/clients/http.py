"""HTTP with a deadline for the whole call: a server that sends a byte now and then cannot hold it.

The time limits of requests are for connecting and between two pieces of an answer. Here all connections of a call are shut down when
its time is over, whatever they are doing: a TLS handshake, headers or a body. Bodies are never decompressed, because a small one could
become a large one.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

# All that a call can raise if its answer is missing, late, cut or not HTTP. ValueError: parts of an answer that are not text or numbers.
CALL_FAILURES = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)
# Asks for a body that is not compressed.
PLAIN = {"Accept-Encoding": "identity"}


class Deadline:
    """Shuts down the connections that it watches when ``seconds`` have passed, unless it is cancelled or prolonged before."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_over = False
        self._ends_at = time.monotonic() + seconds
        self._watched: list[socket.socket] = []
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        threading.Thread(target=self._wait, name="deadline", daemon=True).start()

    def watch(self, connected: socket.socket) -> None:
        """Watch a duplicate: the socket itself changes its owner when TLS begins, and its number may be used again once it is closed."""
        duplicate = connected.dup()
        with self._lock:
            self._watched.append(duplicate)
            if self.is_over:
                _shut_down(duplicate)
            if self._cancelled.is_set():
                self._close()

    def prolong(self, seconds: float) -> None:
        """Let the call go on for ``seconds`` from now, if that is longer than what is left."""
        self._ends_at = max(self._ends_at, time.monotonic() + seconds)

    def cancel(self) -> None:
        """End the call, and its connections."""
        self._cancelled.set()
        with self._lock:
            self._close()

    def check(self) -> None:
        """A body whose length is not known looks complete when its connection is shut down.

        Raises:
            requests.Timeout: the time is over.
        """
        if self.is_over:
            raise requests.Timeout(f"no complete answer within {self.seconds:g} s")

    def _wait(self) -> None:
        while (left := self._ends_at - time.monotonic()) > 0:
            if self._cancelled.wait(left):
                return
        with self._lock:
            self.is_over = True
            for duplicate in self._watched:
                _shut_down(duplicate)

    def _close(self) -> None:
        for duplicate in self._watched:
            _shut_down(duplicate)  # the connection ends now, also if a response is still referred to
            duplicate.close()
        self._watched.clear()


def _shut_down(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


class DeadlineSession(requests.Session):
    """A session for one call. After ``seconds`` its requests, and reading their answers, fail. It follows no redirect."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.deadline = Deadline(seconds)
        for scheme in ("http://", "https://"):
            self.mount(scheme, _DeadlineAdapter(self.deadline))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def resolve_redirects(self, *args: Any, **options: Any) -> Iterator[requests.Response]:
        """Do nothing: even where requests must not follow a redirect, it would read the whole body and the address."""
        return iter(())

    def close(self) -> None:
        self.deadline.cancel()
        super().close()


class BoundedAdapter(HTTPAdapter):
    """For a library that makes its own calls with a session of requests. Mounted there, it limits each call's time and answer."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        super().__init__()
        self._seconds, self._max_bytes = seconds, max_bytes

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send the request and read the whole answer.

        Raises:
            requests.RequestException: there is no complete answer in time, or it is too large.
        """
        request.headers.update(PLAIN)
        deadline = Deadline(self._seconds)
        adapter = _DeadlineAdapter(deadline)
        try:
            response = adapter.send(request, *args, **{**options, "stream": True})
            with response.raw:
                body = read_beginning(response, self._max_bytes + 1)
            deadline.check()
        except HTTPError as error:
            raise requests.ConnectionError(error, request=request) from error
        finally:
            deadline.cancel()
            adapter.close()
        if len(body) > self._max_bytes:
            raise requests.ConnectionError(f"an answer of more than {self._max_bytes} bytes", request=request)
        response.raw = io.BytesIO(body)
        return response


class _DeadlineAdapter(HTTPAdapter):
    """Makes connections that the deadline watches."""

    def __init__(self, deadline: Deadline) -> None:
        self._pools = _make_pools(deadline)
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self._use_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(proxy, **options)
        self._use_pools(manager)
        return manager

    def _use_pools(self, manager: PoolManager) -> None:
        manager.pool_classes_by_scheme = self._pools


def _make_pools(deadline: Deadline) -> dict[str, type[HTTPConnectionPool]]:
    """Pools whose connections are watched from the moment they are open: a handshake or the answer of a proxy can be slow too."""

    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            connected = super()._new_conn()
            deadline.watch(connected)
            return connected

    class SecureConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            connected = super()._new_conn()
            deadline.watch(connected)
            return connected

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}


def read_pieces(response: requests.Response, size: int) -> Iterator[bytes]:
    """The body as it was sent, in pieces of at most ``size`` bytes.

    Raises:
        HTTPError, HTTPException, OSError, ValueError: the connection broke, or the body is not sent as HTTP says.
    """
    yield from response.raw.stream(size, decode_content=False)


def read_beginning(response: requests.Response, max_bytes: int) -> bytes:
    """At most ``max_bytes`` of the body."""
    data = bytearray()
    for piece in read_pieces(response, max_bytes):
        data += piece
        if len(data) >= max_bytes:
            break
    return bytes(data[:max_bytes])
