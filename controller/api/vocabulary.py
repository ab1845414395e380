"""The words of `trace`: names of protocols and fields, and how their values are written. Pure."""

from __future__ import annotations

from ipaddress import ip_address

from cloison.addresses import IpAddress, parse_mac
from cloison.errors import InvalidIntent
from controller.flows.conntrack import CT_STATE
from controller.flows.fields import FIELDS
from controller.verify.packet import (
    CT_STATES,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FRAGMENT,
    FRAGMENT_LATER,
    INVALID,
    PROTO_ICMPV4,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
    TRACKED,
)

SYNTAX = (
    "words such as icmp, icmp6, tcp, udp, arp, ip, ip6, to ADDRESS, from ADDRESS, who-has ADDRESS, "
    "port N, src port N, type N, code N, reply, established, oversize, size N, fragment first, "
    "ether src MAC, ether dst MAC, vlan N, ttl N, or fields such as nw_src=10.0.0.9"
)
ETH_TYPES = {"arp": ETH_ARP, "ip": ETH_IPV4, "ip6": ETH_IPV6, "ipv6": ETH_IPV6, "icmp": ETH_IPV4}
PROTOCOLS = {
    "icmp": PROTO_ICMPV4,
    "icmp6": PROTO_ICMPV6,
    "icmpv6": PROTO_ICMPV6,
    "tcp": PROTO_TCP,
    "udp": PROTO_UDP,
    "tcp6": PROTO_TCP,
    "udp6": PROTO_UDP,
}
FAMILY6 = ("icmp6", "icmpv6", "tcp6", "udp6")
FRAGMENTS = {"no": 0, "first": FRAGMENT, "later": FRAGMENT | FRAGMENT_LATER}
# What may be said of a packet by its name here; most are called so by ovs-ofctl too.
_OWN_NAMES = (
    *("eth_src", "eth_dst", "eth_type", "vlan_vid", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"),
    *("arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha", "ip_proto", "ip_ttl", "ip_frag"),
    *("tcp_src", "tcp_dst", "udp_src", "udp_dst"),
    *("icmpv4_type", "icmpv4_code", "icmpv6_type", "icmpv6_code"),
    *("ct_state", "ct_nw_proto", "ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst"),
    *("ct_tp_src", "ct_tp_dst"),
)
# Names of ovs-ofctl and their synonyms (ovs-fields(7)) -> ours.
FIELD_WORDS = {
    **{name: name for name in _OWN_NAMES},
    "dl_src": "eth_src",
    "dl_dst": "eth_dst",
    "dl_type": "eth_type",
    "nw_src": "ipv4_src",
    "nw_dst": "ipv4_dst",
    "ip_src": "ipv4_src",
    "ip_dst": "ipv4_dst",
    "nw_proto": "ip_proto",
    "nw_ttl": "ip_ttl",
    "nw_frag": "ip_frag",
    "icmp_type": "icmpv4_type",
    "icmp_code": "icmpv4_code",
    "nd_target": "ipv6_nd_target",
    "nd_sll": "ipv6_nd_sll",
    "nd_tll": "ipv6_nd_tll",
}
# Of whatever protocol the packet is: which end's port.
PORT_WORDS = {"tp_src": "src", "tp_dst": "dst"}
_MACS = ("eth_src", "eth_dst", "arp_sha", "arp_tha", "ipv6_nd_sll", "ipv6_nd_tll")
_ADDRESSES4 = ("ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa", "ct_nw_src", "ct_nw_dst")
_ADDRESSES6 = ("ipv6_src", "ipv6_dst", "ipv6_nd_target", "ct_ipv6_src", "ct_ipv6_dst")
# A connection begins, exists, or is answered in; related alone is what no tracker says of a packet here.
_OF_CONNECTION = CT_STATE["new"] | CT_STATE["est"] | CT_STATE["rpl"]


def value_of(word: str, name: str, text: str) -> int:
    """Read the value of one of our fields; word is what to name if it is wrong. Raises InvalidIntent."""
    if name in _MACS:
        return mac_of(text)
    if name in _ADDRESSES4 or name in _ADDRESSES6:
        address = address_of(text)
        if (address.version == 6) != (name in _ADDRESSES6):
            raise InvalidIntent.of("packet", word, f"an IPv{4 if address.version == 6 else 6} address")
        return int(address)
    if name == "ip_frag" and text in FRAGMENTS:
        return FRAGMENTS[text]
    if name == "ct_state":
        return _state_of(word, text)
    return number_of(word, text, FIELDS[name].all_ones)


def number_of(word: str, text: str, most: int) -> int:
    """Read a number, decimal or 0x...; raises InvalidIntent."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise InvalidIntent.of("packet", word, f"a number from 0 to {most}")
    return value


def address_of(word: str) -> IpAddress:
    """Read an address; raises InvalidIntent."""
    try:
        return ip_address(word)
    except ValueError as error:
        raise InvalidIntent.of("packet", word, "an IPv4 or IPv6 address, without prefix length") from error


def mac_of(word: str) -> int:
    """Read a MAC; raises InvalidIntent."""
    try:
        return parse_mac(word)
    except (ValueError, InvalidIntent) as error:
        raise InvalidIntent.of("packet", word, "a MAC such as 52:54:00:00:00:01") from error


def _state_of(word: str, text: str) -> int:
    """ "est|rpl" or "+trk+est+rpl": invalid, or of a connection; tracked it is in any case."""
    value = TRACKED
    for name in text.lstrip("+").replace("|", "+").split("+"):
        value |= CT_STATE.get(name, ~CT_STATES)
    is_invalid = value == TRACKED | INVALID
    if not 0 <= value <= CT_STATES or not (is_invalid or (value & _OF_CONNECTION and not value & INVALID)):
        raise InvalidIntent.of("packet", word, "ct_state=inv, or new, est, rpl and rel, joined by |")
    return value
