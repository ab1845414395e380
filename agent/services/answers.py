"""Frames of the services: Ethernet as the switch expects it from the agent, IP, UDP, checksums. Pure.

Only importer of dpkt for building, together with the services themselves: what guests send is read by
agent.services.packets, which is stricter.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from agent.services.formats import dpkt
from agent.services.seams import ETH_IPV4, ETH_IPV6, IP_ICMP, IP_ICMP6, IP_TCP, IP_UDP, ServicePort
from cloison.addresses import IpAddress, wire_mac
from cloison.service_link import FROM_AGENT

HOPS_DEFAULT, HOPS_ND = 64, 255
"""RFC 4861, section 6.1: neighbour discovery is believed only with a hop limit of 255."""


def ethernet(port: ServicePort, eth_type: int, network: bytes) -> bytes:
    """Return a frame to the guest of port; it carries the VNI where its source MAC would be.

    It is for the wire MAC of the port's first IPv4 address: the switch knows few ports by their real MAC.
    """
    source = (FROM_AGENT << 24 | port.vni).to_bytes(6, "big")
    wired = (wire_mac(address) for address in port.addresses if address.version == 4)
    target = next(wired, port.mac)
    return target.to_bytes(6, "big") + source + eth_type.to_bytes(2, "big") + network


def ip(
    port: ServicePort,
    source: IpAddress,
    target: IpAddress,
    protocol: int,
    payload: bytes,
    hops: int = HOPS_DEFAULT,
) -> bytes:
    """Return a frame with one IP packet; the checksum of TCP, UDP and ICMP must be 0 and is filled in."""
    if isinstance(source, IPv4Address):
        packet = dpkt.ip.IP(src=source.packed, dst=target.packed, p=protocol, ttl=hops)
        packet.data = _summed(payload, protocol, source, target)
        packet.len = 20 + len(payload)
        return ethernet(port, ETH_IPV4, bytes(packet))
    packet = dpkt.ip6.IP6(src=source.packed, dst=target.packed, nxt=protocol, hlim=hops, plen=len(payload))
    packet.data = _summed(payload, protocol, source, target)
    return ethernet(port, ETH_IPV6, bytes(packet))


def udp(
    port: ServicePort, source: IpAddress, source_port: int, target: IpAddress, target_port: int, data: bytes
) -> bytes:
    """Return a frame with one UDP datagram; data must fit the MTU, nothing is fragmented."""
    header = dpkt.udp.UDP(sport=source_port, dport=target_port, ulen=8 + len(data))
    header.data = data
    return ip(port, source, target, IP_UDP, bytes(header))


_SUM_AT = {IP_ICMP: 2, IP_ICMP6: 2, IP_UDP: 6, IP_TCP: 16}


def _summed(payload: bytes, protocol: int, source: IpAddress, target: IpAddress) -> bytes:
    """Return payload with its checksum."""
    at = _SUM_AT.get(protocol)
    if at is None:
        return payload
    pseudo = b"" if protocol == IP_ICMP else _pseudo(source, target, protocol, len(payload))
    total: int = dpkt.dpkt.in_cksum(pseudo + payload)
    # RFC 8200, section 8.1: over IPv6 a sum of 0 is sent as all ones. Over IPv4 the 0 stands, which says that
    # there is no sum (RFC 768): BusyBox's DHCP client throws away what has all ones, one datagram in 65,536.
    if protocol == IP_UDP and total == 0 and isinstance(source, IPv6Address):
        total = 0xFFFF
    return payload[:at] + total.to_bytes(2, "big") + payload[at + 2 :]


def _pseudo(source: IpAddress, target: IpAddress, protocol: int, length: int) -> bytes:
    """Return the pseudo header of RFC 793 or RFC 8200, section 8.1."""
    if isinstance(source, IPv4Address):
        return source.packed + target.packed + bytes([0, protocol]) + length.to_bytes(2, "big")
    return source.packed + target.packed + length.to_bytes(4, "big") + bytes([0, 0, 0, protocol])
