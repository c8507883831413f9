"""The door to MyST's templates: the service itself fetches them, through the same filtering proxy that a build is let out by."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from builds import network
from builds.errors import TemplateFailed
from builds.stages import Hosts

IDLE_SECONDS = 20.0
MOST_REDIRECTS = 5
ANSWER_BYTES = 1 << 20
HEAD_BYTES = 4096
CHUNK = 1 << 16
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class TemplateHost:
    """``api`` is the address of the registry; ``hosts`` are those that a build may ask, too."""

    api: str
    hosts: Hosts

    def address(self, name: str) -> str:
        """Where the registry tells of the template ``kind/org/name``."""
        return f"{self.api}/templates/{name}"

    def download(self, address: str, to: Path, *, most_bytes: int, seconds: float) -> None:
        """The zip of a template: at ``address`` itself, or where the registry's answer there says.

        Raises:
            TemplateFailed: it can't be had; the sentence says why.
        """
        try:
            with network.proxied(self.hosts.listed, self.hosts.private) as proxy:
                fetch = _Fetch(self.api, proxy.socket, time.monotonic() + seconds)
                fetch.into(fetch.zip_of(address), to, most_bytes)
        except (OSError, HTTPException, ValueError) as error:
            raise TemplateFailed(f"its host can't be asked ({_short(error)})") from error


class _Fetch:
    """What is asked for one template, by one deadline."""

    def __init__(self, api: str, proxy: Path, deadline: float) -> None:
        self._api, self._proxy, self._deadline = api, proxy, deadline

    def zip_of(self, address: str) -> str:
        """As mystmd finds it (its ``downloadTemplate``)."""
        if not address.endswith((".zip", ".git")):
            address = self._link(address)
        if address.endswith(".git"):
            return f"{address.removesuffix('.git')}/archive/refs/heads/main.zip"
        return address

    def _link(self, address: str) -> str:
        with self._answer(address) as answer:
            told: Any = json.loads(b"".join(self._parts(answer, ANSWER_BYTES)))
        links = told.get("links") if isinstance(told, dict) else None
        link = links.get("download") if isinstance(links, dict) else None
        if not isinstance(link, str) or not link.endswith((".zip", ".git")):
            raise TemplateFailed("its registry names no zip of it")
        return urljoin(address, link)

    def into(self, address: str, to: Path, most_bytes: int) -> None:
        with self._answer(address) as answer, to.open("wb") as file:
            for part in self._parts(answer, most_bytes):
                file.write(part)

    def _parts(self, answer: HTTPResponse, most_bytes: int) -> Iterator[bytes]:
        done = 0
        while part := answer.read1(CHUNK):
            done += len(part)
            if done > most_bytes:
                raise TemplateFailed(f"it is larger than the {most_bytes / 1e6:g} MB that a template may have")
            self._check_time()
            yield part
        if answer.length:
            raise TemplateFailed("its host broke off the connection")

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise TemplateFailed("its host took too long")

    @contextmanager
    def _answer(self, address: str) -> Iterator[HTTPResponse]:
        """The good answer to a GET, redirects followed by hand: each host on the way passes the proxy's rules."""
        for _ in range(MOST_REDIRECTS):
            self._check_time()
            self._check_scheme(address)
            with self._get(address) as answer:
                if answer.status == 200:
                    yield answer
                    return
                if answer.status not in REDIRECTS:
                    raise TemplateFailed(f"{urlsplit(address).hostname} answered {answer.status}{self._why(answer)}")
                address = urljoin(address, answer.getheader("Location", ""))
        raise TemplateFailed("its host redirected in circles")

    def _why(self, answer: HTTPResponse) -> str:
        """What the proxy says of a plain request that it refuses."""
        told = answer.read(HEAD_BYTES).decode("ascii", "replace").strip()
        return f": {told}" if told.startswith("Refused by Jobsite") else ""

    def _check_scheme(self, address: str) -> None:
        """Over plain HTTP anybody on the way could put in another: only an operator's own registry may be asked so."""
        if urlsplit(address)[:2] != urlsplit(self._api)[:2] and urlsplit(address).scheme != "https":
            raise TemplateFailed("it is not to be had over HTTPS")

    @contextmanager
    def _get(self, address: str) -> Iterator[HTTPResponse]:
        parts = urlsplit(address)
        secure = parts.scheme == "https"
        name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        port = parts.port or (443 if secure else 80)
        with socket.socket(socket.AF_UNIX) as plain:
            plain.settimeout(IDLE_SECONDS)
            plain.connect(str(self._proxy))
            used = _tunnel(plain, f"{name}:{port}") if secure else plain
            with used:
                connection = HTTPConnection(name, port)
                connection.sock = used
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "") if secure else address
                connection.request("GET", target, headers={"User-Agent": "jobsite", "Connection": "close"})
                yield connection.getresponse()


def _tunnel(plain: socket.socket, target: str) -> ssl.SSLSocket:
    """TLS with the host itself, through the proxy."""
    plain.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
    head = bytearray()
    while not head.endswith(b"\r\n\r\n") and len(head) < HEAD_BYTES and (byte := plain.recv(1)):
        head += byte
    if b" 200 " not in head.partition(b"\r\n")[0]:
        told = plain.recv(HEAD_BYTES).decode("ascii", "replace").strip() if head else ""
        raise TemplateFailed(told or "its host can't be reached")
    return ssl.create_default_context().wrap_socket(plain, server_hostname=target.rpartition(":")[0].strip("[]"))


def _short(error: Exception) -> str:
    return (getattr(error, "strerror", "") or type(error).__name__)[:100]
