"""What an intent means for one packet. No tables, no OpenFlow: to be read and believed.

`seen` is the packet with its connection, or anything that answers the same two questions about its fields
(symbolic.py asks them of all packets at once). A packet that a port sends reaches at most one other port, of
the same network, or of one that a router leads into (of another tenant: only by a peering that both tenants
have accepted), or the local services of its own host; in a network with multicast, one for a group or for all
reaches all its other ports. Where a port stands by (it lives on another host), it may but tell the services
that it runs there, and nobody reaches it. A port gets a packet with its own MAC as destination (a group's),
an IP packet with the wire MAC of its source address as source, and with a TTL one less if a router sent it
on; nothing else is changed. Whether the receiver hears it is said in policy.py, by the connection it is of.
What goes to the services is also metered, so that some of it may be lost; that is not said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from cloison.addresses import HOST_PREFIX, WIRE4_PREFIX, WIRE6_PREFIX
from cloison.names import HostName
from controller.verify.intent import CrossingIntent, NetworkIntent, PortIntent, RouteIntent
from controller.verify.kinds import LISTENING as LISTENING
from controller.verify.kinds import SERVICES4 as SERVICES4
from controller.verify.kinds import SERVICES6 as SERVICES6
from controller.verify.kinds import discovery as discovery
from controller.verify.kinds import internet as internet
from controller.verify.kinds import invalid as invalid
from controller.verify.kinds import listening as listening
from controller.verify.kinds import says_it_serves as says_it_serves
from controller.verify.kinds import served as served
from controller.verify.kinds import tracked as tracked
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ND_SOLICITATION,
    REPLY,
    UNTAGGED,
    Packet,
    connected,
)
from controller.verify.policy import allowed
from controller.verify.routing import Leave as Leave
from controller.verify.routing import Services as Services
from controller.verify.routing import asks_router as asks_router
from controller.verify.routing import router_of as router_of
from controller.verify.routing import share as share
from controller.verify.routing import shares as shares
from controller.verify.routing import turn as turn
from controller.verify.saying import DHCP4 as DHCP4
from controller.verify.saying import DHCP6 as DHCP6
from controller.verify.saying import LIMITED_BROADCAST as LIMITED_BROADCAST
from controller.verify.saying import ND_HOP_LIMIT as ND_HOP_LIMIT
from controller.verify.saying import NO_ICMPV6_TYPE as NO_ICMPV6_TYPE
from controller.verify.saying import UNFINISHED as UNFINISHED
from controller.verify.saying import UNFRAGMENTED as UNFRAGMENTED
from controller.verify.saying import admitted as admitted
from controller.verify.saying import announces as announces
from controller.verify.saying import arrives as arrives
from controller.verify.seen import ARP_REPLY as ARP_REPLY
from controller.verify.seen import ARP_REQUEST as ARP_REQUEST
from controller.verify.seen import GROUPS4 as GROUPS4
from controller.verify.seen import GROUPS6 as GROUPS6
from controller.verify.seen import LINK_LOCAL4 as LINK_LOCAL4
from controller.verify.seen import LINK_LOCAL6 as LINK_LOCAL6
from controller.verify.seen import Seen as Seen
from controller.verify.seen import any_of, icmpv6, within
from controller.verify.stages import SERVICE_MAC, TO_SERVICE_PREFIX
from controller.verify.world import Members, World

GROUP_MAC = (1 << 40, 1 << 40)
WIRE_MACS = tuple((prefix << 32, 0xFFFF << 32) for prefix in (WIRE4_PREFIX, WIRE6_PREFIX, HOST_PREFIX))
# Groups without what is reserved, and where their MACs begin (RFC 1112, section 6.4; RFC 2464, section 7):
# the rest of it are the last bits of the group's address.
MULTICAST4 = (0xE000_0000, 0xF000_0000)
MULTICAST4_MAC, MULTICAST4_BITS = 0x0100_5E00_0000, 23
MULTICAST6_MAC, MULTICAST6_BITS = 0x3333_0000_0000, 32
BROADCAST_MAC = 0xFFFF_FFFF_FFFF


@dataclass(frozen=True, slots=True)
class Delivery:
    """A packet as it comes out of an OpenFlow port of a host's bridge."""

    host: HostName
    ofport: int
    packet: Packet


