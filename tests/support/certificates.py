"""Certificates for servers of tests, signed by an authority that a test makes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

# Newer releases of Python refuse an authority that does not say this.
SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """An authority whose certificate is in the file ``path``."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder, self._name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.path = folder / f"{name}.crt"
        built = self._certificate(self._name, self._key)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._write(self.path, built.add_extension(SIGNS, critical=True))

    def sign(self, host: str) -> tuple[Path, Path]:
        """A certificate for ``host``, and its key: both as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        certificate, private = self._folder / f"{host}.crt", self._folder / f"{host}.key"
        self._write(certificate, self._certificate(subject, key).add_extension(names, critical=False))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        private.chmod(0o600)
        return certificate, private

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now, number, public = datetime.now(UTC), x509.random_serial_number(), key.public_key()
        built = x509.CertificateBuilder(self._name, subject, public, number, now - timedelta(days=1), now + timedelta(days=1))
        built = built.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return built.add_extension(issuer, critical=False)

    def _write(self, path: Path, certificate: x509.CertificateBuilder) -> None:
        path.write_bytes(certificate.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
