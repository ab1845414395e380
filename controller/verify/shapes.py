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
_ND = {"eth_type": ETH_IPV6, "ip_proto": PROTO_ICMPV6, "icmpv6_code": 0}
_NOT_LATER = {"ip_frag": (0, 0xFF ^ FRAGMENT)}


def _kind(
    present: Iterable[str], tag: tuple[int, int], holes: tuple[Cube, ...] = (), **fixed: object
) -> Region:
    """Packets of one kind: what is fixed, and zero in every field that is not present."""
    value, mask = cube(vlan_vid=tag, **fixed)  # type: ignore[arg-type]  # ints or pairs
    for name in HEADER_FIELDS:
        if name not in present:
            mask |= FIELD_MASKS[name]
    return Region(value, mask, holes)


def _kinds(tag: tuple[int, int]) -> tuple[Region, ...]:
    # "Later, but no fragment" is no packet.
    no_such = (cube(ip_frag=FRAGMENT_LATER),)
    v6 = WITH_ETHERNET | WITH_IPV6
    target = _ICMP | {"ipv6_nd_target"}
    later = {"ip_proto": PROTO_IPV6_FRAGMENT, "ip_frag": FRAGMENT | FRAGMENT_LATER}
    soliciting = {**_ND, **_NOT_LATER, "icmpv6_type": ND_SOLICITATION}
    advertising = {**_ND, **_NOT_LATER, "icmpv6_type": ND_ADVERTISEMENT}
    return (
        _kind(WITH_ETHERNET, tag),
        # Open vSwitch reads one byte of the ARP operation: a larger one shows as 0.
        _kind(WITH_ETHERNET | WITH_ARP, tag, eth_type=ETH_ARP, arp_op=(0, 0xFF00)),
        _kind(WITH_ETHERNET | WITH_IPV4, tag, no_such, eth_type=ETH_IPV4, ip_frag=(0, 0xFC)),
        _kind(v6, tag, eth_type=ETH_IPV6, **_NOT_LATER),
        _kind(v6, tag, eth_type=ETH_IPV6, **later),
        _kind(_ICMP, tag, eth_type=ETH_IPV6, ip_proto=PROTO_ICMPV6, **_NOT_LATER),
        _kind(target | {"ipv6_nd_sll"}, tag, **soliciting),
        _kind(target | {"ipv6_nd_tll"}, tag, **advertising),
    )


PACKETS: tuple[Region, ...] = (*_kinds((UNTAGGED, 0x1FFF)), *_kinds((VLAN_PRESENT, VLAN_PRESENT)))
"""Regions whose union is exactly the canonical packets (some packets are in two of them)."""
