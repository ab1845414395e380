"""Why a packet is meant for nobody, in words. Follows semantics.py step by step and must end where it ends.

For people only: no judgement rests on it. A test holds that it has a reason exactly when the meaning has no
receiver.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cloison.addresses import format_mac
from cloison.names import HostName
from controller.flows.text import value_text
from controller.verify import semantics
from controller.verify.intent import CrossingIntent, NetworkIntent, PortIntent, RouteIntent
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FRAGMENT,
    FRAGMENT_LATER,
    ND_ADVERTISEMENT,
    ND_REDIRECT,
    ND_ROUTER_ADVERTISEMENT,
    ND_ROUTER_SOLICITATION,
    ND_SOLICITATION,
    PROTO_ICMPV6,
    PROTO_IPV6_FRAGMENT,
    REPLY,
    Packet,
    connected,
)
from controller.verify.policy import PROFILE_NONE, PROFILE_OPEN, PolicyIntent, lets_in, lets_out
from controller.verify.world import World

INVALID = "connection tracking finds it invalid: of no connection, and it cannot begin one"


def why_nobody(world: World, host: HostName, ofport: int, packet: Packet) -> str:
    """Return why nobody is meant to receive a packet that enters by a port; "" if somebody is."""
    sender = world.by_ofport.get((host, ofport))
    network = world.networks.get(sender.name.parent) if sender is not None else None
    if sender is None or network is None:
        return "no port of any network is plugged there"
    packet = connected(packet)
    if sender.stands_by:
        return _why_blocked(world, sender, packet)
    if not semantics.admitted(sender, packet):
        return why_not_admitted(sender, packet)
    if semantics.announces(sender, packet) or semantics.served(packet):
        return "" if world.service_of(host) is not None else "this host has no local services yet"
    if sender.checked and semantics.says_it_serves(packet):
        return "ports are no DHCP servers, and this packet is of one, or hides its ports in another fragment"
    if sender.checked and semantics.tracked(packet) and semantics.invalid(packet):
        return INVALID
    if network.multicast and semantics.group_of(network, packet) is not None:
        return _why_not_in_group(world, sender, packet)
    way = semantics.onward(network, packet, sender.exits_by, checked=sender.checked)
    if isinstance(way, semantics.Services):
        return "" if world.service_of(host) is not None else "nobody is there to answer for the router"
    if isinstance(way, RouteIntent):
        return _why_not_routed(world, sender, way, packet)
    if way is None:
        routed = semantics.router_of(network, packet) is not None
        return _why_not_forwarded(packet) if routed else _why_aimless(network, packet)
    receiver = semantics.owner(world.members_of(network.name), way, packet)
    return _why_not_received(world, sender, receiver, network, way, packet)


def _why_not_routed(world: World, sender: PortIntent, route: RouteIntent, packet: Packet) -> str:
    network = world.networks.get(route.network)
    if network is None:
        return f"its router leads to {route.network}, which is not there"
    if route.via is not None:
        hop = semantics.share(semantics.shares(world.next_hops(route)), packet)
        if hop is None:
            vias = ", ".join(map(str, (route.via, *route.others)))
            return f"its router sends {route.prefix} by {vias}, the address of no plugged port"
        return _why_not_received(world, sender, hop, network, "eth_dst", packet)
    aimed = "ipv4_dst" if route.prefix.version == 4 else "ipv6_dst"
    receiver = semantics.owner(world.members_of(network.name), aimed, packet)
    if route.crossing is not None:
        return _why_not_abroad(world, sender, receiver, network, route.crossing, packet)
    return _why_not_received(world, sender, receiver, network, aimed, packet)


def _why_not_abroad(
    world: World,
    sender: PortIntent,
    receiver: PortIntent | None,
    network: NetworkIntent,
    crossing: CrossingIntent,
    packet: Packet,
) -> str:
    """As _why_not_received, by a peering; of the other tenant's groups no more is said than that."""
    if not semantics.tracked(packet):
        return "nothing but packets of connections passes between tenants"
    if semantics.invalid(packet):
        return INVALID
    other_side = _End(f"the other side of {crossing.name}", crossing.theirs)
    replies = packet.has("ct_state", REPLY, REPLY)
    out = (other_side, _end(sender)) if replies else (_end(sender), other_side)
    why = why_not_allowed(world, sender.name.tenant, *out, packet)
    if why:
        return why
    aimed = "ipv4_dst" if packet.eth_type == ETH_IPV4 else "ipv6_dst"
    unreached = _why_unreached(world, sender, receiver, network, aimed, packet)
    if unreached is not None or receiver is None:
        return unreached or ""
    this_side = _End(f"the other side of {crossing.name}", crossing.ours)
    into = (_end(receiver), this_side) if replies else (this_side, _end(receiver))
    return why_not_allowed(world, network.name.tenant, *into, packet)


