"""What the metadata proxy lets through, and in whose name: rules for requests and answers. Pure.

The IaaS knows a guest by the headers that Nova expects of a metadata proxy (nova, api/metadata/handler.py):
X-Instance-ID, signed with a secret that the proxy and the IaaS share, and X-Tenant-ID. What a guest sends
under any of these names is dropped, in every spelling that a server might take for it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

from cloison.errors import InvalidIntent

HEADER_BYTES_MAX = 16 * 1024
REQUEST_BODY_BYTES_MAX = 64 * 1024
ANSWER_BODY_BYTES_MAX = 16 * 1024 * 1024
TARGET_BYTES_MAX = 4096
METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE"})

Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110, section 7.6.1; of this connection, not of the next."""
_FRAMING = frozenset({b"host", b"content-length", b"expect"})
"""Said anew for the next connection."""
_IDENTITY_PREFIXES = (
    b"x-instance-", b"x-tenant-", b"x-project-", b"x-forwarded-", b"x-metadata-provider", b"x-real-ip",
    b"x-user-", b"x-roles", b"x-role", b"x-auth-", b"x-identity-", b"x-service-", b"forwarded", b"via",
)  # fmt: skip
"""What says who asks, to Nova or to another server of an IaaS."""
_PATH_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b'"<>\\^`{|}#')
"""RFC 3986, section 3.3 and 3.4, and '%' of what is encoded."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the IaaS answers: `prefix` is the path before that of the guest, without a final '/'."""

    host: str
    port: int
    is_tls: bool
    prefix: str = ""

    @property
    def authority(self) -> bytes:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host.encode() if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}".encode()


def parse_upstream(url: str) -> Upstream:
    """Return the parts of http://HOST[:PORT][/PATH] (or https); raises InvalidIntent."""
    try:
        parts = urlsplit(url)
        port = parts.port
        is_plain = url.isascii() and url.isprintable() and " " not in url
        if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain or port == 0:
            raise ValueError("no such URL")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError("more than host and path")
    except ValueError as err:
        raise InvalidIntent.of("--metadata-url", url, "http://HOST[:PORT][/PATH] or https://...") from err
    is_tls = parts.scheme == "https"
    return Upstream(parts.hostname, port or (443 if is_tls else 80), is_tls, parts.path.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: the instance, its project (or tenant), and the address it has."""

    instance: str
    project: str
    address: str


def signature(secret: bytes, instance: str) -> str:
    """Return HMAC-SHA256 of the instance's id, in hexadecimal, as Nova checks it."""
    return hmac.new(secret, instance.encode(), hashlib.sha256).hexdigest()


def refusal(method: bytes, target: bytes, asker: Asker) -> tuple[int, str] | None:
    """Return (status, reason) for a request that is not passed on, or None."""
    if method not in METHODS:
        return 405, "method not allowed"
    if len(target) > TARGET_BYTES_MAX:
        return 414, "target too long"
    if not target.startswith(b"/") or not _PATH_PLAIN.issuperset(target):
        return 400, "target is no path"
    # A dot segment, however it is written, could leave the path the IaaS gave us.
    path = target.partition(b"?")[0]
    for _ in range(3):
        if any(segment in (b".", b"..") for segment in path.replace(b"\\", b"/").split(b"/")):
            return 400, "dot segments in the path"
        path = unquote_to_bytes(path)
    if not asker.instance or not _is_token(asker.instance) or not _is_token(asker.project):
        return 404, "no instance is known at this address"
    return None


def request_headers(
    headers: Iterable[tuple[bytes, bytes]], upstream: Upstream, asker: Asker, secret: bytes
) -> Headers:
    """Return the headers of the request to the IaaS, those of its body apart."""
    passed = [(b"host", upstream.authority), (b"connection", b"close")]
    passed += [(name, value) for name, value in _end_to_end(headers) if not _says_who(name)]
    passed += [
        (b"x-forwarded-for", asker.address.encode()),
        (b"x-instance-id", asker.instance.encode()),
        (b"x-tenant-id", asker.project.encode()),
        (b"x-project-id", asker.project.encode()),
    ]
    if secret:
        passed.append((b"x-instance-id-signature", signature(secret, asker.instance).encode()))
    return passed


def answer_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers of the IaaS's answer that the guest gets, those of its body apart."""
    return [(name, value) for name, value in _end_to_end(headers) if not _says_who(name)]


def content_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Return the length of a body in bytes if it is said (h11 has checked the form), else None."""
    return next((int(value) for name, value in headers if name.lower() == b"content-length"), None)


def is_ambiguous(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether a message says its length in two ways (RFC 9112, section 6.3: a sign of smuggling)."""
    return {b"content-length", b"transfer-encoding"} <= {name.lower() for name, _ in headers}


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    known = [(name.lower(), value) for name, value in headers]
    named = {
        token.strip().lower() for name, value in known if name == b"connection" for token in value.split(b",")
    }
    dropped = _HOP_BY_HOP | _FRAMING | named
    return [(name, value) for name, value in known if name not in dropped]


def _says_who(name: bytes) -> bool:
    """Tell whether a header could be taken for one that says who asks.

    WSGI (PEP 3333) makes '_' of '-': X_Instance_ID is X-Instance-ID to the application.
    """
    return name.replace(b"_", b"-").startswith(_IDENTITY_PREFIXES)


def _is_token(text: str) -> bool:
    """Tell whether an id can be the value of a header."""
    return text.isascii() and text.isprintable() and " " not in text
