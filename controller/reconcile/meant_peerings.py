"""What peerings of a state mean, for the proof. Pure.

Written for the proof alone, from the state and nothing else: the compiler's side (store/peerings.py, which
also says where networks are carried) is not asked. Two halves are in effect if each names the other's router
and no other half does so there, if what each lists is within subnets of its router and within what the other
accepts, and if nothing that a half accepts is of its own router or accepted by another half there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cloison.addresses import IpNetwork
from cloison.model import AllowedService, Direction, EtherType, Peering, Router
from cloison.names import NetworkName, PeeringName, TenantName
from cloison.protocols import ICMP, ICMPV6, protocol_name, service_text
from controller.store.state import State
from controller.verify.intent import CrossingIntent, RouteIntent
from controller.verify.policy import RuleIntent


@dataclass(frozen=True, slots=True)
class _Agreed:
    """Two halves in effect, one of them being ours."""

    ours: Peering
    theirs: Peering


def crossings_of(state: State, router: Router, network: NetworkName) -> Iterator[RouteIntent]:
    """Yield where a router sends what comes from one of its networks, by its peerings."""
    for agreed in _agreed_at(state, router):
        for source in agreed.ours.prefixes:
            if _network_of(state, router, source) != network:
                continue
            other = state.routers[agreed.theirs.router]
            for prefix in agreed.theirs.prefixes:
                into = _network_of(state, other, prefix)
                if into is not None and prefix.version == source.version:
                    by = CrossingIntent(
                        source, agreed.ours.number, agreed.theirs.number, str(agreed.ours.name)
                    )
                    yield RouteIntent(prefix, into, crossing=by)


def strangers_of(
    state: State, tenant: TenantName
) -> Iterator[tuple[int, PeeringName, tuple[RuleIntent, ...]]]:
    """Yield the profiles that stand for the other sides of a tenant's peerings, and their rules."""
    for router in state.routers_of(tenant):
        for agreed in _agreed_at(state, router):
            may_open = [_rule(Direction.EGRESS, service) for service in agreed.ours.services]
            may_take = [_rule(Direction.INGRESS, service) for service in agreed.theirs.services]
            yield agreed.ours.number, agreed.ours.name, (*may_open, *may_take)


def _agreed_at(state: State, router: Router) -> Iterator[_Agreed]:
    for ours in state.peerings_at(router.name):
        other = state.routers.get(ours.peer_router)
        answers = [p for p in state.peerings_at(ours.peer_router) if p.peer_router == router.name]
        if other is None or len(answers) != 1 or other.name.tenant == router.name.tenant:
            continue
        theirs = answers[0]
        if not (_sound(state, router, ours) and _sound(state, other, theirs)):
            continue
        if _accepts(ours, theirs) and _accepts(theirs, ours):
            yield _Agreed(ours, theirs)


def _sound(state: State, router: Router, half: Peering) -> bool:
    others = [p for p in state.peerings_at(router.name) if p.name != half.name]
    if any(p.peer_router == half.peer_router for p in others):
        return False
    if any(_network_of(state, router, prefix) is None for prefix in half.prefixes):
        return False
    subnets = (state.subnets.get(interface.subnet) for interface in router.interfaces)
    own = [subnet.cidr for subnet in subnets if subnet is not None]
    taken = [*own, *(range_ for p in others for range_ in p.peer_prefixes)]
    for accepted in half.peer_prefixes:
        if any(_meet(accepted, range_) for range_ in taken):
            return False
        if any(_inside(route.destination, accepted) for route in router.routes):
            return False
    return True


def _accepts(half: Peering, other: Peering) -> bool:
    return all(any(_inside(prefix, range_) for range_ in half.peer_prefixes) for prefix in other.prefixes)


def _network_of(state: State, router: Router, prefix: IpNetwork) -> NetworkName | None:
    for interface in router.interfaces:
        subnet = state.subnets.get(interface.subnet)
        network = interface.subnet.parent
        if subnet is not None and network in state.networks and _inside(prefix, subnet.cidr):
            return network
    return None


def _meet(a: IpNetwork, b: IpNetwork) -> bool:
    return _inside(a, b) or _inside(b, a)


def _inside(a: IpNetwork, b: IpNetwork) -> bool:
    same = a.version == b.version and a.prefixlen >= b.prefixlen
    return same and int(a.network_address) & int(b.netmask) == int(b.network_address)


def _rule(direction: Direction, service: AllowedService) -> RuleIntent:
    family = {ICMP: EtherType.IPV4, ICMPV6: EtherType.IPV6}.get(service.protocol or 0, EtherType.ANY)
    name = "" if service.protocol is None else protocol_name(service.protocol)
    return RuleIntent(
        id=service_text(name, service.port_min or 0, service.port_max or 0),
        direction=direction,
        ether_type=family,
        protocol=service.protocol,
        port_min=service.port_min,
        port_max=service.port_max,
    )
