"""Kinds: by a router, to what is outside and to who is reached from there. PURE: no I/O.

Both tenants have a router of one layout with a gateway; red/p3 and blue/p2 have floating IPs. `to` names
guests as "tenant/port", and "outside".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scapy.layers.inet import IP, UDP, IPOption_LSRR, IPOption_SSRR
from scapy.layers.inet6 import IPv6, IPv6ExtHdrRouting
from scapy.layers.l2 import ARP
from scapy.packet import Packet

from tests.probe.actors import ALL, HIM, ME, ROGUE, Kind, Kinds, blocked, eth, udp

OUTSIDE = "outside"
TRANSIT = {4: ("100.127.0.1", "100.127.0.2"), 6: ("fd00:c101:50::1", "fd00:c101:50::2")}
NEVER = {
    4: ("224.0.0.5", "239.1.1.1", "255.255.255.255", "169.254.7.7", "127.0.0.1", "0.0.0.0", "203.0.113.255"),
    6: ("ff02::1", "ff05::2", "ff0e::1", "fe80::1", "::1", "::"),
}
NOBODY = {
    4: (HIM.ip4, "10.0.0.1", "0.0.0.0", "127.0.0.1", "255.255.255.255", "224.0.0.1", "192.0.2.1"),
    6: (HIM.ip6, HIM.local, ME.local, "fd00:10::1", "::", "::1", "ff02::1", "2001:db8:77::1"),
}


@dataclass(frozen=True)
class Ways:
    """What the sender is told, by IP version: addresses outside, and MACs of the way there.

    own and theirs: the routers' addresses of red and of blue; floating: of red/p3, blues: of blue/p2.
    """

    router_mac: str
    edge_mac: str
    far: Mapping[int, str]
    own: Mapping[int, str]
    theirs: Mapping[int, str]
    floating: Mapping[int, str]
    blues: Mapping[int, str]


def kinds(ways: Ways) -> Kinds:
    """Every kind; names are unique."""
    for version in (4, 6):
        yield from _legitimate(ways, version)
        yield from _sources(ways, version)
        yield from _targets(ways, version)
        yield from _past_the_router(ways, version)
    yield from _routed_by_the_sender(ways)


def _head(version: int, to: str, source: str = "", **fields: object) -> Packet:
    if version == 4:
        return IP(src=source or ME.ip4, dst=to, **fields)
    return IPv6(src=source or ME.ip6, dst=to, **fields)


def _legitimate(ways: Ways, version: int) -> Kinds:
    for name, to, there in (
        ("out", ways.far[version], OUTSIDE),
        ("to the own floating address", ways.floating[version], "red/p3"),
        ("to another tenant's floating address", ways.blues[version], "blue/p2"),
    ):
        frame = eth(ways.router_mac) / _head(version, to) / udp()
        yield Kind(f"ipv{version} {name}", (frame,), frozenset({there}), stays=False)


def _sources(ways: Ways, version: int) -> Kinds:
    """Whoever it says it is, it is p1."""
    outside = (ways.own, ways.theirs, ways.floating, ways.blues, ways.far)
    for source in (*NOBODY[version], *TRANSIT[version], *(of[version] for of in outside)):
        for to in (ways.far[version], ways.blues[version], ways.floating[version]):
            frame = eth(ways.router_mac) / _head(version, to, source) / udp()
            yield blocked(f"as {source} to {to}", frame)


def _targets(ways: Ways, version: int) -> Kinds:
    """What no router forwards, what is nobody's, and what ends on the way."""
    for to in NEVER[version]:
        for mac in (ways.router_mac, ways.edge_mac):
            yield blocked(f"to {to} by {mac}", eth(mac) / _head(version, to) / udp(), stays=False)
    # Routers and their edges are for nobody to talk to.
    for to in (*TRANSIT[version], ways.own[version], ways.theirs[version]):
        for port in (22, 53, 80, 179, 6653, 9):
            frame = eth(ways.router_mac) / _head(version, to) / udp(port)
            yield blocked(f"to {to} port {port}", frame, stays=False, served=to == TRANSIT[version][0])
    hops = "ttl" if version == 4 else "hlim"
    for left in (0, 1, 2):
        frame = eth(ways.router_mac) / _head(version, ways.far[version], **{hops: left}) / udp()
        yield blocked(f"ipv{version} out with {left} hops left", frame, stays=False, served=True)


def _past_the_router(ways: Ways, version: int) -> Kinds:
    """By MACs that mean something elsewhere only."""
    wires = {4: "0a:f0:64:7f:00:02", 6: "0a:f6:00:00:00:02"}
    for mac in (ways.edge_mac, wires[version], ROGUE, ALL):
        for to in (ways.far[version], ways.blues[version], TRANSIT[version][1]):
            yield blocked(f"by {mac} to {to}", eth(mac) / _head(version, to) / udp(), stays=False)


def _routed_by_the_sender(ways: Ways) -> Kinds:
    for name, option in (("loose", IPOption_LSRR), ("strict", IPOption_SSRR)):
        for via in (ways.own[4], TRANSIT[4][1]):
            head = IP(src=ME.ip4, dst=ways.far[4], options=[option(routers=[via])])
            yield blocked(f"{name} source route by {via}", eth(ways.router_mac) / head / UDP(), stays=False)
    header = IPv6(src=ME.ip6, dst=ways.own[6]) / IPv6ExtHdrRouting(addresses=[ways.far[6]])
    yield blocked("routing header of type 0", eth(ways.router_mac) / header / UDP(), stays=False)
    for to in (TRANSIT[4][1], ways.own[4], ways.theirs[4], ways.blues[4], ways.far[4]):
        asked = ARP(hwsrc=ME.mac, psrc=ME.ip4, pdst=to)
        yield blocked(f"arp for {to}", eth(ALL) / asked)
        told = ARP(op=2, hwsrc=ME.mac, psrc=to, hwdst=HIM.mac, pdst=HIM.ip4)
        yield blocked(f"arp reply as {to}", eth(HIM.mac) / told)
