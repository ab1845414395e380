"""MAC addresses and wire MACs. Pure.

A MAC is a 48-bit int inside the project (`Mac`), text only at the borders.

The wire MAC is what a frame carries as its destination inside the overlay, computed from the address it
is meant for: 0a:f0 + the IPv4 address, or 0a:f6 + the low 32 bits of the IPv6 address (or of the target,
for a neighbour solicitation). It makes "whose address is this" a forwarding-table look-up.

What is meant for all ports of a network travels as one copy for each host, under the MAC of that host: 0a:f5
+ its IPv4 VTEP. So a forwarding table has one VTEP for each MAC, whatever a frame is.
"""

from __future__ import annotations

import re
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NewType

Mac = NewType("Mac", int)
IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

WIRE4_PREFIX = 0x0AF0
WIRE6_PREFIX = 0x0AF6
HOST_PREFIX = 0x0AF5
# Within a bridge, the destination MAC of what is for all ports of a network. No guest has it: a group MAC.
TO_ALL_MAC = 0x0BF0_0000_0001
MULTICAST_BIT = 1 << 40
# The MAC of every router that has not chosen one: in the range of the services, which no guest can have.
ROUTER_MAC = Mac(0x0AF300000002)

_MAC_TEXT = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")


def parse_mac(text: str) -> Mac:
    """Return the 48-bit number of 'aa:bb:cc:dd:ee:ff'; raises ValueError on any other form."""
    if not _MAC_TEXT.fullmatch(text):
        raise ValueError("six pairs of hexadecimal digits joined by ':'")
    return Mac(int(text.replace(":", ""), 16))


def format_mac(mac: int) -> str:
    """Return 'aa:bb:cc:dd:ee:ff' of a 48-bit number."""
    return ":".join(f"{mac:012x}"[i : i + 2] for i in range(0, 12, 2))


def is_wire_mac(mac: int) -> bool:
    """Tell whether mac lies in one of the ranges that are kept for what travels in the overlay."""
    return mac >> 32 in (WIRE4_PREFIX, WIRE6_PREFIX, HOST_PREFIX)


def wire_mac(address: IpAddress) -> Mac:
    """Return the MAC under which a frame for this address travels in the overlay."""
    if isinstance(address, IPv4Address):
        return Mac(WIRE4_PREFIX << 32 | int(address))
    return Mac(WIRE6_PREFIX << 32 | (int(address) & 0xFFFFFFFF))


def is_within(inner: IpNetwork, outer: IpNetwork) -> bool:
    """Tell whether a range is part of another; of two families it never is."""
    return (
        inner.version == outer.version
        and outer.prefixlen <= inner.prefixlen
        and not (int(inner.network_address) ^ int(outer.network_address)) & int(outer.netmask)
    )


def host_mac(vtep: IpAddress) -> Mac:
    """Return the MAC under which the copy for all ports on a host travels in the overlay.

    An IPv6 VTEP has more bits than there is room for: it goes by the first of its SHA-256.
    """
    if isinstance(vtep, IPv4Address):
        return Mac(HOST_PREFIX << 32 | int(vtep))
    return Mac(HOST_PREFIX << 32 | int.from_bytes(sha256(vtep.packed).digest()[:4]))


def link_local(mac: int) -> IPv6Address:
    """Return the EUI-64 link-local address of a MAC (RFC 4291, appendix A)."""
    high, low = mac >> 24, mac & 0xFFFFFF
    interface_id = ((high ^ 0x020000) << 40) | 0xFFFE << 24 | low
    return IPv6Address(0xFE80 << 112 | interface_id)
