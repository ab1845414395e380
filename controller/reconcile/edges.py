"""Plans of edges: for each host, the ways out of routers that it keeps, and which of them are in use. Pure.

An edge of the gateway hosts is kept by each of them that maps the physical network, and answers outside on
the one where its port lives. A plan is made of messages of the contract, each edge as a whole: equal messages
are no change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from cloison.addresses import IpAddress, IpNetwork, Mac
from cloison.model import ExternalNetwork, FloatingIp, Port, Router, RouterEdge, RouterGateway
from cloison.names import HostName, RouterName
from cloison.v1 import host_sync_pb2 as pb
from controller.reconcile.impact import Impact
from controller.reconcile.plugged import edge_host, live_binding
from controller.reconcile.views import host_mtu, overlay_mtu
from controller.store.keys import EdgeKey
from controller.store.state import State
from controller.turns import Work

# So that no message comes near gRPC's size limit: a floating IP takes some fifty bytes.
EDGES_PER_MESSAGE = 50
# The first byte of MACs outside: of one station, administered locally (IEEE 802, section 8.4).
MAC_FIRST_BYTE = 0x0E


@dataclass(slots=True)
class EdgeChange:
    """What changes in the edges of one host, by the numbers of their ports."""

    edges: dict[int, pb.Edge] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.edges or self.removed)


class EdgePlans:
    """The edges of all hosts, followed revision by revision."""

    def __init__(self) -> None:
        self._of_router: dict[RouterName, dict[tuple[HostName, int], pb.Edge]] = {}
        self._on_host: dict[HostName, dict[int, pb.Edge]] = {}
        # Of the transit network.
        self._mtu: dict[RouterName, int] = {}

    def update(self, state: State, impact: Impact) -> dict[HostName, EdgeChange]:
        """Follow one revision; return what changes on which host."""
        changes: dict[HostName, EdgeChange] = {}
        for name in impact.edges.union(self._resized(state, impact)):
            self._update_router(state, name, changes)
        for host, change in changes.items():
            here = self._on_host.setdefault(host, {})
            # A number may be another router's edge's now.
            change.removed -= change.edges.keys()
            for number in change.removed:
                here.pop(number, None)
            here.update(change.edges)
        return changes

    def load(self, state: State) -> Work[None]:
        """Begin with a state, in pieces; it may not change before the end."""
        for router in {edge.router for edge in state.router_edges}:
            self.update(state, Impact(edges={router}))
            yield

    def snapshot(self, host: HostName) -> EdgeChange:
        """Return all edges of a host, as the change from nothing."""
        return EdgeChange(dict(self._on_host.get(host, {})))

    def _resized(self, state: State, impact: Impact) -> Iterable[RouterName]:
        """The routers whose transit network may have another MTU, as its span is another."""
        for network in impact.spans:
            for router in state.routers_on(network):
                edge = state.router_edges.get(EdgeKey(router.name, None))
                transit = state.networks.get(network)
                if edge is None or edge.port.parent != network or transit is None:
                    continue
                if overlay_mtu(state, transit) != self._mtu.get(router.name):
                    yield router.name

    def _update_router(self, state: State, name: RouterName, changes: dict[HostName, EdgeChange]) -> None:
        before, after = self._of_router.pop(name, {}), dict(_edges(state, name))
        self._mtu.pop(name, None)
        if after:
            self._of_router[name] = after
            stored = state.router_edges.get(EdgeKey(name, None))
            transit = state.networks.get(stored.port.parent) if stored is not None else None
            self._mtu[name] = overlay_mtu(state, transit) if transit is not None else 0
        for host, number in before.keys() - after.keys():
            changes.setdefault(host, EdgeChange()).removed.add(number)
        for (host, number), edge in after.items():
            if before.get((host, number)) != edge:
                changes.setdefault(host, EdgeChange()).edges[number] = edge


def answering(state: State, floating_ip: FloatingIp) -> tuple[RouterEdge, HostName] | None:
    """Return the edge that answers for a floating IP, and where; None while none does.

    That on the port's own host, if it is to be there and is plugged; else that of the gateway hosts.
    """
    if floating_ip.router is None or floating_ip.port is None or floating_ip.fixed is None:
        return None
    own = _own_host(state, floating_ip)
    for host in (own, None) if own is not None else (None,):
        edge = state.router_edges.get(EdgeKey(floating_ip.router, host))
        lives_on = edge_host(state, edge)
        if edge is not None and lives_on is not None and host in (None, lives_on):
            return edge, lives_on
    return None


def _own_host(state: State, floating_ip: FloatingIp) -> HostName | None:
    """Return where the port of a distributed floating IP lives."""
    port = state.ports.get(floating_ip.port) if floating_ip.port is not None else None
    binding = live_binding(state, port) if port is not None and floating_ip.distributed else None
    return binding.host if binding is not None else None


def _edges(state: State, name: RouterName) -> Iterator[tuple[tuple[HostName, int], pb.Edge]]:
    """Yield what hosts must know of a router's edges."""
    router = state.routers.get(name)
    gateway = router.gateway if router is not None else None
    outside = state.external_networks.get(gateway.external_network) if gateway is not None else None
    if router is None or gateway is None or outside is None or name.parent not in state.tenants:
        return
    floating: dict[EdgeKey, list[FloatingIp]] = {}
    for one in state.floating_ips_by(name):
        found = answering(state, one)
        # While none answers that of the gateway hosts is made ready to.
        key = EdgeKey(name, found[0].host if found is not None else None)
        if one.port is not None and one.fixed is not None:
            floating.setdefault(key, []).append(one)
    for edge in state.edges_of(name):
        port, lives_on = state.ports.get(edge.port), edge_host(state, edge)
        for host in port.requested_hosts if port is not None else ():
            there = state.hosts.get(host)
            if port is None or there is None or outside.physical_network not in there.physical_networks:
                continue
            message = _edge(state, router, gateway, outside, edge, port, host)
            message.floating.extend(_floating(floating.get(EdgeKey(name, edge.host), ())))
            message.active = lives_on == host
            yield (host, port.number), message


