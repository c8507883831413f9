"""The only way from a sandbox to the network: an HTTP proxy (proxy.py) that allows the listed hosts, at public addresses only.

Usage: filter.py DESCRIPTOR FOLDER HOSTS PRIVATE_HOSTS [OWN_HOST]

DESCRIPTOR is that of a listening socket. FOLDER is for files of proxy.py. HOSTS and PRIVATE_HOSTS are comma-separated lists. OWN_HOST,
one host, may also be this machine itself. A host is allowed on ports 80 and 443, or only on the port that it is listed with; one that
begins with a dot stands for all its subdomains. Private hosts may also have an organisation's private address, but never this machine's
own, a link-local one or a cloud's metadata service. Each name is resolved once, and the address that was checked is the one connected to,
so that a name can't change its address in between. Each refusal is printed as a line on standard output, each listed host that can't be
reached, as a line that begins with ``unreachable``, and each host that was connected to, as a line that begins with ``asked``.

Over plain HTTP only ``GET`` and ``HEAD`` without a body are allowed, and ``Host`` is set to the host that was checked. This leaves no way
to smuggle in a second request, or to name another site at the same address. The content of a tunnel (``CONNECT``) is not checked.
"""

import argparse
import ipaddress
import os
import re
import resource
import select
import socket
import sys
import threading
import time
from typing import Any, NoReturn

from proxy.common.flag import FlagParser
from proxy.core.work import start_threaded_work
from proxy.http.exception import HttpRequestRejected, ProxyConnectionFailed
from proxy.http.proxy import HttpProxyBasePlugin, HttpProxyPlugin

PORTS = (80, 443)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# The only IPv6 addresses that are public (IANA's IPv6 Address Space registry), and those of organisations.
PUBLIC6 = ipaddress.IPv6Network("2000::/3")
PRIVATE6 = (ipaddress.IPv6Network("fc00::/7"), ipaddress.IPv6Network("fec0::/10"))
ISATAP = (0x00005EFE, 0x02005EFE)  # before the IPv4 address in such an address (RFC 5214)
# Addresses where clouds hand out keys, besides the link-local ones: Azure, Alibaba, Oracle, AWS, Google, Scaleway.
METADATA = {
    ipaddress.ip_address(text)
    for text in (
        *("168.63.129.16", "100.100.100.200", "192.0.0.192"),
        *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42"),
    )
}
NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\]")
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
TEXT = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
METHODS = (b"GET", b"HEAD")
# Headers about a body or a single connection, and those that the proxy sets itself.
DROPPED = (
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"keep-alive",
    b"upgrade",
    b"te",
    b"trailer",
    b"expect",
    b"host",
)
MAX_REFUSALS, MAX_HOST_LENGTH = 100, 200
BUFFERED_BYTES = 4 << 20
NICE = 5
BUSY_SECONDS = 0.1
# How many connections are served at once. Their memory must fit into LIMITS, or a build could kill its proxy by opening connections.
MAX_CLIENTS = 100
STACK_BYTES = 1 << 20
LIMITS = {resource.RLIMIT_DATA: 1 << 30, resource.RLIMIT_FSIZE: 1 << 20, resource.RLIMIT_CORE: 0}

HOSTS: set[str] = set()
PRIVATE: set[str] = set()
OWN: set[str] = set()
REPORTED: set[str] = set()


def is_allowed(text: str, *, private: bool = False) -> bool:
    """Whether an address is public, or, with ``private``, public or private. The same must hold for an IPv4 address inside an IPv6 one."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if not all(is_allowed(str(one), private=private) for one in inner_addresses(address)):
            return False
        if address.ipv4_mapped or address in NAT64:
            return True
        if address not in PUBLIC6 and not (private and any(address in network for network in PRIVATE6)):
            return False
        if address.is_site_local:  # Python calls it global
            return private
    if address in METADATA or address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local:
        return False
    return address.is_global or (private and address.is_private and not address.is_reserved)


def inner_addresses(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses inside an IPv6 one to which a router or a translator may pass on what is sent to it."""
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in NAT64 or (int(address) >> 32) & 0xFFFFFFFF in ISATAP:
        inner.append(last)
    return [one for one in inner if one]


def is_listed(host: str, port: int, hosts: set[str]) -> bool:
    """Whether ``hosts`` allow a host on this port."""
    name = host.rstrip(".")
    names = [name, *(name[at:] for at, letter in enumerate(name) if letter == "." and at)]
    return any(f"{one}:{port}" in hosts or (one in hosts and port in PORTS) for one in names)


def is_listed_itself(host: str, port: int) -> bool:
    """Whether a host is on a list with its own name, not only as one below a domain."""
    return not {host, f"{host}:{port}"}.isdisjoint(HOSTS | PRIVATE)


class Filter(HttpProxyBasePlugin):
    """Checks the requests of one client connection."""

    target: tuple[str, int] | None = None
    address: str

    def before_upstream_connection(self, request: Any) -> Any:
        self.target = check_target(request)
        self.address = resolve(*self.target)
        return request

    def resolve_dns(self, host: str, port: int) -> tuple[str, None]:
        return self.address, None

    def handle_client_request(self, request: Any) -> Any:
        """Check each request of the connection. Later ones would be sent to the address of the first."""
        target = check_target(request)
        if target != self.target:
            raise HttpRequestRejected  # closes the connection: the client retries on a new one
        if not request.is_https_tunnel:
            request.del_headers(DROPPED)
            host, port = target
            request.add_headers([(b"Host", f"{host}:{port}".removesuffix(":80").encode()), (b"Connection", b"close")])
        return request

    def handle_upstream_chunk(self, chunk: memoryview) -> None:
        """Pass on each part of an answer as it arrives: proxy.py would keep and parse the whole answer."""
        self.client.queue(chunk)


