"""Which parts of which hosts a revision touches. Pure: the look-ups that make work follow the change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from cloison.model import (
    AddressGroup,
    ExternalNetwork,
    FloatingIp,
    Host,
    Network,
    Peering,
    PolicyProfile,
    Port,
    PortBinding,
    Router,
    RouterEdge,
    SecurityGroup,
    Stored,
    Subnet,
    Tenant,
    TunnelPort,
)
from cloison.names import HostName, NetworkName, PortName, RouterName, TenantName
from controller.reconcile.claims import co_claimants, reached_by_mac, rivals
from controller.store.changes import Change
from controller.store.state import State
from controller.turns import Work, at_once, batches

# How many ports are looked at in one piece of work.
OBJECTS_AT_ONCE = 200


@dataclass(slots=True)
class Impact:
    """Units to compile again. A host's unit is compiled from the new state; nothing is patched.

    Where a network comes to a host, or goes, is for those to add who know where it was (tunnels.py), with the
    networks that are routed with it.
    """

    port_units: set[tuple[HostName, PortName]] = field(default_factory=set)
    network_units: set[tuple[HostName, NetworkName]] = field(default_factory=set)
    policy_units: set[tuple[HostName, TenantName]] = field(default_factory=set)
    host_units: set[HostName] = field(default_factory=set)
    # Tenants whose rules may be others: their policy is compiled anew, not only put where it is missing.
    policies: set[TenantName] = field(default_factory=set)
    # Ports whose location may be another, and networks whose presence or MTU may be.
    moved: set[PortName] = field(default_factory=set)
    spans: set[NetworkName] = field(default_factory=set)
    # Ports of which the local services may have to say something else, and networks of which all may.
    served: set[PortName] = field(default_factory=set)
    services: set[NetworkName] = field(default_factory=set)
    # Routers of which an edge may be another, or somewhere else.
    edges: set[RouterName] = field(default_factory=set)

    @property
    def networks(self) -> set[NetworkName]:
        """Networks for which the tunnel plan of some host may change."""
        return self.spans | {port.parent for port in self.moved}

    def add(self, other: Impact) -> None:
        """Touch what the other one does as well."""
        for each in fields(self):
            getattr(self, each.name).update(getattr(other, each.name))


def with_routed(networks: Iterable[NetworkName], *states: State) -> set[NetworkName]:
    """Return networks, and all that are routed with one of them in some state."""
    names = set(networks)
    return names.union(*(state.routed_with(name) for state in states for name in names))


def whole(state: State) -> Impact:
    """Return the impact of everything having changed."""
    return at_once(whole_in_pieces(state))


def whole_in_pieces(state: State) -> Work[Impact]:
    """As whole; the state may not change before the end."""
    impact = Impact(
        spans=set(state.networks),
        services=set(state.networks),
        edges={edge.router for edge in state.router_edges},
        policies=set(state.tenants),
        host_units=set(state.hosts),
    )
    for ports in batches(state.ports, OBJECTS_AT_ONCE):
        impact.moved.update(ports)
        impact.served.update(ports)
        yield
    for bindings in batches(state.bindings, OBJECTS_AT_ONCE):
        for port, host in bindings:
            impact.port_units.add((host, port))
            impact.network_units.add((host, port.parent))
            impact.policy_units.add((host, port.parent.parent))
        yield
    return impact


def impact_of(changes: Iterable[Change], state: State) -> Impact:
    """Return what the changes of one revision touch; state is the one after them."""
    return at_once(impact_in_pieces(changes, state))


def impact_in_pieces(changes: Iterable[Change], state: State) -> Work[Impact]:
    """As impact_of; the state may not change before the end."""
    impact = Impact()
    for change in changes:
        yield
        old, new = change.old, change.new
        if isinstance(old, Port) and isinstance(new, Port) and _stays(old, new):
            _altered(impact, new, state)
            continue
        for value in (old, new):
            if value is not None:
                _add(impact, value, state)
        if old is None and isinstance(new, Tenant | Network):
            _came_late(impact, new, state)
    add_next_hops(impact, state)
    return impact


def _stays(old: Port, new: Port) -> bool:
    """Tell whether a port is where it was, under the addresses it had: only its own flows may be others."""
    return _whereabouts(old) == _whereabouts(new)


def _whereabouts(port: Port) -> tuple[object, ...]:
    return (
        port.meta.uid,
        port.number,
        port.mac,
        port.fixed_ips,
        port.requested_hosts,
        port.disabled,
        port.iface_id,
        reached_by_mac(port),
    )


def _altered(impact: Impact, port: Port, state: State) -> None:
    """Its groups, its names, what it may send besides: a matter of the hosts where it is plugged.

    Unless it has claimed an address: that it may not list any more.
    """
    impact.served.add(port.name)
    if any(binding.claimed for binding in state.bindings_of(port.name)):
        _moved(impact, port.name, state)
    for binding in state.bindings_of(port.name):
        impact.port_units.add((binding.host, port.name))
    add_everyone(impact, port.name.parent, state)


def _came_late(impact: Impact, new: Tenant | Network, state: State) -> None:
    """Something is there of which others were part already: its record could not be read until now."""
    networks = state.networks_of(new.name) if isinstance(new, Tenant) else (new,)
    for network in networks:
        _add(impact, network, state)
        for port in state.ports_of(network.name):
            _moved(impact, port.name, state)


def _add(impact: Impact, value: Stored, state: State) -> None:
    match value:
        case Port():
            for host in value.requested_hosts:
                impact.port_units.add((host, value.name))
            _moved(impact, value.name, state)
            _displaced(impact, value, state)
        case PortBinding():
            _bound(impact, value.host, value.port, state)
            _moved(impact, value.port, state)
            port = state.ports.get(value.port)
            if port is not None:
                _displaced(impact, port, state)
            for name in co_claimants(state, value):
                _moved(impact, name, state)
        case Subnet():
            # (For what is meant of it: it may be on no host.)
            impact.spans.add(value.name.parent)
            impact.services.add(value.name.parent)
            for host in state.span(value.name.parent):
                impact.network_units.add((host, value.name.parent))
            for router in state.routers_using(value.name):
                _routing(impact, router, state)
        case TunnelPort():
            network = state.network_by_vni(value.vni)
            if network is not None:
                impact.network_units.add((value.host, network.name))
        case Network():
            impact.spans.add(value.name)
            impact.services.add(value.name)
            for host in state.span(value.name):
                impact.network_units.add((host, value.name))
            for router in state.routers_on(value.name):
                _routing(impact, router, state)
        case Router():
            _routing(impact, value, state)
            _ways_out(impact, value.name, state)
        case RouterEdge():
            impact.edges.add(value.router)
            known = state.routers.get(value.router)
            if value.host is not None:
                _leaving(impact, value.router.parent, value.host, state)
            elif known is not None:
                _senders(impact, known.networks, state)
                _central(impact, value.router, state)
        case FloatingIp():
            _floating(impact, value, state)
        case ExternalNetwork():
            for router in state.routers_out(value.name):
                _router(impact, router, state)
                _ways_out(impact, router.name, state)
        case Peering():
            for router_name in (value.router, value.peer_router):
                _joined(impact, router_name, state)
        case Host():
            _add_host(impact, value, state)
        case Tenant():
            _policy(impact, value.name, state)
        case SecurityGroup():
            # One that no port has makes no flows, and means nothing: it counts from its first profile on.
            if state.profiles_with(value.name):
                _policy(impact, value.name.parent, state)
        case AddressGroup():
            if any(state.profiles_with(group.name) for group in state.groups_naming(value.name)):
                _policy(impact, value.name.parent, state)
        case PolicyProfile():
            _policy(impact, value.tenant, state)
        case _:
            pass


def _displaced(impact: Impact, port: Port, state: State) -> None:
    """Whoever claims one of its addresses has it only as long as the port does not live."""
    for name in rivals(state, port):
        _moved(impact, name, state)


def _policy(impact: Impact, tenant: TenantName, state: State) -> None:
    impact.policies.add(tenant)
    impact.policy_units.update((host, tenant) for host in state.tenant_hosts(tenant))


def _moved(impact: Impact, port: PortName, state: State) -> None:
    impact.moved.add(port)
    impact.served.add(port)
    for floating_ip in state.floating_ips_at(port):
        _floating(impact, floating_ip, state)
    edge = state.edge_at(port)
    if edge is not None:
        impact.edges.add(edge.router)
    impact.spans.add(port.parent)
    add_everyone(impact, port.parent, state)
    # Another of its bindings may have become the live one.
    for binding in state.bindings_of(port):
        _bound(impact, binding.host, port, state)


def _bound(impact: Impact, host: HostName, port: PortName, state: State) -> None:
    """A binding may have come or gone, or have become the live one."""
    for router in state.routers_on(port.parent):
        if router.gateway is not None and router.gateway.distributed_snat:
            impact.edges.add(router.name)
    impact.port_units.add((host, port))
    impact.network_units.add((host, port.parent))
    impact.policy_units.add((host, port.parent.parent))


def _leaving(impact: Impact, tenant: TenantName, host: HostName, state: State) -> None:
    """The ports of a tenant on a host may have other ways out of their own."""
    for binding in state.bindings_on(host):
        if binding.port.parent.parent == tenant:
            impact.port_units.add((host, binding.port))


def _ways_out(impact: Impact, router: RouterName, state: State) -> None:
    """Whether a router goes out, and what goes out by which edge, may be another."""
    impact.edges.add(router)
    for edge in state.edges_of(router):
        if edge.host is not None:
            _leaving(impact, router.parent, edge.host, state)


def _floating(impact: Impact, floating_ip: FloatingIp, state: State) -> None:
    """Who answers for an address outside, and by which way its port goes out."""
    if floating_ip.router is not None:
        impact.edges.add(floating_ip.router)
    if floating_ip.port is not None:
        impact.port_units.update((b.host, b.port) for b in state.bindings_of(floating_ip.port))


def _central(impact: Impact, router: RouterName, state: State) -> None:
    """Ports with floating IPs may go out by the gateway hosts otherwise, where others go out by their own."""
    for floating_ip in state.floating_ips_by(router):
        if not floating_ip.distributed:
            _floating(impact, floating_ip, state)


def _router(impact: Impact, router: Router, state: State) -> None:
    """Everybody in its networks may reach more or less, and by other ways."""
    networks = router.networks
    impact.spans.update(networks)
    impact.services.update(networks)
    _senders(impact, networks, state)


def _routing(impact: Impact, router: Router, state: State) -> None:
    """As _router; and whoever it is joined with by a peering, or would be, may be joined otherwise."""
    _router(impact, router, state)
    if state.peerings_at(router.name):
        _policy(impact, router.name.parent, state)
    for peering in state.peerings_towards(router.name):
        _joined(impact, peering.router, state)


def _joined(impact: Impact, name: RouterName, state: State) -> None:
    """A peering of a router's may have come into effect, or out of it: to policy, and to its networks."""
    if name.parent in state.tenants:
        _policy(impact, name.parent, state)
    router = state.routers.get(name)
    if router is not None:
        _router(impact, router, state)


