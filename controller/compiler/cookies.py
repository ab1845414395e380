"""Cookies: which object a flow serves. 64 bits, so that one masked match finds all flows of a tenant.

63..60  kind     1 static, 2 network, 3 port, 4 policy
59..40  tenant   the tenant's number, 0 for static flows
39..8   object   VNI of the network, number of the port, or for a policy of the tenant
 7..0   0        kept for the feature that needs to tell flows of one object apart

Flows that depend on the host alone serve no object either: they are static.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import NamedTuple


class CookieKind(enum.IntEnum):
    """What sort of object a flow serves."""

    STATIC = 1
    NETWORK = 2
    PORT = 3
    POLICY = 4


class Cookie(NamedTuple):
    """A cookie taken apart."""

    kind: CookieKind
    tenant: int
    object: int

    @lru_cache(maxsize=1 << 10)  # noqa: B019 - of values, and few of them
    def pack(self) -> int:
        """Return the 64-bit number; the flows of an object, made together, share it."""
        return self.kind << 60 | self.tenant << 40 | self.object << 8


STATIC = Cookie(CookieKind.STATIC, 0, 0).pack()
TENANT_MASK = 0xFFFFF << 40


def unpack(cookie: int) -> Cookie | None:
    """Take a cookie apart; None if it is not one of ours."""
    kind = cookie >> 60
    if kind not in CookieKind.__members__.values() or cookie & 0xFF:
        return None
    return Cookie(CookieKind(kind), cookie >> 40 & 0xFFFFF, cookie >> 8 & 0xFFFFFFFF)