class Judged(NamedTuple):
    """What a tenant's policy is asked about a connection: who opened it, and the other end, by profile."""

    tenant: str
    opener: int
    other: int


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a packet comes out, and under which destination MAC.

    copied: a field, and how many of its last bits are the last bits of eth_dst. wired: its source MAC is the
    wire MAC of its source address. source: its source MAC is this one. hops: its TTL is so much less. judged:
    it comes out only if policy says yes to all of this; between tenants each is asked about its own side.
    """

    host: HostName
    ofport: int
    eth_dst: int
    wired: bool = False
    copied: tuple[str, int] | None = None
    judged: tuple[Judged, ...] = ()
    source: int | None = None
    hops: int = 0


def meaning(world: World, host: HostName, ofport: int, packet: Packet) -> frozenset[Delivery]:
    """Return who receives a packet that enters a host's bridge by a port, and in what form."""
    if ofport == world.service_of(host):
        return _from_services(world, host, packet)
    sender = world.by_ofport.get((host, ofport))
    known = connected(packet)
    if sender is None:
        return frozenset()
    return frozenset(
        Delivery(fate.host, fate.ofport, _received(packet, fate))
        for fate in fates_of(world, sender, known)
        if passes(world, fate, known)
    )


def passes(world: World, fate: Fate, seen: Seen) -> bool:
    """Tell whether policy lets a packet come out there."""
    return all(allowed(world.policy_of(j.tenant), j.opener, j.other, seen) for j in fate.judged)


def _received(packet: Packet, fate: Fate) -> Packet:
    """The packet as it comes out."""
    target = fate.eth_dst
    if fate.copied is not None:
        name, bits = fate.copied
        target |= getattr(packet, name) & ((1 << bits) - 1)
    source = wire_source(packet) if fate.wired else packet.eth_src
    return replace(packet, eth_dst=target, eth_src=source, ip_ttl=packet.ip_ttl - fate.hops)


def fates_of(world: World, sender: PortIntent, seen: Seen) -> tuple[Fate, ...]:
    """Return all that becomes of a packet that a plugged port sends, each receiver once."""
    network = world.networks.get(sender.name.parent)
    if network is not None and sender.host is not None and network.multicast and not sender.stands_by:
        group = group_of(network, seen)
        if group is not None:
            return tuple(_fates_in_group(world, sender, network, group, seen))
    fate = fate_of(world, sender, seen)
    return () if fate is None else (fate,)


def fate_at(world: World, sender: PortIntent, receiver: PortIntent, seen: Seen) -> Fate | None:
    """Return that of fates_of that is at one other port; None if it does not get there in any case."""
    network = world.networks.get(sender.name.parent)
    if network is not None and network.multicast and not sender.stands_by:
        group = group_of(network, seen)
        if group is not None:
            spoken = _speaks_to_all(sender, seen) and not served(seen)
            return _fate_in_group(world, sender, receiver, group, seen) if spoken else None
    fate = fate_of(world, sender, seen)
    there = fate is not None and (fate.host, fate.ofport) == (receiver.host, receiver.ofport)
    return fate if there else None


Group = tuple[int, tuple[str, int] | None]
"""The MAC of what is for more than one port: eth_dst and copied of a Fate."""


def group_of(network: NetworkIntent, seen: Seen) -> Group | None:
    """Return the MAC of a packet that a network with multicast brings to all; None if it is no such packet.

    Resolution of addresses is none: it has one receiver, or nobody.
    """
    if seen.has("eth_type", ETH_IPV4):
        if seen.has("ipv4_dst", *MULTICAST4):
            return MULTICAST4_MAC, ("ipv4_dst", MULTICAST4_BITS)
        return (BROADCAST_MAC, None) if any_of(seen, "ipv4_dst", broadcasts(network)) else None
    if seen.has("eth_type", ETH_IPV6) and seen.has("ipv6_dst", *GROUPS6) and not discovery(seen):
        return MULTICAST6_MAC, ("ipv6_dst", MULTICAST6_BITS)
    return None


