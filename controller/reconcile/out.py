"""Which edges there should be, and where the ones of gateway hosts should live. Pure.

A router's edge of the gateway hosts moves when the host that it lives on is lost, and at no other time: a
host that comes back takes nothing over. It goes to the first gateway host, in the order of the external
network, where it is plugged and that obeys. A host has an edge of its own where a port is plugged that goes
out there: one with a distributed floating IP, or any of a router that translates on every host.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass

from cloison.model import ExternalNetwork, Port, Router, RouterEdge
from cloison.names import FloatingIpName, HostName, ResourceName, RouterName, TenantName
from controller.reconcile.plugged import edge_host, is_plugged, live_binding, standby_bindings
from controller.store.keys import EdgeKey
from controller.store.state import State


@dataclass(frozen=True, slots=True)
class Failover:
    """A router's edge is to live on another host; number: of its port."""

    router: RouterName
    number: int
    lost: HostName
    host: HostName


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a router's edges is other than it should be.

    missing: hosts where one should be, or have other addresses; idle: edges of hosts that nothing needs;
    elsewhere: whether the edge of the gateway hosts is scheduled to others than these.
    """

    missing: tuple[HostName, ...] = ()
    idle: tuple[RouterEdge, ...] = ()
    elsewhere: bool = False


def failovers(state: State, lost: Set[HostName], obeying: Set[HostName]) -> Iterator[Failover]:
    """Yield the edges that live on a lost host and can live on one that obeys."""
    for host in sorted(lost):
        for binding in state.bindings_on(host):
            edge, port = state.edge_at(binding.port), state.ports.get(binding.port)
            if edge is None or edge.host is not None or port is None or live_binding(state, port) != binding:
                continue
            ready = {other.host for other in standby_bindings(state, port)} & obeying
            successor = next((other for other in port.requested_hosts if other in ready), None)
            if successor is not None:
                yield Failover(edge.router, port.number, host, successor)


def leading_out(state: State, name: ResourceName | None) -> Iterable[RouterName]:
    """Return the routers whose edges a resource (None: everything) needs."""
    match name:
        case None:
            return list(state.routers)
        case RouterName():
            return (name,)
        case TenantName():
            return [router.name for router in state.routers_of(name)]
        case FloatingIpName():
            floating_ip = state.floating_ips.get(name)
            return (floating_ip.router,) if floating_ip is not None and floating_ip.router is not None else ()
    return ()


def needed_ports(state: State, router: RouterName, idle: Collection[RouterEdge]) -> Iterator[Port]:
    """Yield the ports of a router's edges that are to be plugged: of all that are scheduled and not idle."""
    for edge in state.edges_of(router):
        port = state.ports.get(edge.port)
        if port is not None and port.requested_hosts and edge not in idle:
            yield port


def lives_on(state: State, router: RouterName) -> HostName | None:
    """Return the gateway host that a router goes out by, None if there is none."""
    return edge_host(state, state.router_edges.get(EdgeKey(router, None)))


def wanted(state: State, name: RouterName) -> Wanted:
    """Return what of a router's edges is to be changed."""
    router = state.routers.get(name)
    outside = _outside(state, router) if router is not None else None
    if router is None or router.gateway is None or outside is None:
        return Wanted()
    hosts = _hosts(state, router, outside)
    of_hosts = {edge.host: edge for edge in state.edges_of(name) if edge.host is not None}
    addressed = router.gateway.snat and router.gateway.distributed_snat
    missing = {host for host in hosts if host not in of_hosts or bool(of_hosts[host].addresses) != addressed}
    idle = [edge for host, edge in of_hosts.items() if host not in hosts]
    gateway = state.router_edges.get(EdgeKey(name, None))
    port = state.ports.get(gateway.port) if gateway is not None else None
    elsewhere = port is not None and port.requested_hosts != outside.gateway_hosts
    return Wanted(tuple(sorted(missing)), tuple(idle), elsewhere)


def _outside(state: State, router: Router) -> ExternalNetwork | None:
    return state.external_networks.get(router.gateway.external_network) if router.gateway else None


def _hosts(state: State, router: Router, outside: ExternalNetwork) -> set[HostName]:
    """The hosts that map the physical network and have a port that goes out there."""
    found: set[HostName] = set()
    if router.gateway is not None and router.gateway.distributed_snat:
        gateway = state.router_edges.get(EdgeKey(router.name, None))
        transit = gateway.port.parent if gateway is not None else None
        for network in router.networks:
            found |= state.bound_hosts(network) if network != transit else set()
    for floating_ip in state.floating_ips_by(router.name):
        port = state.ports.get(floating_ip.port) if floating_ip.port is not None else None
        if port is not None and floating_ip.distributed:
            found |= {b.host for b in state.bindings_of(port.name) if is_plugged(port, b)}
    hosts = ((host, state.hosts.get(host)) for host in found)
    return {
        name
        for name, host in hosts
        if host is not None and outside.physical_network in host.physical_networks
    }
