"""Who can open connections to whom before a change and after it, by the meaning (verify/semantics.py). Pure.

What is asked is what the tenants' intent permits, wherever ports are plugged: the meaning is asked about a
world in which every port that is enabled and scheduled is plugged, all on one host. Whether both are plugged
now is said beside it. Only pairs of which a port changes are looked at: the port itself, its groups, or the
rules of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from cloison.addresses import format_mac
from cloison.model import PROFILE_OPEN, AddressGroup, Network, Peering, Port, Router, SecurityGroup, Subnet
from cloison.names import HostName, NetworkName, PortName, SecurityGroupName, TenantName
from controller.api.intents.rules import describe
from controller.api.planning.connections import Connections
from controller.api.planning.spaces import spaces
from controller.reconcile.meant import policy_intent, router_intent
from controller.reconcile.views import live_binding
from controller.store import transit
from controller.store.changes import Change
from controller.store.peerings import Link, links_at
from controller.store.state import State
from controller.verify.intent import HostIntent, Intent, NetworkIntent, PairIntent, PortIntent
from controller.verify.semantics import broadcasts
from controller.verify.world import World

# A plan that touches more ordered pairs says so, and names those it looked at.
PAIRS_MAX = 10_000
ONCE_PLUGGED, UNTIL_PLUGGED = "once plugged", "until plugged again"
_SOMEWHERE = HostName("anywhere")


class Talk(NamedTuple):
    """From one port to another: which packets, in words, and on what condition (see plan.proto)."""

    source: PortName
    target: PortName
    spaces: tuple[str, ...]
    condition: str


@dataclass(frozen=True, slots=True)
class ReachDiff:
    """What a change adds and takes away. complete: no pair was left out."""

    gained: tuple[Talk, ...]
    lost: tuple[Talk, ...]
    complete: bool


class _Standing(NamedTuple):
    """A port as far as reachability depends on it; intent is None if it can talk to nobody."""

    intent: PortIntent | None
    groups: tuple[SecurityGroupName, ...]
    plugged: bool


def may_talk(port: Port) -> bool:
    """Tell whether a port can be plugged anywhere."""
    return not port.disabled and bool(port.requested_hosts)


def touched_ports(before: State, after: State, changes: Iterable[Change]) -> tuple[PortName, ...]:
    """Return the ports with which others may come to talk, or cease to."""
    known = tuple(changes)
    names = {change.stored.name for change in known if isinstance(change.stored, Port)}
    touched = {name for name in names if _standing(before, name) != _standing(after, name)}
    for state in (before, after):
        for network in _rerouted(known) | _peered(state, known):
            touched.update(port.name for port in state.ports_of(network) if may_talk(port))
    return tuple(sorted(touched | _judged_otherwise(before, after, known)))


def _rerouted(changes: Iterable[Change]) -> set[NetworkName]:
    """Return the networks whose routers connect other subnets than before, or send otherwise."""
    networks: set[NetworkName] = set()
    for change in changes:
        for router in (change.old, change.new):
            if isinstance(router, Router) and _ways(change.old) != _ways(change.new):
                # Its way out alone makes no difference to others than the port that leads out.
                inside = _inside(change.old) != _inside(change.new)
                networks.update(n for n in router.networks if inside or transit.is_transit(n))
    return networks


def _inside(router: object) -> object:
    """Return the ways of a router but for its way out."""
    if not isinstance(router, Router):
        return None
    own = (i for i in router.interfaces if not transit.is_transit(i.subnet.parent))
    return router.mac, tuple(own), router.routes


def _peered(state: State, changes: Iterable[Change]) -> set[NetworkName]:
    """Return the networks of the routers of peerings that change, or whose router does."""
    peerings = [change.stored for change in changes if isinstance(change.stored, Peering)]
    for change in changes:
        if isinstance(change.stored, Router):
            peerings += state.peerings_at(change.stored.name)
    routers = {name for peering in peerings for name in (peering.router, peering.peer_router)}
    found = (state.routers.get(name) for name in routers)
    return {network for router in found if router is not None for network in router.networks}


def _ways(router: object) -> object:
    return (router.mac, router.interfaces, router.routes) if isinstance(router, Router) else None


def _judged_otherwise(before: State, after: State, changes: Iterable[Change]) -> set[PortName]:
    """Return the ports that may talk and are in groups whose rules change, or name what changes.

    And those of networks where something else is for all than before.
    """
    names: set[PortName] = set()
    changes = tuple(changes)
    for network in _networks_concerned(before, after, changes):
        for state in (before, after):
            names.update(port.name for port in state.ports_of(network) if may_talk(port))
    for state in (before, after):
        for group in _groups_concerned(state, changes):
            names.update(port.name for port in state.ports_in(group) if may_talk(port))
    return names


def _networks_concerned(before: State, after: State, changes: Iterable[Change]) -> set[NetworkName]:
    """Return the networks, there before and after, in which other addresses mean all ports than before."""
    stored = [change.stored for change in changes]
    names = {thing.name for thing in stored if isinstance(thing, Network)}
    names |= {thing.name.parent for thing in stored if isinstance(thing, Subnet)}
    both = (name for name in names if name in before.networks and name in after.networks)
    return {name for name in both if _for_all(before, name) != _for_all(after, name)}


def _for_all(state: State, name: NetworkName) -> tuple[int, ...] | None:
    network = _network(state, state.networks[name])
    return broadcasts(network) if network.multicast else None


def _groups_concerned(state: State, changes: Iterable[Change]) -> set[SecurityGroupName]:
    """Return the groups whose rules mean something else than before."""
    concerned: set[SecurityGroupName] = set()
    for change in changes:
        old, new = change.old, change.new
        if isinstance(change.stored, SecurityGroup):
            if getattr(old, "rules", ()) != getattr(new, "rules", ()):
                concerned.add(change.stored.name)
        elif isinstance(change.stored, AddressGroup) and (
            getattr(old, "prefixes", ()) != getattr(new, "prefixes", ())
        ):
            concerned.update(group.name for group in state.groups_naming(change.stored.name))
    return concerned


def permitted_elsewise(
    before: State, after: State, ports: Iterable[PortName], changes: Iterable[Change]
) -> frozenset[NetworkName]:
    """Return the networks of those ports that may talk otherwise than before, plugged or not."""
    known = tuple(changes)
    judged = _judged_otherwise(before, after, known)
    rerouted = _rerouted(known) | _peered(before, known) | _peered(after, known)
    return frozenset(
        name.parent
        for name in ports
        if name in judged
        or name.parent in rerouted
        or _standing(before, name)[:2] != _standing(after, name)[:2]
    )


def standing_of(state: State, networks: Iterable[NetworkName]) -> Iterator[str]:
    """Yield, line by line, all that decides who can talk to whom in some networks."""
    for network in sorted(_with_routed(state, networks)):
        for router in sorted(state.routers_on(network), key=lambda router: router.name):
            yield f"{router.name} {_ways(router)}"
            yield from (_link_line(link) for link in links_at(state, router.name))
        ranges = sorted(str(subnet.cidr) for subnet in state.subnets_of(network))
        stored = state.networks.get(network)
        yield f"{network} {' '.join(ranges)}{' multicast' if stored and stored.multicast else ''}"
        for port in sorted(state.ports_of(network), key=lambda port: port.name):
            if may_talk(port):
                yield _port_line(port)
    for tenant in sorted({network.parent for network in _with_routed(state, networks)}):
        yield from _policy_lines(state, tenant)


def _link_line(link: Link) -> str:
    sides = ((half.prefixes, half.services) for half in (link.own, link.peer))
    return f"{link.own.router} {link.peer.router} {[*sides]}"


def _port_line(port: Port) -> str:
    addresses = " ".join(str(fixed_ip.address) for fixed_ip in port.fixed_ips)
    pairs = " ".join(f"{pair.prefix}={pair.mac}" for pair in port.allowed_address_pairs)
    groups = "open" if port.profile == PROFILE_OPEN else " ".join(g.group for g in port.security_groups)
    return f"{port.name} {format_mac(port.mac)} {addresses} pairs {pairs} groups {groups}"


def _policy_lines(state: State, tenant: TenantName) -> Iterator[str]:
    for group in sorted(state.groups_of(tenant), key=lambda group: group.name):
        rules = sorted(describe(rule) for rule in group.rules)
        yield f"{group.name} {'; '.join(rules)}"
    for addresses in sorted(state.address_groups_of(tenant), key=lambda group: group.name):
        yield f"{addresses.name} {' '.join(sorted(map(str, addresses.prefixes)))}"


class Reach:
    """Who can talk to whom in the networks of some ports, before and after."""

    def __init__(self, before: State, after: State, touched: Iterable[PortName]) -> None:
        self._touched = tuple(touched)
        networks = {port.parent for port in self._touched}
        self._reached = {n: _with_routed(before, {n}) | _with_routed(after, {n}) for n in networks}
        known = networks.union(*self._reached.values())
        self._before, self._after = _View(before, known), _View(after, known)

    def diff(self) -> ReachDiff:
        """Return which pairs with a touched port can talk after and could not before, and the reverse."""
        pairs = list(islice(self._pairs(), PAIRS_MAX + 1))
        gained: list[Talk] = []
        lost: list[Talk] = []
        for source, target in pairs[:PAIRS_MAX]:
            was, will = self._before.passes(source, target), self._after.passes(source, target)
            if was == will:
                continue
            more = _grouped(will, was, ONCE_PLUGGED)
            less = _grouped(was, will, UNTIL_PLUGGED)
            gained += (Talk(source, target, found, condition) for condition, found in more)
            lost += (Talk(source, target, found, condition) for condition, found in less)
        return ReachDiff(tuple(gained), tuple(lost), len(pairs) <= PAIRS_MAX)

    def _pairs(self) -> Iterator[tuple[PortName, PortName]]:
        """Yield each ordered pair once of which one port is touched and both can talk, before or after."""
        members = {
            network: sorted(
                {m for n in reached for view in (self._before, self._after) for m in view.members(n)}
            )
            for network, reached in self._reached.items()
        }
        done: set[PortName] = set()
        for port in self._touched:
            for other in members[port.parent]:
                if other != port and other not in done:
                    yield port, other
                    yield other, port
            done.add(port)


# How sure it is that packets pass: not at all (0), as soon as both are plugged, at once.
PERMITTED, NOW = 1, 2


class _Passes(NamedTuple):
    """What can pass from one port to another: connections by where from and where to; and how surely."""

    found: dict[str, Connections]
    level: int


_NONE = _Passes({}, 0)
_NO_CONNECTIONS = Connections()


def _grouped(here: _Passes, there: _Passes, half: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield, by condition, what is surer here than there, in words.

    half: what to call it if the other side, or this one, is but permitted.
    """
    found: dict[str, list[str]] = {}
    for words, ours in here.found.items():
        theirs = there.found.get(words, _NO_CONNECTIONS)
        new = ours.without(theirs)
        surer = ours.without(new) if here.level > there.level else _NO_CONNECTIONS
        for part, other in ((new, 0), (surer, there.level)):
            partly = here.level == PERMITTED if half == ONCE_PLUGGED else other == PERMITTED
            texts = [f"{words}, {text}" for text in part.words()] if part else []
            if texts:
                found.setdefault(half if partly else "", []).extend(texts)
    for condition, group in found.items():
        yield condition, tuple(group)


