"""What an intent means for one packet. No tables, no OpenFlow: to be read and believed.

`seen` is the packet, or anything that answers the same two questions about its fields (symbolic.py asks
them of all packets at once). A packet that a port sends reaches at most one other port, of the same
network, with that port's own MAC as destination and nothing else changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from cloison.addresses import WIRE4_PREFIX, WIRE6_PREFIX
from cloison.names import HostName
from controller.verify.intent import Members, NetworkIntent, PortIntent, World
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
    PROTO_DESTINATION_OPTIONS,
    PROTO_HOP_BY_HOP,
    PROTO_ICMPV6,
    PROTO_IPV6_FRAGMENT,
    PROTO_ROUTING,
    UNTAGGED,
    Packet,
)

ARP_REQUEST, ARP_REPLY = 1, 2
ND_HOP_LIMIT = 255
LINK_LOCAL6 = (0xFE80 << 112, 0xFFC0 << 112)
# 224.0.0.0/3: groups, what is reserved, and the limited broadcast. ff00::/8: groups.
GROUPS4 = (0xE000_0000, 0xE000_0000)
GROUPS6 = (0xFF << 120, 0xFF << 120)
GROUP_MAC = (1 << 40, 1 << 40)
NO_ICMPV6_TYPE = 0
# ICMPv6 that a fragment may not be: neighbour discovery (RFC 6980), or ended before its type (RFC 7112).
UNFRAGMENTED = (NO_ICMPV6_TYPE, ND_ROUTER_SOLICITATION, ND_ROUTER_ADVERTISEMENT,
                ND_SOLICITATION, ND_ADVERTISEMENT, ND_REDIRECT)  # fmt: skip
# Where a chain of extension headers broke off, so that nobody can say what the packet is (RFC 7112).
UNFINISHED = (PROTO_HOP_BY_HOP, PROTO_ROUTING, PROTO_DESTINATION_OPTIONS)
WIRE_MACS = ((WIRE4_PREFIX << 32, 0xFFFF << 32), (WIRE6_PREFIX << 32, 0xFFFF << 32))


class Seen(Protocol):
    """A packet, as far as the meaning looks at it."""

    def has(self, name: str, value: int, mask: int = -1) -> bool:
        """Tell whether the field, under the mask, is value."""

    def find(self, name: str, values: Mapping[int, object]) -> int | None:
        """Return the field's value if values has it as a key."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A packet as it comes out of an OpenFlow port of a host's bridge."""

    host: HostName
    ofport: int
    packet: Packet


def meaning(world: World, host: HostName, ofport: int, packet: Packet) -> frozenset[Delivery]:
    """Return who receives a packet that enters a host's bridge by a port, and in what form."""
    sender = world.by_ofport.get((host, ofport))
    receiver = receiver_of(world, sender, packet) if sender is not None else None
    if receiver is None or receiver.host is None:
        return frozenset()
    return frozenset({Delivery(receiver.host, receiver.ofport, replace(packet, eth_dst=receiver.mac))})


def receiver_of(world: World, sender: PortIntent, seen: Seen) -> PortIntent | None:
    """Return the port that receives what a plugged port sends, if any."""
    network = world.networks.get(sender.name.parent)
    if network is None or sender.host is None or not admitted(sender, seen):
        return None
    members = world.members_of(network.name)
    receiver = owner(members, aim(network, seen), seen)
    if receiver is None or receiver is sender or receiver.host is None:
        return None
    return receiver if world.joined(sender.host, receiver.host, network) else None


def admitted(port: PortIntent, seen: Seen) -> bool:
    """Tell whether a port may send this: untagged, IPv4, ARP or IPv6, every source address in it its own."""
    if not seen.has("vlan_vid", UNTAGGED) or not seen.has("eth_src", port.mac):
        return False
    if seen.has("eth_type", ETH_IPV4):
        return _any(seen, "ipv4_src", port.addresses4)
    if seen.has("eth_type", ETH_ARP):
        return seen.has("arp_sha", port.mac) and _any(seen, "arp_spa", port.addresses4)
    if seen.has("eth_type", ETH_IPV6):
        own = _any(seen, "ipv6_src", port.addresses6)
        return own and not _hidden(seen) and _honest_neighbour(port, seen)
    return False


