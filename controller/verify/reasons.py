"""Why a packet is meant for nobody, in words. Follows semantics.py step by step and must end where it ends.

For people only: no judgement rests on it. A test holds that it has a reason exactly when the meaning has no
receiver.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloison.addresses import format_mac
from cloison.names import HostName
from controller.flows.text import value_text
from controller.verify import semantics
from controller.verify.intent import NetworkIntent, PortIntent, World
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FRAGMENT,
    FRAGMENT_LATER,
    ND_ADVERTISEMENT,
    ND_REDIRECT,
    ND_ROUTER_ADVERTISEMENT,
    ND_SOLICITATION,
    PROTO_ICMPV6,
    PROTO_IPV6_FRAGMENT,
    Packet,
)


def why_nobody(world: World, host: HostName, ofport: int, packet: Packet) -> str:
    """Return why nobody is meant to receive a packet that enters by a port; "" if somebody is."""
    sender = world.by_ofport.get((host, ofport))
    network = world.networks.get(sender.name.parent) if sender is not None else None
    if sender is None or network is None:
        return "no port of any network is plugged there"
    if not semantics.admitted(sender, packet):
        return why_not_admitted(sender, packet)
    aimed = semantics.aim(network, packet)
    if aimed is None:
        return _why_aimless(network, packet)
    receiver = semantics.owner(world.members_of(network.name), aimed, packet)
    if receiver is None:
        return _why_unowned(world, network, aimed, packet)
    if receiver is sender:
        return "it is meant for its own sender"
    if receiver.host is None or not world.joined(host, receiver.host, network):
        return f"{receiver.name} is meant, but its host cannot be reached yet (no VTEP, or no VXLAN device)"
    return ""


def why_not_admitted(port: PortIntent, packet: Packet) -> str:
    """Return which claim the port may not make in a packet that semantics.admitted refuses."""
    if packet.vlan_vid:
        return f"it is tagged (VLAN {packet.vlan_vid & 0xFFF}), and ports send untagged frames only"
    if packet.eth_src != port.mac:
        return _not_own("source MAC", "eth_src", packet)
    if packet.eth_type == ETH_IPV4:
        return _not_own("source address", "ipv4_src", packet)
    if packet.eth_type == ETH_ARP:
        if packet.arp_sha != port.mac:
            return _not_own("ARP sender MAC", "arp_sha", packet)
        return _not_own("ARP sender address", "arp_spa", packet)
    if packet.eth_type == ETH_IPV6:
        if packet.ipv6_src not in port.addresses6:
            return _not_own("source address", "ipv6_src", packet)
        return _why_hidden(packet) or _dishonest_neighbour(port, packet)
    return f"ports send IPv4, ARP and IPv6, not EtherType {packet.eth_type:#06x}"


def _not_own(what: str, field: str, packet: Packet) -> str:
    return f"{what} {value_text(field, getattr(packet, field))} is not the port's own"


def _why_hidden(packet: Packet) -> str:
    broken = packet.ip_proto == PROTO_IPV6_FRAGMENT and not packet.ip_frag & FRAGMENT_LATER
    if packet.ip_proto in semantics.UNFINISHED or broken:
        return "its IPv6 header chain breaks off, so nobody can say what it is (RFC 7112)"
    fragment = packet.ip_proto == PROTO_ICMPV6 and packet.ip_frag & FRAGMENT
    if not fragment or packet.icmpv6_type not in semantics.UNFRAGMENTED:
        return ""
    if packet.icmpv6_type == semantics.NO_ICMPV6_TYPE:
        return "this first fragment ends before the ICMPv6 type (RFC 7112)"
    return "neighbour discovery does not come in fragments (RFC 6980)"


def _dishonest_neighbour(port: PortIntent, packet: Packet) -> str:
    kind = packet.icmpv6_type
    if kind in (ND_ROUTER_ADVERTISEMENT, ND_REDIRECT):
        what = "router advertisements" if kind == ND_ROUTER_ADVERTISEMENT else "redirects"
        return f"ports send no {what}"
    if packet.icmpv6_code != 0 or packet.ip_ttl != semantics.ND_HOP_LIMIT:
        return "neighbour discovery has code 0 and hop limit 255 (RFC 4861)"
    if kind == ND_ADVERTISEMENT and packet.ipv6_nd_target not in port.addresses6:
        return _not_own("advertised address", "ipv6_nd_target", packet)
    option = "ipv6_nd_sll" if kind == ND_SOLICITATION else "ipv6_nd_tll"
    return _not_own("link-layer address", option, packet)


def _why_aimless(network: NetworkIntent, packet: Packet) -> str:
    if packet.eth_type == ETH_ARP:
        if packet.arp_op not in (semantics.ARP_REQUEST, semantics.ARP_REPLY):
            return f"ARP operation {packet.arp_op} is neither a request nor a reply"
        return f"{value_text('arp_tpa', packet.arp_tpa)} is in no subnet of {network.name}"
    if packet.ip_proto == PROTO_ICMPV6 and packet.icmpv6_type == ND_SOLICITATION:
        return f"{value_text('ipv6_nd_target', packet.ipv6_nd_target)} is in no subnet of {network.name}"
    field = "ipv4_dst" if packet.eth_type == ETH_IPV4 else "ipv6_dst"
    address = value_text(field, getattr(packet, field))
    groups = semantics.GROUPS4 if field == "ipv4_dst" else semantics.GROUPS6
    if packet.has(field, *groups):
        return f"{address} is a group address, and groups are delivered to nobody"
    mac = format_mac(packet.eth_dst)
    return f"{address} is in no subnet of {network.name}, and {mac} is not the MAC of one port"


def _why_unowned(world: World, network: NetworkIntent, aimed: str, packet: Packet) -> str:
    value = getattr(packet, aimed)
    shown = value_text(aimed, value)
    for port in _unplugged(world, network):
        if value in _addressed(port, aimed):
            return f"{port.name} has {shown}, but is plugged nowhere"
    return f"nobody on {network.name} has {'the MAC' if aimed == 'eth_dst' else 'the address'} {shown}"


def _unplugged(world: World, network: NetworkIntent) -> Iterable[PortIntent]:
    return (p for p in world.ports.values() if p.host is None and p.name.parent == network.name)


def _addressed(port: PortIntent, aimed: str) -> tuple[int, ...]:
    if aimed == "eth_dst":
        return (port.mac,)
    return port.addresses4 if aimed in ("ipv4_dst", "arp_tpa") else port.addresses6
