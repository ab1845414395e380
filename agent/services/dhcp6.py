"""DHCPv6 for the one guest of a port (RFC 8415). Pure: what is answered follows from the plan alone.

A port's addresses all go into the first IA_NA of a message; there is nothing for further ones, and no prefix
is delegated. The server's identity is the same on every host.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

from agent.services.answers import udp
from agent.services.options import (
    LEASE_S,
    REBIND_S,
    RENEW_S,
    boot_file,
    boot_url,
    domain_wire,
    is_ipxe,
    option6,
    options6,
)
from agent.services.seams import Ipv6Mode, Packet, ServicePort, ServiceSubnet
from cloison.service_link import DNS6, LINK_LOCAL6, SERVICE_MAC

CLIENT_PORT, SERVER_PORT = 546, 547
SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE = range(1, 10)
INFORMATION_REQUEST = 11
MESSAGE_BYTES_MAX = 1500
DUID_BYTES_MAX = 130
"""RFC 8415, section 11.1: 128 bytes and the type."""
SERVERS_MAX = 8
ASSOCIATIONS_MAX = 16
"""Answered in one message."""

CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS, REQUESTED, PREFERENCE = 1, 2, 3, 5, 6, 7
STATUS, RAPID_COMMIT, USER_CLASS, DNS, SEARCH, IA_PD = 13, 14, 15, 23, 24, 25
REFRESH_TIME, NTP, BOOT_FILE_URL, ARCHITECTURE = 32, 56, 59, 61
SUCCESS, NO_ADDRESS, NOT_ON_LINK, NO_PREFIX = 0, 2, 4, 6
NTP_SERVER_ADDRESS = 1
"""RFC 5908, section 4.1."""

SERVER_DUID = struct.pack(">HH", 3, 1) + SERVICE_MAC.to_bytes(6, "big")
"""DUID-LL, RFC 8415, section 11.4."""
_WITH_SERVER = frozenset({REQUEST, RENEW, RELEASE, DECLINE})
_WITHOUT_SERVER = frozenset({SOLICIT, CONFIRM, REBIND})
_MODES = (Ipv6Mode.UNSPECIFIED, Ipv6Mode.STATEFUL)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A message of a client, read. `ias` are (code, IAID, addresses) of its identity associations."""

    kind: int
    transaction: bytes
    client: bytes
    options: dict[int, bytes]
    ias: tuple[tuple[int, bytes, tuple[IPv6Address, ...]], ...]

    def wants(self, code: int) -> bool:
        """Tell whether an option is to be sent: it was asked for, or nothing in particular was."""
        wanted = self.options.get(REQUESTED)
        return wanted is None or code.to_bytes(2, "big") in {
            wanted[i : i + 2] for i in range(0, len(wanted), 2)
        }


class Dhcp6:
    """Gives a guest the addresses of its port, and all it must know besides."""

    def handle(self, port: ServicePort, packet: Packet) -> Iterator[bytes]:
        """Yield the answer to one message of a client, if it gets one."""
        subnets = [subnet for subnet in port.subnets if subnet.prefix.version == 6 and subnet.dhcp]
        asked = _read(packet.data)
        if asked is None or not subnets or not isinstance(packet.source, IPv6Address):
            return
        body = _body(port, subnets, asked)
        if body is None:
            return
        rapid = asked.kind == SOLICIT and RAPID_COMMIT in asked.options
        kind = ADVERTISE if asked.kind == SOLICIT and not rapid else REPLY
        data = bytes([kind]) + asked.transaction + option6(SERVER_ID, SERVER_DUID)
        if asked.client:
            data += option6(CLIENT_ID, asked.client)
        if rapid:
            data += option6(RAPID_COMMIT, b"")
        yield udp(port, LINK_LOCAL6, SERVER_PORT, packet.source, CLIENT_PORT, data + body)


def _read(data: bytes) -> _Asked | None:
    """Return the message if it is one that a server must look at (RFC 8415, section 16)."""
    if not 4 <= len(data) <= MESSAGE_BYTES_MAX:
        return None
    listed = options6(data[4:])
    if listed is None:
        return None
    kind, options = data[0], dict(reversed(listed))
    client, server = options.get(CLIENT_ID, b""), options.get(SERVER_ID)
    if server not in (None, SERVER_DUID) or len(client) > DUID_BYTES_MAX:
        return None
    if (kind in _WITH_SERVER and server is None) or (kind in _WITHOUT_SERVER and server is not None):
        return None
    if not client and kind != INFORMATION_REQUEST:
        return None
    ias: list[tuple[int, bytes, tuple[IPv6Address, ...]]] = []
    for code, value in listed:
        if code in (IA_NA, IA_PD) and len(ias) < ASSOCIATIONS_MAX:
            addresses = _addresses(code, value)
            if addresses is None:
                return None
            ias.append((code, value[:4], addresses))
    return _Asked(kind, data[1:4], client, options, tuple(ias))