def broadcasts(network: NetworkIntent) -> tuple[int, ...]:
    """Return the IPv4 addresses by which all of a network are meant."""
    return (LIMITED_BROADCAST, *network.broadcasts4)


def _fates_in_group(
    world: World, sender: PortIntent, network: NetworkIntent, group: Group, seen: Seen
) -> Iterator[Fate]:
    """What is for all, or for the services."""
    if not _speaks_to_all(sender, seen):
        return
    if served(seen):
        fate = _to_services(world, sender)
        if fate is not None:
            yield fate
        return
    for receiver in world.members_of(network.name).ports.values():
        fate = _fate_in_group(world, sender, receiver, group, seen)
        if fate is not None:
            yield fate


def _speaks_to_all(sender: PortIntent, seen: Seen) -> bool:
    """Tell whether a port may send what it sends to all, or to the services by a group's address."""
    if not admitted(sender, seen):
        return False
    if served(seen) or not sender.checked:
        return True
    return not (says_it_serves(seen) or (tracked(seen) and invalid(seen)))


def _fate_in_group(
    world: World, sender: PortIntent, receiver: PortIntent, group: Group, seen: Seen
) -> Fate | None:
    """One copy of what is for all; what is too long for the overlay only those on the same host get."""
    network, host = world.networks[sender.name.parent], sender.host
    if receiver is sender or host is None or receiver.host is None:
        return None
    if not world.joined(host, receiver.host, network) or not hears(sender, receiver, seen):
        return None
    if receiver.host != host and seen.has("oversize", 1):
        return None
    mac, copied = group
    judged = _judged(sender, receiver, seen)
    return Fate(receiver.host, receiver.ofport, mac, wired=True, copied=copied, judged=judged)


def fate_of(world: World, sender: PortIntent, seen: Seen) -> Fate | None:
    """Return what becomes of a packet that a plugged port sends; None if nobody gets it in any case."""
    network = world.networks.get(sender.name.parent)
    if network is None or sender.host is None:
        return None
    if sender.stands_by:
        return _to_services(world, sender) if arrives(sender, seen) else None
    if not admitted(sender, seen):
        return None
    if announces(sender, seen) or served(seen):
        return _to_services(world, sender)
    if sender.checked and (says_it_serves(seen) or (tracked(seen) and invalid(seen))):
        return None
    way = onward(network, seen, sender.exits_by, checked=sender.checked)
    if isinstance(way, Services):
        return _to_services(world, sender)
    if isinstance(way, RouteIntent):
        fate = _routed(world, sender, way, seen)
        return replace(fate, hops=1) if fate is not None else None
    if way is None:
        return None
    return _carried(world, sender, network, owner(world.members_of(network.name), way, seen), seen)


def _routed(world: World, sender: PortIntent, route: RouteIntent, seen: Seen) -> Fate | None:
    """As fate_of, of what a router sends on."""
    network = world.networks.get(route.network)
    if network is None:
        return None
    if route.via is not None:
        hop = share(shares(world.next_hops(route)), seen)
        return _carried(world, sender, network, hop, seen) if hop is not None else None
    aimed = "ipv4_dst" if route.prefix.version == 4 else "ipv6_dst"
    receiver = owner(world.members_of(route.network), aimed, seen)
    if route.crossing is not None:
        return _abroad(world, sender, network, receiver, route.crossing, seen)
    return _carried(world, sender, network, receiver, seen)


