"""Rows about a filled cloud as a whole: flows, memory, a burst of adds, a host that starts empty, drift."""

from __future__ import annotations

import random
import re
import time

from tests.bench.catalogue import TOGETHER, Rows
from tests.bench.fill import CLIENTS, at_once
from tests.bench.pace import Pace
from tests.bench.procs import cpu_s, rss_mib
from tests.bench.stage import Side, Stage
from tests.bench.stats import median, percentile
from tests.bench.watch import TableChanges
from topologies.wait import wait_until

COLD_STARTS, DRIFTS = Pace(120.0, least=2), Pace(40.0, least=6)
"""What these rows may take, both sides together."""
DRIFT_FLOWS = 100
DRIFT_DEADLINE_S = 10.0
PEER_DRIFT_S = 10.0
REST_S = 0.3
"""After so long without a change it is looked whether the table is as it was."""
PROBE_PORTS = 8
QUIET_S = 0.5
_COUNTERS = re.compile(r"(?:^|,) ?(?:duration|n_packets|n_bytes|idle_age|hard_age)=[^,]*")


def flows(rows: Rows, stage: Stage) -> None:
    """Flows of one host, and what further ports cost it, there and on other hosts."""
    at = f"at {stage.ports:,} ports"
    local = sum(guest.host == 0 for guest in stage.layout.background)
    before = {name: side.flows(0) for name, side in stage.sides.items()}
    remote = {name: _brought(stage, name, hosts=(1, 2, 3)) for name in stage.sides}
    here = {name: _brought(stage, name, hosts=(0,)) for name in stage.sides}
    rows.fill_sides(f"flows of a host, {at}", before)
    each = {name: count / local for name, count in before.items()}
    note = f"networks, tenants' policy and what is always there included; {local} local ports"
    rows.fill_sides(f"flows of a host by its local ports, {at}", each, note=note)
    rows.fill_sides(f"flows that a local port brings, {at}", here)
    rows.fill_sides(f"flows that a remote port brings, {at}", remote)


def _brought(stage: Stage, name: str, hosts: tuple[int, ...]) -> float:
    """Flows that a port on one of these hosts adds to the first one."""
    side, before = stage.sides[name], stage.sides[name].flows(0)
    guests = [stage.layout.at(n % stage.layout.tenants, 0, hosts[n % len(hosts)]) for n in range(PROBE_PORTS)]
    side.plug(guests)
    for guest in guests:
        side.send_plain(guest)
    side.settle()
    wait_quiet(side)
    return (side.flows(0) - before) / len(guests)


def wait_quiet(side: Side) -> None:
    """Return when the first host's table has stood still for a moment."""
    last = -1
    while (now := side.flows(0)) != last:
        last = now
        time.sleep(QUIET_S)


def memory(rows: Rows, stage: Stage, at: str = "") -> None:
    """Resident memory. Ours: controller and etcd, as the peer's are northd and two databases.

    `at`: how the rows' names end, if not by the number of ports.
    """
    at = at or f"at {stage.ports:,} ports"
    pids = {name: side.pids for name, side in stage.sides.items()}
    kinds = {"ours": ("controller", "etcd"), "peer": ("northd", "databases")}
    central = {name: {k: sum(map(rss_mib, pids[name][k])) for k in kinds[name]} for name in pids}
    agents = {"ours": "agent", "peer": "controller"}
    rows.fill_sides(
        f"memory of the controllers, {at}",
        {n: sum(k.values()) for n, k in central.items()},
        samples=central,
    )
    each = {name: [rss_mib(pid) for pid in pids[name][agents[name]]] for name in pids}
    rows.fill_sides(f"memory of an agent, {at}", {n: median(all_) for n, all_ in each.items()}, samples=each)


def burst(rows: Rows, stage: Stage, count: int) -> None:
    """`count` adds asked for as fast as they are taken, then one wait for all; then several in each call."""
    at = f"at {stage.ports:,} ports"
    _burst(rows, stage, f"burst: adds realized, {at}", count, 1)
    _burst(rows, stage, f"burst in calls of {TOGETHER}: adds realized, {at}", count, TOGETHER)


def _burst(rows: Rows, stage: Stage, row: str, count: int, together: int) -> None:
    guests = stage.layout.new(count)
    calls = [guests[first : first + together] for first in range(0, count, together)]
    rates: dict[str, float] = {}
    cpu_ms: dict[str, dict[str, float]] = {}
    for name, side in stage.sides.items():
        side.plug(guests)
        side.settle()
        before, start = _used_s(side), time.perf_counter()
        # The peer has one connection, like one ovn-nbctl: its database takes one transaction at a time.
        at_once(side.send_many, calls, CLIENTS if name == "ours" else 1)
        stage.tick(f"{row}: asked for within {time.perf_counter() - start:.1f} s")
        side.settle()
        rates[name] = count / (time.perf_counter() - start)
        cpu_ms[name] = {kind: (s - before[kind]) * 1e3 / count for kind, s in _used_s(side).items()}
    rows.fill_sides(row, rates, samples={"adds": count, "CPU an add, ms": cpu_ms})


