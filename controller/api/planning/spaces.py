"""What one port can send another, in words, found by asking the meaning about all such packets at once. Pure.

A *question* is a set of packets with a name ("IPv4 10.0.0.5 -> 10.0.0.6"); the answer is whether all, some
or none of them arrive. Asked about are whole packets, and in IPv6 neither ICMPv6, of which only honest
neighbour discovery passes, nor chains of extension headers that may hide it.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from cloison.addresses import format_mac
from controller.flows.text import field_text, value_text
from controller.verify.explore import Question, explore
from controller.verify.intent import NetworkIntent, PortIntent, World
from controller.verify.packet import ETH_IPV4, ETH_IPV6, FIELD_MASKS, OFFSETS, UNTAGGED, Cube
from controller.verify.semantics import GROUPS4, GROUPS6, LINK_LOCAL6, receiver_of
from controller.verify.space import Region, member, without

ANY = "any protocol"
# ICMPv6; and of extension headers (RFC 8200, section 4) hop-by-hop, routing, fragment, destination options.
_NOT_PLAIN6 = (58, 0, 43, 44, 60)


def spaces(world: World, sender: PortIntent, receiver: PortIntent) -> Iterator[str]:
    """Yield what sender can send receiver in the world; both are plugged there."""
    network = world.networks.get(sender.name.parent)
    if network is None:
        return
    for words, region in _questions(network, sender, receiver):
        answers = list(explore(region, lambda seen: _arrives(world, sender, receiver, seen)))
        if all(arrives for _, arrives in answers):
            yield f"{words}, {ANY}"
            continue
        for part, arrives in answers:
            if arrives and member(part) is not None:
                yield f"{words}, {_restriction(region, part)}"


def _arrives(world: World, sender: PortIntent, receiver: PortIntent, seen: Question) -> bool:
    return receiver_of(world, sender, seen) is receiver


def _questions(
    network: NetworkIntent, sender: PortIntent, receiver: PortIntent
) -> Iterator[tuple[str, Region]]:
    """Yield sets of packets, each with its name: from each address to each, and by MAC to whatever else.

    Link-local addresses are not asked about: a port has one if, and only if, it has another of IPv6.
    """
    for source, target in _pairs(sender, receiver, 4):
        words = f"IPv4 {IPv4Address(source)} -> {IPv4Address(target)}"
        yield words, _region(sender, eth_type=ETH_IPV4, ipv4_src=source, ipv4_dst=target)
    for source, target in _pairs(sender, receiver, 6):
        words = f"IPv6 {IPv6Address(source)} -> {IPv6Address(target)}"
        yield words, _plain6(_region(sender, eth_type=ETH_IPV6, ipv6_src=source, ipv6_dst=target))
    # What a guest that routes may be sent: the address is nobody's here, so the MAC decides.
    words = f"to {format_mac(receiver.mac)} with an address outside the network's subnets"
    for address in sender.addresses:
        source = int(address)
        if address.version == 4:
            region = _region(sender, eth_type=ETH_IPV4, ipv4_src=source, eth_dst=receiver.mac)
            known = (*network.ranges4, GROUPS4)
            yield f"IPv4 from {address} {words}", _outside(region, "ipv4_dst", known)
        else:
            region = _region(sender, eth_type=ETH_IPV6, ipv6_src=source, eth_dst=receiver.mac)
            known = (*network.ranges6, LINK_LOCAL6, GROUPS6)
            yield f"IPv6 from {address} {words}", _outside(_plain6(region), "ipv6_dst", known)


def _pairs(sender: PortIntent, receiver: PortIntent, version: int) -> Iterator[tuple[int, int]]:
    for source in sender.addresses:
        for target in receiver.addresses:
            if source.version == target.version == version:
                yield int(source), int(target)


def _region(sender: PortIntent, **fields: int) -> Region:
    value = mask = 0
    for name, number in (("vlan_vid", UNTAGGED), ("ip_frag", 0), ("eth_src", sender.mac), *fields.items()):
        value |= number << OFFSETS[name]
        mask |= FIELD_MASKS[name]
    return Region(value, mask)


def _plain6(region: Region) -> Region:
    return _outside(region, "ip_proto", tuple((number, -1) for number in _NOT_PLAIN6))


def _outside(region: Region, name: str, ranges: tuple[tuple[int, int], ...]) -> Region:
    for value, mask in ranges:
        cut: Cube = (value << OFFSETS[name], mask << OFFSETS[name] & FIELD_MASKS[name])
        # No range has all numbers, so something is left.
        region = without(region, cut) or region
    return region


def _restriction(whole: Region, part: Region) -> str:
    """Return in words what is decided in a part of a set of packets and not in the whole."""
    words = []
    for name, field in FIELD_MASKS.items():
        if part.mask & ~whole.mask & field:
            value, mask = (part.value & field) >> OFFSETS[name], (part.mask & field) >> OFFSETS[name]
            text = f"{field_text(name)}={value_text(name, value)}"
            full = mask == field >> OFFSETS[name]
            words.append(text if full else f"{text}/{value_text(name, mask)}")
    return " ".join(words) or "some protocols"
