"""Read certificates of any origin: nothing here trusts what it reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloison.errors import InvalidIntent, NotFound
from cloison.identity import Identity

T = TypeVar("T", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """What a certificate says, for people. identity is None for an authority or a stranger's certificate."""

    subject: str
    issuer: str
    identity: Identity | None
    is_ca: bool
    uris: tuple[str, ...]
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    usages: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    serial: str
    sha256: str


def inspect(path: Path) -> CertificateInfo:
    """Read the (first) certificate of a PEM file. Raises NotFound, or InvalidIntent if it holds none."""
    cert = read_cert(path)
    names = _extension(cert, x509.SubjectAlternativeName)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names else []
    usages = _extension(cert, x509.ExtendedKeyUsage)
    constraints = _extension(cert, x509.BasicConstraints)
    try:
        identity = Identity.from_uris(uris)
    except InvalidIntent:
        identity = None
    return CertificateInfo(
        subject=cert.subject.rfc4514_string(),
        issuer=cert.issuer.rfc4514_string(),
        identity=identity,
        is_ca=bool(constraints and constraints.ca),
        uris=tuple(uris),
        dns_names=tuple(names.get_values_for_type(x509.DNSName)) if names else (),
        ip_addresses=tuple(map(str, names.get_values_for_type(x509.IPAddress))) if names else (),
        usages=tuple(_usage_name(usage) for usage in usages) if usages else (),
        not_before=cert.not_valid_before_utc,
        not_after=cert.not_valid_after_utc,
        serial=f"{cert.serial_number:x}",
        sha256=cert.fingerprint(hashes.SHA256()).hex(":"),
    )


def read_cert(path: Path) -> x509.Certificate:
    """Return the (first) certificate of a PEM file. Raises NotFound, or InvalidIntent if it holds none."""
    if not path.exists():
        raise NotFound(f"the file {path}")
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise InvalidIntent.of("file", path, "a PEM file with a certificate") from error


def _extension(cert: x509.Certificate, kind: type[T]) -> T | None:
    try:
        return cert.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _usage_name(usage: x509.ObjectIdentifier) -> str:
    known = {ExtendedKeyUsageOID.SERVER_AUTH: "server", ExtendedKeyUsageOID.CLIENT_AUTH: "client"}
    return known.get(usage, usage.dotted_string)
