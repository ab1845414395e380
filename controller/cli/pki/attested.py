"""Checks a saved attestation: whose signature it is, and that the signer was a controller of the authority.

Trusts nothing in the file but what the authority's certificate leads to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from cloison.errors import InvalidIntent
from cloison.identity import Identity, Role

CHAIN_MAX = 8


@dataclass(frozen=True, slots=True)
class Signed:
    """Who signed, and until when the certificate is good."""

    signer: Identity
    not_after: datetime


def check_signature(
    payload: bytes, signature: bytes, certificates: bytes, authority: bytes, signed_at: datetime
) -> Signed:
    """Return who signed payload. certificates and authority are PEM; signed_at is what the payload says.

    Raises InvalidIntent, naming what is wrong, unless the signer's certificate was issued by the authority,
    was good at that time, and names a controller.
    """
    chain = _load("certificate", certificates)
    _check_chain(chain, _load("--ca", authority), signed_at)
    leaf = chain[0]
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InvalidIntent.of("certificate", type(key).__name__, "a key on an elliptic curve")
    try:
        key.verify(signature, payload, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise InvalidIntent.of(
            "signature", signature.hex()[:16] + "...", "one over this very payload"
        ) from error
    signer = _identity(leaf)
    if signer.role is not Role.CONTROLLER:
        raise InvalidIntent.of("certificate", signer, "one of a controller: nobody else attests")
    return Signed(signer, leaf.not_valid_after_utc)


def _load(what: str, pem: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidIntent.of(what, "(its content)", "certificates in PEM") from error
    if len(found) > CHAIN_MAX:
        raise InvalidIntent.of(what, len(found), f"at most {CHAIN_MAX} certificates")
    return found


def _check_chain(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], at: datetime) -> None:
    """Each certificate is issued by the next one, the last one by a root; all good at that time."""
    for number, cert in enumerate(chain):
        if not cert.not_valid_before_utc <= at <= cert.not_valid_after_utc:
            raise InvalidIntent.of("certificate", cert.subject.rfc4514_string(), f"one that was good at {at}")
        issuers = chain[number + 1 : number + 2] or roots
        if any(_issued_by(cert, root) for root in roots):
            return
        if not any(_issued_by(cert, issuer) for issuer in issuers):
            break
    name = chain[0].issuer.rfc4514_string()
    raise InvalidIntent.of("certificate", f"issued by {name}", "one issued by the authority given")


def _issued_by(cert: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        cert.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature):
        return False
    return constraints.ca


def _identity(cert: x509.Certificate) -> Identity:
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise InvalidIntent.of(
            "certificate", cert.subject.rfc4514_string(), "one that names its holder"
        ) from error
    return Identity.from_uris(names.get_values_for_type(x509.UniformResourceIdentifier))
