"""From the state to the ways out of the overlay: default routes of routers, and ports' own. Pure.

A router with a gateway has a default route, to its edge on the gateway hosts, in each family of which its
external network has a subnet and it has no default route of its own. A port has a way out of its own where
its host has an edge of the router that is plugged: for what it sends from an address with a distributed
floating IP, or for all of it if the router's source translation is distributed; but for an address with a
floating IP that is not, for which the gateway hosts answer. Where the router has a default route of its own,
there is neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from cloison.addresses import IpAddress
from cloison.model import Network, Port, Router, RouterEdge
from cloison.names import HostName
from controller.compiler import ExitView, NextHop, RouteView
from controller.reconcile.plugged import HasPort, live_binding, seen_binding
from controller.store.keys import EdgeKey
from controller.store.state import State

EVERYTHING = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def default_routes(state: State, router: Router, has_port: HasPort) -> Iterator[RouteView]:
    """Yield the default routes that a router has because of its gateway.

    has_port: no route leads to an interface that its bridge does not have.
    """
    for version in _families_out(state, router):
        way = _way(state, router, None, version)
        if way is not None:
            hop = NextHop(way.port.mac if seen_binding(state, way.port, has_port) is not None else None)
            yield RouteView(prefix=EVERYTHING[version], vni=way.network.vni, next_hop=hop)


def exit_views(state: State, port: Port, host: HostName, has_port: HasPort) -> tuple[ExitView, ...]:
    """Return the ways out of its own that a port has while it lives on a host. has_port: as above."""
    if state.edge_at(port.name) is not None:
        return ()
    routers = sorted(state.routers_on(port.name.parent), key=lambda router: router.name)
    return tuple(view for router in routers for view in _exits(state, port, router, host, has_port))


def _exits(state: State, port: Port, router: Router, host: HostName, has_port: HasPort) -> Iterator[ExitView]:
    for version in _families_out(state, router):
        way = _way(state, router, host, version)
        lives = live_binding(state, way.port) if way is not None else None
        if way is None or lives is None or lives.host != host:
            continue
        mac = way.port.mac if has_port(host, lives.ofport, lives.interface) else None
        sources = _sources(state, port, router, way.edge, version)
        for source in sources:
            yield ExitView(router.mac, version, way.network.vni, mac, source)
        gateway = _way(state, router, None, version)
        if None in sources and gateway is not None:
            there = seen_binding(state, gateway.port, has_port)
            for source in _floating(state, port, router, version, distributed=False):
                mac = gateway.port.mac if there is not None else None
                yield ExitView(router.mac, version, gateway.network.vni, mac, source)


def _sources(
    state: State, port: Port, router: Router, edge: RouterEdge, version: int
) -> tuple[IpAddress | None, ...]:
    """What of a port goes out by an edge on its host: all of it, or what it sends from some addresses."""
    distributed = router.gateway is not None and router.gateway.distributed_snat
    if distributed and any(address.version == version for address in edge.addresses):
        return (None,)
    return _floating(state, port, router, version, distributed=True)


def _floating(
    state: State, port: Port, router: Router, version: int, *, distributed: bool
) -> tuple[IpAddress, ...]:
    """The addresses of a port that have a floating IP by this router."""
    floating = (
        f
        for f in state.floating_ips_at(port.name)
        if f.router == router.name and f.distributed == distributed
    )
    fixed = {f.fixed for f in floating if f.fixed is not None and f.fixed.version == version}
    return tuple(sorted(fixed, key=int))


def _families_out(state: State, router: Router) -> tuple[int, ...]:
    """The families in which a router sends out what it has no route for."""
    if router.gateway is None:
        return ()
    outside = state.external_networks.get(router.gateway.external_network)
    families = {subnet.cidr.version for subnet in outside.subnets} if outside is not None else set()
    chosen = {route.destination.version for route in router.routes if not route.destination.prefixlen}
    return tuple(sorted(families - chosen))


@dataclass(frozen=True, slots=True)
class _Way:
    edge: RouterEdge
    port: Port
    network: Network


def _way(state: State, router: Router, host: HostName | None, version: int) -> _Way | None:
    """How a router reaches an edge of it, by its address of a family; None if it does not."""
    edge = state.router_edges.get(EdgeKey(router.name, host))
    port = state.ports.get(edge.port) if edge is not None else None
    network = state.networks.get(port.name.parent) if port is not None else None
    if edge is None or port is None or network is None:
        return None
    subnets = {f.subnet for f in port.fixed_ips if f.address.version == version}
    joined = any(i.subnet in subnets and i.subnet in state.subnets for i in router.interfaces)
    return _Way(edge, port, network) if joined else None
