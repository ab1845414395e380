"""Is a damaged state harmful? Judged with packets, sent step by step, and without the symbolic engine."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from cloison.names import HostName
from controller.flows import Ct, Flow, MatchTerm
from controller.verify.grammar import Refused, fault
from controller.verify.intent import PortIntent, World
from controller.verify.packet import (
    CT_FIELDS,
    ETH_ARP,
    ETH_IPV6,
    FIELD_NAMES,
    FRAGMENT_LATER,
    PROTO_IPV6_FRAGMENT,
    STATE_FIELDS,
    VLAN_PRESENT,
    Packet,
)
from controller.verify.path import Fabric, HostState
from controller.verify.semantics import meaning
from controller.verify.switch import Switch
from tests.support.mutations import States
from tests.support.worlds import Packets, fdb_of

RANDOM_PACKETS, DIRECTED_PACKETS, SERVICE_PACKETS = 60, 60, 10
# Tables that are the same for all, and those of policy.
COMMON = (8, 9, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32)
Probe = tuple[HostName, int, Packet]


class Judge:
    """Judges damaged states of one right one."""

    def __init__(self, rng: Random, world: World, states: States) -> None:
        self.rng, self.world, self.states = rng, world, states
        self.packets = Packets(rng, world)

    def harmful(self, damaged: States) -> bool:
        """Tell whether a packet, or what is harmful by itself, shows that a state is not the right one."""
        if any(fault(flow) for state in damaged.values() for flow in state.flows):
            return True
        for host, state in damaged.items():
            if state.devices != self.states[host].devices or not self._due(host, state):
                return True
            if self._tracked(host, state) != self._tracked(host, self.states[host]):
                return True
        fabric = Fabric(damaged, self.world.by_vtep)
        return any(self.mistreated(fabric, *probe) for probe in self._probes(damaged))

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
        return journey.looped or sorted(journey.deliveries, key=repr) != sorted(wanted, key=repr)

    def differs(self, damaged: States) -> bool:
        """Tell whether a table that is the same for all, or one of policy, does another thing with a packet.

        Whether or not anybody's packet comes to it so: what is said about such tables needs no victim.
        """
        for host, state in damaged.items():
            before, after = Switch(self.states[host].flows), Switch(state.flows)
            for flow in self._changed(host, state):
                if flow.table not in COMMON:
                    continue
                for _ in range(DIRECTED_PACKETS):
                    packet, kept = self._inside(flow)
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

    def _tracked(self, host: HostName, state: HostState) -> set[object]:
        """What is asked of connection tracking and of meters, by whom: packets do not show it (packet.py)."""
        if not self.world.on_host.get(host):
            return set()
        asked: set[object] = set()
        for flow in state.flows:
            tracks = tuple(a for a in flow.actions if isinstance(a, Ct))
            if tracks or flow.meter is not None:
                asked.add((flow.table, flow.match, tracks, flow.meter))
        return asked

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
            for flow in self._changed(host, state):
                for _ in range(DIRECTED_PACKETS):
                    yield self._of_policy(flow) if flow.table in COMMON else self._directed(host, flow)

    def _of_policy(self, flow: Flow) -> Probe:
        """A packet between two ports whose profiles a flow names, of the connection that it names."""
        rng = self.rng
        terms = {t.field.name: t for t in flow.match}
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

    def _inside(self, flow: Flow) -> tuple[Packet, dict[str, int]]:
        """A packet, and what the bridge keeps beside it, as they come to a flow, or nearly."""
        rng = self.rng
        packet = self.packets.make(*self.packets.sender())
        profiles = [0, 1, 2, *(p.profile for p in self.world.ports.values())]
        kept = {**dict.fromkeys(STATE_FIELDS, 0), **{name: getattr(packet, name) for name in CT_FIELDS}}
        kept |= {"reg2": rng.randrange(1, 9), "reg3": rng.choice((1, 2, 4, 9)), "reg8": rng.randrange(1, 3)}
        kept |= {f"reg{n}": rng.choice(profiles) for n in (4, 5, 6, 7)}
        kept["in_port"] = rng.randrange(1, 9)
        values = {name: getattr(packet, name) for name in FIELD_NAMES}
        terms = {t.field.name: t for t in flow.match if t.field.name != "conj_id"}
        _apply(values, terms, rng)
        _apply(kept, terms, rng)
        return Packet(**values), kept

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


def _effect(switch: Switch, table: int, packet: Packet, kept: dict[str, int]) -> object:
    try:
        flow = switch._lookup(table, packet, kept)
    except Refused:
        return "undefined"
    return (flow.actions, flow.goto, flow.meter) if flow is not None else None


def _apply(values: dict[str, int], terms: dict[str, MatchTerm], rng: Random) -> None:
    """Make values match the terms, most often all of them."""
    near = rng.choice([None, None, None, *terms])
    for name, term in terms.items():
        if name not in values:
            continue
        values[name] = values[name] & ~term.mask | term.value
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
