"""Is a damaged state harmful? Judged with packets, sent step by step, and without the symbolic engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from random import Random

from cloison.names import HostName
from controller.compiler.view import METERS_OF_CONNECTIONS, METERS_OF_SPREADING
from controller.flows import CheckPacketLarger, Conjunction, Ct, Flow
from controller.verify.grammar import Refused, fault
from controller.verify.packet import INVALID, ND_SOLICITATION, NEW, Packet, connected
from controller.verify.path import Fabric, HostState, Journey
from controller.verify.semantics import group_of, meaning, served, tracked
from controller.verify.switch import Switch
from controller.verify.world import World
from tests.support.mutant_corpus import Corpus, Probe
from tests.support.mutant_probes import Probes, merged
from tests.support.mutations import States
from tests.support.worlds import fdb_of

DIRECTED_PACKETS, DIFFERENCE_PACKETS, FLOWS_MAX, RIVALS_MAX = 400, 400, 8, 4
# Tables that are the same for all, and those of policy.
COMMON = (7, 8, 9, 15, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32)
EXIT, ETHERNET_BYTES = 27, 14


class Judge:
    """Judges damaged states of one right one."""

    def __init__(self, rng: Random, world: World, states: States) -> None:
        self.rng, self.world, self.states = rng, world, states
        self.right = Fabric(states, world.by_vtep)
        self.corpus = Corpus(rng, world, self.right)
        self.probes = Probes(rng, world, states, self.corpus)
        # What showed the last harm.
        self.shown: Probe | None = None

    def harmful(self, damaged: States) -> bool:
        """Tell whether a packet, or what is harmful by itself, shows that a state is not the right one."""
        hosts = {host: state for host, state in damaged.items() if not _same(state, self.states[host])}
        if any(fault(flow) for state in hosts.values() for flow in state.flows):
            return True
        for host, state in hosts.items():
            if state.devices != self.states[host].devices or not self._due(host, state):
                return True
            if self.world.on_host.get(host) and _loose(state.flows):
                return True
        fabric = self.fabric(damaged)
        found = next((probe for probe in self._probes(hosts) if self.mistreated(fabric, *probe)), None)
        self.shown = found
        assert found is None or not self.mistreated(self.right, *found), f"in the right state too: {found}"
        return found is not None or self._missized(fabric, hosts)

    def fabric(self, damaged: States) -> Fabric:
        """The hosts of a damaged state."""
        return _Damaged(damaged, self.world, self.states, self.right)

    def mistreated(
        self, fabric: Fabric, host: HostName, in_port: int, packet: Packet, seen: Packet | None = None
    ) -> bool:
        """Tell whether a packet is not received as the intent means it.

        seen: the packet as bridges find it, if they take it for longer, or shorter, than it is.
        """
        device = self.world.by_tunnel.get((host, in_port))
        if in_port == self.world.service_of(host) and not self._spoken(host, packet):
            return False
        try:
            if device is not None:
                here = {(host, p.ofport) for p in self.world.ports_on(host, device.name).values()}
                hop = fabric.walk(host, in_port, packet).hops[0]
                return any((host, sent.ofport) not in here for sent in hop.run.sent)
            journey = fabric.walk(host, in_port, seen or packet)
        except Refused:
            return True
        wanted = meaning(self.world, host, in_port, packet)
        got = [replace(d, packet=replace(d.packet, oversize=packet.oversize)) for d in journey.deliveries]
        places = {(d.host, d.ofport) for d in got}
        if packet.oversize and not wanted and places == {(host, self.world.service_of(host))}:
            # What is too long for the overlay, and for nobody, the sender's own services may see.
            return False
        # (One who gets it twice must not make up for one who does not get it.)
        if journey.looped or len(got) != len(wanted) or set(got) != wanted:
            return True
        return self._unnoticed(host, in_port, packet, journey)

    def _spoken(self, host: HostName, packet: Packet) -> bool:
        """Tell whether a host's services would say this.

        They speak in networks that have ports there, to a MAC that suffices to say whom they mean, and do not
        solicit.
        """
        unreal = packet.eth_dst >> 40 & 1 or packet.eth_dst >> 32 == 0x0AF6
        if unreal or packet.icmpv6_type == ND_SOLICITATION:
            return False
        network = self.world.by_vni.get(packet.eth_src & 0xFFFFFF)
        return network is not None and network.name in self.world.on_host.get(host, ())

    def differs(self, damaged: States) -> bool:
        """Tell whether a table that is the same for all, or one of policy, does another thing with a packet.

        Whether or not anybody's packet comes to it so: what is said about such tables needs no victim.
        """
        for host, state in damaged.items():
            if _same(state, self.states[host]):
                continue
            before, after = Switch(self.states[host].flows), Switch(state.flows)
            for flow in self._changed(host, state):
                for _ in range(DIFFERENCE_PACKETS if flow.table in COMMON else 0):
                    packet, kept = self.probes.inside(host, flow)
                    if _effect(before, flow.table, packet, kept) != _effect(after, flow.table, packet, kept):
                        return True
        return False

    def _due(self, host: HostName, state: HostState) -> bool:
        """Tell whether the forwarding databases are what is due: whole where there is one or must be one.

        There must be one where a port sends into the network, itself or by a router. One that is right leads
        nobody astray elsewhere, and where a port only stands by there is nobody to lead.
        """
        networks = self.world.networks.items()
        here = {network.vni for name, network in networks if any(self.world.senders_into(host, name))}
        for vni in state.fdb.keys() | here:
            network, held = self.world.by_vni.get(vni), state.fdb.get(vni, {})
            if held != (fdb_of(self.world, network, host) if network is not None else {}):
                return False
        return True

    def _unnoticed(self, host: HostName, in_port: int, packet: Packet, journey: Journey) -> bool:
        """Tell whether connection tracking or a meter is not asked, though the packet arrives as it should.

        Packets do not show it (packet.py), later ones would.
        """
        # What becomes of a copy that goes to a host where nobody gets it does not matter.
        there = {host, *(got.host for got in journey.deliveries)}
        asked = _asked(journey, there)
        meters = [flow.meter for flow in _met(journey, there) if flow.meter is not None]
        sender = self.world.by_ofport.get((host, in_port))
        if sender is None or not journey.deliveries:
            return False
        places = {(got.host, got.ofport) for got in journey.deliveries}
        to_services = places == {(host, self.world.service_of(host))}
        new = connected(packet).ct_state & (NEW | INVALID) == NEW
        due = Counter[tuple[int, bool]]()
        if tracked(packet) and not served(packet):
            due.update([(7, False), *([(9, True)] if new else [])])
        judged: list[tuple[int, bool]] = [(22, False), *([(26, True)] if new else [])]
        for receiver in (self.world.by_ofport[place] for place in places if place in self.world.by_ofport):
            abroad = sender.name.tenant != receiver.name.tenant
            due.update([(12, False)] * abroad)
            if (sender.checked or receiver.checked or abroad) and tracked(packet):
                due.update(judged)
        spare, spreads = Counter[tuple[int, bool]](), list[int]()
        if to_services:
            # (What is too long to cross to another tenant, or is for nobody there, is asked for anyway.)
            spare.update({(12, False): _asked(self.right.walk(host, in_port, packet), there)[12, False]})
        network = self.world.networks[sender.name.parent]
        if network.multicast and group_of(network, packet) is not None:
            # Of what is for all there is a copy for those, too, who are not to hear it, and for its sender.
            others = [
                p for p in self.world.ports.values() if p.name.parent == network.name and p.host is not None
            ]
            spare.update(judged * sum((p.host, p.ofport) not in places for p in others))
            spreads = [] if served(packet) else [METERS_OF_SPREADING + in_port]
        # No tracker calls a packet new and invalid; it would be metered, and not remembered.
        opens = connected(packet).ct_state & NEW and tracked(packet) and not served(packet)
        through = [METERS_OF_CONNECTIONS + in_port] if opens else []
        wrong = bool(due - asked) or not asked - due <= spare
        return wrong or meters != through + spreads + ([in_port] if to_services else [])

    def _missized(self, fabric: Fabric, hosts: States) -> bool:
        """Tell whether a bridge takes a packet that comes to it for longer, or shorter, than it is.

        A packet has no length here (packet.py): one that is between what is measured and what is due is taken
        for what it is not.
        """
        for host, state in hosts.items():
            due = self.world.hosts[host].mtu + ETHERNET_BYTES
            for flow in self._changed(host, state):
                measured = [a.length_bytes for a in flow.actions if isinstance(a, CheckPacketLarger)]
                if not measured or measured[0] == due:
                    continue
                longer = int(measured[0] > due)
                for arrival in self.corpus.arrivals.get((host, EXIT), ()):
                    at, ofport, packet = arrival.probe
                    real, seen = replace(packet, oversize=longer), replace(packet, oversize=1 - longer)
                    if at == host and self.mistreated(fabric, at, ofport, real, seen):
                        return True
        return False

    def _changed(self, host: HostName, state: HostState) -> list[Flow]:
        before, after = ({f.key: f for f in flows} for flows in (self.states[host].flows, state.flows))
        changed = [f for key, f in before.items() if after.get(key) != f]
        changed += [f for key, f in after.items() if before.get(key) != f]
        return changed if len(changed) <= FLOWS_MAX else self.rng.sample(changed, FLOWS_MAX)

    def _probes(self, hosts: States) -> Iterator[Probe]:
        """What is known to come to a changed flow, or to its table; then what is made for it."""
        changed = [(host, flow) for host, state in hosts.items() for flow in self._changed(host, state)]
        for host, flow in changed:
            for arrival in self.corpus.arrivals.get((host, flow.table), ()):
                if arrival.flow is flow:
                    yield arrival.probe
        makers = [
            self.probes.of(host, flow, [other for at, other in changed if at == host and other is not flow])
            for host, flow in changed
        ]
        makers += [
            self.probes.of(host, both) for host, flow in changed for both in _rivals(flow, hosts[host].flows)
        ]
        for _ in range(DIRECTED_PACKETS // max(1, len(makers))):
            for maker in makers:
                yield next(maker)


class _Damaged(Fabric):
    """As Fabric; hosts that are as they should be have the bridges that are known already."""

    def __init__(self, hosts: States, world: World, states: States, right: Fabric) -> None:
        super().__init__(hosts, world.by_vtep)
        self._same = {host for host, state in hosts.items() if _same(state, states[host])}
        self._right = right

    def _switch(self, host: HostName) -> Switch:
        return self._right._switch(host) if host in self._same else super()._switch(host)


def _met(journey: Journey, hosts: Container[HostName]) -> list[Flow]:
    return [flow for hop in journey.hops if hop.host in hosts for flow in hop.run.flows]


def _asked(journey: Journey, hosts: Container[HostName]) -> Counter[tuple[int, bool]]:
    """Return how often which tables had connection tracking look, or remember, on these hosts."""
    return Counter((f.table, a.commit) for f in _met(journey, hosts) for a in f.actions if isinstance(a, Ct))


def _same(a: HostState, b: HostState) -> bool:
    return a is b or (list(a.flows), a.fdb, a.devices) == (list(b.flows), b.fdb, b.devices)


def _loose(flows: Iterable[Flow]) -> bool:
    """Tell whether there is a conjunction of several priorities or sizes: what it does is not defined.

    (ovs-actions(7), "The conjunction action": all its flows have one priority, and agree how many clauses.)
    """
    forms: dict[tuple[int, int], set[tuple[int, int]]] = {}
    opened = {(f.table, t.value) for f in flows for t in f.match if t.field.name == "conj_id"}
    for flow in flows:
        for action in flow.actions:
            if isinstance(action, Conjunction):
                forms.setdefault((flow.table, action.id), set()).add((flow.priority, action.clauses))
    return any(len(kinds) > 1 for number, kinds in forms.items() if number in opened)


def _rivals(flow: Flow, flows: Iterable[Flow]) -> Iterator[Flow]:
    """What meets a flow and another one of its priority that does something else: that is not defined."""
    found = (
        replace(flow, match=tuple(terms.values()))
        for other in flows
        if (other.table, other.priority) == (flow.table, flow.priority) and other.match != flow.match
        if (other.actions, other.goto, other.meter) != (flow.actions, flow.goto, flow.meter)
        if (terms := merged((flow, other))) is not None
    )
    return islice(found, RIVALS_MAX)


def _effect(switch: Switch, table: int, packet: Packet, kept: dict[str, int]) -> object:
    try:
        flow = switch._lookup(table, packet, kept)
    except Refused:
        return "undefined"
    return (flow.actions, flow.goto, flow.meter) if flow is not None else None
