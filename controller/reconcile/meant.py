"""From the state to what the verifier holds the flows against. Pure.

Written for the proof alone: it shares with the compiler's views the predicates of what is plugged
(plugged.py) and of what is claimed (claims.py), and nothing else, so that an error in the one is not repeated
in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cloison.addresses import IpAddress, link_local
from cloison.model import Router, SecurityGroup, SecurityGroupRule
from cloison.names import HostName, NetworkName, PortName, TenantName
from controller.reconcile.claims import claimed_by
from controller.reconcile.impact import Impact
from controller.reconcile.meant_exits import exit_intents, ways_out
from controller.reconcile.meant_peerings import crossings_of, strangers_of
from controller.reconcile.plugged import live_binding, standby_bindings
from controller.reconcile.views import HasPort, used_groups, vxlan_device
from controller.reconcile.views import believe as believe
from controller.store.state import State
from controller.turns import Work, at_once, batches
from controller.verify.intent import (
    HostIntent,
    Intent,
    IntentDelta,
    NetworkIntent,
    PairIntent,
    PortIntent,
    RouteIntent,
    RouterIntent,
)
from controller.verify.policy import PROFILE_FIRST, PROFILE_NONE, GroupName, PolicyIntent, RuleIntent

# Bytes around an IP packet in the overlay, by the version of the underlay (RFC 7348, section 5): the inner
# Ethernet header, then VXLAN, UDP and IP.
_AROUND = {4: 14 + 8 + 8 + 20, 6: 14 + 8 + 8 + 40}

# How many ports are looked at in one part of everything.
OBJECTS_AT_ONCE = 100
# What groups mean, by the identity of the group.
GROUPS_MAX = 100_000
_known_rules: dict[int, tuple[SecurityGroup, tuple[RuleIntent, ...]]] = {}

# The OpenFlow port of a host's local services as the switch itself names it, None if it has none.
ServiceOfport = Callable[[HostName], int | None]


def nowhere(host: HostName) -> int | None:
    """No host has local services: for a state without switches."""
    return None


def intent_of(state: State, has_port: HasPort = believe, service: ServiceOfport = nowhere) -> Intent:
    """Return everything that is meant at one revision."""
    networks = {name: network_intent(state, name, has_port) for name in state.networks}
    ports = {name: port_intent(state, name, has_port) for name in state.ports}
    return Intent(
        hosts={name: host for name in state.hosts if (host := host_intent(state, name, service))},
        networks={name: network for name, network in networks.items() if network},
        ports={name: port for name, port in ports.items() if port},
        policies={
            name.tenant: policy
            for name in state.tenants
            if (policy := policy_intent(state, name)) is not None
        },
    )


def delta_in_pieces(
    state: State,
    impact: Impact,
    hosts: set[HostName],
    has_port: HasPort = believe,
    service: ServiceOfport = nowhere,
) -> Work[IntentDelta]:
    """Return the new value of everything that a revision touches.

    Neither the state nor what bridges call their ports may change before the end.
    """
    ports: dict[PortName, PortIntent | None] = {}
    for port in impact.moved | {port for _, port in impact.port_units}:
        ports[port] = port_intent(state, port, has_port)
        yield
    networks: dict[NetworkName, NetworkIntent | None] = {}
    for network in impact.spans | {network for _, network in impact.network_units}:
        networks[network] = network_intent(state, network, has_port)
        yield
    return IntentDelta(
        hosts={name: host_intent(state, name, service) for name in hosts | impact.host_units},
        networks=networks,
        ports=ports,
        policies={name.tenant: policy_intent(state, name) for name in impact.policies},
    )


def intent_in_parts(
    state: State, has_port: HasPort = believe, service: ServiceOfport = nowhere
) -> Iterator[IntentDelta]:
    """Yield everything that is meant, in parts of bounded size; the state may not change before the end."""

    def part(impact: Impact, hosts: Iterable[HostName] = ()) -> IntentDelta:
        return at_once(delta_in_pieces(state, impact, set(hosts), has_port, service))

    for hosts in batches(state.hosts, OBJECTS_AT_ONCE):
        yield part(Impact(), hosts)
    for tenant in state.tenants:
        yield part(Impact(policies={tenant}))
    for network in state.networks:
        yield part(Impact(spans={network}))
    for ports in batches(state.ports, OBJECTS_AT_ONCE):
        yield part(Impact(moved=set(ports)))


def host_intent(state: State, name: HostName, service: ServiceOfport) -> HostIntent | None:
    """Return what is meant of a host, None if it is gone."""
    host = state.hosts.get(name)
    if host is None:
        return None
    if host.vtep is None or not host.underlay_mtu:
        return HostIntent(name=name, vtep=host.vtep)
    mtu = host.underlay_mtu - _AROUND[host.vtep.version]
    return HostIntent(name=name, vtep=host.vtep, service_ofport=service(name), mtu=mtu)


def policy_intent(state: State, name: TenantName) -> PolicyIntent | None:
    """Return what a tenant's security groups mean, None if the tenant is gone."""
    tenant = state.tenants.get(name)
    if tenant is None:
        return None
    profiles: dict[int, tuple[GroupName, ...]] = {p.number: p.groups for p in state.profiles_of(name)}
    groups: dict[GroupName, tuple[RuleIntent, ...]] = {
        group.name: _rules(group) for group in used_groups(state, name)
    }
    for number, peering, rules in strangers_of(state, name):
        profiles[number], groups[peering] = (peering,), rules
    return PolicyIntent(
        number=tenant.number,
        profiles=profiles,
        groups=groups,
        address_groups={group.name: group.prefixes for group in state.address_groups_of(name)},
    )


