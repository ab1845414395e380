"""What is meant of the ways out of the overlay: a part of meant.py, and like it for the proof alone.

By the user's words: what a router has no route for leaves by its gateway, if it has one; a port whose host
has an edge of that router leaves by that, from addresses with a distributed floating IP, or from all if the
router translates on every host. An address with a floating IP that is not distributed leaves by the gateway
also then. A default route that the user gave a router overrules all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

from cloison.addresses import IpAddress, IpNetwork
from cloison.model import Port, Router
from cloison.names import HostName
from controller.reconcile.plugged import live_binding
from controller.store.keys import EdgeKey
from controller.store.state import State
from controller.verify.intent import ExitIntent, RouteIntent

_ALL: tuple[IpNetwork, ...] = (IPv4Network((0, 0)), IPv6Network((0, 0)))


def ways_out(state: State, router: Router, host: HostName | None) -> list[RouteIntent]:
    """Return the default routes to a router's edge on one host alone, or (None) to that on gateway hosts."""
    gateway, edge = router.gateway, state.router_edges.get(EdgeKey(router.name, host))
    if gateway is None or edge is None or edge.port not in state.ports:
        return []
    outside = state.external_networks.get(gateway.external_network)
    if outside is None:
        return []
    found = []
    for every in _ALL:
        if any(route.destination == every for route in router.routes):
            continue
        if not any(subnet.cidr.version == every.version for subnet in outside.subnets):
            continue
        mine = {interface.subnet for interface in router.interfaces}
        for fixed_ip in state.ports[edge.port].fixed_ips:
            if fixed_ip.address.version == every.version and fixed_ip.subnet in mine & state.subnets.keys():
                found.append(RouteIntent(every, edge.port.parent, fixed_ip.address))
    return found


def exit_intents(state: State, port: Port, host: HostName) -> tuple[ExitIntent, ...]:
    """Return the ways out of its own that a port has which lives on a host."""
    found: list[ExitIntent] = []
    if state.edge_at(port.name) is not None:
        return ()
    for router in state.routers_on(port.name.parent):
        edge = state.router_edges.get(EdgeKey(router.name, host))
        there = live_binding(state, state.ports[edge.port]) if edge and edge.port in state.ports else None
        if edge is None or there is None or there.host != host:
            continue
        for route in ways_out(state, router, host):
            sources: list[IpAddress | None] = [
                floating.fixed
                for floating in state.floating_ips_at(port.name)
                if floating.router == router.name and floating.distributed and floating.fixed is not None
            ]
            version = route.prefix.version
            if router.gateway is not None and router.gateway.distributed_snat:
                everything = any(address.version == version for address in edge.addresses)
                sources = [None] if everything else sources
            kept = {source for source in sources if source is None or source.version == version}
            found += [ExitIntent(router.mac, route, source) for source in kept]
            if None in kept:
                found += _by_the_gateway(state, port, router, route.prefix)
    return tuple(sorted(found, key=str))


def _by_the_gateway(state: State, port: Port, router: Router, every: IpNetwork) -> Iterator[ExitIntent]:
    """What leaves by the gateway hosts all the same: they answer for its floating IPs."""
    for route in ways_out(state, router, None):
        for floating in state.floating_ips_at(port.name) if route.prefix == every else ():
            central = floating.router == router.name and not floating.distributed
            if central and floating.fixed is not None and floating.fixed.version == every.version:
                yield ExitIntent(router.mac, route, floating.fixed)
