"""How long the proof takes: all of a large state from what switches dump, and one change of it.

Not measured: the network, and a switch's own time to dump.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import log
from random import Random
from typing import Any, NamedTuple

from cloison.addresses import IpAddress
from cloison.names import HostName
from controller.__main__ import GC_THRESHOLDS
from controller.compiler import compile_host
from controller.flows import Flow
from controller.openflow.decode import decode_identity, identity
from controller.openflow.encode import encode_flow
from controller.verify.fdb import whole_fdb
from controller.verify.holding import FdbChange, HostChange
from controller.verify.intent import IntentDelta, PortIntent
from controller.verify.isolation import Verifier, change_to
from controller.verify.path import HostState
from controller.verify.violation import Violation
from controller.verify.world import World
from tests.bench.catalogue import FULL_PROOF, Rows
from tests.support.scale import large_intent
from tests.support.worlds import compiled_view, port_view

FULL = ("decode what switches sent", "read everything", "check everything")
CHANGE = "plug a port"
Changes = dict[HostName, HostChange]


class Size(NamedTuple):
    """How large a state is."""

    ports: int
    tenants: int
    hosts: int


GOAL, QUARTER = Size(10_000, 100, 100), Size(2_500, 100, 25)
"""Both with 100 ports on a host."""


def states_of(world: World) -> dict[HostName, HostState]:
    """As tests.support.worlds.compile_intent, but for many hosts."""
    whole = {name: whole_fdb(world, network) for name, network in world.networks.items()}
    states = {}
    for host in world.hosts:
        view = compiled_view(world, host)
        fdb: dict[int, dict[int, IpAddress]] = {}
        for vni in view.networks:
            network = world.by_vni[vni]
            own = {mac for p in world.ports_on(host, network.name).values() for mac in p.frame_macs}
            fdb[vni] = {mac: vtep for mac, vtep in whole[network.name].items() if mac not in own}
        devices = {n.tunnel_ofport: vni for vni, n in view.networks.items() if n.tunnel_ofport}
        states[host] = HostState(list(compile_host(view).values()), fdb, devices)
    return states


class Clock:
    """Durations by name, in ms; cpu: of this thread alone, whatever else the machine does."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        start, start_cpu = time.perf_counter(), time.thread_time()
        found = work()
        self.cpu.setdefault(name, []).append((time.thread_time() - start_cpu) * 1e3)
        self.spent.setdefault(name, []).append((time.perf_counter() - start) * 1e3)
        return found

    def check(self, name: str, check: Callable[[], list[Violation]]) -> None:
        found = self.time(name, check)
        assert not found, found[0]


@dataclass
class Found:
    """What was measured at one size."""

    size: Size
    flows: int
    clock: Clock

    @property
    def full_s(self) -> float:
        """From the dumped flows to the verdict."""
        return sum(self.clock.spent[name][0] for name in FULL) / 1e3

    @property
    def full_cpu_s(self) -> float:
        """The same, as time on a CPU."""
        return sum(self.clock.cpu[name][0] for name in FULL) / 1e3

    def changes(self, *, cpu: bool = False) -> Iterator[tuple[str, float, float]]:
        """Name, p50 and p95 in ms of each kind of change."""
        for name, spent in (self.clock.cpu if cpu else self.clock.spent).items():
            if name not in FULL:
                ordered = sorted(spent)
                yield name, ordered[len(ordered) // 2], ordered[len(ordered) * 95 // 100]

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.size._asdict(),
            "flows": self.flows,
            "full_s": {**{n: self.clock.spent[n][0] / 1e3 for n in FULL}, "total": self.full_s},
            "full_cpu_s": self.full_cpu_s,
            "changes_ms": {name: {"p50": p50, "p95": p95} for name, p50, p95 in self.changes()},
            "changes_cpu_ms": {name: {"p50": p50, "p95": p95} for name, p50, p95 in self.changes(cpu=True)},
        }


