"""Answers pings of the addresses of services and of routers (RFC 792, RFC 4443 section 4). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from agent.services.answers import ip
from agent.services.seams import IP_ICMP, IP_ICMP6, Packet, ServicePort
from cloison.addresses import IpAddress
from cloison.service_link import SERVICE_ADDRESSES

ECHO4_REQUEST, ECHO4_REPLY, ECHO6_REQUEST, ECHO6_REPLY = 8, 0, 128, 129
_REPLIES = {(IP_ICMP, ECHO4_REQUEST): ECHO4_REPLY, (IP_ICMP6, ECHO6_REQUEST): ECHO6_REPLY}


def answers(port: ServicePort, target: IpAddress) -> bool:
    """Tell whether an address is one that pings of this port's guest are answered for."""
    return target in SERVICE_ADDRESSES or any(target in router.addresses for router in port.routers)


class Echo:
    """Shows a guest that the services and the routers of its network are there."""

    def handle(self, port: ServicePort, packet: Packet) -> Iterator[bytes]:
        """Yield the reply to a request, with the same bytes in it."""
        source, target, protocol, asked = packet.source, packet.target, packet.protocol, packet.payload
        if source is None or target is None or protocol is None or not answers(port, target):
            return
        if len(asked) < 8 or asked[1] != 0 or source.is_multicast or source.is_unspecified:
            return
        reply = _REPLIES.get((protocol, asked[0]))
        if reply is not None:
            yield ip(port, target, source, protocol, bytes([reply, 0, 0, 0]) + asked[4:])
