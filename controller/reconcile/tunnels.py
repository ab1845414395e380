"""Tunnel plans: for each host, which networks it carries and behind which VTEP each remote MAC is. Pure.

One table of locations per network serves all its hosts; a host's plan is that table without its own ports
(and, in a network with multicast, its own MAC for what is for all). So the memory is one entry per port, and
a change is worked out once for all hosts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain

from cloison.addresses import IpAddress, Mac, host_mac
from cloison.model import Vni
from cloison.names import HostName, NetworkName, PortName
from controller.reconcile.edges import EdgeChange
from controller.reconcile.impact import OBJECTS_AT_ONCE, Impact
from controller.reconcile.services import ServiceChange
from controller.reconcile.views import HasPort, Location, believe, location, overlay_mtu
from controller.store.state import State
from controller.turns import Work, at_once, batches


@dataclass(slots=True)
class NetworkChange:
    """What changes in one network's forwarding database on one host.

    senders: VTEPs of other hosts that send into it and where no port of it lives; None: the same as before.
    only_more: whether the host has the network, and comes to hold some entries more, and that is all.
    """

    mtu: int
    upserted: dict[Mac, IpAddress] = field(default_factory=dict)
    removed: set[Mac] = field(default_factory=set)
    senders: frozenset[IpAddress] | None = None
    only_more: bool = False


@dataclass(slots=True)
class PlanChange:
    """What changes in one host's plan."""

    networks: dict[Vni, NetworkChange] = field(default_factory=dict)
    removed_vnis: set[Vni] = field(default_factory=set)
    services: ServiceChange = field(default_factory=ServiceChange)
    edges: EdgeChange = field(default_factory=EdgeChange)

    def __bool__(self) -> bool:
        """Tell whether anything changes."""
        return bool(self.networks or self.removed_vnis or self.services or self.edges)

    @property
    def takes_away(self) -> bool:
        """Tell whether a path that worked before must stop working."""
        return bool(self.removed_vnis or any(n.removed for n in self.networks.values()))

    @property
    def can_wait(self) -> bool:
        """Tell whether nothing but entries and names come, of ports elsewhere: nobody here relies on them
        before what comes is said to be in force.
        """
        return not (self.removed_vnis or self.edges or self.services.is_urgent) and all(
            network.only_more for network in self.networks.values()
        )


@dataclass(slots=True)
class _Segment:
    """One network: where its ports are, on which hosts it is present, and on which (bound) with a port."""

    vni: Vni
    mtu: int = 0
    bound: frozenset[HostName] = frozenset()
    hosts: frozenset[HostName] = frozenset()
    senders: Mapping[HostName, IpAddress] = field(default_factory=dict)
    macs: dict[Mac, Location] = field(default_factory=dict)
    # How many ports live on each host; one that is but on standby somewhere does not live there.
    living: Counter[HostName] = field(default_factory=Counter)
    # Those of them that are of hosts, for what is for all of a network with multicast.
    of_hosts: dict[Mac, Location] = field(default_factory=dict)

    def left(self, host: HostName) -> None:
        """A port lives there no longer."""
        if self.living[host] > 1:
            self.living[host] -= 1
        else:
            # (A network that comes a second time has not seen any of its ports yet.)
            self.living.pop(host, None)


