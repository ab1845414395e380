"""What kind of packet it is: questions that need nothing but the packet. A part of semantics.py. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FRAGMENT,
    FRAGMENT_LATER,
    INVALID,
    ND_ADVERTISEMENT,
    ND_ROUTER_SOLICITATION,
    ND_SOLICITATION,
    PROTO_UDP,
)
from controller.verify.saying import DHCP4, DHCP6
from controller.verify.seen import ARP_REQUEST, GROUPS6, Seen, any_of, icmpv6, udp

# Multicast listener discovery (RFC 2710, RFC 3810): connection tracking calls all of it invalid.
LISTENING = (130, 131, 132, 143)
# Where every host's local services are: resolver and DHCP, metadata, and a router's link-local address.
SERVICES4 = tuple(int(IPv4Address(a)) for a in ("169.254.169.253", "169.254.169.254"))
SERVICES6 = tuple(int(IPv6Address(a)) for a in ("fd00:ec2::253", "fd00:ec2::254", "fe80::a9fe:a9fd"))


def tracked(seen: Seen) -> bool:
    """Tell whether a packet is one that belongs to a connection: IP, but no discovery."""
    return internet(seen) and not listening(seen)


def internet(seen: Seen) -> bool:
    """Tell whether a packet is IP, but no neighbour discovery: its source MAC means nothing to a guest."""
    return (seen.has("eth_type", ETH_IPV4) or seen.has("eth_type", ETH_IPV6)) and not discovery(seen)


def listening(seen: Seen) -> bool:
    """Tell whether a packet says who listens to a group, or asks: whole, and to a group."""
    said = icmpv6(seen, *LISTENING) and seen.has("ipv6_dst", *GROUPS6)
    return said and seen.has("ip_frag", 0, FRAGMENT)


def invalid(seen: Seen) -> bool:
    """Tell whether connection tracking finds that a packet neither has a connection nor can begin one."""
    return seen.has("ct_state", INVALID, INVALID)


def discovery(seen: Seen) -> bool:
    """Tell whether a packet resolves addresses: a neighbour solicitation or advertisement."""
    return icmpv6(seen, ND_SOLICITATION, ND_ADVERTISEMENT)


def served(seen: Seen) -> bool:
    """Tell whether a packet is for the local services, whoever sends it: it goes no further than its host."""
    if seen.has("eth_type", ETH_ARP):
        return seen.has("arp_op", ARP_REQUEST) and any_of(seen, "arp_tpa", SERVICES4)
    if seen.has("eth_type", ETH_IPV4):
        return any_of(seen, "ipv4_dst", SERVICES4) or udp(seen, *DHCP4)
    if not seen.has("eth_type", ETH_IPV6):
        return False
    asked = icmpv6(seen, ND_SOLICITATION) and any_of(seen, "ipv6_nd_target", SERVICES6)
    router = icmpv6(seen, ND_ROUTER_SOLICITATION)
    return asked or router or any_of(seen, "ipv6_dst", SERVICES6) or udp(seen, *DHCP6)


def says_it_serves(seen: Seen) -> bool:
    """Tell whether a packet is of a DHCP server, or may be: a first fragment that ends before the ports."""
    server = DHCP4[1] if seen.has("eth_type", ETH_IPV4) else DHCP6[1]
    if not (seen.has("eth_type", ETH_IPV4) or seen.has("eth_type", ETH_IPV6)):
        return False
    if not seen.has("ip_proto", PROTO_UDP):
        return False
    cut_off = seen.has("ip_frag", FRAGMENT, FRAGMENT | FRAGMENT_LATER) and udp(seen, 0, 0)
    return cut_off or seen.has("udp_src", server)