def _abroad(
    world: World,
    sender: PortIntent,
    network: NetworkIntent,
    receiver: PortIntent | None,
    crossing: CrossingIntent,
    seen: Seen,
) -> Fate | None:
    """As fate_of, of what crosses to another tenant, by way of the two profiles that stand for the sides.

    It leaves if the sender's tenant allows its port that with the other side, and comes in if the receiver's
    tenant allows it between that side and its port. Both are always asked, also about ports without port
    security, and what is no valid packet of a connection does not cross.
    """
    if not tracked(seen) or invalid(seen):
        return None
    fate = _carried(world, sender, network, receiver, seen)
    if fate is None:
        return None
    replies = seen.has("ct_state", REPLY, REPLY)
    out = Judged(sender.name.tenant, *_in_order(sender.profile, crossing.theirs, replies))
    if receiver is None or (fate.host, fate.ofport) != (receiver.host, receiver.ofport):
        # It is too long: who sent it is told, if it may send it at all.
        return replace(fate, judged=(out,))
    into = Judged(network.name.tenant, *_in_order(crossing.ours, receiver.profile, replies))
    return replace(fate, judged=(out, into))


def _in_order(sender: int, receiver: int, replies: bool) -> tuple[int, int]:
    """Who opened the connection, and the other end."""
    return (receiver, sender) if replies else (sender, receiver)


def _carried(
    world: World, sender: PortIntent, network: NetworkIntent, receiver: PortIntent | None, seen: Seen
) -> Fate | None:
    """As fate_of, of what is sent into a network to whoever this is; None: to nobody."""
    assert sender.host is not None, sender
    if receiver is sender:
        return None
    if receiver is None or receiver.host != sender.host:
        if not world.sends_to_overlay(sender.host, network):
            return None
        if internet(seen) and seen.has("oversize", 1):
            return _to_services(world, sender)
    if receiver is None or receiver.host is None or not world.joined(sender.host, receiver.host, network):
        return None
    if not hears(sender, receiver, seen):
        return None
    judged = _judged(sender, receiver, seen)
    return Fate(receiver.host, receiver.ofport, receiver.mac, wired=internet(seen), judged=judged)


def _judged(sender: PortIntent, receiver: PortIntent, seen: Seen) -> tuple[Judged, ...]:
    """What is asked about a packet between two ports of a tenant."""
    ends = judged_ends(sender, receiver, seen)
    if ends is None:
        return ()
    return (Judged(sender.name.tenant, ends[0].profile, ends[1].profile),)


def _unjudged(sender: PortIntent, receiver: PortIntent, seen: Seen) -> bool:
    """ARP, neighbour and listener discovery; and what no egress rule is about that an open port gets.

    Open is a port without port security, and no egress rule is about what is not IP, or of another such port.
    """
    if seen.has("eth_type", ETH_ARP) or discovery(seen) or listening(seen):
        return True
    return not receiver.checked and not (sender.checked and tracked(seen))


def hears(sender: PortIntent, receiver: PortIntent, seen: Seen) -> bool:
    """Tell whether a port hears a packet if its connection is allowed: nothing else but that needs one."""
    return _unjudged(sender, receiver, seen) or (tracked(seen) and not invalid(seen))


def judged_ends(sender: PortIntent, receiver: PortIntent, seen: Seen) -> tuple[PortIntent, PortIntent] | None:
    """Return who opened the connection that a packet is of, and the other end; None if it is not judged."""
    if _unjudged(sender, receiver, seen):
        return None
    return (receiver, sender) if seen.has("ct_state", REPLY, REPLY) else (sender, receiver)


def wire_source(packet: Packet) -> int:
    """Return the wire MAC of a packet's source address; its own source MAC if it has no address."""
    if packet.eth_type == ETH_IPV4:
        return WIRE4_PREFIX << 32 | packet.ipv4_src
    if packet.eth_type == ETH_IPV6:
        return WIRE6_PREFIX << 32 | packet.ipv6_src & 0xFFFF_FFFF
    return packet.eth_src


# --- where it goes on ---


def onward(
    network: NetworkIntent, seen: Seen, leave: Leave, *, checked: bool
) -> str | RouteIntent | Services | None:
    """Return where an admitted packet goes on that is not for the services anyway; None if nowhere.

    Who asks for a router's address, or sends what it does not forward, gets an answer of the local services.
    leave: the sender's own ways out (PortIntent.exits_by).
    """
    if asks_router(network, seen):
        return Services.THEY
    router = router_of(network, seen)
    return aim(network, seen, checked=checked) if router is None else turn(router, seen, leave)