class Gate(HttpProxyPlugin):
    """Reads from the server only as fast as the client receives: the rest would be kept in memory. Reports a failed connection."""

    async def get_descriptors(self) -> tuple[list[int], list[int]]:
        reads, writes = await super().get_descriptors()
        return ([] if sum(map(len, self.client.buffer)) > BUFFERED_BYTES else reads), writes

    def connect_upstream(self) -> None:
        try:
            super().connect_upstream()
        except ProxyConnectionFailed:
            host = (self.request.host or b"").decode("latin-1")
            report(f"unreachable {host[:MAX_HOST_LENGTH]!r}: no connection to it could be made\n")
            raise
        if self.request.host:
            report(f"asked {self.request.host.decode('latin-1').lower()[:MAX_HOST_LENGTH]}\n")


def check_target(request: Any) -> tuple[str, int]:
    """The host and port of a request. Raises HttpRequestRejected if it is not allowed."""
    host, port = (request.host or b"").decode("latin-1").lower(), request.port
    if not NAME.fullmatch(host):
        raise refusal(host, "it is not a host name")
    if not any(is_listed(host, port, hosts) for hosts in (HOSTS, PRIVATE)):
        if any(is_listed(host, other, hosts) for hosts in (HOSTS, PRIVATE) for other in PORTS):
            raise refusal(f"{host}:{port}", "only the ports 80 and 443 are open")
        raise refusal(host, "it is not on the list of hosts")
    if not request.is_https_tunnel:
        check_plain(request, host, port)
    return host, port


def check_plain(request: Any, host: str, port: int) -> None:
    headers = list((request.headers or {}).values())
    named = [value.lower().decode("latin-1") for key, value in headers if key.lower() == b"host"]
    if any(name.removesuffix(f":{port}") != host for name in named):
        raise refusal(named[0], f"it is named as the Host of a request to {host}")
    if request.method not in METHODS or request.body_expected:
        raise refusal(host, "only GET and HEAD pass over plain HTTP; the rest over HTTPS")
    if not all(TOKEN.fullmatch(key) and TEXT.fullmatch(value) for key, value in headers) or not TEXT.fullmatch(
        request.path or b""
    ):
        raise refusal(host, "the request is not well-formed")


def resolve(host: str, port: int) -> str:
    """The address to connect to. Raises HttpRequestRejected if the host has none that is allowed."""
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        why = f"its name can't be resolved ({getattr(error, 'strerror', None) or error})"
        # A made-up name below a listed domain says nothing about that domain.
        is_down = getattr(error, "errno", None) != socket.EAI_NONAME or is_listed_itself(host, port)
        raise refusal(host, why, report_as="unreachable " if is_down else "") from error
    private, own = is_listed(host, port, PRIVATE), is_listed(host, port, OWN)
    allowed = [one for one in found if is_allowed(one, private=private) or (own and ipaddress.ip_address(one).is_loopback)]
    if not allowed:
        raise refusal(host, "its address is not public")
    return allowed[0]


def report(line: str) -> None:
    """Print the line, unless it was printed before or there were too many of its kind: refusals can't crowd out failures."""
    alike = [one for one in REPORTED if kind_of(one) == kind_of(line)]
    if line not in REPORTED and len(alike) < MAX_REFUSALS:
        REPORTED.add(line)
        sys.stdout.write(line)
        sys.stdout.flush()


def kind_of(line: str) -> str:
    """The word with which a line of the report begins; empty for a refusal."""
    return next((word for word in ("unreachable", "asked") if line.startswith(f"{word} ")), "")


def refusal(host: str, why: str, *, report_as: str = "") -> HttpRequestRejected:
    """Report the refusal; returns the answer to the client."""
    line = f"{host[:MAX_HOST_LENGTH]!r}: {why}\n"
    report(report_as + line)
    return HttpRequestRejected(
        status_code=403, reason=b"Forbidden", body=f"Refused by Jobsite: {line}".encode("ascii", "backslashreplace")
    )


def main(descriptor: str, folder: str, hosts: str, private: str, own: str = "") -> None:
    for names, listed in ((hosts, HOSTS), (private, PRIVATE), (own, OWN)):
        listed.update(one.strip().lower() for one in names.split(",") if one.strip())
    for limit, value in LIMITS.items():
        resource.setrlimit(limit, (value, value))
    os.nice(NICE)
    listening = socket.socket(fileno=int(descriptor))
    select.select([listening], [], [])  # most builds never connect, and what follows takes longer than the fork
    words = ["--threaded", "--disable-http-proxy", "--log-level", "CRITICAL", "--timeout", "120"]
    words += ["--data-dir", folder, "--cache-dir", folder]
    serve(listening, FlagParser.initialize(words, plugins=[Gate, Filter]))


def serve(listening: socket.socket, flags: argparse.Namespace) -> NoReturn:
    """A thread per connection: one that waits for a name or an address does not delay others. Whatever a build sends, this goes on."""
    threading.stack_size(STACK_BYTES)
    while True:
        if threading.active_count() > MAX_CLIENTS:
            time.sleep(BUSY_SECONDS)
            continue
        try:
            with listening.accept()[0] as client:
                start_threaded_work(flags, client.dup(), None)
        except (OSError, RuntimeError, MemoryError):  # nothing is left for one more: some connections have to end first
            time.sleep(BUSY_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
