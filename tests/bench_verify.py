"""How long the proof takes: all of a large state, and one change of it.

python -m tests.bench_verify --ports 10000 --tenants 100 --hosts 100 --out verify.json
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from cloison.addresses import IpAddress
from cloison.names import HostName
from controller.compiler import compile_host
from controller.verify.fdb import whole_fdb
from controller.verify.holding import FdbChange, HostChange
from controller.verify.intent import IntentDelta, PortIntent, World
from controller.verify.isolation import Verifier, change_to
from controller.verify.path import HostState
from controller.verify.violation import Violation
from tests.support.scale import large_intent
from tests.support.worlds import compiled_view, port_view


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
    """Durations by name, in ms."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}

    def time(self, name: str, check: Callable[[], list[Violation]]) -> None:
        start = time.perf_counter()
        found = check()
        self.spent.setdefault(name, []).append((time.perf_counter() - start) * 1e3)
        assert not found, found[0]

    def report(self) -> dict[str, dict[str, float]]:
        found = {}
        for name, spent in self.spent.items():
            spent.sort()
            found[name] = {"p50_ms": spent[len(spent) // 2], "p95_ms": spent[len(spent) * 95 // 100]}
        return found


def measure(ports: int, tenants: int, hosts: int, changes: int) -> dict[str, dict[str, float]]:
    intent = large_intent(ports=ports, tenants=tenants, hosts=hosts)
    world = World(intent)
    states = states_of(world)
    gc.collect()
    gc.freeze()
    verifier, clock, rng = Verifier(), Clock(), Random(1)
    delta = IntentDelta(hosts=intent.hosts, networks=intent.networks, ports=intent.ports)
    whole = {host: change_to(state) for host, state in states.items()}
    clock.time("read everything", lambda: verifier.load(delta, whole))
    clock.time("check everything", verifier.check_everything)
    flows = {h: {} for h in states}
    for host, state in states.items():
        for flow in state.flows:
            flows[host].setdefault(flow.cookie, []).append(flow)
    for port in rng.sample(list(world.ports.values()), min(changes, len(world.ports))):
        own = flows[port.host][port_view(world, port).cookie]
        gone, here = _moves(world, port, own)
        absent = IntentDelta(ports={port.name: replace(port, host=None, ofport=0)})
        present = IntentDelta(ports={port.name: port})
        clock.time("unplug a port", lambda a=absent, g=gone: verifier.check(a, g))
        clock.time("plug a port", lambda p=present, h=here: verifier.check(p, h))
        rule = rng.choice(own)
        touched = {port.host: HostChange(removed=[rule], added=[replace(rule, cookie=7)])}
        clock.time("replace a flow", lambda t=touched: verifier.check(None, t))
        verifier.check(None, {port.host: HostChange(removed=[rule], added=[rule])})
    return clock.report()


def _moves(world: World, port: PortIntent, own: list) -> tuple[dict, dict]:
    """What changes on all hosts when a port goes, and when it comes."""
    network, macs = world.networks[port.name.parent], port.frame_macs
    vtep = world.hosts[port.host].vtep
    gone = {port.host: HostChange(removed=own)}
    here = {port.host: HostChange(added=own)}
    for host in world.members_of(network.name).by_host:
        if host != port.host:
            gone[host] = HostChange(fdb={network.vni: FdbChange(removed=macs)})
            here[host] = HostChange(fdb={network.vni: FdbChange(upserted=dict.fromkeys(macs, vtep))})
    return gone, here


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("ports", 10_000), ("tenants", 100), ("hosts", 100), ("changes", 300)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--out", type=Path, help="write JSON here")
    given = parser.parse_args()
    found = measure(given.ports, given.tenants, given.hosts, given.changes)
    for name, row in found.items():
        print(f"{name:18} p50 {row['p50_ms']:10.3f} ms   p95 {row['p95_ms']:10.3f} ms")
    if given.out:
        given.out.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