# --- the local services -----------------------------------------------------------------------------------


def _to_services(world: World, sender: PortIntent) -> Fate | None:
    """The services know the sender by its number, in the destination MAC."""
    ofport = world.service_of(sender.host) if sender.host is not None else None
    if ofport is None or sender.host is None:
        return None
    return Fate(sender.host, ofport, TO_SERVICE_PREFIX << 32 | sender.number)


def said_by_services(world: World, host: HostName, seen: Seen) -> Fate | None:
    """Return what becomes of what a host's services send: it reaches the port on that host with this MAC.

    They name the network in the source MAC, by its VNI, and the port by a MAC that leads to it, whatever else
    is in the frame: the wire MAC of an IPv4 address of it, or its real one. Solicitations they do not send.
    """
    if not seen.has("vlan_vid", UNTAGGED):
        return None
    vni = next((v for v in world.by_vni if seen.has("eth_src", TO_SERVICE_PREFIX << 32 | v)), None)
    if vni is None or icmpv6(seen, ND_SOLICITATION):
        return None
    members = world.members_of(world.by_vni[vni].name)
    mac = seen.find("eth_dst", members.by_answer_mac)
    port = members.by_answer_mac[mac] if mac is not None else None
    return Fate(host, port.ofport, port.mac, source=SERVICE_MAC) if port and port.host == host else None


def _from_services(world: World, host: HostName, packet: Packet) -> frozenset[Delivery]:
    fate = said_by_services(world, host, packet)
    if fate is None or fate.source is None:
        return frozenset()
    told = replace(packet, eth_dst=fate.eth_dst, eth_src=fate.source)
    return frozenset({Delivery(fate.host, fate.ofport, told)})


def aim(network: NetworkIntent, seen: Seen, *, checked: bool) -> str | None:
    """Return which field says whom an admitted packet is meant for; None if it is meant for nobody.

    Inside the network's subnets the address decides, whatever the destination MAC says; elsewhere the MAC.
    ARP has no elsewhere, and there is nothing but ARP and IP, save from a port without port security (not
    checked).
    """
    if seen.has("eth_type", ETH_ARP):
        asked = seen.has("arp_op", ARP_REQUEST) or seen.has("arp_op", ARP_REPLY)
        if asked and within(seen, "arp_tpa", network.ranges4):
            return "arp_tpa"
        return None if checked else _by_mac(seen)
    if seen.has("eth_type", ETH_IPV4):
        if within(seen, "ipv4_dst", network.ranges4):
            return "ipv4_dst"
        return None if seen.has("ipv4_dst", *GROUPS4) else _by_mac(seen)
    if not seen.has("eth_type", ETH_IPV6):
        return None if checked else _by_mac(seen)
    on_link = (*network.ranges6, LINK_LOCAL6)
    if icmpv6(seen, ND_SOLICITATION):
        return "ipv6_nd_target" if within(seen, "ipv6_nd_target", on_link) else None
    if within(seen, "ipv6_dst", on_link):
        return "ipv6_dst"
    return None if seen.has("ipv6_dst", *GROUPS6) else _by_mac(seen)


def _by_mac(seen: Seen) -> str | None:
    """A real unicast MAC: wire MACs mean something only between hosts."""
    unreal = seen.has("eth_dst", *GROUP_MAC) or within(seen, "eth_dst", WIRE_MACS)
    return None if unreal else "eth_dst"


def owner(members: Members, aimed: str | None, seen: Seen) -> PortIntent | None:
    """Return the plugged port that has the address in the field which `aim` named."""
    if aimed is None:
        return None
    index = owners(members, aimed)
    found = seen.find(aimed, index)
    return None if found is None else index[found]


def owners(members: Members, aimed: str) -> Mapping[int, PortIntent]:
    """Return who has which value of a field that `aim` named."""
    if aimed in ("ipv4_dst", "arp_tpa"):
        return members.by_ipv4
    return members.by_mac if aimed == "eth_dst" else members.by_ipv6