def _why_not_forwarded(packet: Packet) -> str:
    four = packet.eth_type == ETH_IPV4
    if not four and packet.has("ipv6_src", *semantics.LINK_LOCAL6):
        return "routers do not forward what has a link-local source"
    field, groups = ("ipv4_dst", semantics.GROUPS4) if four else ("ipv6_dst", semantics.GROUPS6)
    local = semantics.LINK_LOCAL4 if four else semantics.LINK_LOCAL6
    if packet.has(field, *groups) or packet.has(field, *local):
        return f"routers do not forward to {value_text(field, getattr(packet, field))}"
    return "routers do not forward neighbour advertisements"


def _why_not_in_group(world: World, sender: PortIntent, packet: Packet) -> str:
    """Why none of a network's ports gets what is for all of them; "" if one does."""
    fates = semantics.fates_of(world, sender, packet)
    if any(semantics.passes(world, fate, packet) for fate in fates):
        return ""
    if fates:
        return "it is for all of the network, and no other port's security groups admit it"
    return "it is for all of the network, and no other port can be reached"


def _why_blocked(world: World, sender: PortIntent, packet: Packet) -> str:
    if not semantics.arrives(sender, packet):
        return f"{sender.name} lives on another host: it may only say that it is here now"
    served = sender.host is not None and world.service_of(sender.host) is not None
    return "" if served else "this host has no local services yet"


def _why_not_received(
    world: World,
    sender: PortIntent,
    receiver: PortIntent | None,
    network: NetworkIntent,
    aimed: str,
    packet: Packet,
) -> str:
    why = _why_unreached(world, sender, receiver, network, aimed, packet)
    if why is not None or receiver is None:
        return why or ""
    ends = semantics.judged_ends(sender, receiver, packet)
    if ends is None:
        return ""
    return why_not_allowed(world, sender.name.tenant, _end(ends[0]), _end(ends[1]), packet)


def _why_unreached(
    world: World,
    sender: PortIntent,
    receiver: PortIntent | None,
    network: NetworkIntent,
    aimed: str,
    packet: Packet,
) -> str | None:
    """Return why it does not come to a port whose policy would be asked; "" if somebody else gets it."""
    host = sender.host
    assert host is not None, sender
    if receiver is sender:
        return "it is meant for its own sender"
    away = receiver is None or receiver.host != host
    if away and world.sends_to_overlay(host, network) and semantics.tracked(packet) and packet.oversize:
        return "" if world.service_of(host) is not None else "it is too long, and nobody is there to say so"
    if receiver is None:
        return _why_unowned(world, network, aimed, packet)
    if receiver.host is None or not world.joined(host, receiver.host, network):
        return f"{receiver.name} is meant, but its host cannot be reached yet (no VTEP, or no VXLAN device)"
    if not semantics.hears(sender, receiver, packet):
        if semantics.tracked(packet):
            return INVALID
        return f"{receiver.name} has port security, and hears nothing but ARP and IP"
    return None


def why_not_admitted(port: PortIntent, packet: Packet) -> str:
    """Return which claim the port may not make in a packet that semantics.admitted refuses."""
    if packet.vlan_vid:
        return f"it is tagged (VLAN {packet.vlan_vid & 0xFFF}), and ports send untagged frames only"
    macs = {port.mac, *(mac for mac, _, _ in (*port.claims4, *port.claims6))}
    if packet.eth_src not in macs:
        return _not_own("source MAC", "eth_src", packet)
    if packet.eth_type == ETH_IPV4:
        return _not_own("source address", "ipv4_src", packet)
    if packet.eth_type == ETH_ARP:
        if packet.arp_sha != packet.eth_src:
            return _not_own("ARP sender MAC", "arp_sha", packet)
        return _not_own("ARP sender address", "arp_spa", packet)
    if packet.eth_type == ETH_IPV6:
        if not any((packet.eth_src, packet.ipv6_src & m) == (mac, v) for mac, v, m in port.claims6):
            return _not_own("source address", "ipv6_src", packet)
        return _why_hidden(packet) or _dishonest_neighbour(port, packet)
    return f"ports send IPv4, ARP and IPv6, not EtherType {packet.eth_type:#06x}"


