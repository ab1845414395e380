"""The edges of routers: ports of a transit network that lead out. Pure.

The one of the gateway hosts comes with a router's gateway (gateway.py). Those of single hosts are made and
removed by whoever keeps the ways out as they should be; each change is one transaction, an empty one where
nothing is to be done, so it may be asked for again and again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cloison.addresses import IpAddress
from cloison.errors import Exhausted
from cloison.model import ExternalNetwork, Port, Router, RouterEdge
from cloison.names import HostName, RouterName
from cloison.v1 import port_pb2
from controller.api import allocate
from controller.api.intents import external_addresses, port
from controller.api.intents.common import Stamp, changed
from controller.store import transit
from controller.store.hypothesis import Hypothesis
from controller.store.keys import EdgeKey
from controller.store.state import State
from controller.store.txn import Txn


def edge_txn(state: State, name: RouterName, host: HostName, stamp: Stamp) -> Txn:
    """Return what makes a router's edge on one host, or gives it the addresses it should have.

    Where the external network has no address left, the edge is without: what would go out under it goes by
    the gateway hosts. Empty also if the router (or its gateway) or the host is gone.
    """
    router = state.routers.get(name)
    if router is None or router.gateway is None or host not in state.hosts:
        return Txn()
    network = state.external_networks.get(router.gateway.external_network)
    if network is None:
        return Txn()
    edge = state.router_edges.get(EdgeKey(name, host))
    return (
        _new(state, router, host, network, stamp)
        if edge is None
        else _kept(state, edge, router, network, stamp)
    )


def drop_edge_txn(state: State, edge: RouterEdge) -> Txn:
    """Return what removes an edge of one host, with its port; empty if it is gone already."""
    current = state.router_edges.get(EdgeKey(edge.router, edge.host))
    there = state.ports.get(edge.port)
    router = state.routers.get(edge.router)
    if current is None or current.host is None or there is None or router is None or router.gateway is None:
        return Txn()
    outside = external_addresses.holders(state, router.gateway.external_network)
    return without(state, current, port.holders(state, there), outside)


def shed_txn(state: State, name: RouterName, stamp: Stamp) -> Txn:
    """Return what ends a router's distributed SNAT, for which hosts have edges; empty if it has none."""
    router = state.routers.get(name)
    if router is None or router.gateway is None or not router.gateway.distributed_snat:
        return Txn()
    txn, _ = changed(router, replace(router, gateway=replace(router.gateway, distributed_snat=False)), stamp)
    return txn


def follow_txn(state: State, name: RouterName, stamp: Stamp) -> Txn:
    """Return what lets a router's port `gw` be plugged on the gateway hosts as they are now."""
    router, edge = state.routers.get(name), state.router_edges.get(EdgeKey(name, None))
    there = state.ports.get(edge.port) if edge is not None else None
    if router is None or router.gateway is None or there is None:
        return Txn()
    network = state.external_networks.get(router.gateway.external_network)
    if network is None or network.gateway_hosts == there.requested_hosts:
        return Txn()
    txn = port.rescheduled(state, there, network.gateway_hosts, stamp)
    txn.require(network)
    return txn


def with_port(
    made: Hypothesis,
    edge: RouterEdge,
    hosts: Iterable[HostName],
    stamp: Stamp,
    addresses: Iterable[IpAddress] = (),
) -> Port:
    """Make an edge's port on top of a state; addresses: in the transit network, any if none are named."""
    request = port_pb2.CreatePortRequest(parent=str(edge.port.parent), port_id=edge.port.port)
    request.port.no_port_security = True
    request.port.display_name = "the way out of " + edge.router.router
    request.port.requested_hosts.extend(map(str, hosts))
    for address in addresses:
        request.port.fixed_ips.add(ip_address=str(address))
    txn, new = port.create(made.after, request, stamp.part(str(edge.port)))
    made.carry_out(txn)
    return new


def without(
    state: State, edge: RouterEdge, inside: tuple[HostName, ...], outside: tuple[HostName, ...]
) -> Txn:
    """Return what removes an edge and its port.

    inside, outside: the hosts that may hold what the port has, and that may answer for the edge's addresses.
    """
    txn, router, there = Txn(), state.routers.get(edge.router), state.ports.get(edge.port)
    if there is not None:
        txn = port.remove(state, there, inside)
    txn.delete(edge)
    if there is not None and router is not None and router.gateway is not None:
        network = router.gateway.external_network
        external_addresses.give_back(txn, state, network, edge.addresses, there.meta.uid, outside)
    return txn


def _new(state: State, router: Router, host: HostName, network: ExternalNetwork, stamp: Stamp) -> Txn:
    made = Hypothesis(state)
    edge = RouterEdge(router=router.name, host=host, port=transit.port_of(router.name, host))
    uid = with_port(made, edge, [host], stamp).meta.uid
    addresses = _addresses(state, (), router, network, stamp)
    txn = Txn()
    # As it was read: that it still goes out, and there.
    txn.require(router)
    txn.create(replace(edge, addresses=addresses))
    external_addresses.reserve(txn, network, addresses, EdgeKey(router.name, host), uid)
    made.carry_out(txn)
    return made.txn


def _kept(state: State, edge: RouterEdge, router: Router, network: ExternalNetwork, stamp: Stamp) -> Txn:
    addresses, there = _addresses(state, edge.addresses, router, network, stamp), state.ports.get(edge.port)
    txn = Txn()
    if addresses == edge.addresses or there is None:
        return txn
    txn.require(router)
    txn.update(edge, replace(edge, addresses=addresses))
    added = set(addresses) - set(edge.addresses)
    external_addresses.reserve(txn, network, added, EdgeKey(edge.router, edge.host), there.meta.uid)
    gone = set(edge.addresses) - set(addresses)
    external_addresses.give_back(txn, state, network.name, gone, there.meta.uid)
    return txn


def _addresses(
    state: State, had: tuple[IpAddress, ...], router: Router, network: ExternalNetwork, stamp: Stamp
) -> tuple[IpAddress, ...]:
    """Return the addresses that a host's edge should have: one of each family that the router goes out by."""
    gateway = router.gateway
    if gateway is None or not gateway.snat or not gateway.distributed_snat:
        return ()
    found = []
    for version in sorted({address.version for address in gateway.addresses}):
        kept = next((address for address in had if address.version == version), None)
        try:
            found.append(kept or allocate.external_address(state, network, version, stamp))
        except Exhausted:
            continue
    return tuple(found)
