"""Page tokens: where a list goes on, sealed so that only we can write one.

A token holds the last name sent, so it means the same whatever was created or deleted meanwhile, on every
replica and after a restart. It is bound to the list it was made for and to the caller's view.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from cloison.errors import InvalidIntent

EXPECTED = "the next_page_token of the page before, of the same list (parent included), unaltered; or nothing"
_TAG_BYTES = 16
_TOKEN_CHARS_MAX = 1024


class PageTokens:
    """Makes and opens tokens with one key, the same for all replicas of a cluster."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("a page token key has at least 16 bytes")
        self._key = key

    def _tag(self, scope: str, last: str) -> bytes:
        text = f"{len(scope)}:{scope}{last}".encode()
        return hmac.new(self._key, text, sha256).digest()[:_TAG_BYTES]

    def make(self, scope: str, last: str) -> str:
        """Return the token for what comes after the name last in the list called scope."""
        return urlsafe_b64encode(self._tag(scope, last) + last.encode()).decode().rstrip("=")

    def open(self, scope: str, token: str) -> str:
        """Return the name after which the list goes on, "" for an empty token; raises InvalidIntent."""
        if not token:
            return ""
        try:
            if len(token) > _TOKEN_CHARS_MAX:
                raise ValueError("too long")
            raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
            last = raw[_TAG_BYTES:].decode()
        except ValueError as error:
            raise InvalidIntent.of("page_token", token, EXPECTED) from error
        # The second comparison: base64 has several spellings of the same bytes, we accept our own only.
        if (
            not hmac.compare_digest(raw[:_TAG_BYTES], self._tag(scope, last))
            or self.make(scope, last) != token
        ):
            raise InvalidIntent.of("page_token", token, EXPECTED)
        return last