class _End(NamedTuple):
    """One end of a connection, as a tenant's policy knows it."""

    name: str
    profile: int


def _end(port: PortIntent) -> _End:
    return _End(str(port.name), port.profile)


def why_not_allowed(world: World, tenant: str, opener: _End, other: _End, packet: Packet) -> str:
    """Return whose rules do not admit the connection that a packet is of; "" if both ends' do."""
    policy, said = world.policy_of(tenant), _connection(packet)
    if packet.has("ct_state", REPLY, REPLY):
        said += ", which this replies to,"
    if not lets_out(policy, opener.profile, other.profile, packet):
        return f"no egress rule of {_groups(policy, opener)} admits {said} to {other.name}"
    if not lets_in(policy, opener.profile, other.profile, packet):
        return f"no ingress rule of {_groups(policy, other)} admits {said} from {opener.name}"
    return ""


def _groups(policy: PolicyIntent, port: _End) -> str:
    if port.profile in (PROFILE_NONE, PROFILE_OPEN):
        return f"{port.name} (in no security group)"
    return ", ".join(map(str, policy.profiles.get(port.profile, ()))) or f"unknown profile {port.profile}"


_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}


def _connection(packet: Packet) -> str:
    """What a connection is, as people say it: tcp/22, icmp type 8 code 0."""
    name = _PROTOCOLS.get(packet.ct_nw_proto, f"protocol {packet.ct_nw_proto}")
    if packet.ip_frag & FRAGMENT_LATER:
        return f"later fragments of {name}"
    if packet.ct_nw_proto in (6, 17):
        return f"{name}/{packet.ct_tp_dst}"
    if packet.ct_nw_proto in (1, 58):
        return f"{name} type {packet.ct_tp_src} code {packet.ct_tp_dst}"
    return name


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
    if kind == ND_ROUTER_SOLICITATION:
        return "routers are solicited from the link-local address"
    if kind == ND_ADVERTISEMENT and not any(packet.ipv6_nd_target & m == v for _, v, m in port.claims6):
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
    if packet.eth_type not in (ETH_IPV4, ETH_IPV6):
        return f"{format_mac(packet.eth_dst)} is not the MAC of one port"
    field = "ipv4_dst" if packet.eth_type == ETH_IPV4 else "ipv6_dst"
    address = value_text(field, getattr(packet, field))
    groups = semantics.GROUPS4 if field == "ipv4_dst" else semantics.GROUPS6
    if packet.has(field, *groups):
        return f"{address} is a group address, and {network.name} has no multicast"
    mac = format_mac(packet.eth_dst)
    return f"{address} is in no subnet of {network.name}, and {mac} is not the MAC of one port"


def _why_unowned(world: World, network: NetworkIntent, aimed: str, packet: Packet) -> str:
    value = getattr(packet, aimed)
    shown = value_text(aimed, value)
    for port in _unplugged(world, network):
        if value in _addressed(port, aimed):
            return f"{port.name} has {shown}, but is plugged nowhere"
    for port in world.members_of(network.name).ports.values():
        if aimed == "eth_dst" and value == port.mac:
            return f"{port.name} has {shown}, but no address pairs: it gets what is for its own addresses"
    return f"nobody on {network.name} has {'the MAC' if aimed == 'eth_dst' else 'the address'} {shown}"


def _unplugged(world: World, network: NetworkIntent) -> Iterable[PortIntent]:
    return (p for p in world.ports.values() if p.host is None and p.name.parent == network.name)


def _addressed(port: PortIntent, aimed: str) -> tuple[int, ...]:
    if aimed == "eth_dst":
        return (port.mac,)
    return port.addresses4 if aimed in ("ipv4_dst", "arp_tpa") else port.addresses6