class TunnelPlans:
    """The plans of all hosts, followed revision by revision."""

    def __init__(self, has_port: HasPort = believe) -> None:
        """has_port: nobody is led to an interface that its bridge does not have under the number bound."""
        self._has_port = has_port
        self._segments: dict[NetworkName, _Segment] = {}
        self._locations: dict[PortName, Location] = {}
        self._on_host: dict[HostName, set[NetworkName]] = {}
        # Of the last update: ports that live on another host than before, as (from, to).
        self.moves: dict[PortName, tuple[HostName, HostName]] = {}

    def update(self, state: State, impact: Impact) -> dict[HostName, PlanChange]:
        """As updating, at once."""
        return at_once(self.updating(state, impact))

    def updating(self, state: State, impact: Impact) -> Work[dict[HostName, PlanChange]]:
        """Follow one revision, in pieces; return what changes on which host.

        Adds to impact the networks whose span may be another since one that is routed with them has come to a
        host, or has gone; and the units of networks that a host comes to carry, or no longer carries.
        """
        for name in impact.networks:
            segment = self._segments.get(name)
            if state.bound_hosts(name) != (segment.bound if segment is not None else frozenset()):
                impact.spans.update(state.routed_with(name))
        moved: dict[NetworkName, list[PortName]] = {}
        for port in impact.moved:
            moved.setdefault(port.parent, []).append(port)
        plans: dict[HostName, PlanChange] = {}
        self.moves = {}
        for name in impact.networks:
            before = self.hosts_of(name)
            self._update_network(state, name, moved.get(name, ()), plans)
            impact.network_units.update((host, name) for host in before ^ self.hosts_of(name))
            yield
        return plans

    def load(self, state: State) -> Work[set[tuple[HostName, NetworkName]]]:
        """Begin with a state, in pieces; return which host carries which network.

        The state may not change before the end. What a host's plan is then, snapshot says.
        """
        carried = set[tuple[HostName, NetworkName]]()
        for name in state.networks:
            names = (port.name for port in state.ports_of(name))
            for ports in chain(batches(names, OBJECTS_AT_ONCE), [[]]):
                self._update_network(state, name, ports, {})
                yield
            carried.update((host, name) for host in self.hosts_of(name))
        self.moves = {}
        return carried

    def snapshot(self, host: HostName) -> PlanChange:
        """Return the whole plan of a host, as the change from nothing."""
        plan = PlanChange()
        for name in self._on_host.get(host, ()):
            segment = self._segments[name]
            plan.networks[segment.vni] = _whole(segment, host)
        return plan

    def hosts_of(self, network: NetworkName) -> frozenset[HostName]:
        """Return the hosts on which the network is present."""
        segment = self._segments.get(network)
        return segment.hosts if segment else frozenset()

    def _update_network(
        self, state: State, name: NetworkName, moved: Iterable[PortName], plans: dict[HostName, PlanChange]
    ) -> None:
        network = state.networks.get(name) if name.parent in state.tenants else None
        segment = self._segments.get(name)
        if segment is not None and network is not None and segment.vni != network.vni:
            self._forget(name, segment, moved, plans)
            segment = None
        if segment is None:
            if network is None:
                return
            segment = self._segments[name] = _Segment(network.vni)
        before, mtu_before, senders_before = segment.hosts, segment.mtu, segment.senders
        segment.hosts = state.span(name) if network else frozenset()
        segment.bound = state.bound_hosts(name)
        segment.mtu = overlay_mtu(state, network) if network else 0
        gone, come = self._relocate(state, segment, moved)
        segment.senders = _senders(state, segment.hosts & _routed_from(state, name) - segment.living.keys())
        _follow_hosts(segment, gone, come, multicast=network is not None and network.multicast)
        for host in before - segment.hosts:
            plans.setdefault(host, PlanChange()).removed_vnis.add(segment.vni)
            self._on_host[host].discard(name)
        for host in segment.hosts - before:
            plans.setdefault(host, PlanChange()).networks[segment.vni] = _whole(segment, host)
            self._on_host.setdefault(host, set()).add(name)
        resized, resent = segment.mtu != mtu_before, segment.senders != senders_before
        if gone or come or resized or resent:
            concerned = {place.host for places in (gone, come) for place in places.values()}
            # Nearly all hosts of a network learn the same: what moved is on none of them.
            common = _change_on(None, segment.mtu, gone, come)
            for host in segment.hosts & before:
                own = host in concerned or resent
                change = _change_on(host, segment.mtu, gone, come) if own else common
                if resent:
                    change.senders = _other_senders(segment, host)
                change.only_more = not (gone or resent or resized)
                if change.upserted or change.removed or resized or resent:
                    plans.setdefault(host, PlanChange()).networks[segment.vni] = change
        if network is None:
            del self._segments[name]

    def _location(self, state: State, name: PortName) -> Location | None:
        found = location(state, name)
        if found is None:
            return None
        binding = state.bindings[name, found.host]
        return found if self._has_port(found.host, binding.ofport, binding.interface) else None

    def _forget(
        self,
        name: NetworkName,
        segment: _Segment,
        moved: Iterable[PortName],
        plans: dict[HostName, PlanChange],
    ) -> None:
        """One transaction deleted a network, and so every port on it, and made another of that name."""
        for host in segment.hosts:
            plans.setdefault(host, PlanChange()).removed_vnis.add(segment.vni)
            self._on_host[host].discard(name)
        for port in moved:
            self._locations.pop(port, None)

    def _relocate(
        self, state: State, segment: _Segment, ports: Iterable[PortName]
    ) -> tuple[dict[Mac, Location], dict[Mac, Location]]:
        """Move ports to where they are now; return the MAC entries that are no more, and the new ones."""
        gone: dict[Mac, Location] = {}
        come: dict[Mac, Location] = {}
        for port in ports:
            old, new = self._locations.get(port), self._location(state, port)
            # (A network that comes a second time has none of its ports yet.)
            if old == new and (old is None or old.macs <= segment.macs.keys()):
                continue
            if old is not None and new is not None and old.host != new.host:
                self.moves[port] = old.host, new.host
            if old is not None:
                gone.update(dict.fromkeys(old.macs, old))
                segment.left(old.host)
                del self._locations[port]
            if new is not None:
                segment.living[new.host] += 1
                come.update(dict.fromkeys(new.macs, new))
                self._locations[port] = new
        for mac in gone:
            segment.macs.pop(mac, None)
        segment.macs.update(come)
        return gone, come


