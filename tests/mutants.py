"""Damage correct states in many ways, and see whether the proof notices exactly the harmful ones.

    python -m tests.mutants --n 10000 --out mutants.json

The judge of what is harmful is not the symbolic engine: it sends packets through the damaged flows step by
step (random ones, and ones made from the match of what was damaged) and compares with the meaning. A flow
that no switch would take, another FDB or device than is due, and a frame from the overlay that gets out of
its network are harmful by themselves. A packet that the proof shows is sent through as well, so a harm that
sampling overlooked counts as harm; a report without a packet that proves it is a false alarm.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from cloison.names import HostName
from controller.flows import Flow
from controller.verify.grammar import Refused, fault
from controller.verify.holding import FdbChange, HostChange
from controller.verify.intent import IntentDelta, World
from controller.verify.isolation import Verifier, change_to
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV6,
    FRAGMENT_LATER,
    HEADER_FIELDS,
    PROTO_IPV6_FRAGMENT,
    VLAN_PRESENT,
    Packet,
)
from controller.verify.path import Fabric, Fdb, HostState
from controller.verify.semantics import meaning
from controller.verify.violation import Violation
from tests.support.mutations import MUTATIONS, States, Subject
from tests.support.worlds import Packets, compile_intent, random_intent

MUTANTS_PER_INTENT = 60
RANDOM_PACKETS, DIRECTED_PACKETS = 60, 60


@dataclass(slots=True)
class Score:
    """What became of the mutants of a kind. overlooked: caught, with a packet that sampling had not found."""

    made: int = 0
    harmful: int = 0
    caught: int = 0
    missed: int = 0
    false_alarms: int = 0
    overlooked: int = 0


def run(n: int, seed: int = 0) -> dict[str, Score]:
    """Make n mutants, all kinds in turn."""
    rng = Random(seed)
    scores = {name: Score() for name in MUTATIONS}
    made = 0
    names = list(MUTATIONS)
    while made < n:
        bench = _Bench(rng)
        for _ in range(MUTANTS_PER_INTENT):
            name = min(rng.sample(names, 4), key=lambda k: scores[k].made)
            if made < n and bench.try_one(name, scores[name]):
                made += 1
    return scores


class _Bench:
    """One correct state, damaged again and again."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        while True:
            intent = random_intent(rng, tenants=2, hosts=3, ports=3)
            self.world = World(intent)
            if len(self.world.by_ofport) >= 2:
                break
        self.states: States = compile_intent(intent)
        self.packets = Packets(rng, self.world)
        self.verifier = Verifier()
        delta = IntentDelta(hosts=intent.hosts, networks=intent.networks, ports=intent.ports)
        wrong = self.verifier.check(delta, {h: change_to(s) for h, s in self.states.items()})
        assert not wrong, wrong[0]

    def try_one(self, name: str, score: Score) -> bool:
        """Make one mutant, judge it, ask the proof, undo it; False if this kind cannot be made here."""
        damaged = MUTATIONS[name](Subject(self.rng, self.world, self.states))
        if damaged is None or not difference(self.states, damaged):
            return False
        harmful = self.harmful(damaged)
        reported = self.verifier.check(None, difference(self.states, damaged))
        undone = self.verifier.check(None, difference(damaged, self.states))
        assert not undone, f"{name}: not whole again: {undone[0]}"
        shown = any(self.proves(violation, damaged) for violation in reported)
        score.made += 1
        score.overlooked += shown and not harmful
        score.harmful += harmful or shown
        score.caught += bool(reported) and (harmful or shown)
        score.missed += harmful and not reported
        score.false_alarms += bool(reported) and not harmful and not shown
        return True

    def proves(self, violation: Violation, damaged: States) -> bool:
        """Tell whether the packet of a violation is really mistreated."""
        if violation.packet is None or violation.host is None:
            return False
        return self._mistreated(
            Fabric(damaged, self.world.by_vtep), violation.host, violation.in_port, violation.packet
        )

    def harmful(self, damaged: States) -> bool:
        if any(fault(flow) for state in damaged.values() for flow in state.flows):
            return True
        for host, state in self.states.items():
            if state.devices != damaged[host].devices or entries(state) != entries(damaged[host]):
                return True
        fabric = Fabric(damaged, self.world.by_vtep)
        for host, in_port, packet in self._probes(damaged):
            if self._mistreated(fabric, host, in_port, packet):
                return True
        return False

    def _mistreated(self, fabric: Fabric, host: HostName, in_port: int, packet: Packet) -> bool:
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

    def _probes(self, damaged: States):
        for _ in range(RANDOM_PACKETS):
            host, ofport = self.packets.sender()
            yield host, ofport, self.packets.make(host, ofport)
        for host, state in damaged.items():
            before, after = list(self.states[host].flows), list(state.flows)
            ids = {id(f) for f in before} & {id(f) for f in after}
            changed = [f for f in (*before, *after) if id(f) not in ids][:8]
            for flow in changed:
                for _ in range(DIRECTED_PACKETS):
                    yield self._directed(host, flow)

    def _directed(self, host: HostName, flow: Flow) -> tuple[HostName, int, Packet]:
        """A packet that meets the flow's match, or nearly."""
        rng = self.rng
        terms = {t.field.name: t for t in flow.match}
        sender = self._sender(host, {n: t.value for n, t in terms.items()})
        values = {name: getattr(self.packets.make(*sender), name) for name in HEADER_FIELDS}
        near = rng.choice([None, None, None, *terms])
        for name, term in terms.items():
            if name not in values:
                continue
            values[name] = values[name] & ~term.mask | term.value
            if name == near:
                values[name] ^= 1 << rng.choice([n for n in range(term.field.width) if term.mask >> n & 1])
        mac = terms.get("eth_dst")
        if flow.table >= 20 and mac is not None:
            _aim(values, mac.value)
        values["arp_op"] &= 0xFF
        values["ip_frag"] &= 3
        if values["ip_frag"] == FRAGMENT_LATER:
            values["ip_frag"] = 0
        elif values["ip_frag"] and values["ip_frag"] & FRAGMENT_LATER and values["eth_type"] == ETH_IPV6:
            values["ip_proto"] = PROTO_IPV6_FRAGMENT
        if values["vlan_vid"]:
            values["vlan_vid"] |= VLAN_PRESENT
        return (*sender, Packet(**values).canonical())

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