def _senders(impact: Impact, networks: Iterable[NetworkName], state: State) -> None:
    """What ports of these networks can send, on their hosts."""
    for network in networks:
        impact.network_units.update((host, network) for host in state.bound_hosts(network))


def add_next_hops(impact: Impact, state: State) -> None:
    """Add what follows from moves: routes lead to a port's MAC, to another one's, or to nobody."""
    for name in tuple(impact.moved):
        edge = state.edge_at(name)
        if edge is not None and edge.host is not None:
            _leaving(impact, edge.router.parent, edge.host, state)
        elif edge is not None:
            _central(impact, edge.router, state)
        for router in state.routers_on(name.parent):
            hop = router.routes and _may_be_hop(state.ports.get(name), router)
            if hop or (edge is not None and edge.host is None):
                _senders(impact, router.networks, state)


def _may_be_hop(port: Port | None, router: Router) -> bool:
    if port is None:
        return True
    hops = {hop for route in router.routes for hop in route.next_hops}
    own = any(fixed_ip.address in hops for fixed_ip in port.fixed_ips)
    pairs = port.allowed_address_pairs
    return own or any(hop.version == p.prefix.version and hop in p.prefix for hop in hops for p in pairs)


def add_everyone(impact: Impact, name: NetworkName, state: State) -> None:
    """Add that a network may have other ports, or ports elsewhere: with multicast all its hosts know them."""
    network = state.networks.get(name)
    if network is not None and network.multicast:
        impact.network_units.update((host, name) for host in state.bound_hosts(name))


def _add_host(impact: Impact, host: Host, state: State) -> None:
    """The VTEP or MTU may have changed: every port on it has another location."""
    impact.host_units.add(host.name)
    for outside in state.external_networks.values():
        if outside.physical_network in host.physical_networks:
            impact.edges.update(router.name for router in state.routers_out(outside.name))
    networks = set()
    for binding in state.bindings_on(host.name):
        impact.moved.add(binding.port)
        networks.add(binding.port.parent)
        add_everyone(impact, binding.port.parent, state)
    impact.spans.update(networks.union(*map(state.routed_with, networks)))