def _used_s(side: Side) -> dict[str, float]:
    """CPU of each kind of process up to now; the clients are threads of this one."""
    return {**{kind: cpu_s(pids) for kind, pids in side.pids.items()}, "clients": time.process_time()}


def cold_start(rows: Rows, stage: Stage, rounds: int) -> None:
    """A host whose flow table is empty and whose agent is not running, until all is there again."""
    spent: dict[str, list[float]] = {name: [] for name in stage.sides}
    for number in COLD_STARTS.over(range(rounds)):
        for name, side in stage.sides.items():
            side.settle()
            before = side.flows(0)
            spent[name].append(side.cold_start(0))
            _until_flows(side, before)
        stage.tick(f"cold start {number + 1}/{rounds}")
    medians = {name: median(each) for name, each in spent.items()}
    samples = {**spent, "stages of ours": stage.ours.cold_stages}
    rows.fill_sides(f"cold start of a host, at {stage.ports:,} ports", medians, samples=samples)


def _until_flows(side: Side, count: int) -> None:
    """The table has as many flows as before; fails after a minute."""
    deadline = time.monotonic() + 60
    while (now := side.flows(0)) < count:
        assert time.monotonic() < deadline, f"{now} flows after a cold start, {count} before"
        time.sleep(0.05)


def drift(rows: Rows, stage: Stage, rounds: int) -> None:
    """100 flows of one host, deleted or altered by hand, in turn; until the table is what it was."""
    spent: dict[str, list[float]] = {"deleted": [], "altered": []}
    rng = random.Random(1)
    with TableChanges(stage.ours.bridges[:1]) as seen:
        for number in DRIFTS.over(range(rounds)):
            kind = ("deleted", "altered")[number % 2]
            spent[kind] += _repair(stage, seen, kind, rng)
            stage.tick(f"drift {number + 1}/{rounds}")
    every = [s for each in spent.values() for s in each]
    note = _peer_drift(stage) if stage.peer else ""
    rows.fill(f"drift of 100 flows until repaired, p99, at {stage.ports:,} ports",
              ours=percentile(every, 99), samples=dict(spent), note=note)  # fmt: skip


def _repair(stage: Stage, seen: TableChanges, kind: str, rng: random.Random) -> list[float]:
    """One round: how long it took, in s; nothing if the state itself changed meanwhile.

    (Half a minute after the last port of a policy profile the profile goes, and its flows.) A flow monitor
    tells when the table changed last, and a dump that it is right: to ask for dumps all the time would hold
    the switch up, and who repairs it.
    """
    host = stage.ours.hosts[0].switch

    def table() -> list[str]:
        wait_until(lambda: time.perf_counter() - seen.last_s > REST_S, DRIFT_DEADLINE_S, "a rest")
        return listed(host.ofctl("dump-flows", "--no-stats", "--no-names").stdout)

    stage.ours.settle()
    revision, wanted = stage.ours.revision(), table()
    harm = rng.sample(wanted, min(DRIFT_FLOWS, len(wanted)))
    script = host.dir / "harm"
    script.write_text("\n".join(_harm(line, kind) for line in harm) + "\n", encoding="utf-8")
    start = time.perf_counter()
    host.ofctl("add-flows", "--bundle", str(script))
    wait_until(
        lambda: table() == wanted or stage.ours.revision() != revision,
        DRIFT_DEADLINE_S,
        f"the table is as before {kind} flows",
    )
    return [seen.last_s - start] if stage.ours.revision() == revision else []


def _peer_drift(stage: Stage) -> str:
    """The same done to the peer, once and last: what its controller does about it."""
    assert stage.peer
    before = stage.peer.flows(0)
    stage.peer.chassis[0].ofctl("del-flows", "table=8")
    deadline = time.monotonic() + PEER_DRIFT_S
    while time.monotonic() < deadline:
        if stage.peer.flows(0) >= before:
            return "OVN repaired a deleted table"
        time.sleep(0.2)
    return f"OVN did not repair a deleted table within {PEER_DRIFT_S:g} s"


def listed(dump: str) -> list[str]:
    """The flows of a dump, sorted, without what is counted."""
    lines = (line.strip() for line in dump.splitlines() if "actions=" in line)
    return sorted(_COUNTERS.sub("", line) for line in lines)


def _harm(line: str, kind: str) -> str:
    """A command for ovs-ofctl's bundle: this flow goes, or does something else."""
    where, _, _ = line.partition(" actions=")
    where = re.sub(r"cookie=[^,]*, ?", "", where)
    return f"delete_strict {where}" if kind == "deleted" else f"modify_strict {where} actions=drop"
