"""Answers router solicitations: how to get an address, what is on the link, DNS, the MTU, routes. Pure.

RFC 4861 (sections 4.2 and 4.6), RFC 8106 (DNS). Where a router answers at the gateway of one of the guest's
subnets, this is its default router too; else the lifetime is 0: it tells of the link, and is nobody's router.
Routes (RFC 4191) come from the router by which they lead: each other router of the network has a link-local
address of its own, and is no default router. What is told holds for ever, but for routers and their routes,
which must be repeated in time (runtime.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network
from typing import NamedTuple

from agent.services.answers import HOPS_ND, ip
from agent.services.neighbours import ALL_NODES
from agent.services.options import domain_wire
from agent.services.seams import IP_ICMP6, Ipv6Mode, Packet, ServicePort, ServiceSubnet
from cloison.addresses import Mac
from cloison.service_link import DNS6, LINK_LOCAL6, SERVICE_MAC

SOLICITATION, ADVERTISEMENT = 133, 134
SOURCE_MAC, PREFIX, MTU, ROUTE, DNS, SEARCH = 1, 3, 5, 24, 25, 31
MANAGED, OTHER = 0x80, 0x40
ON_LINK, AUTONOMOUS = 0x80, 0x40
FOR_EVER_S = 0xFFFFFFFF
ROUTER_LIFETIME_S = 65535
"""The longest there is (RFC 8319, section 4)."""
ROUTE_LIFETIME_S = 5400
"""Three times as long as until it is said again: hosts forget what is no longer said."""
ROUTES_MAX, ROUTES_PER_MESSAGE = 100, 40
"""Told to a guest; in one message, so that it fits the smallest MTU (RFC 4861, section 6.2.3)."""
SERVERS_MAX = 8
SERVICE_PREFIX = IPv6Network("fd00:ec2::/64")
"""Where DNS and metadata are: on the link, with no address for a guest in it."""
_HOP_LIMIT = 64
_AUTONOMOUS_MODES = (Ipv6Mode.STATELESS, Ipv6Mode.SLAAC)


class Routers:
    """Speaks in a router's stead."""

    def handle(self, port: ServicePort, packet: Packet) -> Iterator[bytes]:
        """Yield the advertisement that answers a solicitation."""
        asked = packet.payload
        if (
            len(asked) < 8
            or asked[1] != 0
            or packet.hops != HOPS_ND
            or not isinstance(packet.source, IPv6Address)
        ):
            return
        receiver = ALL_NODES if packet.source.is_unspecified else packet.source
        yield from advertisement(port, receiver)


def advertisement(
    port: ServicePort, receiver: IPv6Address = ALL_NODES, before: ServicePort | None = None
) -> Iterator[bytes]:
    """Yield the router advertisements for the guest of port; none without IPv6.

    before: what the guest was told as; of routes that it had, and has no more, it is told that too.
    """
    subnets = [subnet for subnet in port.subnets if isinstance(subnet.prefix, IPv6Network)]
    if not subnets:
        return
    router = port.default_router6
    mac, lifetime_s = (SERVICE_MAC, 0) if router is None else (router.mac, ROUTER_LIFETIME_S)
    head = _head(subnets, mac, lifetime_s)
    body = struct.pack(">BBHI", MTU, 1, 0, port.mtu)
    for subnet in subnets:
        autonomous = AUTONOMOUS if subnet.ipv6_mode in _AUTONOMOUS_MODES else 0
        body += _prefix(subnet.prefix, ON_LINK | autonomous)
    body += _prefix(SERVICE_PREFIX, ON_LINK) + _dns(subnets)
    if port.domain:
        body += _option(SEARCH, struct.pack(">HI", 0, FOR_EVER_S) + domain_wire(port.domain))
    yield ip(port, LINK_LOCAL6, receiver, IP_ICMP6, head + body, HOPS_ND)
    for source, mac, ways in _ways_told(port, before):
        # Whatever else this address says it says again.
        said = head if source == LINK_LOCAL6 else _head(subnets, mac, 0)
        for at in range(0, len(ways), ROUTES_PER_MESSAGE):
            body = b"".join(_route(*way) for way in ways[at : at + ROUTES_PER_MESSAGE])
            yield ip(port, source, receiver, IP_ICMP6, said + body, HOPS_ND)


