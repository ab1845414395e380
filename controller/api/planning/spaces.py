"""Which connections one port can open to another, found by asking the meaning about all at once. Pure.

A *question* is a set of packets that begin connections, with a name ("IPv4 10.0.0.5 -> 10.0.0.6"); the answer
is which of them arrive. Asked about are whole packets that fit into the overlay, of a protocol that nobody
looks into: what is asked about protocol and ports is what connection tracking says, which is what rules of
security groups are about. So neither DHCP, nor neighbour discovery, nor the local services are in the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import NamedTuple

from cloison.addresses import format_mac
from cloison.protocols import ICMP, ICMPV6
from controller.api.planning.connections import DETAIL_MAX, PROTOCOLS, Connections, Interval, union
from controller.flows.text import field_text, value_text
from controller.verify.explore import Question, explore
from controller.verify.intent import NetworkIntent, PortIntent
from controller.verify.packet import (
    ETH_IPV4,
    ETH_IPV6,
    FIELD_MASKS,
    NEW,
    OFFSETS,
    TRACKED,
    UNTAGGED,
    WIDTHS,
    Cube,
    cube,
)
from controller.verify.semantics import (
    GROUPS4,
    GROUPS6,
    LINK_LOCAL6,
    MULTICAST4,
    SERVICES4,
    SERVICES6,
    broadcasts,
    fate_at,
    passes,
)
from controller.verify.space import Region, member, within, without
from controller.verify.world import World

# For experiments (RFC 3692): the meaning says nothing about it.
_PLAIN_PROTOCOL = 253
_TTL = 64
_L4 = ("ct_nw_proto", "ct_tp_src", "ct_tp_dst")
_L4_MASK = sum(FIELD_MASKS[name] for name in _L4)
_FULL = -1


@dataclass(frozen=True, slots=True)
class _Family:
    version: int
    eth_type: int
    source: str
    target: str
    # The same two of the connection.
    ct_source: str
    ct_target: str
    # What is no address of a machine outside the subnets.
    special: tuple[tuple[int, int], ...]
    services: tuple[int, ...]
    # Where groups are, in networks with multicast.
    multicast: tuple[int, int]


_FAMILIES = (
    _Family(4, ETH_IPV4, "ipv4_src", "ipv4_dst", "ct_nw_src", "ct_nw_dst", (GROUPS4,), SERVICES4, MULTICAST4),
    _Family(
        6,
        ETH_IPV6,
        "ipv6_src",
        "ipv6_dst",
        "ct_ipv6_src",
        "ct_ipv6_dst",
        (LINK_LOCAL6, GROUPS6),
        SERVICES6,
        GROUPS6,
    ),
)


def _plain(family: _Family) -> Cube:
    return cube(
        vlan_vid=UNTAGGED,
        ip_frag=0,
        oversize=0,
        eth_type=family.eth_type,
        ip_proto=_PLAIN_PROTOCOL,
        ct_state=TRACKED | NEW,
    )


_PLAIN = {family.version: _plain(family) for family in _FAMILIES}


class _Source(NamedTuple):
    """Where a port may send from: what to call it, the addresses, and the MAC (None: any)."""

    words: str
    value: int
    mask: int
    mac: int | None


def spaces(world: World, sender: PortIntent, receiver: PortIntent) -> Iterator[tuple[str, Connections]]:
    """Yield which connections sender can open to receiver in the world, where both are plugged.

    In words from where to where, and which of these; never none.
    """
    network = world.networks.get(sender.name.parent)
    if network is None:
        return
    routed = sender.name.parent != receiver.name.parent
    asked = _routed_questions if routed else _questions
    found: dict[str, list[Region]] = {}
    for words, region in asked(network, sender, receiver):
        for part, arrives in explore(region, lambda seen: _arrives(world, sender, receiver, seen)):
            if arrives and (not part.holes or member(part) is not None):
                found.setdefault(words + _restriction(region, part), []).append(part)
    for named, parts in found.items():
        yield named, _connections(parts)


def _arrives(world: World, sender: PortIntent, receiver: PortIntent, seen: Question) -> bool:
    fate = fate_at(world, sender, receiver, seen)
    return fate is not None and passes(world, fate, seen)


# -- what is asked ---------------------------------------------------------------------------------


def _questions(
    network: NetworkIntent, sender: PortIntent, receiver: PortIntent
) -> Iterator[tuple[str, Region]]:
    """Yield sets of packets, each with its name: from each source to each address, and by MAC to the rest.

    In a network with multicast also what the receiver is one of many for: groups and broadcasts.
    Link-local addresses are not asked about: a port has one if, and only if, it has another of IPv6.
    """
    for family in _FAMILIES:
        for source in _sources(sender, family):
            for target in _targets(receiver, family):
                words = f"IPv{family.version} {source.words} -> {_text(family, target)}"
                exact = {family.target: target, family.ct_target: target}
                yield words, _unrouted(network, _region(family, source, **exact))
            # What a guest that routes may be sent: the address is nobody's here, so the MAC decides.
            words = (
                f"IPv{family.version} from {source.words} to {format_mac(receiver.mac)} "
                "with an address outside the network's subnets"
            )
            yield words, _elsewhere(family, network, _region(family, source, eth_dst=receiver.mac))
            if network.multicast:
                yield from _to_all(family, network, source)


def _to_all(family: _Family, network: NetworkIntent, source: _Source) -> Iterator[tuple[str, Region]]:
    value, mask = family.multicast
    words = f"IPv{family.version} {source.words} -> "
    yield f"{words}multicast groups", _with(_region(family, source), family, value, mask)
    for address in sorted(broadcasts(network)) if family.version == 4 else ():
        exact = {family.target: address, family.ct_target: address}
        yield f"{words}{_text(family, address)} (broadcast)", _region(family, source, **exact)


def _with(region: Region, family: _Family, value: int, mask: int) -> Region:
    """Return the part of a region whose packets and connections are for some addresses."""
    for name in (family.target, family.ct_target):
        part = within(region, (value << OFFSETS[name], mask << OFFSETS[name]))
        assert part is not None, "nothing is said of the target yet"
        region = part
    return region


def _routed_questions(
    network: NetworkIntent, sender: PortIntent, receiver: PortIntent
) -> Iterator[tuple[str, Region]]:
    """As _questions, to a port of another network: by each router, while there are hops left."""
    for family in _FAMILIES:
        for source in _sources(sender, family):
            for target in _targets(receiver, family):
                words = f"IPv{family.version} {source.words} -> {_text(family, target)}"
                exact = {family.target: target, family.ct_target: target, "ip_ttl": _TTL}
                macs = {router.mac for router in network.routers}
                for mac in sorted(macs):
                    yield words, _region(family, source, eth_dst=mac, **exact)


def _targets(receiver: PortIntent, family: _Family) -> list[int]:
    return [int(a) for a in receiver.addresses if a.version == family.version]


def _unrouted(network: NetworkIntent, region: Region) -> Region:
    """Return the region without what is handed to a router, which comes to the same by a longer way."""
    for router in network.routers:
        region = without(region, cube(eth_dst=router.mac)) or region
    return region


def _sources(sender: PortIntent, family: _Family) -> Iterator[_Source]:
    if not sender.checked:
        yield _Source("any address", 0, 0, None)
        return
    for address in sender.addresses:
        if address.version == family.version:
            yield _Source(str(address), int(address), _FULL, sender.mac)
    for pair in sender.pairs:
        prefix = ip_network(pair.prefix)
        if prefix.version == family.version:
            mac = sender.mac if pair.mac is None else pair.mac
            name = str(prefix.network_address) if prefix.num_addresses == 1 else str(prefix)
            also = "" if mac == sender.mac else f" with MAC {format_mac(mac)}"
            yield _Source(name + also, int(prefix.network_address), int(prefix.netmask), mac)


def _text(family: _Family, address: int) -> str:
    return str(IPv4Address(address) if family.version == 4 else IPv6Address(address))


def _region(family: _Family, source: _Source, **exact: int) -> Region:
    value, mask = _PLAIN[family.version]
    for name, number in exact.items():
        value |= number << OFFSETS[name]
        mask |= FIELD_MASKS[name]
    if source.mac is not None:
        value |= source.mac << OFFSETS["eth_src"]
        mask |= FIELD_MASKS["eth_src"]
    for name in (family.source, family.ct_source):
        value |= source.value << OFFSETS[name]
        mask |= source.mask << OFFSETS[name] & FIELD_MASKS[name]
    return Region(value, mask)


def _elsewhere(family: _Family, network: NetworkIntent, region: Region) -> Region:
    """Return the region without the addresses of the network, of groups, and of the local services."""
    ranges = network.ranges4 if family.version == 4 else network.ranges6
    services = tuple((address, _FULL) for address in family.services)
    for value, mask in (*ranges, *family.special, *services):
        at, whole = OFFSETS[family.target], FIELD_MASKS[family.target]
        # No range has all numbers, so something is left.
        region = without(region, (value << at & whole, mask << at & whole)) or region
    return region


# -- what the answer says ---------------------------------------------------------------------------


def _restriction(whole: Region, part: Region) -> str:
    """Return in words what is decided in a part of a set of packets and not in the whole, L4 apart."""
    decided = part.mask & ~whole.mask & ~_L4_MASK
    words = [_said(name, part.value, part.mask) for name in _fields_in(decided)]
    for value, mask in part.holes:
        if mask & ~_L4_MASK and (value, mask) not in whole.holes:
            words += [f"not {_said(name, value, mask)}" for name in _fields_in(mask & ~_L4_MASK)]
    return f" ({' '.join(dict.fromkeys(words))})" if words else ""


def _fields_in(mask: int) -> list[str]:
    return [name for name, bits in FIELD_MASKS.items() if mask & bits] if mask else []


def _said(name: str, number: int, bits: int) -> str:
    at, full = OFFSETS[name], (1 << WIDTHS[name]) - 1
    value, mask = number >> at & full, bits >> at & full
    text = f"{field_text(name)}={value_text(name, value)}"
    return text if mask == full else f"{text}/{value_text(name, mask)}"


def _connections(parts: list[Region]) -> Connections:
    """Return what parts of a region come to, by protocol and port."""
    named = {protocol for part in parts for protocol in _named_protocols(part)}
    details = {
        protocol: union(i for part in parts for i in _details(part, protocol)) for protocol in sorted(named)
    }
    other = next(number for number in range(PROTOCOLS - 1, -1, -1) if number not in named)
    return Connections(details, any(_holds(part, "ct_nw_proto", other) for part in parts))


def _named_protocols(part: Region) -> Iterator[int]:
    bits, at = FIELD_MASKS["ct_nw_proto"], OFFSETS["ct_nw_proto"]
    if part.mask & bits == bits:
        yield (part.value & bits) >> at
    for value, mask in part.holes:
        if mask & bits == bits:
            yield (value & bits) >> at


def _holds(part: Region, name: str, number: int) -> bool:
    """Tell whether a part has packets with this number in a field; each hole is about one field."""
    bits, wanted = FIELD_MASKS[name], number << OFFSETS[name]
    if (part.value ^ wanted) & part.mask & bits:
        return False
    return all((value ^ wanted) & mask & bits for value, mask in part.holes if mask & bits)


def _details(part: Region, protocol: int) -> Iterator[Interval]:
    """Yield the ports of a part, or type * 256 + code, of one protocol."""
    if not _holds(part, "ct_nw_proto", protocol):
        return
    codes = list(_numbers(part, "ct_tp_dst"))
    if protocol not in (ICMP, ICMPV6):
        yield from codes
        return
    low_codes = union((low, min(high, 0xFF)) for low, high in codes if low <= 0xFF)
    for low, high in _numbers(part, "ct_tp_src"):
        for kind in range(low, min(high, 0xFF) + 1):
            yield from (((kind << 8) + a, (kind << 8) + b) for a, b in low_codes)


def _numbers(part: Region, name: str) -> Iterator[Interval]:
    """Yield the intervals of a field's numbers in a part: masks of ranges leave the low bits open."""
    left = [_interval(name, part.value, part.mask)]
    for value, mask in part.holes:
        if not mask & FIELD_MASKS[name]:
            continue
        low, high = _interval(name, value, mask)
        left = [
            piece
            for start, end in left
            for piece in ((start, min(end, low - 1)), (max(start, high + 1), end))
            if piece[0] <= piece[1]
        ]
    yield from left


def _interval(name: str, number: int, bits: int) -> Interval:
    at = OFFSETS[name]
    value, mask = number >> at & DETAIL_MAX, bits >> at & DETAIL_MAX
    return value & mask, value & mask | (DETAIL_MAX & ~mask)