def _hidden(seen: Seen) -> bool:
    """Tell whether an IPv6 packet may be, or become once reassembled, something that it does not show.

    A later fragment shows nothing and needs not: it means what its first one, which was looked at, means.
    """
    if _any(seen, "ip_proto", UNFINISHED):
        return True
    if seen.has("ip_proto", PROTO_IPV6_FRAGMENT):
        return not seen.has("ip_frag", FRAGMENT_LATER, FRAGMENT_LATER)
    in_fragment = seen.has("ip_proto", PROTO_ICMPV6) and seen.has("ip_frag", FRAGMENT, FRAGMENT)
    return in_fragment and _any(seen, "icmpv6_type", UNFRAGMENTED)


def _honest_neighbour(port: PortIntent, seen: Seen) -> bool:
    """Neighbour discovery (RFC 4861) speaks only for the sender, from its own link, never for a router."""
    if not seen.has("ip_proto", PROTO_ICMPV6):
        return True
    if seen.has("icmpv6_type", ND_ROUTER_ADVERTISEMENT) or seen.has("icmpv6_type", ND_REDIRECT):
        return False
    if seen.has("icmpv6_type", ND_SOLICITATION):
        return _from_link(seen) and _own_or_absent(port, "ipv6_nd_sll", seen)
    if seen.has("icmpv6_type", ND_ADVERTISEMENT):
        own_target = _from_link(seen) and _any(seen, "ipv6_nd_target", port.addresses6)
        return own_target and _own_or_absent(port, "ipv6_nd_tll", seen)
    return True


def _from_link(seen: Seen) -> bool:
    return seen.has("icmpv6_code", 0) and seen.has("ip_ttl", ND_HOP_LIMIT)


def _own_or_absent(port: PortIntent, option: str, seen: Seen) -> bool:
    return seen.has(option, 0) or seen.has(option, port.mac)


def aim(network: NetworkIntent, seen: Seen) -> str | None:
    """Return which field says whom an admitted packet is meant for; None if it is meant for nobody.

    Inside the network's subnets the address decides, whatever the destination MAC says; elsewhere the MAC.
    """
    if seen.has("eth_type", ETH_ARP):
        asked = seen.has("arp_op", ARP_REQUEST) or seen.has("arp_op", ARP_REPLY)
        return "arp_tpa" if asked and _within(seen, "arp_tpa", network.ranges4) else None
    if seen.has("eth_type", ETH_IPV4):
        if _within(seen, "ipv4_dst", network.ranges4):
            return "ipv4_dst"
        return None if seen.has("ipv4_dst", *GROUPS4) else _by_mac(seen)
    on_link = (*network.ranges6, LINK_LOCAL6)
    if seen.has("ip_proto", PROTO_ICMPV6) and seen.has("icmpv6_type", ND_SOLICITATION):
        return "ipv6_nd_target" if _within(seen, "ipv6_nd_target", on_link) else None
    if _within(seen, "ipv6_dst", on_link):
        return "ipv6_dst"
    return None if seen.has("ipv6_dst", *GROUPS6) else _by_mac(seen)


def _by_mac(seen: Seen) -> str | None:
    """A real unicast MAC: wire MACs mean something only between hosts."""
    unreal = seen.has("eth_dst", *GROUP_MAC) or _within(seen, "eth_dst", WIRE_MACS)
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


def _any(seen: Seen, name: str, values: Iterable[int]) -> bool:
    return any(seen.has(name, value) for value in values)


def _within(seen: Seen, name: str, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(seen.has(name, value, mask) for value, mask in ranges)
