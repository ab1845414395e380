"""Numbers of protocol headers that several tables match on, with their sources."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from cloison.addresses import HOST_PREFIX, WIRE4_PREFIX, WIRE6_PREFIX, IpNetwork

# EtherTypes (IEEE 802 numbers).
ETH_IPV4 = 0x0800
ETH_ARP = 0x0806
ETH_RARP = 0x8035
ETH_IPV6 = 0x86DD

# OFPVID_NONE (OpenFlow 1.4.1, table 12): the frame has no VLAN tag, of any kind and any number.
UNTAGGED = 0

# RFC 826.
ARP_REQUEST = 1
ARP_REPLY = 2

IP_PROTO_TCP = 6
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
# Multicast listener discovery: query, report, done (RFC 2710, section 3), report of version 2 (RFC 3810).
LISTENING = (130, 131, 132, 143)
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
NOT_A_FRAGMENT = (0, 1)

LINK_LOCAL_4 = IPv4Network("169.254.0.0/16")
LINK_LOCAL_6 = IPv6Network("fe80::/10")

# Multicast, what is reserved, the limited broadcast; multicast.
GROUPS_4 = IPv4Network("224.0.0.0/3")
GROUPS_6 = IPv6Network("ff00::/8")
MULTICAST_MAC = (1 << 40, 1 << 40)
WIRE4_RANGE = (WIRE4_PREFIX << 32, 0xFFFF << 32)
WIRE6_RANGE = (WIRE6_PREFIX << 32, 0xFFFF << 32)
# Destination MACs of the copies for all ports on a host.
HOST_RANGE = (HOST_PREFIX << 32, 0xFFFF << 32)
# 224.0.0.0/4 and ff00::/8, and the MACs that guests see them under (RFC 1112, section 6.4; RFC 2464, section
# 7): where they begin, and how many of the last bits are those of the address.
MULTICAST_4 = (0xE0000000, 0xF0000000)
MULTICAST_6 = (0xFF << 120, 0xFF << 120)
MULTICAST_MAC_4, MULTICAST_BITS_4 = 0x01005E000000, 23
MULTICAST_MAC_6, MULTICAST_BITS_6 = 0x333300000000, 32
BROADCAST_MAC = 0xFFFFFFFFFFFF
ETHERNET_HEADER_BYTES = 14

# High 16 bits of the source MAC of an IP packet in the overlay, before the policy profile of its sender.
PROFILE_MAC_PREFIX = 0x0AF4


def prefix(network: IpNetwork) -> tuple[int, int]:
    """Return (value, mask) that match every address of network."""
    return int(network.network_address), int(network.netmask)