def entries(state: HostState) -> dict[int, Fdb]:
    """What is in the forwarding databases of a host; one without an entry does nothing, whatever its VNI."""
    return {vni: fdb for vni, fdb in state.fdb.items() if fdb}


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


def difference(before: States, after: States) -> dict[HostName, HostChange]:
    """Return what changes on each host."""
    changes = {}
    for host, old in before.items():
        change = _host_difference(old, after[host])
        if change.removed or change.added or change.fdb or change.devices:
            changes[host] = change
    return changes


def _host_difference(old: HostState, new: HostState) -> HostChange:
    was, is_ = {f.key: f for f in old.flows}, {f.key: f for f in new.flows}
    fdb: dict[int, FdbChange | None] = {}
    for vni in old.fdb.keys() | new.fdb.keys():
        a, b = old.fdb.get(vni), new.fdb.get(vni)
        if b is None:
            fdb[vni] = None
        elif a != b:
            gone = (a or {}).keys() - b.keys()
            fdb[vni] = FdbChange(upserted={m: v for m, v in b.items() if (a or {}).get(m) != v}, removed=gone)
    devices: dict[int, int | None] = {o: None for o in old.devices if o not in new.devices}
    devices.update({o: v for o, v in new.devices.items() if old.devices.get(o) != v})
    return HostChange(
        removed=[f for k, f in was.items() if is_.get(k) != f],
        added=[f for k, f in is_.items() if was.get(k) != f],
        fdb=fdb,
        devices=devices,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000, help="how many mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write JSON here")
    given = parser.parse_args()
    scores = run(given.n, given.seed)
    total = Counter[str]()
    for score in scores.values():
        total.update(asdict(score))
    head = ("made", "harmful", "caught", "missed", "false_alarms", "overlooked")
    print(f"{'kind':24}" + "".join(f"{h:>13}" for h in head))
    for name, row in [*((k, asdict(v)) for k, v in scores.items()), ("all", dict(total))]:
        print(f"{name:24}" + "".join(f"{row[h]:13}" for h in head))
    if given.out:
        report = {
            "n": given.n,
            "seed": given.seed,
            "kinds": {k: asdict(v) for k, v in scores.items()},
            "all": dict(total),
        }
        given.out.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if total["missed"] or total["false_alarms"] else 0


if __name__ == "__main__":
    sys.exit(main())
