"""Answers in a router's stead about what it could not send on, so that the sender learns why. Pure.

Time exceeded, destination unreachable (RFC 792; RFC 1812, section 4.3.3; RFC 4443, sections 3.1 and 3.3). The
switch hands over here what has no hop left, no route, or is for the router itself. Never a redirect.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from agent.services.answers import ip
from agent.services.oversize import QUOTED4_BYTES_MAX, QUOTED6_BYTES_MAX, may_be_told
from agent.services.seams import IP_ICMP, IP_ICMP6, IP_UDP, Packet, ServicePort
from cloison.addresses import IpAddress

# (type, code) of ICMP and of ICMPv6.
TIME_EXCEEDED = (11, 0), (3, 0)
NO_ROUTE = (3, 0), (1, 0)
NO_PORT = (3, 3), (1, 4)


class Undelivered:
    """Says why a packet went no further than the router."""

    def handle(self, port: ServicePort, packet: Packet) -> Iterator[bytes]:
        """Yield the error, from the router's address in the sender's network."""
        source, target = packet.source, packet.target
        if source is None or target is None or not may_be_told(packet):
            return
        own = any(target in router.addresses for router in port.routers)
        if own and packet.protocol != IP_UDP:
            return  # pings were answered before, and nothing else is there to be reached
        router = _address_for(port, source)
        if router is None:
            return
        kinds = NO_PORT if own else TIME_EXCEEDED if packet.hops <= 1 else NO_ROUTE
        if isinstance(source, IPv4Address):
            error = bytes(kinds[0]) + bytes(6) + packet.network[:QUOTED4_BYTES_MAX]
            yield ip(port, router, source, IP_ICMP, error)
        else:
            error = bytes(kinds[1]) + bytes(6) + packet.network[:QUOTED6_BYTES_MAX]
            yield ip(port, router, source, IP_ICMP6, error)


def _address_for(port: ServicePort, source: IpAddress) -> IpAddress | None:
    """The router's address on the sender's own link; in its subnet, if there is one."""
    known = [a for router in port.routers for a in router.here if a.version == source.version]
    subnet = port.subnet_of(source)
    near = (a for a in known if subnet is not None and a in subnet.prefix)
    return next(near, known[0] if known else None)
