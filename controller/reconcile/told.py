"""What guests of a network are told of its routers, and by which of them what is reached. Pure.

The router at a subnet's gateway is the default router of its guests. What else a router of the subnet leads
to is told where the guest would not send it there anyway: with one router, at the gateway, no more is said.
Of two routers that lead to one range the default router is told, else the first by name. No other router is
told for everything: a guest has a default router where one answers at the gateway, and only there. What is
reached by a peering is told to those who reach it: guests with an address that the peering lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cloison.addresses import IpAddress, IpNetwork, is_within
from cloison.model import Route, Router, Subnet
from cloison.names import NetworkName, RouterName, SubnetName
from cloison.v1 import host_sync_pb2
from controller.store.peerings import links_at
from controller.store.state import State

Ways = dict[IpNetwork, IpAddress]
"""Next hops by range."""
Peered = tuple[tuple[RouterName, IpNetwork], ...]
"""By which router, and what, is reached by peerings."""


class _Crossing(NamedTuple):
    """What comes from source reaches destination, of another tenant, by that router."""

    source: IpNetwork
    router: RouterName
    destination: IpNetwork


class Told:
    """Of one state; each subnet and each network is worked out once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._crossings: dict[SubnetName, tuple[_Crossing, ...]] = {}
        self._routes: dict[tuple[SubnetName, Peered], tuple[Route, ...]] = {}
        self._routers: dict[NetworkName, tuple[host_sync_pb2.ServiceRouter, ...]] = {}

    def routes(self, subnet: Subnet, address: IpAddress) -> tuple[Route, ...]:
        """Return the routes of a guest besides the default route, by an address of its: the subnet's own
        come first.
        """
        crossings = self._crossings.get(subnet.name)
        if crossings is None:
            crossings = self._crossings[subnet.name] = tuple(_crossings(self._state, subnet))
        peered = tuple((c.router, c.destination) for c in crossings if address in c.source)
        found = self._routes.get((subnet.name, peered))
        if found is None:
            found = (*subnet.routes, *_by_routers(self._state, subnet, peered))
            self._routes[subnet.name, peered] = found
        return found

    def routers(self, network: NetworkName) -> tuple[host_sync_pb2.ServiceRouter, ...]:
        """Return the routers of a network, in the order of their names."""
        found = self._routers.get(network)
        if found is None:
            routers = sorted(self._state.routers_on(network), key=lambda router: router.name)
            found = self._routers[network] = tuple(_told(self._state, r, network) for r in routers)
        return found


def gateway(state: State, subnet: Subnet) -> IpAddress | None:
    """Return the gateway's address of a subnet if a router answers at it."""
    for router in state.routers_using(subnet.name):
        if subnet.gateway_ip is not None and _hop(router, subnet) == subnet.gateway_ip:
            return subnet.gateway_ip
    return None


def _crossings(state: State, subnet: Subnet) -> Iterator[_Crossing]:
    """Yield what guests of a subnet reach by the peerings in effect of its routers."""
    for router in state.routers_using(subnet.name):
        for link in links_at(state, router.name):
            for own in link.here:
                if own.network == subnet.name.parent and own.prefix.version == subnet.cidr.version:
                    for other in link.there:
                        if other.prefix.version == own.prefix.version:
                            yield _Crossing(own.prefix, router.name, other.prefix)


def _by_routers(state: State, subnet: Subnet, peered: Peered) -> Iterator[Route]:
    default = gateway(state, subnet)
    ways: Ways = {route.destination: route.next_hop for route in subnet.routes}
    own = set(ways)
    routers = sorted(state.routers_using(subnet.name), key=lambda r: (_hop(r, subnet) != default, r.name))
    for router in routers:
        hop = _hop(router, subnet)
        for destination in (*_led(state, router, subnet), *(to for by, to in peered if by == router.name)):
            if hop is not None:
                ways.setdefault(destination, hop)
    for destination in sorted(ways.keys() - own, key=lambda d: (int(d.network_address), d.prefixlen)):
        if _cover(ways, destination, default) != ways[destination]:
            yield Route(destination, ways[destination])


def _hop(router: Router, subnet: Subnet) -> IpAddress | None:
    return next((i.address for i in router.interfaces if i.subnet == subnet.name), None)


def _led(state: State, router: Router, subnet: Subnet) -> Iterator[IpNetwork]:
    """Yield where a router leads to from a subnet; what is in the subnet itself is on the guests' link."""
    connected = (state.subnets.get(interface.subnet) for interface in router.interfaces)
    ranges = (*(s.cidr for s in connected if s is not None), *(route.destination for route in router.routes))
    for range_ in ranges:
        if range_.version == subnet.cidr.version and range_.prefixlen and not is_within(range_, subnet.cidr):
            yield range_


def _cover(ways: Ways, range_: IpNetwork, default: IpAddress | None) -> IpAddress | None:
    """Return where a range would be sent if it were not told: by the longest prefix around it."""
    around = (other for other in ways if other != range_ and is_within(range_, other))
    longest = max(around, key=lambda other: other.prefixlen, default=None)
    return default if longest is None else ways[longest]


def _told(state: State, router: Router, network: NetworkName) -> host_sync_pb2.ServiceRouter:
    joined = (state.networks.get(name) for name in router.networks)
    return host_sync_pb2.ServiceRouter(
        mac=router.mac,
        here=[i.address.packed for i in router.interfaces if i.subnet.parent == network],
        addresses=[interface.address.packed for interface in router.interfaces],
        vnis=sorted(other.vni for other in joined if other is not None),
    )