def _edge(
    state: State,
    router: Router,
    gateway: RouterGateway,
    outside: ExternalNetwork,
    edge: RouterEdge,
    port: Port,
    host: HostName,
) -> pb.Edge:
    """An edge on a host but for its floating IPs, and whether it answers."""
    inner = port.name.parent
    network, there = state.networks.get(inner), state.hosts.get(host)
    mtu = overlay_mtu(state, network) if network is not None else 0
    transit = [i for i in router.interfaces if i.subnet.parent == inner]
    own = gateway.addresses if edge.host is None else edge.addresses
    translates = gateway.snat and (edge.host is None or gateway.distributed_snat)
    return pb.Edge(
        number=port.number,
        iface_id=port.iface_id,
        router=str(router.name),
        inside_mac=port.mac,
        inside=[
            _at(f.address, state.subnets[f.subnet].cidr) for f in port.fixed_ips if f.subnet in state.subnets
        ],
        inside_mtu=mtu or (host_mtu(there) if there is not None else 0),
        router_mac=router.mac,
        router_addresses=[interface.address.packed for interface in transit],
        inside_prefixes=map(_prefix, _inside(state, router, port)),
        physical_network=outside.physical_network,
        vlan=outside.vlan,
        outside_mac=outside_mac(router, host),
        outside_mtu=outside.mtu,
        outside=[_at(a, s.cidr) for a in own for s in outside.subnets if a.version == s.cidr.version],
        outside_prefixes=[_prefix(subnet.cidr) for subnet in outside.subnets],
        gateways=[subnet.gateway.packed for subnet in outside.subnets if subnet.gateway is not None],
        snat=[address.packed for address in own] if translates else (),
        routed_prefixes=map(_prefix, gateway.routed_prefixes if edge.host is None else ()),
    )


def outside_mac(router: Router, host: HostName) -> Mac:
    """Return the MAC that a router's edge on a host has outside: its own, and always the same."""
    digest = sha256(f"{router.meta.uid}/{host.host}".encode()).digest()
    return Mac(MAC_FIRST_BYTE << 40 | int.from_bytes(digest[:5], "big"))


def _inside(state: State, router: Router, port: Port) -> Iterator[IpNetwork]:
    """What is behind the router: its subnets, but for the transit network's, and where its routes lead."""
    for interface in router.interfaces:
        subnet = state.subnets.get(interface.subnet)
        if subnet is not None and subnet.name.parent != port.name.parent:
            yield subnet.cidr
    for route in router.routes:
        if route.destination.prefixlen:
            yield route.destination


def _floating(floating_ips: Iterable[FloatingIp]) -> Iterator[pb.FloatingAddress]:
    for one in sorted(floating_ips, key=lambda f: (f.address.version, int(f.address))):
        assert one.fixed is not None, one
        yield pb.FloatingAddress(address=one.address.packed, fixed=one.fixed.packed)


def _at(address: IpAddress, subnet: IpNetwork) -> pb.EdgeAddress:
    return pb.EdgeAddress(address=address.packed, prefix_length=subnet.prefixlen)


def _prefix(prefix: IpNetwork) -> pb.EdgePrefix:
    return pb.EdgePrefix(address=prefix.network_address.packed, prefix_length=prefix.prefixlen)


def edge_messages(revision: int, change: EdgeChange) -> Iterator[pb.PlanDelta]:
    """Put a change of edges into messages of bounded size, what goes first."""
    if change.removed:
        yield pb.PlanDelta(revision=revision, removed_edges=sorted(change.removed))
    numbers = sorted(change.edges)
    for start in range(0, len(numbers), EDGES_PER_MESSAGE):
        edges = [change.edges[number] for number in numbers[start : start + EDGES_PER_MESSAGE]]
        yield pb.PlanDelta(revision=revision, edges=edges)
