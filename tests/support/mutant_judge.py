"""Is a damaged state harmful? Judged with packets, sent step by step, and without the symbolic engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random

from cloison.names import HostName
from controller.compiler.view import METERS_OF_CONNECTIONS, METERS_OF_SPREADING
from controller.flows import Conjunction, Ct, Flow, MatchTerm
from controller.verify.grammar import Refused, fault
from controller.verify.intent import PortIntent, World
from controller.verify.packet import (
    CT_FIELDS,
    ETH_ARP,
    ETH_IPV6,
    FIELD_NAMES,
    FRAGMENT_LATER,
    INVALID,
    NEW,
    PROTO_IPV6_FRAGMENT,
    STATE_FIELDS,
    VLAN_PRESENT,
    Packet,
    connected,
)
from controller.verify.path import Fabric, HostState, Journey
from controller.verify.semantics import group_of, meaning, served, tracked
from controller.verify.switch import Switch
from tests.support.mutations import States
from tests.support.worlds import Packets, fdb_of

RANDOM_PACKETS, DIRECTED_PACKETS, DIFFERENCE_PACKETS, SERVICE_PACKETS = 20, 160, 400, 10
SPREADING = 15
# Tables that are the same for all, and those of policy.
COMMON = (7, 8, 9, SPREADING, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32)
Probe = tuple[HostName, int, Packet]


class Judge:
    """Judges damaged states of one right one."""

    def __init__(self, rng: Random, world: World, states: States) -> None:
        self.rng, self.world, self.states = rng, world, states
        self.packets = Packets(rng, world)
        # What showed the last harm.
        self.shown: Probe | None = None

    def harmful(self, damaged: States) -> bool:
        """Tell whether a packet, or what is harmful by itself, shows that a state is not the right one."""
        if any(fault(flow) for state in damaged.values() for flow in state.flows):
            return True
        for host, state in damaged.items():
            if state.devices != self.states[host].devices or not self._due(host, state):
                return True
            if self.world.on_host.get(host) and _loose(state.flows):
                return True
        fabric = Fabric(damaged, self.world.by_vtep)
        found = next((probe for probe in self._probes(damaged) if self.mistreated(fabric, *probe)), None)
        self.shown = found
        right = Fabric(self.states, self.world.by_vtep)
        assert found is None or not self.mistreated(right, *found), f"in the right state too: {found}"
        return found is not None

    def mistreated(self, fabric: Fabric, host: HostName, in_port: int, packet: Packet) -> bool:
        """Tell whether a packet is not received as the intent means it."""
        device = self.world.by_tunnel.get((host, in_port))
        try:
            if device is not None:
                here = {(host, p.ofport) for p in self.world.ports_on(host, device.name).values()}
                hop = fabric.walk(host, in_port, packet).hops[0]
                return any((host, sent.ofport) not in here for sent in hop.run.sent)
            journey = fabric.walk(host, in_port, packet)
        except Refused:
            return True
        wanted = meaning(self.world, host, in_port, packet)
        places = {(d.host, d.ofport) for d in journey.deliveries}
        if packet.oversize and not wanted and places == {(host, self.world.service_of(host))}:
            # What is too long for the overlay, and for nobody, the sender's own services may see.
            return False
        if journey.looped or sorted(journey.deliveries, key=repr) != sorted(wanted, key=repr):
            return True
        return self._unnoticed(host, in_port, packet, journey)

    def differs(self, damaged: States) -> bool:
        """Tell whether a table that is the same for all, or one of policy, does another thing with a packet.

        Whether or not anybody's packet comes to it so: what is said about such tables needs no victim.
        """
        for host, state in damaged.items():
            before, after = Switch(self.states[host].flows), Switch(state.flows)
            for flow in self._changed(host, state):
                if flow.table not in COMMON:
                    continue
                for _ in range(DIFFERENCE_PACKETS):
                    packet, kept = self._inside(flow, self.states[host].flows)
                    if _effect(before, flow.table, packet, kept) != _effect(after, flow.table, packet, kept):
                        return True
        return False

    def _due(self, host: HostName, state: HostState) -> bool:
        """Tell whether the forwarding databases are what is due: whole where there is one or must be one.

        One that is right, on a host that has no port of the network, leads nobody astray.
        """
        here = {self.world.networks[name].vni for name in self.world.on_host.get(host, ())}
        for vni in state.fdb.keys() | here:
            network, held = self.world.by_vni.get(vni), state.fdb.get(vni, {})
            if held != (fdb_of(self.world, network, host) if network is not None else {}):
                return False
        return True

    def _unnoticed(self, host: HostName, in_port: int, packet: Packet, journey: Journey) -> bool:
        """Tell whether connection tracking or a meter is not asked, though the packet arrives as it should.

        Packets do not show it (packet.py), later ones would.
        """
        flows = [flow for hop in journey.hops for flow in hop.run.flows]
        asked = Counter((f.table, a.commit) for f in flows for a in f.actions if isinstance(a, Ct))
        meters = [flow.meter for flow in flows if flow.meter is not None]
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
            if (sender.checked or receiver.checked) and tracked(packet):
                due.update(judged)
        spare, spreads = Counter[tuple[int, bool]](), list[int]()
        network = self.world.networks[sender.name.parent]
        if network.multicast and group_of(network, packet) is not None:
            # Of what is for all there is a copy for those, too, who are not to hear it, and for its sender.
            others = [p for p in self._plugged() if p.name.parent == network.name]
            spare.update(judged * sum((p.host, p.ofport) not in places for p in others))
            spreads = [] if served(packet) else [METERS_OF_SPREADING + in_port]
        # No tracker calls a packet new and invalid; it would be metered, and not remembered.
        opens = connected(packet).ct_state & NEW and tracked(packet) and not served(packet)
        through = [METERS_OF_CONNECTIONS + in_port] if opens else []
        wrong = bool(due - asked) or not asked - due <= spare
        return wrong or meters != through + spreads + ([in_port] if to_services else [])

    def _changed(self, host: HostName, state: HostState) -> list[Flow]:
        before, after = list(self.states[host].flows), list(state.flows)
        ids = {id(f) for f in before} & {id(f) for f in after}
        return [f for f in (*before, *after) if id(f) not in ids][:8]

    def _probes(self, damaged: States) -> Iterator[Probe]:
        for _ in range(RANDOM_PACKETS):
            host, ofport = self.packets.sender()
            yield host, ofport, self.packets.make(host, ofport)
        for host, service in self.packets.services:
            for _ in range(SERVICE_PACKETS):
                yield host, service, self.packets.from_services(host)
        for host, state in damaged.items():
            changed = self._changed(host, state)
            for flow in changed:
                for _ in range(DIRECTED_PACKETS // len(changed)):
                    policed = flow.table in COMMON and flow.table != SPREADING
                    yield self._of_policy(host, flow) if policed else self._directed(host, flow)

    def _of_policy(self, host: HostName, flow: Flow) -> Probe:
        """A packet between two ports whose profiles a flow names, of the connection that it names."""
        rng = self.rng
        terms = {t.field.name: t for part in (*self._rest_of(host, flow), flow) for t in part.match}
        opener, other = (self._with_profile(terms[n].value if n in terms else None) for n in ("reg6", "reg7"))
        peers = [p for p in self._plugged() if p.name.parent == opener.name.parent]
        if other.name.parent != opener.name.parent:
            other = rng.choice(peers)
        reply = rng.random() < 0.2
        sender, target = (other, opener) if reply else (opener, other)
        assert sender.host is not None, sender
        packet = self.packets.make(sender.host, sender.ofport)
        values = {name: getattr(packet, name) for name in FIELD_NAMES}
        _apply(values, terms, rng)
        values["eth_src"], values["eth_dst"] = sender.mac, target.mac
        for name, own, its in (("ipv4", sender.addresses4, target.addresses4),
                               ("ipv6", sender.addresses6, target.addresses6)):  # fmt: skip
            if own and its:
                values[f"{name}_src"], values[f"{name}_dst"] = rng.choice(own), rng.choice(its)
        return sender.host, sender.ofport, _whole(values)

    def _with_profile(self, profile: int | None) -> PortIntent:
        ports = self._plugged()
        return self.rng.choice([p for p in ports if p.profile == profile] or ports)

    def _plugged(self) -> list[PortIntent]:
        return sorted((p for p in self.world.ports.values() if p.host is not None), key=lambda p: p.name)

    def _inside(self, flow: Flow, others: Iterable[Flow]) -> tuple[Packet, dict[str, int]]:
        """A packet, and what the bridge keeps beside it, as they come to a flow, or nearly.

        To one of a conjunction with what flows of its other clauses match.
        """
        rng = self.rng
        packet = self.packets.make(*self.packets.sender())
        profiles = [0, 1, 2, *(p.profile for p in self.world.ports.values())]
        kept = {**dict.fromkeys(STATE_FIELDS, 0), **{name: getattr(packet, name) for name in CT_FIELDS}}
        kept |= {"reg2": rng.randrange(1, 9), "reg3": rng.choice((1, 2, 4, 9)), "reg8": rng.randrange(1, 3)}
        kept |= {f"reg{n}": rng.choice(profiles) for n in (4, 5, 6, 7)}
        kept["in_port"] = rng.randrange(1, 9)
        values = {name: getattr(packet, name) for name in FIELD_NAMES}
        terms = {t.field.name: t for t in flow.match if t.field.name != "conj_id"}
        named = [t.value for t in flow.match if t.field.name == "conj_id"]
        numbers = {a.id for a in flow.actions if isinstance(a, Conjunction)} | set(named)
        # Of several conjunctions of one: what flows of two of them match, hardly any packet has.
        number = rng.choice(sorted(numbers)) if numbers else None
        own = {a.clause for a in flow.actions if isinstance(a, Conjunction) and a.id == number}
        clauses: dict[int, list[Flow]] = {}
        for other in others:
            for action in other.actions:
                if isinstance(action, Conjunction) and action.id == number and action.clause not in own:
                    clauses.setdefault(action.clause, []).append(other)
        for choices in clauses.values():
            terms = {t.field.name: t for t in rng.choice(choices).match} | terms
        _apply(values, terms, rng)
        _apply(kept, terms, rng)
        return Packet(**values), kept

    def _rest_of(self, host: HostName, flow: Flow) -> list[Flow]:
        """One flow for each other clause of a conjunction that a flow is a part of, or opens."""
        parts = [a for a in flow.actions if isinstance(a, Conjunction)]
        number = self.rng.choice(parts).id if parts else None
        number = next((t.value for t in flow.match if t.field.name == "conj_id"), number)
        if number is None:
            return []
        clauses: dict[int, list[Flow]] = {}
        own = {a.clause for a in parts if a.id == number}
        for other in self.states[host].flows:
            for a in other.actions if other.table == flow.table else ():
                if isinstance(a, Conjunction) and a.id == number and a.clause not in own:
                    clauses.setdefault(a.clause, []).append(other)
        return [self.rng.choice(found) for found in clauses.values()]

    def _directed(self, host: HostName, flow: Flow) -> Probe:
        """A packet that meets the flow's match, or nearly."""
        rng = self.rng
        terms = {t.field.name: t for t in flow.match}
        sender = self._sender(host, {n: t.value for n, t in terms.items()})
        values = {name: getattr(self.packets.make(*sender), name) for name in FIELD_NAMES}
        _apply(values, terms, rng)
        mac = terms.get("eth_dst")
        if flow.table >= 20 and mac is not None:
            _aim(values, mac.value)
        return (*sender, _whole(values))

    def _sender(self, host: HostName, values: dict[str, int]) -> tuple[HostName, int]:
        if "in_port" in values:
            return host, values["in_port"]
        senders = sorted(self.world.by_ofport)
        if "reg1" in values:
            port = self.world.by_number.get(values["reg1"])
            if port is not None and port.host is not None:
                senders = [(port.host, port.ofport)]
        elif "reg0" in values:
            network = self.world.by_vni.get(values["reg0"])
            if network is not None:
                ports = self.world.members_of(network.name).ports.values()
                tunnel = network.tunnels.get(host)
                senders = sorted((p.host, p.ofport) for p in ports if p.host) or senders
                if tunnel is not None and self.rng.random() < 0.2:
                    return host, tunnel
        here = [s for s in senders if s[0] == host]
        return self.rng.choice(here if here and self.rng.random() < 0.6 else senders)


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