def _ways_told(
    port: ServicePort, before: ServicePort | None
) -> Iterator[tuple[IPv6Address, Mac, list[tuple[IPv6Network, int]]]]:
    """Yield for each router its address and MAC, and with its lifetime in seconds each range it leads to."""
    now, then = _ways(port), _ways(before) if before is not None else {}
    for source in sorted(now.keys() | then.keys()):
        there, was = now.get(source, _NO_WAYS), then.get(source, _NO_WAYS)
        ways = [(prefix, ROUTE_LIFETIME_S) for prefix in there.prefixes]
        ways += [(prefix, 0) for prefix in was.prefixes if prefix not in there.prefixes]
        yield source, there.mac or was.mac, ways


def _head(subnets: list[ServiceSubnet], mac: Mac, lifetime_s: int) -> bytes:
    """Return how an advertisement begins, and from which MAC it is."""
    head = struct.pack(">BBHBBHII", ADVERTISEMENT, 0, 0, _HOP_LIMIT, _flags(subnets), lifetime_s, 0, 0)
    return head + bytes([SOURCE_MAC, 1]) + mac.to_bytes(6, "big")


class _Ways(NamedTuple):
    """What a router leads to, and its MAC."""

    mac: Mac
    prefixes: list[IPv6Network]


_NO_WAYS = _Ways(Mac(0), [])


def _ways(port: ServicePort) -> dict[IPv6Address, _Ways]:
    """Return what routers lead to, by the address that a router advertises with."""
    default, found = port.default_router6, 0
    ways: dict[IPv6Address, _Ways] = {}
    for route in (route for subnet in port.subnets for route in subnet.routes):
        router = port.router_at(route.next_hop)
        if not isinstance(route.destination, IPv6Network) or router is None or found == ROUTES_MAX:
            continue
        source = LINK_LOCAL6 if router is default else router.link_local
        if source is not None:
            ways.setdefault(source, _Ways(router.mac, [])).prefixes.append(route.destination)
            found += 1
    return ways


def _route(prefix: IPv6Network, lifetime_s: int) -> bytes:
    """RFC 4191, section 2.3; of medium preference."""
    head = struct.pack(">BBBBI", ROUTE, 3, prefix.prefixlen, 0, lifetime_s)
    return head + prefix.network_address.packed


def _flags(subnets: list[ServiceSubnet]) -> int:
    modes = {subnet.ipv6_mode for subnet in subnets if subnet.dhcp}
    if modes & {Ipv6Mode.STATEFUL, Ipv6Mode.UNSPECIFIED}:
        return MANAGED | OTHER
    return OTHER if Ipv6Mode.STATELESS in modes else 0


def _prefix(prefix: object, flags: int) -> bytes:
    assert isinstance(prefix, IPv6Network)
    return (
        struct.pack(">BBBBIII", PREFIX, 4, prefix.prefixlen, flags, FOR_EVER_S, FOR_EVER_S, 0)
        + prefix.network_address.packed
    )


def _dns(subnets: list[ServiceSubnet]) -> bytes:
    servers = [server.packed for s in subnets for server in s.dns_servers if isinstance(server, IPv6Address)]
    packed = b"".join(list(dict.fromkeys(servers))[:SERVERS_MAX]) or DNS6.packed
    return _option(DNS, struct.pack(">HI", 0, FOR_EVER_S) + packed)


def _option(code: int, value: bytes) -> bytes:
    """Return one option, filled up with zeros to units of 8 bytes."""
    units = (len(value) + 2 + 7) // 8
    return bytes([code, units]) + value.ljust(units * 8 - 2, b"\0")
