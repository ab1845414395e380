"""Frames built by hand: what a guest's kernel would not send. PURE: bytes from values, no I/O.

Layouts: Ethernet II, ARP (RFC 826), IPv4 (RFC 791), IPv6 (RFC 8200), UDP (RFC 768), ICMP echo (RFC 792),
ND (RFC 4861), VXLAN (RFC 7348).
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

BROADCAST = "ff:ff:ff:ff:ff:ff"
ARP, RARP, IPV4, IPV6 = 0x0806, 0x8035, 0x0800, 0x86DD
UDP_PROTOCOL, ICMP_PROTOCOL, ICMP6_PROTOCOL = 17, 1, 58
VXLAN_PORT = 4789
SERVICES_MAC = "0a:f3:00:00:00:01"
"""Source MAC of what a guest hears from the services of its own host; no guest can send it."""
ICMP6_ROUTER_ADVERTISEMENT = 134
_ETHERNET_BYTES, _VXLAN_BYTES = 14, 8


def mac_bytes(mac: str) -> bytes:
    """The six bytes of "52:54:00:00:00:11"."""
    return bytes.fromhex(mac.replace(":", ""))


def ethernet(target: str, source: str, ethertype: int, payload: bytes) -> bytes:
    """A frame, padded to the smallest size Ethernet allows (60 bytes without checksum)."""
    return (mac_bytes(target) + mac_bytes(source) + struct.pack("!H", ethertype) + payload).ljust(60, b"\0")


def arp(
    source: str, sender: str, target: str, to: str = BROADCAST, operation: int = 1, trailer: bytes = b""
) -> bytes:
    """An ARP request (or, with `operation` 2, a reply); `trailer` follows where padding would be."""
    body = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
    body += mac_bytes(source) + IPv4Address(sender).packed
    body += (mac_bytes(to) if operation == 2 else bytes(6)) + IPv4Address(target).packed
    return ethernet(to, source, ARP, body + trailer)


def rarp(mac: str) -> bytes:
    """Where a MAC is now, to all (RFC 903): what a hypervisor says for a guest that has come."""
    own = mac_bytes(mac)
    body = struct.pack("!HHBBH", 1, IPV4, 6, 4, 3) + own + bytes(4) + own + bytes(4)
    return ethernet(BROADCAST, mac, RARP, body.ljust(46, b"\0"))


def udp(source: str, to: str, sender: str, target: str, payload: bytes, port: int = 7) -> bytes:
    """A UDP datagram over IPv4 or IPv6, as the addresses are."""
    segment = struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload
    checksum = _checksum(_pseudo(sender, target, UDP_PROTOCOL, len(segment)) + segment) or 0xFFFF
    segment = segment[:6] + struct.pack("!H", checksum) + segment[8:]
    return ip(source, to, sender, target, UDP_PROTOCOL, segment)


def echo(source: str, to: str, sender: str, target: str, payload: bytes) -> bytes:
    """A ping request over IPv4 or IPv6."""
    version = ip_address(target).version
    kind, protocol = (8, ICMP_PROTOCOL) if version == 4 else (128, ICMP6_PROTOCOL)
    return ip(source, to, sender, target, protocol, icmp(kind, sender, target, b"\x77\x77\0\1" + payload))


def solicitation(source: str, sender: str, target: str, payload: bytes = b"") -> bytes:
    """A neighbour solicitation to the target's solicited-node multicast address."""
    low = IPv6Address(target).packed[-3:]
    group = str(IPv6Address(IPv6Address("ff02::1:ff00:0").packed[:13] + low))
    body = bytes(4) + IPv6Address(target).packed + b"\x01\x01" + mac_bytes(source)
    to = "33:33:ff:" + ":".join(f"{b:02x}" for b in low)
    return ip(source, to, sender, group, ICMP6_PROTOCOL, icmp(135, sender, group, body), hops=255) + payload


def advertisement(source: str, sender: str, target: str) -> bytes:
    """An unsolicited neighbour advertisement to all nodes (RFC 4861, section 7.2.6)."""
    group = "ff02::1"
    body = b"\x20\0\0\0" + IPv6Address(target).packed + b"\x02\x01" + mac_bytes(source)
    message = icmp(136, sender, group, body)
    return ip(source, multicast_mac(group), sender, group, ICMP6_PROTOCOL, message, hops=255)


def multicast_mac(group: str) -> str:
    """The MAC of a multicast address (RFC 1112, section 6.4; RFC 2464, section 7)."""
    packed = ip_address(group).packed
    if len(packed) == 4:
        return f"01:00:5e:{packed[1] & 0x7F:02x}:{packed[2]:02x}:{packed[3]:02x}"
    return "33:33:" + ":".join(f"{b:02x}" for b in packed[-4:])


def ip(
    source: str, to: str, sender: str, target: str, protocol: int, payload: bytes, hops: int = 64
) -> bytes:
    """A packet of the addresses' IP version in a frame."""
    a, b = ip_address(sender), ip_address(target)
    if a.version == 4:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, hops, protocol, 0)
        header += a.packed + b.packed
        header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
        return ethernet(to, source, IPV4, header + payload)
    header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops) + a.packed + b.packed
    return ethernet(to, source, IPV6, header + payload)


def vxlan(frame: bytes) -> tuple[int, bytes] | None:
    """VNI and inner frame of a VXLAN packet over IPv4 in a frame; None for anything else."""
    if len(frame) < _ETHERNET_BYTES + 20 + 8 + _VXLAN_BYTES or frame[12:14] != b"\x08\0":
        return None
    start = _ETHERNET_BYTES + (frame[14] & 0x0F) * 4
    if frame[23] != UDP_PROTOCOL or frame[start + 2 : start + 4] != struct.pack("!H", VXLAN_PORT):
        return None
    vni = int.from_bytes(frame[start + 12 : start + 15], "big")
    return vni, frame[start + 8 + _VXLAN_BYTES :]


def is_group(frame: bytes) -> bool:
    """Whether a frame goes to a broadcast or multicast MAC."""
    return bool(frame[0] & 1)


def icmp(kind: int, sender: str, target: str, body: bytes) -> bytes:
    """An ICMP or ICMPv6 message of code 0, checksum included."""
    message = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = b"" if ip_address(target).version == 4 else _pseudo(sender, target, ICMP6_PROTOCOL, len(message))
    return message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]


def _pseudo(sender: str, target: str, protocol: int, size: int) -> bytes:
    a, b = ip_address(sender).packed, ip_address(target).packed
    return (
        a
        + b
        + (struct.pack("!BBH", 0, protocol, size) if len(a) == 4 else struct.pack("!II", size, protocol))
    )


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def is_routers_word(frame: bytes) -> bool:
    """Whether it is what a guest's own host tells it unasked: a router advertisement of the services."""
    kind = frame[12:14] + frame[20:21] + frame[54:55]
    wanted = struct.pack("!HBB", IPV6, ICMP6_PROTOCOL, ICMP6_ROUTER_ADVERTISEMENT)
    return frame[6:12] == mac_bytes(SERVICES_MAC) and kind == wanted
