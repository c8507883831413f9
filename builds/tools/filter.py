"""The only way out of a sandbox: an HTTP proxy (proxy.py) that lets through to the hosts that it is told, at public addresses alone.

Usage: filter.py SOCKET HOSTS PRIVATE_HOSTS

Both are lists with commas. A host is let through on the ports 80 and 443, or on the one that it is given with; one that begins with a
dot stands for all below it. Private hosts may also have a private address: of an organisation's own, never of this machine, of its link
or of a cloud's metadata. Each name is resolved once, and that very address is connected to, so that a name can't be one thing when it
is looked at and another when it is used. What is refused is told on standard output, a line each.

Over plain HTTP only ``GET`` and ``HEAD`` pass, without a body, and their ``Host`` is the one that was looked at: there is nothing left
to smuggle a second request in, or to name another site at the same address. What passes a tunnel (``CONNECT``) is not looked at.
"""

import ipaddress
import os
import re
import resource
import signal
import socket
import sys
from typing import Any

import proxy
from proxy.http.exception import HttpRequestRejected
from proxy.http.proxy import HttpProxyBasePlugin, HttpProxyPlugin

PORTS = (80, 443)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Where clouds answer with keys, besides the link-local addresses: of Azure, Alibaba, Oracle, AWS, Google, Scaleway.
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
# Of a body, of one connection alone, or ours to say.
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
MOST_TOLD, LONGEST_TOLD = 100, 200
BUFFERED_BYTES = 4 << 20
NICE = 5
LIMITS = {resource.RLIMIT_DATA: 1 << 30, resource.RLIMIT_FSIZE: 1 << 20, resource.RLIMIT_CORE: 0}

HOSTS: set[str] = set()
PRIVATE: set[str] = set()
TOLD: set[str] = set()


def is_allowed(text: str, *, private: bool = False) -> bool:
    """Whether an address is of the internet, and so is the IPv4 address that an IPv6 one may stand for; or, with ``private``, private."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if not all(is_allowed(str(one), private=private) for one in inner if one):
            return False
        if address.ipv4_mapped:
            return True
    if address in METADATA or address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local:
        return False
    return address.is_global or (private and address.is_private and not address.is_reserved)


def is_listed(host: str, port: int, hosts: set[str]) -> bool:
    """Whether a host is on a list, for this port."""
    name = host.rstrip(".")
    names = [name, *(name[at:] for at, letter in enumerate(name) if letter == "." and at)]
    return any(f"{one}:{port}" in hosts or (one in hosts and port in PORTS) for one in names)


class Filter(HttpProxyBasePlugin):
    """One connection of a client."""

    target: tuple[str, int] | None = None
    address: str

    def before_upstream_connection(self, request: Any) -> Any:
        self.target = checked(request)
        self.address = resolved(*self.target)
        return request

    def resolve_dns(self, host: str, port: int) -> tuple[str, None]:
        return self.address, None

    def handle_client_request(self, request: Any) -> Any:
        """Of each request of the connection, also those after the first, which would be sent to the same address."""
        target = checked(request)
        if target != self.target:
            raise HttpRequestRejected  # closes the connection: the client asks anew on another
        if not request.is_https_tunnel:
            request.del_headers(DROPPED)
            host, port = target
            request.add_headers([(b"Host", f"{host}:{port}".removesuffix(":80").encode()), (b"Connection", b"close")])
        return request

    def handle_upstream_chunk(self, chunk: memoryview) -> None:
        """An answer is passed on as it comes; the proxy itself would keep all of it, to understand it."""
        self.client.queue(chunk)


class Gate(HttpProxyPlugin):
    """Reads no more of an answer than its client takes: it would all be kept in memory."""

    async def get_descriptors(self) -> tuple[list[int], list[int]]:
        reads, writes = await super().get_descriptors()
        return ([] if sum(map(len, self.client.buffer)) > BUFFERED_BYTES else reads), writes


def checked(request: Any) -> tuple[str, int]:
    """The host and port that a request is for; raises HttpRequestRejected unless it may pass."""
    host, port = (request.host or b"").decode("latin-1").lower(), request.port
    if not NAME.fullmatch(host):
        raise refused(host, "it is no host's name")
    if not any(is_listed(host, port, hosts) for hosts in (HOSTS, PRIVATE)):
        if any(is_listed(host, other, hosts) for hosts in (HOSTS, PRIVATE) for other in PORTS):
            raise refused(f"{host}:{port}", "only the ports 80 and 443 are open")
        raise refused(host, "it is not on the list of hosts")
    if not request.is_https_tunnel:
        check_plain(request, host, port)
    return host, port


def check_plain(request: Any, host: str, port: int) -> None:
    headers = list((request.headers or {}).values())
    named = [value.lower().decode("latin-1") for key, value in headers if key.lower() == b"host"]
    if any(name.removesuffix(f":{port}") != host for name in named):
        raise refused(named[0], f"it is named as the Host of a request to {host}")
    if request.method not in METHODS or request.body_expected:
        raise refused(host, "only GET and HEAD pass over plain HTTP; the rest over HTTPS")
    if not all(TOKEN.fullmatch(key) and TEXT.fullmatch(value) for key, value in headers) or not TEXT.fullmatch(
        request.path or b""
    ):
        raise refused(host, "the request is not well-formed")


def resolved(host: str, port: int) -> str:
    """The address to connect to."""
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise refused(host, f"its name can't be resolved ({getattr(error, 'strerror', None) or error})") from error
    private = is_listed(host, port, PRIVATE)
    allowed = [address for address in found if is_allowed(address, private=private)]
    if not allowed:
        raise refused(host, "its address is none of the internet")
    return allowed[0]


def refused(host: str, why: str) -> HttpRequestRejected:
    line = f"{host[:LONGEST_TOLD]!r}: {why}\n"
    if line not in TOLD and len(TOLD) < MOST_TOLD:
        TOLD.add(line)
        sys.stdout.write(line)
        sys.stdout.flush()
    return HttpRequestRejected(
        status_code=403, reason=b"Forbidden", body=f"Refused by Jobsite: {line}".encode("ascii", "backslashreplace")
    )


def main(path: str, hosts: str, private: str) -> None:
    for names, listed in ((hosts, HOSTS), (private, PRIVATE)):
        listed.update(one.strip().lower() for one in names.split(",") if one.strip())
    for limit, most in LIMITS.items():
        resource.setrlimit(limit, (most, most))
    os.nice(NICE)
    # A thread a connection: one that waits for a name or an address holds up no other.
    words = ["--unix-socket-path", path, "--num-acceptors", "1", "--threaded", "--disable-http-proxy", "--log-level", "CRITICAL"]
    with proxy.Proxy([*words, "--timeout", "120"], plugins=[Gate, Filter]):
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(*sys.argv[1:])
