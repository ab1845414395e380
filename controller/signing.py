"""Signs what this controller vouches for, with the key of its certificate (ECDSA, SHA-256).

The only importer of `cryptography` outside `cloison pki`, when there is something to sign: it is 7 MiB.
Keeps the key in memory and gives it to nobody.
"""

from __future__ import annotations

import binascii
import re

from cloison.errors import InvalidIntent

_PEM = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----(.*?)-----END", re.DOTALL)
# AlgorithmIdentifier's id-ecPublicKey (RFC 5480) in DER: what a key in PKCS #8 says first.
_ON_A_CURVE = bytes.fromhex("06072a8648ce3d0201")


class Signer:
    """One key with its certificate."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        """Both PEM. Raises InvalidIntent unless the key is one on an elliptic curve, without password."""
        self.certificate, self._key = certificate, key
        found = _PEM.search(key)
        if found is None or b"ENCRYPTED" in found.group():
            raise InvalidIntent.of("--key", "(its content)", "a PEM key without password")
        if not _is_on_a_curve(*found.groups()):
            raise InvalidIntent.of(
                "--key", "another kind", "a key on an elliptic curve, as `cloison pki` makes"
            )

    def sign(self, payload: bytes) -> bytes:
        """Return the signature, in DER (RFC 3279, section 2.2.3)."""
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = serialization.load_pem_private_key(self._key, password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key.sign(payload, ec.ECDSA(hashes.SHA256()))


def _is_on_a_curve(kind: bytes, base64: bytes) -> bool:
    if kind == b"EC ":
        return True
    try:
        return kind == b"" and _ON_A_CURVE in binascii.a2b_base64(base64)[:32]
    except binascii.Error:
        return False
