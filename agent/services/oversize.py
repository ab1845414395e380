"""Answers packets that are too large for the overlay, so that the sender learns what fits. Pure.

ICMP fragmentation needed (RFC 1191, section 4), ICMPv6 packet too big (RFC 4443, section 3.2). Also where the
sender allows fragments: nobody here would cut its packet, and it cuts the next one itself once it was told.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

from agent.services.answers import ip
from agent.services.echo import ECHO4_REPLY, ECHO4_REQUEST
from agent.services.seams import IP_ICMP, IP_ICMP6, Packet, ServicePort
from cloison.service_link import DNS4, LINK_LOCAL6

UNREACHABLE, FRAGMENTATION_NEEDED, PACKET_TOO_BIG = 3, 4, 2
QUOTED4_BYTES_MAX = 576 - 20 - 8
"""RFC 1812, section 4.3.2.3."""
QUOTED6_BYTES_MAX = 1280 - 40 - 8
_OFFSET_MASK = 0x1FFF


class Oversize:
    """Tells the MTU of the port to whoever did not know it."""

    def handle(self, port: ServicePort, packet: Packet) -> Iterator[bytes]:
        """Yield an error; none about an error, a later fragment or a group (RFC 1122, section 3.2.2)."""
        source, target = packet.source, packet.target
        if source is None or target is None or len(packet.network) <= port.mtu or not may_be_told(packet):
            return
        if isinstance(source, IPv4Address):
            header = struct.pack(">BBHHH", UNREACHABLE, FRAGMENTATION_NEEDED, 0, 0, port.mtu)
            yield ip(port, DNS4, source, IP_ICMP, header + packet.network[:QUOTED4_BYTES_MAX])
        else:
            header = struct.pack(">BBHI", PACKET_TOO_BIG, 0, 0, port.mtu)
            yield ip(port, LINK_LOCAL6, source, IP_ICMP6, header + packet.network[:QUOTED6_BYTES_MAX])


def may_be_told(packet: Packet) -> bool:
    """Tell whether an error about a packet may be sent (RFC 1122, section 3.2.2; RFC 4443, section 2.4)."""
    source, target = packet.source, packet.target
    if source is None or target is None or source.is_multicast or source.is_unspecified:
        return False
    if target.is_multicast or int(target) == 0xFFFFFFFF:
        return False
    if isinstance(source, IPv4Address):
        return not (_later_fragment(packet) or _error4(packet))
    return not _error6(packet)


def _later_fragment(packet: Packet) -> bool:
    return bool(int.from_bytes(packet.network[6:8], "big") & _OFFSET_MASK)


def _error4(packet: Packet) -> bool:
    return packet.protocol == IP_ICMP and packet.payload[0] not in (ECHO4_REQUEST, ECHO4_REPLY)


def _error6(packet: Packet) -> bool:
    # RFC 4443, section 2.1: errors are the types below 128.
    return packet.protocol == IP_ICMP6 and packet.payload[0] < 128
