"""Kinds: datagrams in fragments, whole ones and those that show a filter something else than the receiver.

Sizes are those of real links: Open vSwitch drops fragments that are smaller, other than last ones, anyway.
"""

from __future__ import annotations

from collections.abc import Iterator

from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, PadN
from scapy.packet import Packet, Raw

from tests.probe.actors import (
    ADMITTED_TCP,
    ADMITTED_UDP,
    CLOSED,
    CLOSED_PORT,
    Actor,
    Frame,
    Kinds,
    blocked,
    eth,
    ip,
    udp,
)

FIRST_BYTES, LAST_BYTES = 1360, 48
UNIT_BYTES = 8
ICMP_NUMBER = {4: 1, 6: 58}


def part(to: Actor, version: int, number: int, at: int, more: bool, follows: int = 17) -> Packet:
    """The headers of a fragment that begins `at` bytes into its datagram."""
    if version == 4:
        fields = {"id": number, "frag": at // UNIT_BYTES, "flags": "MF" if more else 0, "proto": follows}
        return eth(to.mac) / ip(4, to, **fields)
    header = IPv6ExtHdrFragment(id=number, offset=at // UNIT_BYTES, m=int(more), nh=follows)
    return eth(to.mac) / ip(6, to) / header


def whole(to: Actor, version: int, layer: Packet, mark: bytes) -> bytes:
    """A datagram (without its IP header) with a mark in each of two fragments and a right checksum."""
    # The last byte of a mark says which frame it is.
    body = (mark[:-1] + b"\0").ljust(FIRST_BYTES - 8, b".") + (mark[:-1] + b"\1").ljust(LAST_BYTES, b".")
    return bytes(ip(version, to) / layer / Raw(body))[20 if version == 4 else 40 :]


def in_two(to: Actor, version: int, layer: Packet, number: int) -> list[Frame]:
    """A datagram in two fragments, in order."""
    follows = 17 if isinstance(layer, UDP) else ICMP_NUMBER[version]

    def first(mark: bytes) -> bytes:
        piece = Raw(whole(to, version, layer, mark)[:FIRST_BYTES])
        return bytes(part(to, version, number, 0, True, follows) / piece)

    def last(mark: bytes) -> bytes:
        piece = Raw(whole(to, version, layer, mark)[FIRST_BYTES:])
        return bytes(part(to, version, number, FIRST_BYTES, False, follows) / piece)

    return [first, last]


def kinds() -> Kinds:
    """All of them towards guests that admit one UDP port."""
    numbers = iter(range(0x4000, 0x8000))
    for to in CLOSED:
        for version in (4, 6):
            where = f"ipv{version} to {to.port}"
            yield from _well_formed(to, version, where, numbers)
            yield from _ill_formed(to, version, where, numbers)
            yield from _overlapping(to, version, where, numbers)
        yield from _of_ipv6(to, numbers)


def _well_formed(to: Actor, version: int, where: str, numbers: Iterator[int]) -> Kinds:
    closed = in_two(to, version, udp(CLOSED_PORT, 5100), next(numbers))
    yield blocked(f"fragments to a closed port {where}", *closed, stays=False)
    first, last = in_two(to, version, udp(CLOSED_PORT, 5101), next(numbers))
    yield blocked(f"fragments to a closed port, last first {where}", last, first, stays=False)
    echo = ICMP(id=9) if version == 4 else ICMPv6EchoRequest(id=9)
    yield blocked(f"echo in fragments {where}", *in_two(to, version, echo, next(numbers)), stays=False)


def _ill_formed(to: Actor, version: int, where: str, numbers: Iterator[int]) -> Kinds:
    def alone(at: int, more: bool, size: int, follows: int = 17) -> Packet:
        return part(to, version, next(numbers), at, more, follows) / Raw(bytes(size))

    yield blocked(f"last fragment alone {where}", alone(FIRST_BYTES, False, 40), stays=False)
    yield blocked(f"middle fragment alone {where}", alone(FIRST_BYTES, True, FIRST_BYTES - 16), stays=False)
    yield blocked(f"fragment beyond the end {where}", alone(65528, False, 1200), stays=False)
    number = next(numbers)
    start = bytes(UDP(sport=5102, dport=CLOSED_PORT, len=64, chksum=0))
    tiny = part(to, version, number, 0, True) / Raw(start)
    rest = part(to, version, number, UNIT_BYTES, False) / Raw(bytes(40))
    yield blocked(f"tiny first fragment {where}", tiny, rest, stays=False)
    number = next(numbers)
    flags = bytes(TCP(sport=5103, dport=CLOSED_PORT, flags="S"))
    tiny = part(to, version, number, 0, True, 6) / Raw(flags[:8])
    rest = part(to, version, number, UNIT_BYTES, False, 6) / Raw(flags[8:])
    yield blocked(f"tcp flags in the second fragment {where}", tiny, rest, stays=False)
    many = [part(to, version, next(numbers), 0, True) / Raw(bytes(1200)) for _ in range(3)]
    yield blocked(f"first fragments without rest to port 0 {where}", *many, stays=False)


def _overlapping(to: Actor, version: int, where: str, numbers: Iterator[int]) -> Kinds:
    """An admitted first fragment, not marked, and a marked one that writes over it (RFC 1858, RFC 5722)."""

    def admitted(number: int, port: int, protocol: int) -> Packet:
        layer = UDP(sport=5104, dport=port, chksum=0) if protocol == 17 else TCP(sport=5104, dport=port)
        start = bytes(layer).ljust(FIRST_BYTES, b".")
        return part(to, version, number, 0, True, protocol) / Raw(start)

    closed = bytes(UDP(sport=5104, dport=CLOSED_PORT, chksum=0))
    for at, more, name in ((0, True, "the ports"), (8, False, "all but the ports"),
                           (FIRST_BYTES - 8, False, "the end"), (8, True, "the middle")):  # fmt: skip
        number = next(numbers)
        over = part(to, version, number, at, more) / Raw((closed if not at else b"").ljust(1248, b"."))
        kept = [admitted(number, ADMITTED_UDP, 17)]
        yield blocked(f"overlap of {name} {where}", over, filler=kept, stays=False)
    number = next(numbers)
    over = part(to, version, number, 8, False, 6) / Raw(bytes(TCP(flags="S"))[8:].ljust(1248, b"."))
    kept = [admitted(number, ADMITTED_TCP, 6)]
    yield blocked(f"overlap of the tcp flags {where}", over, filler=kept, stays=False)


def _of_ipv6(to: Actor, numbers: Iterator[int]) -> Kinds:
    where = f"to {to.port}"

    def pad(size: int) -> Packet:
        return IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(n)) for n in (size - 4,)])

    number = next(numbers)
    first = part(to, 6, number, 0, True, 60) / pad(248) / pad(248) / pad(248) / pad(248) / pad(248)
    second = part(to, 6, number, len(bytes(first)) - 14 - 40 - 8, False, 60) / Raw(bytes(udp()))
    yield blocked(f"port in the second fragment {where}", second, filler=[first], stays=False)
    atomic = part(to, 6, next(numbers), 0, False) / udp()
    yield blocked(f"atomic fragment {where}", atomic, stays=False)
    nested = eth(to.mac) / ip(6, to) / IPv6ExtHdrFragment(nh=44) / IPv6ExtHdrFragment(nh=17) / udp()
    yield blocked(f"nested fragment headers {where}", nested, stays=False)