def measure(rows: Rows, changes: int) -> None:
    """Fill the rows of this module."""
    quarter, found = take(QUARTER, changes), take(GOAL, changes)
    rows.fill(FULL_PROOF, ours=found.full_s, samples=found.as_dict())
    exponent = log(found.full_cpu_s / quarter.full_cpu_s) / log(GOAL.ports / QUARTER.ports)
    name = "growth: full proof, exponent from 2,500 to 10,000 ports"
    rows.fill(name, ours=exponent, samples=quarter.as_dict())
    [(p50, p95)] = [ranks for change, *ranks in found.changes() if change == CHANGE]
    rows.fill("proof of one change at 10,000 ports, p50", ours=p50)
    rows.fill("proof of one change at 10,000 ports, p95", ours=p95)


def take(size: Size, changes: int) -> Found:
    """Load a state of that size, and change it."""
    intent = large_intent(ports=size.ports, tenants=size.tenants, hosts=size.hosts)
    world = World(intent)
    states = states_of(world)
    dumped = {host: [identity(f, encode_flow(f)) for f in state.flows] for host, state in states.items()}
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    verifier, clock, rng = Verifier(), Clock(), Random(1)
    decoded = clock.time(
        FULL[0], lambda: {h: list(map(decode_identity, names)) for h, names in dumped.items()}
    )
    delta = IntentDelta.whole(intent)
    held = {host: HostState(decoded[host], state.fdb, state.devices) for host, state in states.items()}
    clock.check(FULL[1], lambda: verifier.load(delta, {h: change_to(state) for h, state in held.items()}))
    clock.check(FULL[2], verifier.check_everything)
    gc.collect()
    gc.freeze()
    flows = by_cookie(held)
    for port in rng.sample(list(world.ports.values()), min(changes, len(world.ports))):
        change(verifier, clock, world, port, flows[port.host][port_view(world, port).cookie])
    gc.unfreeze()
    return Found(size, sum(len(found) for found in decoded.values()), clock)


def by_cookie(states: Mapping[HostName, HostState]) -> dict[HostName | None, dict[int, list[Flow]]]:
    flows: dict[HostName | None, dict[int, list[Flow]]] = {h: {} for h in states}
    for host, state in states.items():
        for flow in state.flows:
            flows[host].setdefault(flow.cookie, []).append(flow)
    return flows


def change(verifier: Verifier, clock: Clock, world: World, port: PortIntent, own: list[Flow]) -> None:
    """One port goes and comes back; one of its flows is replaced."""
    assert port.host is not None, port
    gone, here = moves(world, port, own)
    absent = IntentDelta(ports={port.name: replace(port, host=None, ofport=0)})
    present = IntentDelta(ports={port.name: port})
    clock.check("unplug a port", lambda: verifier.check(absent, gone))
    clock.check("plug a port", lambda: verifier.check(present, here))
    rule = own[len(clock.spent["plug a port"]) % len(own)]
    touched = {port.host: HostChange(removed=[rule], added=[replace(rule, cookie=7)])}
    clock.check("replace a flow", lambda: verifier.check(None, touched))
    verifier.check(None, {port.host: HostChange(removed=[rule], added=[rule])})


def moves(world: World, port: PortIntent, own: list[Flow]) -> tuple[Changes, Changes]:
    """What changes on all hosts when a port goes, and when it comes."""
    network, macs = world.networks[port.name.parent], port.frame_macs
    assert port.host is not None, port
    vtep = world.hosts[port.host].vtep
    assert vtep is not None, port.host
    gone = {port.host: HostChange(removed=own)}
    here = {port.host: HostChange(added=own)}
    for host in world.members_of(network.name).by_host:
        if host != port.host:
            gone[host] = HostChange(fdb={network.vni: FdbChange(removed=macs)})
            here[host] = HostChange(fdb={network.vni: FdbChange(upserted=dict.fromkeys(macs, vtep))})
    return gone, here
