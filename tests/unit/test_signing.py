"""Which keys sign, told before anything is signed; in the forms in which people keep them."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from cloison.errors import InvalidIntent
from controller.signing import Signer

OLD, NEW = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8
CURVE = ec.generate_private_key(ec.SECP256R1())
PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


def pem(key: object, form: PrivateFormat, encryption: KeySerializationEncryption) -> bytes:
    made: bytes = key.private_bytes(Encoding.PEM, form, encryption)  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("before", [b"", PARAMETERS, b"a comment\n"])
@pytest.mark.parametrize("form", [OLD, NEW])
def test_a_key_on_a_curve_signs(form: PrivateFormat, before: bytes) -> None:
    signer = Signer(b"", before + pem(CURVE, form, NoEncryption()))
    CURVE.public_key().verify(signer.sign(b"text"), b"text", ec.ECDSA(hashes.SHA256()))


SECRET = BestAvailableEncryption(b"secret")


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----\n",
        pem(rsa.generate_private_key(65537, 2048), NEW, NoEncryption()),
        pem(rsa.generate_private_key(65537, 2048), OLD, NoEncryption()),
        pem(ed25519.Ed25519PrivateKey.generate(), NEW, NoEncryption()),
        pem(CURVE, NEW, SECRET),
        pem(CURVE, OLD, SECRET),
    ],
    ids=["nothing", "damaged", "RSA", "RSA, old form", "Ed25519", "password", "password, old form"],
)
def test_another_does_not_and_is_refused_at_once(key: bytes) -> None:
    with pytest.raises(InvalidIntent, match="--key"):
        Signer(b"", key)