def _addresses(code: int, value: bytes) -> tuple[IPv6Address, ...] | None:
    """Return the addresses in an identity association, None if a length is wrong."""
    inner = options6(value[12:]) if len(value) >= 12 else None
    if inner is None:
        return None
    held = [body for option, body in inner if code == IA_NA and option == IA_ADDRESS]
    if any(len(body) < 24 for body in held):
        return None
    return tuple(IPv6Address(body[:16]) for body in held)


def _body(port: ServicePort, subnets: list[ServiceSubnet], asked: _Asked) -> bytes | None:
    """Return the options of the answer, None for silence."""
    if asked.kind == INFORMATION_REQUEST:
        return _settings(port, subnets, asked) + option6(REFRESH_TIME, RENEW_S.to_bytes(4, "big"))
    if asked.kind == CONFIRM:
        return _confirmed(port, asked)
    if asked.kind in (RELEASE, DECLINE):
        return _status(SUCCESS)
    if asked.kind == SOLICIT:
        return option6(PREFERENCE, b"\xff") + _given(port, asked) + _settings(port, subnets, asked)
    if asked.kind in (REQUEST, RENEW, REBIND):
        return _given(port, asked) + _settings(port, subnets, asked)
    return None


def _confirmed(port: ServicePort, asked: _Asked) -> bytes | None:
    """RFC 8415, section 18.3.3: are these addresses right for this link?"""
    held = [address for _, _, addresses in asked.ias for address in addresses]
    if not held:
        return None
    return _status(SUCCESS if set(held) <= set(_stateful(port)) else NOT_ON_LINK)


def _stateful(port: ServicePort) -> list[IPv6Address]:
    found = []
    for address in port.addresses:
        subnet = port.subnet_of(address)
        if (
            isinstance(address, IPv6Address)
            and subnet is not None
            and subnet.dhcp
            and subnet.ipv6_mode in _MODES
        ):
            found.append(address)
    return found


def _given(port: ServicePort, asked: _Asked) -> bytes:
    """Return an answer to each identity association."""
    addresses, answer = _stateful(port), b""
    for code, iaid, held in asked.ias:
        if code == IA_PD:
            answer += option6(IA_PD, iaid + bytes(8) + _status(NO_PREFIX))
            continue
        inner = b"".join(_address(address, LEASE_S) for address in addresses)
        # What is no longer this port's ends now (RFC 8415, section 18.3.4).
        stale = [address for address in held if address not in addresses]
        if asked.kind in (RENEW, REBIND):
            inner += b"".join(_address(address, 0) for address in stale)
        if not inner:
            answer += option6(IA_NA, iaid + bytes(8) + _status(NO_ADDRESS))
        else:
            answer += option6(IA_NA, iaid + struct.pack(">II", RENEW_S, REBIND_S) + inner)
        addresses = []
    return answer


def _address(address: IPv6Address, lifetime_s: int) -> bytes:
    return option6(IA_ADDRESS, address.packed + struct.pack(">II", lifetime_s, lifetime_s))


def _status(code: int) -> bytes:
    return option6(STATUS, code.to_bytes(2, "big"))


def _settings(port: ServicePort, subnets: list[ServiceSubnet], asked: _Asked) -> bytes:
    """Return what is told besides addresses."""
    told = b""
    if asked.wants(DNS):
        told += option6(DNS, _packed([server for s in subnets for server in s.dns_servers]) or DNS6.packed)
    if asked.wants(SEARCH) and port.domain:
        told += option6(SEARCH, domain_wire(port.domain))
    if asked.wants(NTP):
        ntp = _packed([server for subnet in subnets for server in subnet.ntp_servers])
        pieces = [ntp[i : i + 16] for i in range(0, len(ntp), 16)]
        if pieces:
            told += option6(NTP, b"".join(option6(NTP_SERVER_ADDRESS, piece) for piece in pieces))
    url = _boot_url(port, asked) if REQUESTED in asked.options and asked.wants(BOOT_FILE_URL) else ""
    return told + option6(BOOT_FILE_URL, url.encode("ascii")) if url else told


def _packed(servers: list[object]) -> bytes:
    found = dict.fromkeys(server.packed for server in servers if isinstance(server, IPv6Address))
    return b"".join(list(found)[:SERVERS_MAX])


def _boot_url(port: ServicePort, asked: _Asked) -> str:
    value = asked.options.get(ARCHITECTURE, b"")
    architecture = int.from_bytes(value[:2], "big") if len(value) >= 2 else None
    ipxe = is_ipxe(asked.options.get(USER_CLASS, b""))
    return boot_url(port.boot, boot_file(port.boot, architecture, ipxe=ipxe))
