"""The only way out of a sandbox: an HTTP proxy (proxy.py) that lets through to the hosts that it is told, at public addresses alone.

Usage: filter.py SOCKET HOST,HOST,...

A host that begins with a dot stands for all below it. Each name is resolved once, and that very address is connected to, so that a
name can't be one thing when it is looked at and another when it is used. What is refused is told on standard output, a line each.
"""

import ipaddress
import signal
import socket
import sys
from typing import Any

import proxy
from proxy.http.exception import HttpRequestRejected
from proxy.http.proxy import HttpProxyBasePlugin

PORTS = (80, 443)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
HOSTS: list[str] = []


def is_public(text: str) -> bool:
    """Whether an address is of the internet, and so is the IPv4 address that an IPv6 one may stand for."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        teredo = address.teredo
        inner = [address.ipv4_mapped, address.sixtofour, *(teredo or ())]
        if address in NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if not all(is_public(str(one)) for one in inner if one):
            return False
        if address.ipv4_mapped:
            return True
    return address.is_global and not address.is_multicast


def is_listed(host: str) -> bool:
    name = host.lower().rstrip(".")
    return any(name == one or (one.startswith(".") and name.endswith(one)) for one in HOSTS)


class Filter(HttpProxyBasePlugin):
    def before_upstream_connection(self, request: Any) -> Any:
        host, port = (request.host or b"").decode(errors="replace"), request.port
        if not is_listed(host):
            raise refused(host, "it is not on the list of hosts")
        if port not in PORTS:
            raise refused(f"{host}:{port}", "only the ports 80 and 443 are open")
        return request

    def resolve_dns(self, host: str, port: int) -> tuple[str, None]:
        try:
            found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except OSError as error:
            raise refused(host, f"its name can't be resolved ({error.strerror})") from error
        public = [address for address in found if is_public(address)]
        if not public:
            raise refused(host, "its address is none of the internet")
        return public[0], None


def refused(host: str, why: str) -> HttpRequestRejected:
    sys.stdout.write(f"{host[:200]!r}: {why}\n")
    sys.stdout.flush()
    return HttpRequestRejected(status_code=403, reason=b"Forbidden", body=f"Refused by Jobsite: {host[:200]}: {why}.\n".encode())


def main(path: str, hosts: str) -> None:
    HOSTS.extend(one.strip().lower() for one in hosts.split(",") if one.strip())
    words = [
        "--unix-socket-path",
        path,
        "--num-acceptors",
        "1",
        "--num-workers",
        "1",
        "--log-level",
        "CRITICAL",
        "--timeout",
        "120",
    ]
    with proxy.Proxy(words, plugins=[Filter]):
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(sys.argv[1], sys.argv[2])
