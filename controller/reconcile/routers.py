"""From the state to what one network sees of its routers: views for the compiler. Pure.

Fail closed: what a router is connected to but cannot be found is no part of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloison.addresses import IpAddress, link_local
from cloison.model import Router, RouterInterface
from cloison.names import NetworkName
from controller.compiler import NextHop, RouterView, RouteView
from controller.reconcile.claims import living_at
from controller.reconcile.exits import default_routes
from controller.store.state import State


def router_views(state: State, network: NetworkName) -> tuple[RouterView, ...]:
    """Return the routers of a network, in the order of their names."""
    routers = sorted(state.routers_on(network), key=lambda router: router.name)
    return tuple(_view(state, router, network) for router in routers)


def _view(state: State, router: Router, network: NetworkName) -> RouterView:
    here: list[IpAddress] = [i.address for i in router.interfaces if i.subnet.parent == network]
    if any(address.version == 6 for address in here):
        # What its advertisements come from (agent/services/routers.py).
        here.append(link_local(router.mac))
    return RouterView(
        mac=router.mac,
        here=tuple(here),
        addresses=tuple(interface.address for interface in router.interfaces),
        routes=tuple(_routes(state, router)),
    )


def _routes(state: State, router: Router) -> Iterator[RouteView]:
    for interface in router.interfaces:
        subnet = state.subnets.get(interface.subnet)
        network = state.networks.get(interface.subnet.parent)
        if subnet is not None and network is not None:
            yield RouteView(prefix=subnet.cidr, vni=network.vni)
    for route in router.routes:
        hop = route.next_hops[0] if route.next_hops else None
        through = _interface_to(state, router, hop) if hop is not None else None
        network = state.networks.get(through.subnet.parent) if through is not None else None
        if hop is not None and network is not None:
            port = living_at(state, network.name, hop)
            mac = port.mac if port is not None else None
            yield RouteView(prefix=route.destination, vni=network.vni, next_hop=NextHop(mac))
    yield from default_routes(state, router)


def _interface_to(state: State, router: Router, hop: IpAddress) -> RouterInterface | None:
    for interface in router.interfaces:
        subnet = state.subnets.get(interface.subnet)
        if subnet is not None and subnet.cidr.version == hop.version and hop in subnet.cidr:
            return interface
    return None
