"""Option lists of DHCP and DHCPv6, domain names in wire form, and the choice of a boot file. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from agent.services.seams import Boot

OPTIONS_MAX = 128
"""Read from one message; no client sends as many."""
LEASE_S, RENEW_S, REBIND_S = 86400, 3600, 75600
"""An address stays a day when nobody answers; asking every hour brings what has changed."""

IPXE = b"iPXE"
_BIOS = 0


def options6(data: bytes) -> list[tuple[int, bytes]] | None:
    """Return (code, value) of each DHCPv6 option (RFC 8415, section 21.1), None if a length is wrong."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        if at + 4 > len(data) or len(found) == OPTIONS_MAX:
            return None
        code, length = struct.unpack_from(">HH", data, at)
        at += 4
        if at + length > len(data):
            return None
        found.append((code, data[at : at + length]))
        at += length
    return found


def option6(code: int, value: bytes) -> bytes:
    """Return one DHCPv6 option."""
    return struct.pack(">HH", code, len(value)) + value


def options4(found: Iterable[tuple[int, bytes]]) -> dict[int, bytes]:
    """Join the pieces of DHCP options that were sent in several (RFC 3396)."""
    joined: dict[int, bytes] = {}
    for code, value in found:
        joined[code] = joined.get(code, b"") + value
    return joined


def split4(wanted: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Cut DHCP options that are longer than one can be into several of the same code (RFC 3396)."""
    for code, value in wanted:
        for at in range(0, max(1, len(value)), 255):
            yield code, value[at : at + 255]


def domain_wire(name: str) -> bytes:
    """Return a domain name in wire form (RFC 1035, section 3.1); raises ValueError if it has none."""
    wire = b""
    for label in name.rstrip(".").split("."):
        encoded = label.encode("ascii")
        if not 0 < len(encoded) < 64:
            raise ValueError(f"{name!r} is no domain name")
        wire += bytes([len(encoded)]) + encoded
    if len(wire) > 254:
        raise ValueError(f"{name!r} is too long for a domain name")
    return wire + b"\0"


def is_ipxe(user_class: bytes) -> bool:
    """Tell whether a user class names iPXE, as RFC 3004 (with lengths) or as iPXE itself writes it."""
    return IPXE in user_class[:255]


def boot_file(boot: Boot, architecture: int | None, *, ipxe: bool) -> str:
    """Return the file for a client: iPXE's own, that of its firmware (RFC 4578, section 2.1), or ''."""
    if ipxe and boot.ipxe:
        return boot.ipxe
    if architecture in (None, _BIOS):
        return boot.bios
    return boot.uefi


def boot_url(boot: Boot, file: str) -> str:
    """Return a boot file as a URL (RFC 5970, section 3.1), '' if there is none."""
    if "://" in file or not file:
        return file
    if not boot.next_server:
        return ""
    try:
        server = f"[{IPv6Address(boot.next_server)}]"
    except ValueError:
        server = boot.next_server
    return f"tftp://{server}/{file.lstrip('/')}"


def next_server4(boot: Boot) -> IPv4Address | None:
    """Return the boot server if it is given as an IPv4 address."""
    try:
        return IPv4Address(boot.next_server)
    except ValueError:
        return None