def _effect(switch: Switch, table: int, packet: Packet, kept: dict[str, int]) -> object:
    try:
        flow = switch._lookup(table, packet, kept)
    except Refused:
        return "undefined"
    return (flow.actions, flow.goto, flow.meter) if flow is not None else None


def _apply(values: dict[str, int], terms: dict[str, MatchTerm], rng: Random) -> None:
    """Make values match the terms, most often all of them."""
    near = rng.choice([*terms]) if terms and rng.random() < 0.25 else None
    for name, term in terms.items():
        if name not in values:
            continue
        # What the term leaves open: as it is, or near to what it says, or anything.
        bit = 1 << rng.randrange(term.field.width)
        other = rng.choice((values[name], term.value ^ bit, rng.getrandbits(term.field.width)))
        values[name] = other & ~term.mask | term.value
        if name == near and term.mask:
            values[name] ^= 1 << rng.choice([n for n in range(term.field.width) if term.mask >> n & 1])


def _whole(values: dict[str, int]) -> Packet:
    """A packet that may be: no fragment that shows what it cannot have, no numbers that are too large."""
    values["arp_op"] &= 0xFF
    values["ip_frag"] &= 3
    if values["ip_frag"] == FRAGMENT_LATER:
        values["ip_frag"] = 0
    elif values["ip_frag"] and values["ip_frag"] & FRAGMENT_LATER and values["eth_type"] == ETH_IPV6:
        values["ip_proto"] = PROTO_IPV6_FRAGMENT
    if values["vlan_vid"]:
        values["vlan_vid"] |= VLAN_PRESENT
    return Packet(**values).canonical()


def _aim(values: dict[str, int], mac: int) -> None:
    """Make a packet that comes to FORWARD with this destination MAC."""
    low = mac & 0xFFFFFFFF
    if mac >> 32 == 0x0AF0:
        if values["eth_type"] == ETH_ARP:
            values["arp_tpa"] = low
        else:
            values["ipv4_dst"] = low
    elif mac >> 32 == 0x0AF6:
        for name in ("ipv6_dst", "ipv6_nd_target"):
            values[name] = values[name] & ~0xFFFFFFFF | low
