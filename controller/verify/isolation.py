"""The verdict: do these hosts treat every packet as the intent means it? All, or what a change can touch.

The argument. Let the identifiers be unique (VNI, VTEP, OpenFlow port on a host, port number, numbers of
tenants and profiles, MAC and wire MAC in a network: checked). Then, for a packet that enters host h by a
port of network n:
1. admission: it gets to the local services, to TRACK or to ADDRESSING, unchanged and with its sender's
   network, tenant, number and profile, exactly if it may be sent and is meant to; nothing else does, and no
   later table changes who sent it (contracts.regular);
2. tracking (stations.py): in the sender's zone, where only packets of that sender are looked up; only what
   is invalid is dropped, unless its sender has no port security, and what is new is remembered, once the
   sender's meter has let it through (metering.py);
3. addressing: it gets to FORWARD with the wire MAC of the address it is meant for (or its own real one); what
   a router of n sends on, in the network that it leads into, which from here on is n, with a TTL one less;
   what a router would answer, to the services;
4. forwarding: if a port on h has that address, it goes to DELIVER for it, with its real MAC and its profile;
   else to EXIT for the device of n, and unless it is too long leaves by it, the sender's profile in its
   source MAC (stations.py);
   What is for all of a network with multicast goes, once the sender's meter has let it through, a copy each,
   to DELIVER for every port on h and, under the MAC of each other host, to EXIT (copies.py);
5. the FDB of n leads that MAC to the host of the port that has the address, and other MACs nowhere (fdb.py);
6. there the device gives it to FORWARD in n, its profile where admission had put it (admission again), and 4
   delivers it, whole address compared;
7. what is subject to policy is looked up in the receiver's zone, where only what that port sends and what it
   was admitted to receive is remembered: so who opened the connection is told right. EGRESS and INGRESS admit
   exactly what is allowed (policing.py, rulings.py), whatever connection it is;
8. it comes out at the port, with its real MAC, IP with the wire MAC of its source (stations.py).
So its fate is semantics.fate_of, and conversely. Each step speaks of one host: it can be checked again
alone when something it speaks of changes (touched.py).

Contracts that differ only in names are decided once (known.py, policed.py).

Sound: what passes is right, for every packet of packet.py's fields. Complete: where a contract does not
hold, exact.Judge decides with whole paths, and only a packet that is really mistreated, or arrives without
its meter or connection tracking having been asked (attention.py), is a violation; to that come flows that
may not exist whatever they match (grammar.py), an FDB entry or device too many or too few, a frame from the
overlay that leaves the local ports of its network, even if only a hostile host would send it, and a table
that is the same for all or a policy that is other than it should be, whether or not somebody has it to suffer
from yet. Assumed: bridges show layer 4 of first fragments (every session sets it), connection tracking keeps
zones apart, and finds a reply only where the connection was remembered, and the local services speak only in
networks that have ports on their host. Not covered: payload, overlapping fragments, timing between hosts
during a change, how much a meter lets through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain

from cloison.addresses import TO_ALL_MAC, format_mac
from cloison.model import OFPORT_MAX
from cloison.names import HostName, NetworkName
from controller.flows.text import flow_text
from controller.turns import Work, at_once, batches
from controller.verify import addressing, admission, forwarding
from controller.verify.budget import Budget
from controller.verify.copies import replicates
from controller.verify.fdb import right, suspects, whereabouts, whole_fdb, wrong_entries
from controller.verify.findings import Findings
from controller.verify.forwarding import Place
from controller.verify.grammar import Refused
from controller.verify.holding import FdbChange, HostChange, Hosts, Matches
from controller.verify.intent import Intent, IntentDelta, NetworkIntent
from controller.verify.known import Known
from controller.verify.metering import loses
from controller.verify.path import HostState
from controller.verify.policed import Policed
from controller.verify.rules import Rule
from controller.verify.symbolic import Bridge, Undefined
from controller.verify.touched import Touched
from controller.verify.violation import DEVICE, FDB, FORBIDDEN_FLOW, IDENTIFIER, Violation
from controller.verify.world import World

# How many devices are compared in one piece of work.
DEVICES_AT_ONCE = 1_000


class Verifier:
    """Holds an intent and what all hosts hold, and checks each change of either. Not thread-safe."""

    def __init__(self, steps: int | None = None) -> None:
        """steps: how far to look for packets that show what a broken contract does (budget.py); None: on.

        Where that ends, what was not looked at is a violation. May be changed between two checks.
        """
        self.steps = steps
        self.world = World()
        self.hosts = Hosts()
        self._known = Known()
        self._policed = Policed()
        # Contracts that did not hold when last asked, although no packet was mistreated then: a change that
        # does not touch them may yet give them a victim.
        self._suspects = Touched()

    @property
    def settled(self) -> bool:
        """Tell whether every contract held when last asked; else more is asked again with every change."""
        return not self._suspects

    def check(
        self, delta: IntentDelta | None = None, changes: Mapping[HostName, HostChange] | None = None
    ) -> list[Violation]:
        """Take over a change of the intent and of hosts; return what is wrong in all that it can touch.

        The change is kept even if something is wrong with it: who refuses it takes it back by another call.
        """
        return at_once(self.checking(delta, changes))

    def checking(
        self, delta: IntentDelta | None = None, changes: Mapping[HostName, HostChange] | None = None
    ) -> Work[list[Violation]]:
        """As check, in pieces; nobody may ask or tell anything else before the end."""
        touched, self._suspects = self._suspects, Touched()
        if delta:
            yield from touched.before(self.world, delta)
            yield from self.world.applying(delta)
            yield from touched.after(self.world, delta)
        found = yield from self._taking(changes or {}, touched)
        found += (*self._clashes(), *self._numbers(touched.entries), *self._devices(touched.devices))
        yield from self._fdb(touched, found)
        yield from self._flows(touched, found)
        return found

    def load(
        self,
        delta: IntentDelta,
        changes: Mapping[HostName, HostChange],
        known: dict[int, Rule] | None = None,
    ) -> list[Violation]:
        """Take over without checking more than each flow by itself.

        known: rules made of flows, by the flows' identity, for all calls with flows that live as long.
        """
        self.world.apply(delta)
        return at_once(self._taking(changes, None, known))

    def check_everything(self) -> list[Violation]:
        """Return what is wrong in all that is held."""
        return at_once(self.everything())

    def everything(self) -> Work[list[Violation]]:
        """As check_everything, in pieces; neither intent nor hosts may change before the end."""
        findings = Findings(self.world, self.hosts, Budget(self.steps))
        found = list(self._clashes())
        hosts = self.hosts.keys() | self.world.hosts.keys()
        known = self.world.by_tunnel
        held = ((host, ofport) for host in hosts for ofport in self.hosts[host].devices)
        more = (device for device in held if device not in known)
        for devices in batches(chain(known, more), DEVICES_AT_ONCE):
            found += self._devices(devices)
            yield
        yield from self._fdb_everywhere(found)
        for host in hosts:
            touched = Touched()
            touched.host(self.world, host)
            found += self._numbers(touched.entries)
            yield from self._look(touched, findings)
            for table in self.hosts[host].bridge.tables.values():
                table.forget_met()
        return [*found, *findings.violations()]

    def _taking(
        self,
        changes: Mapping[HostName, HostChange],
        touched: Touched | None,
        known: dict[int, Rule] | None = None,
    ) -> Work[list[Violation]]:
        """Take over changes of hosts. Most are of forwarding databases alone, on every host of a network."""
        found: list[Violation] = []
        hosts, rules, cubes = self.hosts, known if known is not None else {}, Matches()
        for host, change in changes.items():
            held = hosts[host]
            if change.removed or change.added:
                found += self._take_flows(host, change, touched, rules, cubes)
            for vni, fdb in change.fdb.items():
                kept = held.change_fdb(vni, fdb)
                if not kept:
                    hosts.hold(host, vni, holds=fdb is not None)
                if touched is not None and not (kept and touched.expects(self.world, host, vni, fdb)):
                    touched.entries_of(host, vni, fdb if kept else None)
            if change.devices:
                held.change_devices(change.devices)
                if touched is not None:
                    touched.devices.update((host, ofport) for ofport in change.devices)
            if held.irregular and touched is not None:
                touched.host(self.world, host)
            yield
        return found

    def _take_flows(
        self,
        host: HostName,
        change: HostChange,
        touched: Touched | None,
        rules: dict[int, Rule],
        cubes: Matches,
    ) -> Iterator[Violation]:
        held = self.hosts[host]
        for gone in change.removed:
            match = held.remove(gone, cubes)
            if touched is not None and match is not None:
                touched.flow(self.world, host, gone.table, match)
        for flow in change.added:
            try:
                rule = held.add(flow, rules)
            except Refused as refused:
                yield Violation(FORBIDDEN_FLOW, str(refused), host, path=(flow_text(flow),))
                continue
            if touched is not None:
                touched.flow(self.world, host, rule.table, rule.cube)

    def _clashes(self) -> Iterator[Violation]:
        for what, within, value in self.world.clashes:
            where = f" in {within}" if within is not None else ""
            shown = format_mac(value) if "MAC" in what and isinstance(value, int) else str(value)
            yield Violation(IDENTIFIER, f"{what} {shown}{where} belongs to more than one object")

    def _numbers(self, entries: Iterable[tuple[HostName, int]]) -> Iterator[Violation]:
        for host, ofport in entries:
            if not 1 <= ofport <= OFPORT_MAX and self.world.uses(host, ofport):
                yield Violation(IDENTIFIER, f"OpenFlow port {ofport} cannot be on {host}", host)

    def _devices(self, devices: Iterable[tuple[HostName, int]]) -> Iterator[Violation]:
        for host, ofport in devices:
            network = self.world.by_tunnel.get((host, ofport))
            wanted = network.vni if network is not None else None
            is_ = self.hosts[host].devices.get(ofport)
            if is_ != wanted:
                message = f"OpenFlow port {ofport} of {host} is of VNI {is_}, and should be of {wanted}"
                yield Violation(DEVICE, message, host, (str(network.name),) if network is not None else ())

    # --- forwarding databases -----------------------------------------------------------------------

    def _fdb(self, touched: Touched, found: list[Violation]) -> Work[None]:
        """Add what is wrong with forwarding databases where they are touched."""
        for name, macs in touched.fdb_everywhere.items():
            network = self.world.networks.get(name)
            if network is None:
                continue
            where = whereabouts(self.world, network, macs)
            for host in self._fdb_hosts(name) - touched.fdb_right(network):
                held = self.hosts[host].fdb.get(network.vni)
                if held is None or not right(held, host, where):
                    found += wrong_entries(self.world, network, host, held, where)
                yield
        for (host, vni), changed in touched.fdb_here.items():
            network = self.world.by_vni.get(vni)
            done = touched.fdb_everywhere.get(network.name) if network is not None else None
            if changed is None or done is None or not changed <= done:
                found += self._fdb_at(host, vni, changed)
            yield

    def _fdb_at(self, host: HostName, vni: int, macs: Iterable[int] | None) -> Iterator[Violation]:
        network, held = self.world.by_vni.get(vni), self.hosts[host].fdb.get(vni)
        if network is None:
            if held:
                yield Violation(FDB, f"{host} has entries of VNI {vni}, which no network has", host)
            return
        if macs is None:
            known = self.world.members_of(network.name).by_frame_mac
            macs = {*(held or ()), *known, *self.world.host_macs(network)}
        yield from wrong_entries(self.world, network, host, held, whereabouts(self.world, network, macs))

    def _fdb_hosts(self, name: NetworkName) -> set[HostName]:
        """Hosts that have, or must have, an FDB of a network."""
        network = self.world.networks.get(name)
        carriers = self.world.carriers(name)
        return carriers | self.hosts.holders(network.vni) if network is not None else carriers

    def _fdb_everywhere(self, found: list[Violation]) -> Work[None]:
        """Add what is wrong with forwarding databases."""
        for name, network in self.world.networks.items():
            whole = whole_fdb(self.world, network)
            for host in self._fdb_hosts(name):
                held = self.hosts[host].fdb.get(network.vni)
                macs = suspects(self.world, network, host, held, whole)
                if macs:
                    where = whereabouts(self.world, network, macs)
                    found += wrong_entries(self.world, network, host, held, where)
                yield
        for host, holding in list(self.hosts.items()):
            for vni in holding.fdb:
                if vni not in self.world.by_vni:
                    found += self._fdb_at(host, vni, None)
            yield

    # --- flows --------------------------------------------------------------------------------------

    def _flows(self, touched: Touched, found: list[Violation]) -> Work[None]:
        """Check the contracts; where one does not hold, have the judge say whether a packet is mistreated."""
        findings = Findings(self.world, self.hosts, Budget(self.steps))
        yield from self._look(touched, findings)
        for violation in findings.violations():
            found.append(violation)
            yield

    def _look(self, touched: Touched, findings: Findings) -> Work[None]:
        """Check the contracts, and note what is in question."""
        yield from self._stations(touched, findings)
        yield from self._policies(touched, findings)
        yield from self._entries(touched, findings)
        for spot in touched.addressing:
            self._addressing(*spot, findings)
            yield
        for (host, name), macs in touched.forwarding.items():
            network = self.world.networks.get(name)
            if network is not None and self._present(host, network):
                self._forwarding(Place(self.world.members_of(name), host, network), macs, findings)
            yield

    def _entries(self, touched: Touched, findings: Findings) -> Work[None]:
        """Check who may enter."""
        for host, ofport in touched.entries:
            if not self._holds(
                host, partial(self._known.admission, world=self.world, host=host, ofport=ofport)
            ):
                lossy = partial(self._known.admission, world=self.world, host=host, ofport=ofport, loss=True)
                (findings.losses if self._holds(host, lossy) else findings).entry(host, ofport)
                self._suspects.entries.add((host, ofport))
            yield
        for host in touched.strangers:
            if not self._holds(host, partial(admission.strangers, known=self.world.ofports_of(host))):
                findings.strangers(host)
                self._suspects.strangers.add(host)
            yield

    def _addressing(self, host: HostName, name: NetworkName, findings: Findings) -> None:
        """Check where what a network's ports on a host send goes next."""
        network = self.world.networks.get(name)
        if network is None or not self.world.ports_on(host, name):
            return  # nobody sends; the first port to come touches this again (Touched._port)
        ways = addressing.ways_of(self.world, host, network)
        if not self._holds(host, partial(self._known.addressing, network=network, ways=ways)):
            if self._holds(host, partial(addressing.addressing, network=network, ways=ways, loss=True)):
                findings.losses.network(host, name, None)
            else:
                findings.senders(host, name)
            self._suspects.addressing.add((host, name))

    def _forwarding(self, place: Place, macs: set[int] | None, findings: Findings) -> None:
        """Check where frames of a network on a host go, under some MACs (None: all), and copies for all."""
        host, network = place.host, place.network
        if not self._holds(host, partial(self._known.forwarding, place=place, macs=macs)):
            self._misleads(place, macs, findings)
            self._suspects.forward((host, network.name), macs)
        # (Routers bring nothing for all; where the network has no port, nobody sends any.)
        spreads = network.multicast and self.world.ports_on(host, network.name)
        if spreads and not self._holds(host, partial(self._replicates, place=place)):
            if self._holds(host, partial(self._replicates, place=place, loss=True)):
                findings.losses.network(host, network.name, None)
            else:
                findings.network(host, network, None)
            self._suspects.forward((host, network.name), (TO_ALL_MAC,))

    def _misleads(self, place: Place, macs: set[int] | None, findings: Findings) -> None:
        """FORWARD is not as it should be for some MACs (None: for all): note whom that concerns."""
        host, network = place.host, place.network
        if not self._holds(host, partial(forwarding.forwarding, place=place, macs=macs, loss=True)):
            findings.network(host, network, macs)
            return
        here = place.members.by_host.get(host, {}).values()
        for mac in sorted({m for port in here for m in port.frame_macs} if macs is None else macs):
            if not self._holds(host, partial(self._known.forwarding, place=place, macs=(mac,))):
                findings.losses.network(host, network.name, frozenset((mac,)))
        if macs is None:
            findings.losses.network(host, network.name, None)

    def _replicates(self, bridge: Bridge, place: Place, *, loss: bool = False) -> bool:
        """As copies.replicates."""
        macs = {name: mac for mac, name in self.world.host_macs(place.network).items()}
        others = (mac for name, mac in macs.items() if name != place.host)
        return replicates(bridge, place, others, macs.get(place.host), loss=loss)

    def _stations(self, touched: Touched, findings: Findings) -> Work[None]:
        """Check what is the same for all that a host has, and where the meters of each port are."""
        for host in touched.stations:
            wrong = (
                self._known.broken_station(self.hosts[host].bridge) if self.world.on_host.get(host) else ""
            )
            if wrong:
                findings.station(host, wrong)
                self._suspects.stations.add(host)
            yield
        for host in touched.host_stations:
            here = self.world.hosts.get(host)
            if here is None or not self.world.on_host.get(host):
                continue
            wrong = self._known.broken_host_station(self.hosts[host].bridge, here.mtu, here.service_ofport)
            if wrong:
                findings.station(host, wrong)
                self._suspects.host_stations.add(host)
        for host, number in touched.meters:
            port = self.world.numbered(host, number)
            if port is None:
                continue
            network = self.world.networks.get(port.name.parent)
            spreads = network is not None and network.multicast
            bridge = self.hosts[host].bridge
            what = self._known.misled(bridge, port, number, multicast=spreads)
            if what:
                if loses(bridge, number, port.ofport):
                    findings.losses.entry(host, port.ofport)
                else:
                    findings.meter(port, what)
                self._suspects.meters.add((host, number))
            yield

    def _policies(self, touched: Touched, findings: Findings) -> Work[None]:
        """Check the policy of tenants where they have ports."""
        for host, tenant in touched.policies:
            if not self.world.has_tenant(host, tenant):
                continue
            for wrong in self._policed.wrong(self.hosts[host].bridge, self.world, tenant):
                findings.policy(host, tenant, wrong)
                self._suspects.policies.add((host, tenant))
            yield

    def _present(self, host: HostName, network: NetworkIntent) -> bool:
        """Tell whether frames of a network can come to a host's FORWARD: from a port, or out of a device."""
        return host in network.tunnels or any(self.world.senders_into(host, network.name))

    def _holds(self, host: HostName, contract: Callable[[Bridge], bool]) -> bool:
        """Tell whether a contract is known to hold for a host's bridge."""
        held = self.hosts[host]
        if held.irregular:
            return False
        try:
            return contract(held.bridge)
        except Undefined:
            return False


def verify_all(
    intent: Intent, hosts: Mapping[HostName, HostState], steps: int | None = None
) -> list[Violation]:
    """Return what is wrong with what hosts hold; nothing if every packet is treated as the intent means.

    steps: as of Verifier.
    """
    verifier = Verifier(steps)
    delta = IntentDelta.whole(intent)
    changes = {name: change_to(state) for name, state in hosts.items()}
    return [*verifier.load(delta, changes), *verifier.check_everything()]


def change_to(state: HostState) -> HostChange:
    """Return the change of a host from nothing to a state."""
    return HostChange(
        added=state.flows,
        fdb={vni: FdbChange(upserted=fdb) for vni, fdb in state.fdb.items()},
        devices=dict(state.devices),
    )
