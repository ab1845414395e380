"""Signs what this controller vouches for, with the key of its certificate (ECDSA, SHA-256).

The only importer of `cryptography` outside `cloison pki`. Keeps the key in memory and gives it to nobody.
"""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloison.errors import InvalidIntent


class Signer:
    """One key with its certificate."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        """Both PEM. Raises InvalidIntent unless the key is one on an elliptic curve, without password."""
        self.certificate = certificate
        try:
            loaded = serialization.load_pem_private_key(key, password=None)
        except (ValueError, TypeError) as error:
            raise InvalidIntent.of("--key", "(its content)", "a PEM key without password") from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise InvalidIntent.of(
                "--key", type(loaded).__name__, "a key on an elliptic curve, as `cloison pki` makes"
            )
        self._key = loaded

    def sign(self, payload: bytes) -> bytes:
        """Return the signature, in DER (RFC 3279, section 2.2.3)."""
        return self._key.sign(payload, ec.ECDSA(hashes.SHA256()))
