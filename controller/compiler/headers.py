"""Numbers of protocol headers that several tables match on, with their sources."""

from __future__ import annotations

from ipaddress import IPv6Network

from cloison.addresses import WIRE4_PREFIX, WIRE6_PREFIX, IpNetwork

# EtherTypes (IEEE 802 numbers).
ETH_IPV4 = 0x0800
ETH_ARP = 0x0806
ETH_IPV6 = 0x86DD

# OFPVID_NONE (OpenFlow 1.4.1, table 12): the frame has no VLAN tag, of any kind and any number.
UNTAGGED = 0

# RFC 826.
ARP_REQUEST = 1
ARP_REPLY = 2

# RFC 2131, section 4.1; RFC 8415, section 7.2.
IP_PROTO_UDP = 17
DHCP_SERVER, DHCP_CLIENT = 67, 68
DHCP6_SERVER, DHCP6_CLIENT = 547, 546
LIMITED_BROADCAST = 0xFFFFFFFF

# RFC 4443 and RFC 4861, section 4.
IP_PROTO_ICMPV6 = 58
ROUTER_SOLICITATION = 133
ROUTER_ADVERTISEMENT = 134
NEIGHBOUR_SOLICITATION = 135
NEIGHBOUR_ADVERTISEMENT = 136
REDIRECT = 137
# RFC 4861, section 7.1: a neighbour discovery message that a router has forwarded is not to be believed.
ND_HOP_LIMIT = 255

# Extension headers that Open vSwitch steps over (parse_ipv6_ext_hdrs__ in lib/flow.c): as last protocol they
# say that the chain breaks off. It shows what breaks off as 0, which is also hop-by-hop options.
HOP_BY_HOP = 0
ROUTING = 43
FRAGMENT_HEADER = 44
DESTINATION_OPTIONS = 60
# ip_frag (ovs-fields(7)): bit 0 says a fragment, bit 1 not the first one.
FRAGMENT = (1, 1)
# (Exact, as Open vSwitch hands it back: a mask of both bits is one of all.)
FIRST_FRAGMENT = 1
LATER_FRAGMENT = (2, 2)
NOT_A_LATER_FRAGMENT = (0, 2)

LINK_LOCAL_6 = IPv6Network("fe80::/10")

MULTICAST_MAC = (1 << 40, 1 << 40)
WIRE4_RANGE = (WIRE4_PREFIX << 32, 0xFFFF << 32)
WIRE6_RANGE = (WIRE6_PREFIX << 32, 0xFFFF << 32)
ETHERNET_HEADER_BYTES = 14

# High 16 bits of the source MAC of an IP packet in the overlay, before the policy profile of its sender.
PROFILE_MAC_PREFIX = 0x0AF4


def prefix(network: IpNetwork) -> tuple[int, int]:
    """Return (value, mask) that match every address of network."""
    return int(network.network_address), int(network.netmask)
