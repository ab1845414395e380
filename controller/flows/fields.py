"""The match fields the pipeline uses: OXM or NXM class, number, width, and the text name of ovs-ofctl.

Sources: OpenFlow 1.4.1, section 7.2.3.7 (OXM basic class 0x8000) and ovs-fields(7) for the Nicira classes
0x0000 (NXM_OF) and 0x0001 (NXM_NX). The fields ct_nw_src to ct_tp_dst are of a connection's original
direction; of ICMP, ct_tp_src is the type and ct_tp_dst the code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

OXM_BASIC = 0x8000
NXM_OF = 0x0000
NXM_NX = 0x0001
REGISTER_COUNT = 16


@dataclass(frozen=True, slots=True, order=True)
class Field:
    """A header or register field. width in bits; maskable tells whether OVS takes arbitrary masks on it."""

    name: str
    oxm_class: int
    number: int
    width: int
    maskable: bool = True
    writable: bool = False

    # One object a field: flows are looked up by their match, and to hash a field anew costs most of that.
    __hash__ = object.__hash__

    def __reduce__(self) -> tuple[Callable[[str], Field], tuple[str]]:
        """A copy of a field is the field."""
        return field, (self.name,)

    @property
    def all_ones(self) -> int:
        """The mask that says: every bit."""
        return (1 << self.width) - 1

    @property
    def length(self) -> int:
        """Bytes of the value on the wire."""
        return (self.width + 7) // 8


def _basic(name: str, number: int, width: int, *, maskable: bool = False, writable: bool = False) -> Field:
    return Field(name, OXM_BASIC, number, width, maskable, writable)


def _nicira(name: str, number: int, width: int, *, maskable: bool = True, writable: bool = False) -> Field:
    return Field(name, NXM_NX, number, width, maskable, writable)


FIELDS: dict[str, Field] = {
    f.name: f
    for f in (
        _basic("in_port", 0, 32),
        _basic("metadata", 2, 64, maskable=True, writable=True),
        _basic("eth_dst", 3, 48, maskable=True, writable=True),
        _basic("eth_src", 4, 48, maskable=True, writable=True),
        _basic("eth_type", 5, 16),
        # 13 bits: 0x1000 is "a tag is present"; the value 0 with no mask is OFPVID_NONE, untagged.
        _basic("vlan_vid", 6, 13, maskable=True),
        _basic("ip_proto", 10, 8),
        _basic("ipv4_src", 11, 32, maskable=True, writable=True),
        _basic("ipv4_dst", 12, 32, maskable=True, writable=True),
        _basic("tcp_src", 13, 16, maskable=True),
        _basic("tcp_dst", 14, 16, maskable=True),
        _basic("udp_src", 15, 16, maskable=True),
        _basic("udp_dst", 16, 16, maskable=True),
        _basic("icmpv4_type", 19, 8),
        _basic("icmpv4_code", 20, 8),
        _basic("arp_op", 21, 16),
        _basic("arp_spa", 22, 32, maskable=True, writable=True),
        _basic("arp_tpa", 23, 32, maskable=True, writable=True),
        _basic("arp_sha", 24, 48, maskable=True, writable=True),
        _basic("arp_tha", 25, 48, maskable=True, writable=True),
        _basic("ipv6_src", 26, 128, maskable=True, writable=True),
        _basic("ipv6_dst", 27, 128, maskable=True, writable=True),
        _basic("icmpv6_type", 29, 8),
        _basic("icmpv6_code", 30, 8),
        _basic("ipv6_nd_target", 31, 128, maskable=True),
        _basic("ipv6_nd_sll", 32, 48, maskable=True),
        _basic("ipv6_nd_tll", 33, 48, maskable=True),
        _basic("tunnel_id", 38, 64, maskable=True),
        # in_port in 16 bits: what an action can copy, and choose a zone by. Matches say in_port.
        Field("nxm_in_port", NXM_OF, 0, 16, maskable=False),
        *(_nicira(f"reg{n}", n, 32, writable=True) for n in range(REGISTER_COUNT)),
        _nicira("ip_frag", 26, 8),
        _nicira("ip_ttl", 29, 8, maskable=False),
        _nicira("conj_id", 37, 32, maskable=False),
        # 32 bits on the wire, of which those of conntrack.CT_STATE exist.
        _nicira("ct_state", 105, 32),
        _nicira("ct_zone", 106, 16, maskable=False),
        _nicira("ct_nw_proto", 119, 8, maskable=False),
        _nicira("ct_nw_src", 120, 32),
        _nicira("ct_nw_dst", 121, 32),
        _nicira("ct_ipv6_src", 122, 128),
        _nicira("ct_ipv6_dst", 123, 128),
        _nicira("ct_tp_src", 124, 16),
        _nicira("ct_tp_dst", 125, 16),
    )
}


def field(name: str) -> Field:
    """Return the field of that name; an unknown name is a bug, hence KeyError."""
    return FIELDS[name]
