"""From the state to what one network sees of its routers: views for the compiler. Pure.

Fail closed: what a router is connected to but cannot be found is no part of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloison.addresses import IpAddress, link_local
from cloison.model import Router, RouterInterface
from cloison.names import NetworkName
from controller.compiler import CrossingView, NextHop, RouterView, RouteView
from controller.reconcile.claims import living_at, reached_by_mac
from controller.reconcile.exits import default_routes
from controller.reconcile.plugged import HasPort, seen_binding
from controller.store.peerings import links_at
from controller.store.state import State


def router_views(state: State, network: NetworkName, has_port: HasPort) -> tuple[RouterView, ...]:
    """Return the routers of a network, in the order of their names.

    has_port: no route leads to an interface that its bridge does not have.
    """
    routers = sorted(state.routers_on(network), key=lambda router: router.name)
    return tuple(_view(state, router, network, has_port) for router in routers)


def _view(state: State, router: Router, network: NetworkName, has_port: HasPort) -> RouterView:
    here: list[IpAddress] = [i.address for i in router.interfaces if i.subnet.parent == network]
    if any(address.version == 6 for address in here):
        # What its advertisements come from (agent/services/routers.py).
        here.append(link_local(router.mac))
    return RouterView(
        mac=router.mac,
        here=tuple(here),
        addresses=tuple(interface.address for interface in router.interfaces),
        routes=(*_routes(state, router, has_port), *_crossings(state, router, network)),
    )


def _routes(state: State, router: Router, has_port: HasPort) -> Iterator[RouteView]:
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
            macs = [_mac_at(state, network.name, each, has_port) for each in route.next_hops]
            next_hop = NextHop(macs[0], tuple(macs[1:]))
            yield RouteView(prefix=route.destination, vni=network.vni, next_hop=next_hop)
    yield from default_routes(state, router, has_port)


def _mac_at(state: State, network: NetworkName, hop: IpAddress, has_port: HasPort) -> int | None:
    """Return the MAC of the port at which a next hop lives; None if there is none or it leads nowhere."""
    port = living_at(state, network, hop)
    if port is None or not reached_by_mac(port) or seen_binding(state, port, has_port) is None:
        return None
    return port.mac


def _crossings(state: State, router: Router, network: NetworkName) -> Iterator[RouteView]:
    """What one of its networks reaches by the router's peerings."""
    for link in links_at(state, router.name):
        tenant = state.tenants.get(link.peer.name.parent)
        for own in link.here:
            for other in link.there:
                into = state.networks.get(other.network)
                apart = own.network != network or own.prefix.version != other.prefix.version
                if tenant is None or into is None or apart:
                    continue
                crossing = CrossingView(own.prefix, link.own.number, link.peer.number, tenant.number)
                yield RouteView(prefix=other.prefix, vni=into.vni, crossing=crossing)


def _interface_to(state: State, router: Router, hop: IpAddress) -> RouterInterface | None:
    for interface in router.interfaces:
        subnet = state.subnets.get(interface.subnet)
        if subnet is not None and subnet.cidr.version == hop.version and hop in subnet.cidr:
            return interface
    return None
