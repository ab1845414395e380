"""Answers ARP requests for the addresses of services and of routers, and for no others (RFC 826). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from agent.services.answers import ethernet
from agent.services.formats import dpkt
from agent.services.seams import ETH_ARP, Packet, ServicePort
from cloison.service_link import DNS4, METADATA4, SERVICE_MAC

_ANSWERED = frozenset({DNS4.packed, METADATA4.packed})


class Arp:
    """Says where the services are, and the routers of the guest's network."""

    def handle(self, port: ServicePort, packet: Packet) -> Iterator[bytes]:
        """Yield the reply to a request."""
        asked = packet.network
        if asked[6:8] != dpkt.arp.ARP_OP_REQUEST.to_bytes(2, "big"):
            return
        sender_mac, sender, target = asked[8:14], asked[14:18], asked[24:28]
        router = port.router_at(IPv4Address(target))
        answered = target in _ANSWERED or router is not None
        if not answered or sender in _ANSWERED or port.router_at(IPv4Address(sender)) is not None:
            return
        mac = SERVICE_MAC if router is None else router.mac
        reply = dpkt.arp.ARP(
            op=dpkt.arp.ARP_OP_REPLY,
            sha=mac.to_bytes(6, "big"),
            spa=target,
            tha=sender_mac,
            tpa=sender,
        )
        yield ethernet(port, ETH_ARP, bytes(reply))
