"""A packet as a meaning looks at it: two questions about its fields, and what is asked often. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from controller.verify.packet import ETH_IPV6, PROTO_ICMPV6

# Groups, what is reserved, and the limited broadcast; groups; and what never leaves its link.
GROUPS4 = (0xE000_0000, 0xE000_0000)
GROUPS6 = (0xFF << 120, 0xFF << 120)
LINK_LOCAL4 = (0xA9FE << 16, 0xFFFF << 16)
LINK_LOCAL6 = (0xFE80 << 112, 0xFFC0 << 112)
ARP_REQUEST, ARP_REPLY = 1, 2


class Seen(Protocol):
    """A packet, as far as the meaning looks at it."""

    def has(self, name: str, value: int, mask: int = -1) -> bool:
        """Tell whether the field, under the mask, is value."""

    def find(self, name: str, values: Mapping[int, object]) -> int | None:
        """Return the field's value if values has it as a key."""


def icmpv6(seen: Seen, *kinds: int) -> bool:
    """Say whether this is an ICMPv6 message of one of these kinds."""
    message = seen.has("eth_type", ETH_IPV6) and seen.has("ip_proto", PROTO_ICMPV6)
    return message and any_of(seen, "icmpv6_type", kinds)


def any_of(seen: Seen, name: str, values: Iterable[int]) -> bool:
    """Say whether the field has one of these values."""
    return any(seen.has(name, value) for value in values)


def within(seen: Seen, name: str, ranges: Iterable[tuple[int, int]]) -> bool:
    """Say whether the field lies in one of these masked ranges."""
    return any(seen.has(name, value, mask) for value, mask in ranges)
