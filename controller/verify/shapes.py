"""All packets there are, as a few regions: one for each kind of packet that has other fields."""

from __future__ import annotations

from collections.abc import Iterable

from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FIELD_MASKS,
    FRAGMENT,
    FRAGMENT_LATER,
    HEADER_FIELDS,
    ND_ADVERTISEMENT,
    ND_SOLICITATION,
    PROTO_ICMPV6,
    PROTO_IPV6_FRAGMENT,
    UNTAGGED,
    VLAN_PRESENT,
    WITH_ARP,
    WITH_ETHERNET,
    WITH_ICMPV6,
    WITH_IPV4,
    WITH_IPV6,
    Cube,
    cube,
)
from controller.verify.space import Region

_ICMP = WITH_ETHERNET | WITH_IPV6 | WITH_ICMPV6
_NOT_LATER = (0, 0xFF ^ FRAGMENT)


def _kind(present: Iterable[str], fixed: Cube, holes: tuple[Cube, ...] = ()) -> Region:
    """Packets of one kind: what is fixed, and zero in every field that is not present."""
    value, mask = fixed
    for name in HEADER_FIELDS:
        if name not in present:
            mask |= FIELD_MASKS[name]
    return Region(value, mask, holes)


def _kinds(tag: tuple[int, int]) -> tuple[Region, ...]:
    def ipv6(proto: int | tuple[int, int], frag: int | tuple[int, int] = _NOT_LATER, **icmp: int) -> Cube:
        return cube(vlan_vid=tag, eth_type=ETH_IPV6, ip_proto=proto, ip_frag=frag, **icmp)

    v6 = WITH_ETHERNET | WITH_IPV6
    target = _ICMP | {"ipv6_nd_target"}
    # "Later, but no fragment" is no packet. Open vSwitch reads one byte of an ARP operation: more shows as 0.
    ipv4 = cube(vlan_vid=tag, eth_type=ETH_IPV4, ip_frag=(0, 0xFC))
    arp = cube(vlan_vid=tag, eth_type=ETH_ARP, arp_op=(0, 0xFF00))
    return (
        _kind(WITH_ETHERNET, cube(vlan_vid=tag)),
        _kind(WITH_ETHERNET | WITH_ARP, arp),
        _kind(WITH_ETHERNET | WITH_IPV4, ipv4, (cube(ip_frag=FRAGMENT_LATER),)),
        _kind(v6, ipv6((0, 0))),
        _kind(v6, ipv6(PROTO_IPV6_FRAGMENT, FRAGMENT | FRAGMENT_LATER)),
        _kind(_ICMP, ipv6(PROTO_ICMPV6)),
        _kind(target | {"ipv6_nd_sll"}, ipv6(PROTO_ICMPV6, icmpv6_type=ND_SOLICITATION, icmpv6_code=0)),
        _kind(target | {"ipv6_nd_tll"}, ipv6(PROTO_ICMPV6, icmpv6_type=ND_ADVERTISEMENT, icmpv6_code=0)),
    )


PACKETS: tuple[Region, ...] = (*_kinds((UNTAGGED, 0x1FFF)), *_kinds((VLAN_PRESENT, VLAN_PRESENT)))
"""Regions whose union is exactly the canonical packets (some packets are in two of them)."""
