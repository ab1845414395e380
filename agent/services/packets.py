"""Reads what guests send: Ethernet, ARP, IPv4, IPv6, UDP. Pure, strict, and never raises.

Every length is checked against what is really there before anything behind it is looked at; a packet in
which two lengths disagree is not read at all. Written here and not left to a library, because this is where
hostile bytes come in: the answer is one frozen value or None, in time linear in the size of the frame.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from agent.services.formats import dpkt
from agent.services.seams import ETH_ARP, ETH_IPV4, ETH_IPV6, IP_ICMP, IP_ICMP6, IP_TCP, IP_UDP, Packet
from cloison.addresses import Mac
from cloison.service_link import TO_AGENT

ETHERNET_BYTES, ARP_BYTES, IP4_BYTES, IP6_BYTES = 14, 28, 20, 40
EXTENSIONS_MAX = 8
"""IPv6 extension headers that are walked through; RFC 8504, section 5.3 allows a limit of 8."""

_IP4 = struct.Struct(">BBHHHBBH4s4s")
_IP6 = struct.Struct(">IHBB16s16s")
_ARP_FOR_IP4 = bytes.fromhex("0001080006 04".replace(" ", ""))
_FRAGMENT_MASK = 0x3FFF
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION = 0, 43, 44, 60
_HEADER_BYTES_MIN = {IP_TCP: 20, IP_UDP: 8, IP_ICMP: 8, IP_ICMP6: 4}


def port_number(frame: bytes) -> int | None:
    """Return the number of the port a frame came from, None if the switch did not send it to us."""
    if len(frame) < ETHERNET_BYTES or int.from_bytes(frame[:2], "big") != TO_AGENT:
        return None
    return int.from_bytes(frame[2:6], "big")


def parse(frame: bytes) -> Packet | None:
    """Return what a frame says, None if it is none of ours or its lengths do not agree."""
    if len(frame) < ETHERNET_BYTES:
        return None
    eth_type = int.from_bytes(frame[12:14], "big")
    reader = _READERS.get(eth_type)
    return None if reader is None else reader(frame, Mac(int.from_bytes(frame[6:12], "big")))


def _arp(frame: bytes, source: Mac) -> Packet | None:
    network = frame[ETHERNET_BYTES : ETHERNET_BYTES + ARP_BYTES]
    if len(network) < ARP_BYTES or not network.startswith(_ARP_FOR_IP4):
        return None
    return Packet(frame=frame, eth_src=source, eth_type=ETH_ARP, network=network)


def _ip4(frame: bytes, eth_src: Mac) -> Packet | None:
    if len(frame) < ETHERNET_BYTES + IP4_BYTES:
        return None
    version, _, length, _, fragment, hops, protocol, _, source, target = _IP4.unpack_from(
        frame, ETHERNET_BYTES
    )
    header = (version & 0x0F) * 4
    if version >> 4 != 4 or not IP4_BYTES <= header <= length <= len(frame) - ETHERNET_BYTES:
        return None
    network = frame[ETHERNET_BYTES : ETHERNET_BYTES + length]
    if dpkt.dpkt.in_cksum(network[:header]):
        return None
    packet = Packet(
        frame=frame, eth_src=eth_src, eth_type=ETH_IPV4, network=network, source=IPv4Address(source),
        target=IPv4Address(target), hops=hops,
    )  # fmt: skip
    if fragment & _FRAGMENT_MASK:
        return packet
    return _transport(packet, protocol, network[header:])


def _ip6(frame: bytes, eth_src: Mac) -> Packet | None:
    if len(frame) < ETHERNET_BYTES + IP6_BYTES:
        return None
    version, length, following, hops, source, target = _IP6.unpack_from(frame, ETHERNET_BYTES)
    if version >> 28 != 6 or IP6_BYTES + length > len(frame) - ETHERNET_BYTES:
        return None
    network = frame[ETHERNET_BYTES : ETHERNET_BYTES + IP6_BYTES + length]
    packet = Packet(
        frame=frame, eth_src=eth_src, eth_type=ETH_IPV6, network=network, source=IPv6Address(source),
        target=IPv6Address(target), hops=hops,
    )  # fmt: skip
    at = IP6_BYTES
    for _ in range(EXTENSIONS_MAX + 1):
        if following == _FRAGMENT:
            return packet
        if following not in (_HOP_BY_HOP, _ROUTING, _DESTINATION):
            return _transport(packet, following, network[at:])
        if at + 8 > len(network):
            return None
        following, size = network[at], (network[at + 1] + 1) * 8
        at += size
        if at > len(network):
            return None
    return None


def _transport(packet: Packet, protocol: int, payload: bytes) -> Packet | None:
    """Return packet with what it carries; of UDP as much as its own length says."""
    if len(payload) < _HEADER_BYTES_MIN.get(protocol, 0):
        return None
    source_port = target_port = 0
    if protocol in (IP_TCP, IP_UDP):
        source_port, target_port, length = struct.unpack_from(">HHH", payload)
        if protocol == IP_UDP:
            if not 8 <= length <= len(payload):
                return None
            payload = payload[:length]
    return Packet(
        frame=packet.frame, eth_src=packet.eth_src, eth_type=packet.eth_type, network=packet.network,
        source=packet.source, target=packet.target, hops=packet.hops, protocol=protocol, payload=payload,
        source_port=source_port, target_port=target_port,
    )  # fmt: skip


_READERS = {ETH_ARP: _arp, ETH_IPV4: _ip4, ETH_IPV6: _ip6}