def _standing(state: State, name: PortName) -> _Standing:
    port = state.ports.get(name)
    if port is None or not may_talk(port):
        return _Standing(None, (), plugged=False)
    intent = PortIntent(
        name=name,
        number=port.number,
        mac=port.mac,
        addresses=tuple(fixed_ip.address for fixed_ip in port.fixed_ips),
        host=_SOMEWHERE,
        profile=port.profile,
        pairs=tuple(PairIntent(pair.prefix, pair.mac) for pair in port.allowed_address_pairs),
    )
    return _Standing(intent, port.security_groups, plugged=live_binding(state, port) is not None)


def _with_routed(state: State, networks: Iterable[NetworkName]) -> set[NetworkName]:
    """Return networks with those that a router joins with them."""
    return {joined for network in networks for joined in (network, *state.routed_with(network))}


def _network(state: State, network: Network) -> NetworkIntent:
    subnets = tuple(subnet.cidr for subnet in state.subnets_of(network.name))
    routers = sorted(state.routers_on(network.name), key=lambda router: router.name)
    return NetworkIntent(
        name=network.name,
        vni=network.vni,
        subnets=subnets,
        multicast=network.multicast,
        routers=tuple(router_intent(state, router, network.name) for router in routers),
    )


class _View:
    """Some networks of one state, all their ports plugged on one host."""

    def __init__(self, state: State, networks: Iterable[NetworkName]) -> None:
        ports, self._plugged = {}, set()
        names = sorted(port.name for network in networks for port in state.ports_of(network))
        for ofport, name in enumerate(names, 1):
            standing = _standing(state, name)
            if standing.intent is not None:
                ports[name] = replace(standing.intent, ofport=ofport)
                if standing.plugged:
                    self._plugged.add(name)
        there = [state.networks[name] for name in networks if name in state.networks]
        policies = {name.tenant: policy_intent(state, name) for name in {n.name.parent for n in there}}
        self.world = World(
            Intent(
                hosts={_SOMEWHERE: HostIntent(name=_SOMEWHERE, vtep=None)},
                networks={network.name: _network(state, network) for network in there},
                ports=ports,
                policies={tenant: policy for tenant, policy in policies.items() if policy is not None},
            )
        )

    def members(self, network: NetworkName) -> Iterable[PortName]:
        """Return the ports of a network that can talk."""
        return self.world.members_of(network).ports

    def passes(self, source: PortName, target: PortName) -> _Passes:
        """Return what one can open to the other, and how surely."""
        a, b = self.world.ports.get(source), self.world.ports.get(target)
        if a is None or b is None:
            return _NONE
        level = NOW if source in self._plugged and target in self._plugged else PERMITTED
        return _Passes(dict(spaces(self.world, a, b)), level)