def _rules(group: SecurityGroup) -> tuple[RuleIntent, ...]:
    """Return what a group's rules mean: the same object for the same group, which is seen at once."""
    known = _known_rules.get(id(group))
    if known is None:
        if len(_known_rules) >= GROUPS_MAX:
            _known_rules.clear()
        # (With the group, so that no other one can have its identity.)
        known = _known_rules[id(group)] = group, tuple(map(_rule, group.rules))
    return known[1]


def _rule(rule: SecurityGroupRule) -> RuleIntent:
    return RuleIntent(
        direction=rule.direction,
        ether_type=rule.ether_type,
        protocol=rule.protocol,
        port_min=rule.port_min,
        port_max=rule.port_max,
        icmp_type=rule.icmp_type,
        icmp_code=rule.icmp_code,
        remote_prefix=rule.remote_prefix,
        remote_group=rule.remote_group,
        remote_address_group=rule.remote_address_group,
        id=rule.id,
    )


def network_intent(state: State, name: NetworkName, has_port: HasPort) -> NetworkIntent | None:
    """Return what is meant of a network, None if it is gone."""
    network = state.networks.get(name)
    if network is None or name.parent not in state.tenants:
        return None
    tunnels = {}
    for host in state.span(name):
        tunnel = state.tunnel_ports.get((host, network.vni))
        if tunnel is not None and has_port(host, tunnel.ofport, vxlan_device(network.vni)):
            tunnels[host] = tunnel.ofport
    cidrs = tuple(subnet.cidr for subnet in state.subnets_of(name))
    routers = tuple(router_intent(state, router, name) for router in _routers_on(state, name))
    return NetworkIntent(
        name=name,
        vni=network.vni,
        subnets=cidrs,
        tunnels=tunnels,
        multicast=network.multicast,
        routers=routers,
    )


def _routers_on(state: State, network: NetworkName) -> list[Router]:
    return sorted(state.routers_on(network), key=lambda router: router.name)


def router_intent(state: State, router: Router, network: NetworkName) -> RouterIntent:
    """Return what is meant of a router, as one of its networks knows it."""
    connected = {
        state.subnets[interface.subnet].cidr: interface.subnet.parent
        for interface in router.interfaces
        if interface.subnet in state.subnets and interface.subnet.parent in state.networks
    }
    routes = [RouteIntent(cidr, into) for cidr, into in connected.items()]
    for route in router.routes:
        for hop in route.next_hops[:1]:
            into = [n for cidr, n in connected.items() if cidr.version == hop.version and hop in cidr]
            routes += [RouteIntent(route.destination, n, hop, route.next_hops[1:]) for n in into]
    routes += [out for out in ways_out(state, router, None) if out.network in connected.values()]
    here: tuple[IpAddress, ...] = tuple(i.address for i in router.interfaces if i.subnet.parent == network)
    local = (link_local(router.mac),) if any(address.version == 6 for address in here) else ()
    return RouterIntent(
        mac=router.mac,
        here=(*here, *local),
        addresses=tuple(interface.address for interface in router.interfaces),
        routes=(*routes, *crossings_of(state, router, network)),
    )


def port_intent(state: State, name: PortName, has_port: HasPort) -> PortIntent | None:
    """Return what is meant of a port, None if it is gone; without a host if it lives nowhere."""
    port = state.ports.get(name)
    if port is None or name.parent not in state.networks:
        return None
    binding = live_binding(state, port)
    if binding is not None and not has_port(binding.host, binding.ofport, binding.interface):
        binding = None
    standby = tuple(
        (other.host, other.ofport)
        for other in standby_bindings(state, port)
        if has_port(other.host, other.ofport, other.interface)
    )
    profile = port.profile
    if profile >= PROFILE_FIRST:
        known = state.profiles.get(profile)
        # One of another tenant is as good as none.
        if known is None or known.tenant != name.parent.parent:
            profile = PROFILE_NONE
    return PortIntent(
        name=port.name,
        number=port.number,
        mac=port.mac,
        addresses=tuple(ip.address for ip in port.fixed_ips),
        host=binding.host if binding else None,
        ofport=binding.ofport if binding else 0,
        profile=profile,
        pairs=tuple(PairIntent(pair.prefix, pair.mac) for pair in port.allowed_address_pairs),
        claimed=claimed_by(state, port, binding) if binding is not None else (),
        standby=standby,
        exits=exit_intents(state, port, binding.host) if binding is not None else (),
    )
