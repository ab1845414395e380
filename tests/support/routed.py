"""Routers in random worlds: which networks they join, and what the compiler is given of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from random import Random
from typing import Any

from cloison.addresses import ROUTER_MAC, IpAddress, IpNetwork, link_local
from cloison.model import Vni
from cloison.names import HostName, NetworkName
from controller.compiler import CrossingView, ExitView, NextHop, RouterView, RouteView
from controller.verify.intent import ExitIntent, NetworkIntent, PortIntent, RouteIntent, RouterIntent
from controller.verify.world import World

DESTINATIONS = [
    ip_network(n)
    for n in (
        "0.0.0.0/0",
        "8.8.8.0/24",
        "10.0.0.0/16",
        "10.0.0.4/31",
        "::/0",
        "2001:4860::/32",
        "2001:db8::4/127",
    )
]

DEFAULTS = [ip_network("0.0.0.0/0"), ip_network("::/0")]


class Routers:
    """Makes routers for networks that there are."""

    def __init__(self, rng: Random, maker: Any) -> None:
        self.rng, self.maker = rng, maker

    def make(self, tenant: str) -> None:
        """One router, or two, over some subnets of a tenant's networks that do not overlap."""
        names = sorted(name for name in self.maker.networks if name.tenant == tenant)
        for number in range(self.rng.choice((1, 1, 2))):
            mac = ROUTER_MAC if not number else 0x02BB00000000 | number
            connected = list(self._connected(names))
            if connected:
                self._join(tenant, mac, connected)

    def _connected(self, names: list[NetworkName]) -> Iterator[tuple[NetworkName, IpNetwork, IpAddress]]:
        subnets = [(name, subnet) for name in names for subnet in self.maker.networks[name].subnets]
        self.rng.shuffle(subnets)
        taken: list[IpNetwork] = []
        for name, subnet in subnets:
            clashes = any(t.version == subnet.version and t.overlaps(subnet) for t in taken)
            address = self._free(name, subnet)
            if not clashes and address is not None and self.rng.random() < 0.85:
                taken.append(subnet)
                yield name, subnet, address

    def _free(self, name: NetworkName, subnet: IpNetwork) -> IpAddress | None:
        used = {
            a for p in self.maker.ports.values() if p.name.parent == name for a in (*p.addresses, *p.claimed)
        }
        used |= {a for router in self.maker.networks[name].routers for a in router.here}
        return next((subnet[n] for n in (1, 12, 13, 14) if subnet[n] not in used), None)

    def _join(self, tenant: str, mac: int, connected: list[tuple[NetworkName, IpNetwork, IpAddress]]) -> None:
        routes = [RouteIntent(subnet, name) for name, subnet, _ in connected]
        for destination in self.rng.sample(DESTINATIONS, self.rng.choice((0, 1, 2))):
            hops = [(n, s) for n, s, _ in connected if s.version == destination.version]
            if hops and destination not in [subnet for _, subnet, _ in connected]:
                name, subnet = self.rng.choice(hops)
                hops = dict.fromkeys(self._hop(name, subnet) for _ in range(self.rng.choice((1, 1, 2, 3, 5))))
                first, *others = sorted(hops, key=int)
                routes.append(RouteIntent(destination, name, first, tuple(others)))
        for name in dict.fromkeys(name for name, _, _ in connected):
            here = [address for where, _, address in connected if where == name]
            if any(address.version == 6 for address in here):
                here.append(link_local(mac))
            router = RouterIntent(
                mac=mac,
                here=tuple(here),
                addresses=tuple(address for _, _, address in connected),
                routes=tuple(routes),
            )
            network = self.maker.networks[name]
            self.maker.networks[name] = replace(network, routers=(*network.routers, router))
            self._exits(mac, name, connected)

    def _exits(
        self, mac: int, name: NetworkName, connected: list[tuple[NetworkName, IpNetwork, IpAddress]]
    ) -> None:
        """Give some ports of a network a way out of their own, by whoever has an address."""
        for port in [p for p in self.maker.ports.values() if p.name.parent == name]:
            for everything in DEFAULTS if self.rng.random() < 0.4 else ():
                hops = [(n, s) for n, s, _ in connected if s.version == everything.version]
                if hops and self.rng.random() < 0.8:
                    into, subnet = self.rng.choice(hops)
                    own = [a for a in (*port.addresses, *port.claimed) if a.version == everything.version]
                    for source in self.rng.choice(((None,), tuple(own[:1]), (None, *own[:1]))):
                        route = RouteIntent(everything, into, self._hop(into, subnet))
                        port = replace(port, exits=(*port.exits, ExitIntent(mac, route, source)))
            self.maker.ports[port.name] = port

    def _hop(self, name: NetworkName, subnet: IpNetwork) -> IpAddress:
        ports = [p for p in self.maker.ports.values() if p.name.parent == name]
        there = [
            a
            for p in ports
            for a in (*p.addresses, *p.claimed)
            if a.version == subnet.version and a in subnet
        ]
        return self.rng.choice([*there * 4, subnet[10], subnet[11]])

    def stretch(self, tenant: str) -> None:
        """Give each network a device wherever something can send into it."""
        networks: dict[NetworkName, NetworkIntent] = self.maker.networks
        for source in [n for n in networks.values() if n.name.tenant == tenant]:
            for reached in sorted(source.reaches):
                here = {p.host for p in self.maker.ports.values() if p.name.parent == source.name and p.host}
                missing: set[HostName] = here - networks[reached].tunnels.keys()
                tunnels = {**networks[reached].tunnels, **self.maker.tunnels(missing)}
                networks[reached] = replace(networks[reached], tunnels=tunnels)


def router_views(world: World, network: NetworkIntent) -> tuple[RouterView, ...]:
    """What the compiler is given of a network's routers."""
    return tuple(
        RouterView(
            mac=router.mac,
            here=router.here,
            addresses=router.addresses,
            routes=tuple(
                RouteView(
                    prefix=route.prefix,
                    vni=Vni(world.networks[route.network].vni),
                    next_hop=_next_hop(world, route),
                    crossing=_crossing(world, route),
                )
                for route in router.routes
            ),
        )
        for router in network.routers
    )


def exit_views(world: World, port: PortIntent) -> tuple[ExitView, ...]:
    """What the compiler is given of a port's own ways out."""
    return tuple(
        ExitView(
            router_mac=mac,
            version=route.prefix.version,
            vni=Vni(world.networks[route.network].vni),
            mac=_mac_at(world, route.network, route.via) if route.via is not None else None,
            source=source,
        )
        for mac, route, source in port.exits
    )


def _next_hop(world: World, route: RouteIntent) -> NextHop | None:
    if route.via is None:
        return None
    others = tuple(_mac_at(world, route.network, other) for other in route.others)
    return NextHop(_mac_at(world, route.network, route.via), others)


def _crossing(world: World, route: RouteIntent) -> CrossingView | None:
    by = route.crossing
    if by is None:
        return None
    return CrossingView(by.source, by.theirs, by.ours, world.tenant_number(route.network.tenant))


def _mac_at(world: World, name: NetworkName, address: IpAddress) -> int | None:
    ports = world.members_of(name).ports.values()
    return next((p.mac for p in ports if p.by_mac and address in (*p.addresses, *p.claimed)), None)
