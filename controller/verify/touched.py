"""What a change can touch: which contracts are to be checked again. Pure bookkeeping, no judgement.

It errs on the side of more. A flow that names its sender's in_port or number, or its network, touches only
those (contracts.regular is the ground for that); any other touches all that is on its host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from cloison.addresses import TO_ALL_MAC, IpAddress, host_mac
from cloison.names import HostName, NetworkName
from controller.turns import Work
from controller.verify.fdb import whereabouts
from controller.verify.holding import FdbChange
from controller.verify.intent import IntentDelta, NetworkIntent, PortIntent
from controller.verify.packet import FIELD_MASKS, OFFSETS, Cube
from controller.verify.stages import (
    ADDRESSING,
    EXIT,
    FORWARD,
    FROM_PORT,
    INITIATOR,
    METERED,
    NETWORK,
    POLICY,
    RESPONDER,
    SERVICE,
    TENANT,
    TRACK,
)
from controller.verify.world import World

Spot = tuple[HostName, NetworkName]


class _Expected(NamedTuple):
    """What becomes of some MACs of a network on hosts where none of them is.

    entries: where they are to lead; gone: those of them that are to lead nowhere. hosts: where they are.
    right: the hosts on which that is so by now.
    """

    macs: frozenset[int]
    entries: dict[int, IpAddress]
    gone: set[int]
    hosts: set[HostName | None]
    right: set[HostName]


@dataclass(slots=True)
class Touched:
    """Contracts to check: see contracts.py, stations.py, policing.py and fdb.py for what each is about."""

    # Hosts: what is the same for all packets, and what depends on the host alone.
    stations: set[HostName] = field(default_factory=set)
    host_stations: set[HostName] = field(default_factory=set)
    # Ports by their number, which the flows with their meters name.
    meters: set[tuple[HostName, int]] = field(default_factory=set)
    # Tenants' policy on a host.
    policies: set[tuple[HostName, str]] = field(default_factory=set)
    entries: set[tuple[HostName, int]] = field(default_factory=set)
    strangers: set[HostName] = field(default_factory=set)
    addressing: set[Spot] = field(default_factory=set)
    # Destination MACs; None for all.
    forwarding: dict[Spot, set[int] | None] = field(default_factory=dict)
    # MACs on every host of a network, and entries changed on one host (None for all of its).
    fdb_everywhere: dict[NetworkName, set[int]] = field(default_factory=dict)
    fdb_here: dict[tuple[HostName, int], frozenset[int] | None] = field(default_factory=dict)
    devices: set[tuple[HostName, int]] = field(default_factory=set)
    # By VNI: what the changes of hosts are held against, one by one.
    _expected: dict[int, _Expected | None] = field(default_factory=dict)
    # By the match of a flow of policy: the tenants that it names.
    _tenants: dict[Cube, set[str]] = field(default_factory=dict)
    _networks: set[NetworkName] = field(default_factory=set)
    # Networks that others may be led into otherwise, or that lead elsewhere.
    _routed: set[NetworkName] = field(default_factory=set)
    _tunnels: set[Spot] = field(default_factory=set)
    # Where the first ports of a network come to a host, however many at once, or the last ones go.
    _turning: set[Spot] = field(default_factory=set)
    # Tenants whose number is another.
    _numbered: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        """Tell whether there is anything to check."""
        return any(getattr(self, f.name) for f in fields(self))

    def expects(self, world: World, host: HostName, vni: int, change: FdbChange | None) -> bool:
        """Tell whether the entries of a change are in fdb_everywhere; ask when world has changed.

        Most are just what is expected of every host but those where the MACs are: that is noted.
        """
        if vni not in self._expected:
            self._expected[vni] = self._expectation(world, vni)
        expected = self._expected[vni]
        if change is None or expected is None:
            return False
        gone = not expected.gone if not change.removed else expected.gone.issubset(change.removed)
        if gone and change.upserted == expected.entries and host not in expected.hosts:
            expected.right.add(host)
            # (What is removed goes before what is put.)
            return expected.macs.issuperset(change.removed)
        return expected.macs.issuperset(change.upserted) and expected.macs.issuperset(change.removed)

    def _expectation(self, world: World, vni: int) -> _Expected | None:
        network = world.by_vni.get(vni)
        macs = self.fdb_everywhere.get(network.name) if network is not None else None
        if network is None or not macs:
            return None
        entries, gone, hosts = dict[int, IpAddress](), set[int](), set[HostName | None]()
        for (host, vtep), here in whereabouts(world, network, macs).items():
            hosts.add(host)
            if vtep is None:
                gone.update(here)
            else:
                entries.update(dict.fromkeys(here, vtep))
        return _Expected(frozenset(macs), entries, gone, hosts, set())

    def fdb_right(self, network: NetworkIntent) -> Set[HostName]:
        """Return hosts that have the entries of fdb_everywhere as they should be: their changes said so."""
        expected = self._expected.get(network.vni)
        macs = self.fdb_everywhere.get(network.name, set())
        return expected.right if expected is not None and macs == expected.macs else frozenset()

    def entries_of(self, host: HostName, vni: int, change: FdbChange | None) -> None:
        """Add FDB entries of one host; None for all of a network."""
        macs = change.macs if change is not None else None
        spot = host, vni
        if spot in self.fdb_here and macs is not None:
            known = self.fdb_here[spot]
            macs = None if known is None else known | macs
        self.fdb_here[spot] = macs

    def forward(self, spot: Spot, macs: Iterable[int] | None) -> None:
        """Add frames with some destination MACs (None for all) in one network on one host."""
        known = self.forwarding.setdefault(spot, set())
        if macs is None:
            self.forwarding[spot] = None
        elif known is not None:
            known.update(macs)

    def host(self, world: World, host: HostName) -> None:
        """Add everything on a host."""
        self.strangers.add(host)
        self.stations.add(host)
        self.host_stations.add(host)
        service = world.service_of(host)
        if service is not None:
            self.entries.add((host, service))
        self.policies.update((host, tenant) for tenant in world.tenants_on(host))
        for network in world.on_host.get(host, ()):
            self.network(world, host, network)

    def network(self, world: World, host: HostName, name: NetworkName) -> None:
        """Add everything of a network on a host."""
        self.addressing.add((host, name))
        self.forwarding[host, name] = None
        self._senders(world, host, name)

    def _senders(self, world: World, host: HostName, name: NetworkName) -> None:
        for port in world.senders_on(host, name):
            self.entries.add((host, port.ofport))
            self.meters.add((host, port.number))
        network = world.networks.get(name)
        if network is not None and host in network.tunnels:
            self.entries.add((host, network.tunnels[host]))

    def flow(self, world: World, host: HostName, table: int, match: Cube) -> None:
        """Add what a flow that comes or goes can touch."""
        here = world.on_host.get(host, ())
        if table < TRACK:
            self._admission_flow(world, host, table, match)
            return
        if table in METERED or not ADDRESSING <= table <= FORWARD:
            self._common_flow(world, host, table, match)
            return
        vni = _exact(match, NETWORK)
        if vni is None:
            networks: Iterable[NetworkName] = here
        else:
            network = world.by_vni.get(vni)
            networks = (network.name,) if network is not None else ()
        mac = _exact(match, "eth_dst") if table == FORWARD else None
        for name in networks:
            if table < FORWARD:
                self.addressing.add((host, name))
            else:
                self.forward((host, name), None if mac is None else (mac,))

    def _common_flow(self, world: World, host: HostName, table: int, match: Cube) -> None:
        """Add what a flow can touch that is not of one network."""
        if table in POLICY:
            self._policy_flow(world, host, match)
        elif table in (EXIT, SERVICE):
            self.host_stations.add(host)
        elif table not in METERED:
            self.stations.add(host)
        else:
            number = _exact(match, FROM_PORT)
            if number is not None:
                self.meters.add((host, number))
                return
            for name in world.on_host.get(host, ()):
                self.meters.update((host, p.number) for p in world.senders_on(host, name))

    def _policy_flow(self, world: World, host: HostName, match: Cube) -> None:
        # (The same flows come to many hosts, of the same cubes.)
        tenants = self._tenants.get(match)
        if tenants is None:
            number = _exact(match, TENANT)
            profiles = (_exact(match, INITIATOR), _exact(match, RESPONDER))
            tenants = {world.tenant_by_profile[p] for p in profiles if p in world.tenant_by_profile}
            if number is not None and number in world.tenant_by_number:
                tenants.add(world.tenant_by_number[number])
            self._tenants[match] = tenants
        for tenant in tenants or world.tenants_on(host):
            self.policies.add((host, tenant))

    def _admission_flow(self, world: World, host: HostName, table: int, match: Cube) -> None:
        in_port = _exact(match, "in_port")
        if in_port is not None:
            self.entries.add((host, in_port))
            return
        number = _exact(match, FROM_PORT) if table > 0 else None
        if number is not None:
            port = world.by_number.get(number)
            if port is not None and port.host == host:
                self.entries.add((host, port.ofport))
            return
        self.strangers.add(host)
        for name in world.on_host.get(host, ()):
            self._senders(world, host, name)

    def before(self, world: World, delta: IntentDelta) -> Work[None]:
        """Add what the objects that change touch as they are, in pieces; world has not changed yet."""
        for network_name, new in delta.networks.items():
            old = world.networks.get(network_name)
            if old is None or new is None or _alike(old) != _alike(new):
                self._networks.add(network_name)
            if old is None or new is None or (old.vni, old.routers) != (new.vni, new.routers):
                self._routed.add(network_name)
            tunnels = (old.tunnels if old else {}, new.tunnels if new else {})
            for host in tunnels[0].keys() | tunnels[1].keys():
                if tunnels[0].get(host) != tunnels[1].get(host):
                    self._tunnels.add((host, network_name))
        for tenant, policy in delta.policies.items():
            if world.tenant_number(tenant) != (policy.number if policy is not None else 0):
                self._numbered.add(tenant)
                # Who leads into its networks says the number.
                self._routed.update(name for name in world.networks if name.tenant == tenant)
        self._turning.update(_turning(world, delta))
        yield from self._objects(world, delta)

    def after(self, world: World, delta: IntentDelta) -> Work[None]:
        """Add what they touch as they are now, in pieces; world has changed."""
        yield from self._objects(world, delta)

    def _objects(self, world: World, delta: IntentDelta) -> Work[None]:
        for port_name in delta.ports:
            port = world.ports.get(port_name)
            if port is not None:
                self._port(world, port)
                yield
        for name in self._networks:
            network = world.networks.get(name)
            if network is None:
                continue
            for host in {*network.tunnels, *world.members_of(name).by_host}:
                self.network(world, host, name)
                self.fdb_here[host, network.vni] = None
                yield
        for host, name in self._tunnels:
            network = world.networks.get(name)
            self.forwarding[host, name] = None
            if network is not None and host in network.tunnels:
                self.entries.add((host, network.tunnels[host]))
                self.devices.add((host, network.tunnels[host]))
        for name in self._routed:
            self._routing(world, name)
        self._policies(world, delta)
        for host_name in delta.hosts:
            self._host(world, host_name)
            for name in world.on_host.get(host_name, ()):
                for port in world.ports_on(host_name, name).values():
                    self.fdb_everywhere.setdefault(name, set()).update(port.frame_macs)
                self._span(world, host_name, name, moves=True)
            yield

    def _routing(self, world: World, name: NetworkName) -> None:
        """Add what is sent into a network by routers, and what its own ports send into others."""
        for source in world.routing_to.get(name, ()):
            for host in world.members_of(source).by_host:
                self.addressing.add((host, source))
        network = world.networks.get(name)
        for reached in network.reaches if network is not None else ():
            for host in world.members_of(name).by_host:
                self._sent_into(world, host, reached)

    def _sent_into(self, world: World, host: HostName, name: NetworkName) -> None:
        """Add a network that a host can send into from now on, or could until now."""
        self.forward((host, name), None)
        network = world.networks.get(name)
        if network is not None:
            self.fdb_here[host, network.vni] = None

    def _policies(self, world: World, delta: IntentDelta) -> None:
        if not delta.policies:
            return
        for tenant in delta.policies:
            self.policies.update((host, tenant) for host in world.hosts_of(tenant))
        for tenant in self._numbered:
            for host, networks in world.on_host.items():
                for name in networks:
                    if name.tenant == tenant:
                        self._senders(world, host, name)

    def _host(self, world: World, host: HostName) -> None:
        """Add what says which services and which MTU a host has."""
        self.host_stations.add(host)
        service = world.service_of(host)
        if service is not None:
            self.entries.add((host, service))
        self.strangers.add(host)

    def _first(self, host: HostName, network: NetworkName) -> None:
        """Add what counts from the moment on that a host has a port of a network, or of a tenant."""
        self.stations.add(host)
        self.host_stations.add(host)
        self.policies.add((host, network.tenant))

    def _port(self, world: World, port: PortIntent) -> None:
        for host, ofport in port.standby:
            self.meters.add((host, port.number))
            self.entries.add((host, ofport))
            self._first(host, port.name.parent)
        if port.host is None:
            return
        self.meters.add((port.host, port.number))
        if self._turns(world, port.host, port.name.parent):
            # From now on somebody sends here, or nobody does any longer.
            self.addressing.add((port.host, port.name.parent))
            self.forward((port.host, port.name.parent), None)
            self._first(port.host, port.name.parent)
            network = world.networks.get(port.name.parent)
            for reached in network.reaches if network is not None else ():
                self._sent_into(world, port.host, reached)
        if port.exits:
            self.addressing.add((port.host, port.name.parent))
        self._span(world, port.host, port.name.parent)
        self._next_hop(world, port)
        macs = port.frame_macs
        self.entries.add((port.host, port.ofport))
        self.forward((port.host, port.name.parent), macs)
        self.fdb_everywhere.setdefault(port.name.parent, set()).update(macs)

    def _turns(self, world: World, host: HostName, name: NetworkName) -> bool:
        """Tell whether a host's only ports of a network come or go, or its only one changes."""
        return (host, name) in self._turning or len(world.ports_on(host, name)) <= 1

    def _span(self, world: World, host: HostName, name: NetworkName, *, moves: bool = False) -> None:
        """Add the copies for all that a host gets, and makes: it has, or had, a port of the network.

        moves: its VTEP is another, or may be.
        """
        network, here = world.networks.get(name), world.hosts.get(host)
        if network is None or not network.multicast:
            return
        self.forward((host, name), (TO_ALL_MAC,))
        if not moves and not self._turns(world, host, name):
            return
        # What the others send for all comes here from now on, or no longer.
        for at in world.members_of(name).by_host:
            self.forward((at, name), (TO_ALL_MAC,))
        if here is not None and here.vtep is not None:
            self.fdb_everywhere.setdefault(name, set()).add(int(host_mac(here.vtep)))

    def _next_hop(self, world: World, port: PortIntent) -> None:
        """Add what is sent by way of a port."""
        own = {*port.addresses4, *port.addresses6}
        for sender in world.leaving.get(port.name.parent, {}).values():
            assert sender.host is not None, sender
            if any(way.route.via is not None and int(way.route.via) in own for way in sender.exits):
                self.addressing.add((sender.host, sender.name.parent))
        for source in world.routing_to.get(port.name.parent, ()):
            routers = world.networks[source].routers if source in world.networks else ()
            routes = (route for router in routers for route in router.routes if route.via is not None)
            vias = (via for route in routes for via in (route.via, *route.others))
            if any(via is not None and int(via) in own for via in vias):
                self.addressing.update((host, source) for host in world.members_of(source).by_host)


def _turning(world: World, delta: IntentDelta) -> Iterator[Spot]:
    """Yield where the ports that change are all that there are of a network, before or after."""
    ports = (*(world.ports.get(name) for name in delta.ports), *delta.ports.values())
    for host, name in {(port.host, port.name.parent) for port in ports if port is not None}:
        if host is not None and world.ports_on(host, name).keys() <= delta.ports.keys():
            yield host, name


def _alike(network: NetworkIntent) -> tuple[object, ...]:
    return network.vni, network.subnets, network.multicast, network.routers


def _exact(match: Cube, name: str) -> int | None:
    wanted = FIELD_MASKS[name]
    return (match[0] & wanted) >> OFFSETS[name] if not wanted & ~match[1] else None
