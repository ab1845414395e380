"""Who may say what: every source that a packet claims must be its sender's own. Pure.

A part of semantics.py, to be read and believed as that.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.verify.intent import PortIntent
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_RARP,
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
)
from controller.verify.seen import LINK_LOCAL6, Seen, any_of, icmpv6, udp

ND_HOP_LIMIT = 255
LIMITED_BROADCAST = 0xFFFF_FFFF
NO_ICMPV6_TYPE = 0
# ICMPv6 that a fragment may not be: neighbour discovery (RFC 6980), or ended before its type (RFC 7112).
UNFRAGMENTED = (NO_ICMPV6_TYPE, ND_ROUTER_SOLICITATION, ND_ROUTER_ADVERTISEMENT,
                ND_SOLICITATION, ND_ADVERTISEMENT, ND_REDIRECT)  # fmt: skip
# Where a chain of extension headers broke off, so that nobody can say what the packet is (RFC 7112).
UNFINISHED = (PROTO_HOP_BY_HOP, PROTO_ROUTING, PROTO_DESTINATION_OPTIONS)
# Ports of DHCP (RFC 2131, section 4.1) and DHCPv6 (RFC 8415, section 7.2): (client, server).
DHCP4, DHCP6 = (68, 67), (546, 547)


def admitted(port: PortIntent, seen: Seen) -> bool:
    """Tell whether a port may send this: untagged, IPv4, ARP or IPv6, every source address in it its own.

    Its own are also its allowed address pairs. A port without port security may send anything untagged.
    """
    if not seen.has("vlan_vid", UNTAGGED):
        return False
    if not port.checked:
        return True
    if seen.has("eth_type", ETH_IPV4):
        return _claims(seen, port.claims4, "eth_src", "ipv4_src") or _asks_for_address(port, seen)
    if seen.has("eth_type", ETH_ARP):
        return _claims(seen, port.claims4, "eth_src", "arp_spa", "arp_sha")
    if seen.has("eth_type", ETH_IPV6):
        own = _claims(seen, port.claims6, "eth_src", "ipv6_src")
        return own and not _hidden(seen) and _honest_neighbour(port, seen)
    return False


def announces(port: PortIntent, seen: Seen) -> bool:
    """Tell whether an admitted packet says that an address lives at the port which does not (yet).

    That is ARP or an advertisement for an address of its pairs. Only its own services are to know of it.
    """
    if not port.checked or not port.pairs:
        return False
    if seen.has("eth_type", ETH_ARP):
        return not any(seen.has("arp_sha", mac) and seen.has("arp_spa", a) for mac, a in port.spoken4)
    return icmpv6(seen, ND_ADVERTISEMENT) and not any(
        seen.has("ipv6_nd_target", a) and any_of(seen, "ipv6_nd_tll", (0, mac)) for mac, a in port.spoken6
    )


def arrives(port: PortIntent, seen: Seen) -> bool:
    """Tell whether a packet of a port that stands by says that its guest runs there now.

    That is RARP, a gratuitous ARP, or an advertisement for one of its addresses; nothing else may it send.
    """
    if not (seen.has("vlan_vid", UNTAGGED) and seen.has("eth_src", port.mac)):
        return False
    if seen.has("eth_type", ETH_RARP):
        return True
    if seen.has("eth_type", ETH_ARP):
        own = (a for a in port.addresses4 if seen.has("arp_spa", a) and seen.has("arp_tpa", a))
        return seen.has("arp_sha", port.mac) and any(True for _ in own)
    said = icmpv6(seen, ND_ADVERTISEMENT) and _from_link(seen)
    return said and any_of(seen, "ipv6_nd_target", port.addresses6)


def _claims(seen: Seen, claims: Iterable[tuple[int, int, int]], mac: str, address: str, *also: str) -> bool:
    return any(
        seen.has(mac, own) and seen.has(address, value, mask) and all(seen.has(name, own) for name in also)
        for own, value, mask in claims
    )


def _asks_for_address(port: PortIntent, seen: Seen) -> bool:
    """The one thing that a guest may send without an address: it has one to be told (none that it claims)."""
    given = any(address.version == 4 for address in port.addresses)
    from_nowhere = given and seen.has("eth_src", port.mac) and seen.has("ipv4_src", 0)
    return from_nowhere and seen.has("ipv4_dst", LIMITED_BROADCAST) and udp(seen, *DHCP4)


def _hidden(seen: Seen) -> bool:
    """Tell whether an IPv6 packet may be, or become once reassembled, something that it does not show.

    A later fragment shows nothing and needs not: it means what its first one, which was looked at, means.
    """
    if any_of(seen, "ip_proto", UNFINISHED):
        return True
    if seen.has("ip_proto", PROTO_IPV6_FRAGMENT):
        return not seen.has("ip_frag", FRAGMENT_LATER, FRAGMENT_LATER)
    in_fragment = seen.has("ip_proto", PROTO_ICMPV6) and seen.has("ip_frag", FRAGMENT, FRAGMENT)
    return in_fragment and any_of(seen, "icmpv6_type", UNFRAGMENTED)


def _honest_neighbour(port: PortIntent, seen: Seen) -> bool:
    """Neighbour discovery (RFC 4861) speaks only for the sender, from its own link, never for a router."""
    if not seen.has("ip_proto", PROTO_ICMPV6):
        return True
    if seen.has("icmpv6_type", ND_ROUTER_ADVERTISEMENT) or seen.has("icmpv6_type", ND_REDIRECT):
        return False
    if seen.has("icmpv6_type", ND_ROUTER_SOLICITATION):
        return _from_link(seen) and seen.has("ipv6_src", *LINK_LOCAL6)
    if seen.has("icmpv6_type", ND_SOLICITATION):
        macs = (mac for mac, _, _ in port.claims6)
        return _from_link(seen) and any_of(seen, "ipv6_nd_sll", (0, *macs))
    if seen.has("icmpv6_type", ND_ADVERTISEMENT):
        return _from_link(seen) and any(
            seen.has("ipv6_nd_target", value, mask) and any_of(seen, "ipv6_nd_tll", (0, mac))
            for mac, value, mask in port.claims6
        )
    return True


def _from_link(seen: Seen) -> bool:
    return seen.has("icmpv6_code", 0) and seen.has("ip_ttl", ND_HOP_LIMIT)
