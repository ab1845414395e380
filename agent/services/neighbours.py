"""Answers neighbour solicitations for the service addresses, and for no others (RFC 4861, 7.2.4). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address

from agent.services.answers import HOPS_ND, ip
from agent.services.seams import IP_ICMP6, Packet, ServicePort
from cloison.service_link import DNS6, LINK_LOCAL6, METADATA6, SERVICE_MAC

SOLICITATION, ADVERTISEMENT = 135, 136
ALL_NODES = IPv6Address("ff02::1")
_ANSWERED = frozenset({DNS6.packed, METADATA6.packed, LINK_LOCAL6.packed})
_SOLICITATION_BYTES_MIN = 24
_SOLICITED, _OVERRIDE = 0x40, 0x20
# Option 2 (target link-layer address), one unit of 8 bytes.
_TARGET_MAC = bytes([2, 1]) + SERVICE_MAC.to_bytes(6, "big")


class Neighbours:
    """Says where the services are."""

    def handle(self, port: ServicePort, packet: Packet) -> Iterator[bytes]:
        """Yield the advertisement that answers a solicitation."""
        asked = packet.payload
        if len(asked) < _SOLICITATION_BYTES_MIN or packet.hops != HOPS_ND or asked[1] != 0:
            return
        target = asked[8:24]
        if target not in _ANSWERED or not isinstance(packet.source, IPv6Address):
            return
        # From the unspecified address comes a test whether the address is free: all are told that it is not.
        probing = packet.source.is_unspecified
        flags = _OVERRIDE if probing else _OVERRIDE | _SOLICITED
        answer = bytes([ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0]) + target + _TARGET_MAC
        receiver = ALL_NODES if probing else packet.source
        yield ip(port, IPv6Address(target), receiver, IP_ICMP6, answer, HOPS_ND)