def _follow_hosts(
    segment: _Segment, gone: dict[Mac, Location], come: dict[Mac, Location], *, multicast: bool
) -> None:
    """Bring the MACs of hosts up to where the ports are now; gone and come, as yet those of ports, grow."""
    if not (multicast or segment.of_hosts):
        return
    ports = {loc.host: loc for mac, loc in segment.macs.items() if mac not in segment.of_hosts}
    wanted: dict[Mac, Location] = {}
    # By name: should two hosts say they have one VTEP, it is the same one that counts, whoever came first.
    for host in sorted(ports) if multicast else ():
        mac = host_mac(ports[host].vtep)
        wanted.setdefault(mac, Location(host, ports[host].vtep, frozenset({mac})))
    lost = {mac: loc for mac, loc in segment.of_hosts.items() if wanted.get(mac) != loc}
    new = {mac: loc for mac, loc in wanted.items() if segment.of_hosts.get(mac) != loc}
    for mac in lost:
        segment.macs.pop(mac, None)
    segment.macs.update(new)
    segment.of_hosts = wanted
    gone.update(lost)
    come.update(new)


def _remote(macs: dict[Mac, Location], host: HostName | None) -> dict[Mac, IpAddress]:
    return {mac: loc.vtep for mac, loc in macs.items() if loc.host != host}


def _change_on(
    host: HostName | None, mtu: int, gone: dict[Mac, Location], come: dict[Mac, Location]
) -> NetworkChange:
    """What one host that keeps the network must change: its own ports are never in its plan.

    None: a host that none of this is or was on. Nobody may change what all of those have in common.
    """
    upserted = _remote(come, host)
    before = _remote(gone, host)
    removed = {mac for mac in before if mac not in upserted}
    upserted = {mac: vtep for mac, vtep in upserted.items() if before.get(mac) != vtep}
    return NetworkChange(mtu, upserted, removed)


def _whole(segment: _Segment, host: HostName) -> NetworkChange:
    """What a host that comes to have the network must know of it."""
    change = NetworkChange(segment.mtu, _remote(segment.macs, host))
    change.senders = _other_senders(segment, host) or None
    return change


def _routed_from(state: State, name: NetworkName) -> frozenset[HostName]:
    """Return the hosts with ports that routers lead into a network."""
    return frozenset().union(*map(state.bound_hosts, state.routed_with(name)))


def _senders(state: State, hosts: Iterable[HostName]) -> dict[HostName, IpAddress]:
    """The VTEPs of hosts that send into a network without a port of it, by routers."""
    found = {}
    for host in hosts:
        there = state.hosts.get(host)
        if there is not None and there.vtep is not None:
            found[host] = there.vtep
    return found


def _other_senders(segment: _Segment, host: HostName) -> frozenset[IpAddress]:
    return frozenset(vtep for sender, vtep in segment.senders.items() if sender != host)
