"""Make the authority and issue certificates. Elliptic curve P-256 throughout; RFC 5280 decides the rest.

An identity is the URI in the subject alternative name (cloison.identity); nothing may judge by the subject.
Only servers (controller, etcd) may serve: a stolen host certificate can't pose as a controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloison.errors import InvalidIntent, NotFound, Precondition
from cloison.identity import Identity
from controller.cli.pki.files import CERT_MODE, write, write_pair
from controller.cli.pki.names import IpText, alternative_names
from controller.cli.pki.reading import read_cert

CA_CERT, CA_KEY = "ca.crt", "ca.key"
ORGANIZATION = "cloison"
# Clocks of hosts differ: a certificate is good at once on one that is a little late.
BACKDATE = timedelta(minutes=5)
CA_DAYS, LEAF_DAYS, DAYS_MAX = 3650, 365, 36500
# RFC 5280, appendix A.1: ub-common-name.
COMMON_NAME_CHARS_MAX = 64


@dataclass(frozen=True, slots=True)
class Issued:
    """Where a certificate, its key and the authority's certificate are, and until when it is good."""

    cert: Path
    key: Path
    ca: Path
    not_after: datetime


@dataclass(frozen=True, slots=True)
class _Authority:
    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    cert_path: Path


def init_ca(
    directory: Path,
    name: str = "cloison",
    days: int = CA_DAYS,
    *,
    force: bool = False,
    now: datetime | None = None,
) -> Issued:
    """Make an authority in directory (`ca.crt`, `ca.key`), which is created if need be.

    now: the time to count from (UTC), the present by default. Raises InvalidIntent for a wrong name or
    number of days, Precondition if there is an authority already and force is not set.
    """
    if not 0 < len(name) <= COMMON_NAME_CHARS_MAX or not name.isprintable():
        raise InvalidIntent.of("name", name, f"1 to {COMMON_NAME_CHARS_MAX} printable characters")
    start = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    builder = (
        _builder(subject, subject, key.public_key(), start, start + _lifetime(days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    cert = builder.sign(key, hashes.SHA256())
    cert_path, key_path = directory / CA_CERT, directory / CA_KEY
    write_pair(key_path, _key_pem(key), cert_path, _cert_pem(cert), force=force)
    return Issued(cert_path, key_path, cert_path, cert.not_valid_after_utc)


def issue(
    directory: Path,
    identity: Identity,
    ips: Sequence[IpText] = (),
    dns: Sequence[str] = (),
    days: int = LEAF_DAYS,
    out: Path | None = None,
    *,
    force: bool = False,
    now: datetime | None = None,
) -> Issued:
    """Issue a certificate for identity, signed by the authority in directory.

    Writes `<dns name>.crt` and `.key` (for host/h1: `host.h1.crt`) to out, by default to directory; a copy of
    `ca.crt` goes along to another out. ips, dns: further names under which a server is reached. It ends with
    the authority's own certificate at the latest. now: as for init_ca.

    Raises InvalidIntent for wrong arguments, NotFound if there is no authority, Precondition if the
    authority has expired or is damaged, or if the files exist and force is not set.
    """
    start = now or datetime.now(UTC)
    names = alternative_names(identity, ips, dns)
    lifetime = _lifetime(days)
    authority = _read_authority(directory, start)
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(start + lifetime, authority.cert.not_valid_after_utc)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if identity.role.is_server:
        usages.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
    builder = (
        _builder(_subject(identity.dns_name), authority.cert.subject, key.public_key(), start, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(_authority_key_id(authority.cert), critical=False)
    )
    cert = builder.sign(authority.key, hashes.SHA256())
    return _store(out or directory, identity, authority, key, cert, force=force)


def _store(
    out: Path,
    identity: Identity,
    authority: _Authority,
    key: ec.EllipticCurvePrivateKey,
    cert: x509.Certificate,
    *,
    force: bool,
) -> Issued:
    cert_path, key_path = out / f"{identity.dns_name}.crt", out / f"{identity.dns_name}.key"
    ca_path = out / CA_CERT
    if ca_path.exists() and read_cert(ca_path) != authority.cert:
        raise Precondition(
            "OTHER_AUTHORITY",
            str(ca_path),
            f"{ca_path} is another authority's: give another output directory",
        )
    write_pair(key_path, _key_pem(key), cert_path, _cert_pem(cert), force=force)
    if not ca_path.exists():
        write(ca_path, _cert_pem(authority.cert), CERT_MODE, force=True)
    return Issued(cert_path, key_path, ca_path, cert.not_valid_after_utc)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    start: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATE)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _subject(common_name: str) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION)]
    # A longer one is left out, not cut: two parties must never share a name (etcd takes it for a user's).
    if len(common_name) <= COMMON_NAME_CHARS_MAX:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


def _lifetime(days: int) -> timedelta:
    if not 1 <= days <= DAYS_MAX:
        raise InvalidIntent.of("days", days, f"1 to {DAYS_MAX}")
    return timedelta(days=days)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_id(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    subject_key_id = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key_id)


def _read_authority(directory: Path, now: datetime) -> _Authority:
    cert_path, key_path = directory / CA_CERT, directory / CA_KEY
    for path in (cert_path, key_path):
        if not path.exists():
            raise NotFound(f"the authority's file {path}")
    cert = read_cert(cert_path)
    try:
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise Precondition(
            "BAD_AUTHORITY", str(key_path), f"{key_path} holds no usable private key"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != cert.public_key():
        raise Precondition("BAD_AUTHORITY", str(key_path), f"{key_path} is not the key of {cert_path}")
    if cert.not_valid_after_utc <= now:
        raise Precondition(
            "AUTHORITY_EXPIRED", str(cert_path), f"{cert_path} expired on {cert.not_valid_after_utc}"
        )
    return _Authority(cert, key, cert_path)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _cert_pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)
