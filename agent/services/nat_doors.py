"""Which services there are behind the gate, and which packets go to them."""

from __future__ import annotations

from collections.abc import Mapping

from agent.services.dispatcher import Route
from agent.services.dns import DNS_PORT, DnsService
from agent.services.metadata import METADATA_PORT, MetadataProxy
from agent.services.nat_gate import NatGate, Server
from agent.services.seams import IP_TCP, IP_UDP, Packet, ServicePort
from cloison.addresses import IpAddress
from cloison.service_link import DNS4, DNS6, METADATA4, METADATA6


def doors(dns: DnsService, metadata: MetadataProxy) -> Mapping[tuple[IpAddress, int], Server]:
    """Return the servers of TCP connections by where they listen, for a NatGate."""
    return {
        (DNS4, DNS_PORT): dns.serve,
        (DNS6, DNS_PORT): dns.serve,
        (METADATA4, METADATA_PORT): metadata.serve,
        (METADATA6, METADATA_PORT): metadata.serve,
    }


def routes(dns: DnsService, gate: NatGate) -> list[Route]:
    """Return what the dispatcher hands to the resolver and to the gate."""
    return [Route("dns", _is_dns, dns), Route("tcp", _is_tcp, gate)]


def _is_dns(_: ServicePort, packet: Packet) -> bool:
    return packet.protocol == IP_UDP and packet.target_port == DNS_PORT and packet.target in (DNS4, DNS6)


def _is_tcp(_: ServicePort, packet: Packet) -> bool:
    return packet.protocol == IP_TCP and packet.target in (DNS4, DNS6, METADATA4, METADATA6)
