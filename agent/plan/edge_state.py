"""What the namespace of an edge should hold, what it holds, and the difference. Pure.

Both are values of the same form, so the difference is one of sets. The kernel's own additions (link-local
addresses, routes that follow from an address) are in neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network

from agent.plan.edge import FAMILIES, Edge
from agent.plan.edge_rules import ruleset
from cloison.addresses import IpAddress, IpNetwork, Mac

INSIDE, OUTSIDE = "inside", "outside"
"""What the devices are called within the namespace."""
LEGS = (INSIDE, OUTSIDE)
_ALL: dict[int, IpNetwork] = {4: IPv4Network((0, 0)), 6: IPv6Network((0, 0))}

# What is per device; `all` and `default` are given the same values.
_DEVICE_SETTINGS = {
    # The filter (edge_rules) knows which source may come from where; the route back need not be the way in.
    "ipv4/conf/{}/rp_filter": "0",
    "ipv4/conf/{}/accept_redirects": "0",
    "ipv4/conf/{}/secure_redirects": "0",
    "ipv4/conf/{}/send_redirects": "0",
    "ipv4/conf/{}/accept_source_route": "0",
    "ipv4/conf/{}/route_localnet": "0",
    "ipv4/conf/{}/proxy_arp": "0",
    # Each side answers ARP for its own addresses, and asks under them.
    "ipv4/conf/{}/arp_ignore": "1",
    "ipv4/conf/{}/arp_announce": "2",
    # Nothing is announced by itself: inside it would say that the port lives here (live migration).
    "ipv4/conf/{}/arp_notify": "0",
    "ipv6/conf/{}/ndisc_notify": "0",
    "ipv4/conf/{}/promote_secondaries": "1",
    "ipv4/conf/{}/forwarding": "1",
    "ipv6/conf/{}/disable_ipv6": "0",
    "ipv6/conf/{}/forwarding": "1",
    "ipv6/conf/{}/accept_ra": "0",
    "ipv6/conf/{}/accept_redirects": "0",
    "ipv6/conf/{}/accept_source_route": "0",
    "ipv6/conf/{}/proxy_ndp": "0",
    # An address that is moved here answers at once; that nobody else has it is the controllers' business.
    "ipv6/conf/{}/accept_dad": "0",
}


@dataclass(frozen=True, slots=True)
class Leg:
    """A pair of devices: one end in the namespace, the other, the port, on a bridge of the host.

    finished: checksums and segments are finished before a frame goes in.
    """

    mac: Mac
    mtu: int
    up: bool
    finished: bool = True
    port_mtu: int = 0
    port_up: bool = True


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a device."""

    leg: str
    address: IpAddress
    prefix_length: int


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table; via None: on the link."""

    destination: IpNetwork
    via: IpAddress | None
    leg: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour."""

    leg: str
    address: IpAddress
    mac: Mac


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeState:
    """All we set in a namespace.

    rules: digest of the ruleset's text; while read, '' if it is not what was set.
    """

    legs: Mapping[str, Leg] = field(default_factory=dict)
    addresses: frozenset[Address] = frozenset()
    routes: frozenset[Route] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)
    rules: str = ""


@dataclass(frozen=True)
class WantedEdge:
    """An edge with all that follows from it.

    finished: the legs that end on a bridge with the userspace datapath, which takes frames as they are.
    """

    edge: Edge
    finished: frozenset[str] = frozenset(LEGS)

    @cached_property
    def rules(self) -> str:
        """The ruleset as text for nft."""
        return ruleset(self.edge)

    @cached_property
    def state(self) -> EdgeState:
        """What the namespace should hold."""
        return EdgeState(
            legs={
                INSIDE: self._leg(INSIDE, self.edge.inside_mac, self.edge.inside_mtu, True),
                OUTSIDE: self._leg(OUTSIDE, self.edge.outside_mac, self.edge.outside_mtu, self.edge.active),
            },
            addresses=frozenset(_addresses(self.edge)),
            routes=frozenset(_routes(self.edge)),
            neighbours=frozenset(
                Neighbour(INSIDE, address, self.edge.router_mac) for address in self.edge.router_addresses
            ),
            settings=SETTINGS,
            rules=sha256(self.rules.encode()).hexdigest(),
        )

    def _leg(self, name: str, mac: Mac, mtu: int, up: bool) -> Leg:
        return Leg(mac, mtu, up, finished=name in self.finished, port_mtu=mtu)


def _settings() -> dict[str, str]:
    found = {
        key.format(name): value
        for key, value in _DEVICE_SETTINGS.items()
        for name in ("all", "default", *LEGS)
    }
    return found | {"ipv4/ip_forward": "1"}


SETTINGS: Mapping[str, str] = _settings()
"""Files below /proc/sys/net, in the order in which they are written."""


def _addresses(edge: Edge) -> list[Address]:
    found = [Address(INSIDE, at.ip, at.network.prefixlen) for at in edge.inside]
    if edge.active:
        own = {at.ip: at.network.prefixlen for at in edge.outside}
        found += [
            Address(OUTSIDE, address, own.get(address, address.max_prefixlen)) for address in edge.answered
        ]
    return found


def _routes(edge: Edge) -> list[Route]:
    inner = {at.network for at in edge.inside}
    found = [Route(network, None, INSIDE) for network in inner]
    for prefix in edge.inside_prefixes:
        via = next(a for a in edge.router_addresses if a.version == prefix.version)
        if prefix not in inner:
            found.append(Route(prefix, via, INSIDE))
    if edge.active:
        outer = {*edge.outside_prefixes, *(at.network for at in edge.outside)} - inner
        found += [Route(network, None, OUTSIDE) for network in outer - {*edge.inside_prefixes}]
        # Whoever has a default route of the inside has none outside.
        default = {_ALL[version] for version in FAMILIES} - {*edge.inside_prefixes}
        found += [
            Route(_ALL[gateway.version], gateway, OUTSIDE)
            for gateway in edge.gateways
            if _ALL[gateway.version] in default
        ]
    return found


def differences(wanted: EdgeState, actual: EdgeState) -> list[str]:
    """Return what an edge has otherwise than it should, in words; nothing if it is as it should be."""
    found = [f"device {name}" for name, leg in wanted.legs.items() if actual.legs.get(name) != leg]
    pairs = (
        ("address", wanted.addresses, actual.addresses),
        ("route", wanted.routes, actual.routes),
        ("neighbour", wanted.neighbours, actual.neighbours),
    )
    for what, want, have in pairs:
        found += sorted(f"{what} {_word(thing)} is missing" for thing in want - have)
        found += sorted(f"{what} {_word(thing)} is not ours" for thing in have - want)
    # What this kernel does not have is no difference.
    found += [f"setting {k}" for k, v in wanted.settings.items() if actual.settings.get(k, v) != v]
    if wanted.rules != actual.rules:
        found.append("rules")
    return found


def _word(thing: Address | Route | Neighbour) -> str:
    if isinstance(thing, Route):
        return f"{thing.destination} {thing.leg}"
    return f"{thing.address} {thing.leg}"
