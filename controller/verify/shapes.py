"""All packets there are, as a few regions: one for each kind of packet that has other fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controller.verify.packet import (
    CONNECTION4,
    CONNECTION6,
    CT_STATES,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FIELD_MASKS,
    FIELD_NAMES,
    FRAGMENT,
    FRAGMENT_LATER,
    ND_ADVERTISEMENT,
    ND_SOLICITATION,
    PROTO_ICMPV4,
    PROTO_ICMPV6,
    PROTO_IPV6_FRAGMENT,
    PROTO_TCP,
    PROTO_UDP,
    TRACKED,
    UNTAGGED,
    VLAN_PRESENT,
    WIDTHS,
    WITH_ARP,
    WITH_ETHERNET,
    WITH_ICMPV4,
    WITH_ICMPV6,
    WITH_IPV4,
    WITH_IPV6,
    WITH_TCP,
    WITH_UDP,
    Cube,
    cube,
)
from controller.verify.space import Region

_NOT_LATER = (0, 0xFF ^ FRAGMENT)
_ALL_STATE = (1 << WIDTHS["ct_state"]) - 1
# Connection tracking has looked at every packet that it can look at, whether a flow asks it or not.
_CONNECTED = (TRACKED, _ALL_STATE ^ CT_STATES | TRACKED)


def _kind(present: Iterable[str], fixed: Cube, holes: tuple[Cube, ...] = ()) -> Region:
    """Packets of one kind: what is fixed, and zero in every field that is not present."""
    value, mask = fixed
    for name in FIELD_NAMES:
        if name not in present:
            mask |= FIELD_MASKS[name]
    return Region(value, mask, holes)


def _kinds(tag: tuple[int, int]) -> tuple[Region, ...]:
    # "Later, but no fragment" is no packet. Open vSwitch reads one byte of an ARP operation: more shows as 0.
    arp = cube(vlan_vid=tag, eth_type=ETH_ARP, arp_op=(0, 0xFF00))
    other = tuple(cube(eth_type=kind) for kind in (ETH_ARP, ETH_IPV4, ETH_IPV6))
    return (
        _kind(WITH_ETHERNET, cube(vlan_vid=tag), other),
        _kind(WITH_ETHERNET | WITH_ARP, arp),
        *_kinds4(tag),
        *_kinds6(tag),
    )


def _kinds4(tag: tuple[int, int]) -> Iterator[Region]:
    present = WITH_ETHERNET | WITH_IPV4 | CONNECTION4
    fixed: dict[str, int | tuple[int, int]] = {"vlan_vid": tag, "eth_type": ETH_IPV4, "ct_state": _CONNECTED}
    # Nothing of layer 4: of another protocol, or a later fragment, or all of it zero.
    yield _kind(present, cube(**fixed, ip_frag=(0, 0xFC)), (cube(ip_frag=FRAGMENT_LATER),))
    for proto, fields in ((PROTO_TCP, WITH_TCP), (PROTO_UDP, WITH_UDP), (PROTO_ICMPV4, WITH_ICMPV4)):
        yield _kind(present | fields, cube(**fixed, ip_proto=proto, ip_frag=_NOT_LATER))


def _kinds6(tag: tuple[int, int]) -> Iterator[Region]:
    def ipv6(proto: int | tuple[int, int], frag: int | tuple[int, int] = _NOT_LATER, **icmp: int) -> Cube:
        connected: dict[str, int | tuple[int, int]] = {"ct_state": _CONNECTED}
        return cube(vlan_vid=tag, eth_type=ETH_IPV6, ip_proto=proto, ip_frag=frag, **connected, **icmp)

    present = WITH_ETHERNET | WITH_IPV6 | CONNECTION6
    icmp = present | WITH_ICMPV6
    target = icmp | {"ipv6_nd_target"}
    yield _kind(present, ipv6((0, 0)))
    yield _kind(present, ipv6(PROTO_IPV6_FRAGMENT, FRAGMENT | FRAGMENT_LATER))
    yield _kind(present | WITH_TCP, ipv6(PROTO_TCP))
    yield _kind(present | WITH_UDP, ipv6(PROTO_UDP))
    yield _kind(icmp, ipv6(PROTO_ICMPV6))
    yield _kind(target | {"ipv6_nd_sll"}, ipv6(PROTO_ICMPV6, icmpv6_type=ND_SOLICITATION, icmpv6_code=0))
    yield _kind(target | {"ipv6_nd_tll"}, ipv6(PROTO_ICMPV6, icmpv6_type=ND_ADVERTISEMENT, icmpv6_code=0))


PACKETS: tuple[Region, ...] = (*_kinds((UNTAGGED, 0x1FFF)), *_kinds((VLAN_PRESENT, VLAN_PRESENT)))
"""Regions whose union is exactly the canonical packets, of any connection (some are in two of them)."""
