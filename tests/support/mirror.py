"""A package mirror inside the organisation: an HTTP and an HTTPS server at a private address of this machine."""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from builds.engine.tools.filter import is_allowed


def private_address() -> str:
    """A private IPv4 address of this machine; empty if it has none."""
    names = (each.address for addresses in psutil.net_if_addrs().values() for each in addresses if each.family == 2)
    return next((name for name in names if is_allowed(name, private=True) and not is_allowed(name)), "")


class Mirror:
    """``files`` and ``redirects`` are by path. ``asked`` lists the requests with their Host header."""

    def __init__(self, address: str, certificate: Path) -> None:
        self.files: dict[str, bytes] = {"/package": b"the package"}
        self.redirects: dict[str, str] = {}
        self.keeps_open = False  # whatever is asked of it
        self.asked: list[tuple[str, str, str]] = []
        self.certificate = certificate
        self.plain, self.tls = (ThreadingHTTPServer((address, 0), self._handler()) for _ in range(2))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.tls.socket = context.wrap_socket(self.tls.socket, server_side=True, do_handshake_on_connect=False)
        self.host, self.tls_host = (f"{address}:{server.server_port}" for server in (self.plain, self.tls))

    def _handler(mirror) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                mirror.asked.append((self.command, self.path, self.headers.get("Host", "")))
                target = mirror.redirects.get(self.path)
                body = mirror.files.get(self.path)
                self.send_response(302 if target else 404 if body is None else 200)
                if target:
                    self.send_header("Location", target)
                self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")
                self.close_connection = self.close_connection and not mirror.keeps_open

            def log_message(self, *arguments: object) -> None:
                """Log nothing."""

        return Handler


@contextmanager
def mirror(folder: Path) -> Iterator[Mirror]:
    address = private_address()
    running = Mirror(address, _certificate(address, folder))
    for server in (running.plain, running.tls):
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield running
    finally:
        for server in (running.plain, running.tls):
            server.shutdown()
            server.server_close()


def _certificate(address: str, folder: Path) -> Path:
    """A file with a key and a self-signed certificate for the address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mirror")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
    built = built.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "mirror.pem"
    path.write_bytes(secret + built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path
