"""Answers neighbour solicitations for the addresses of services and of routers, and for no others. Pure.

RFC 4861, section 7.2.4. The link-local address that router advertisements come from is a router's, where the
guest has one as its gateway; other routers advertise with one of their own.
"""

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
_ROUTER, _SOLICITED, _OVERRIDE = 0x80, 0x40, 0x20
# Option 2 (target link-layer address), one unit of 8 bytes.
_TARGET = bytes([2, 1])


class Neighbours:
    """Says where the services are, and the routers of the guest's network."""

    def handle(self, port: ServicePort, packet: Packet) -> Iterator[bytes]:
        """Yield the advertisement that answers a solicitation."""
        asked = packet.payload
        if len(asked) < _SOLICITATION_BYTES_MIN or packet.hops != HOPS_ND or asked[1] != 0:
            return
        target = asked[8:24]
        router = port.router_at(IPv6Address(target))
        if target == LINK_LOCAL6.packed:
            router = port.default_router6
        known = target in _ANSWERED or router is not None
        if not known or not isinstance(packet.source, IPv6Address):
            return
        # From the unspecified address comes a test whether the address is free: all are told that it is not.
        probing = packet.source.is_unspecified
        flags = _OVERRIDE if probing else _OVERRIDE | _SOLICITED
        flags |= 0 if router is None else _ROUTER
        mac = SERVICE_MAC if router is None else router.mac
        answer = bytes([ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0]) + target + _TARGET + mac.to_bytes(6, "big")
        receiver = ALL_NODES if probing else packet.source
        yield ip(port, IPv6Address(target), receiver, IP_ICMP6, answer, HOPS_ND)
