"""Rows about single changes on a filled cloud: a port comes or goes, a rule is taken away.

Ours and the peer's samples alternate, so that whatever else the machine does meets both alike.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bench.catalogue import Rows
from tests.bench.layout import Guest
from tests.bench.pace import Pace
from tests.bench.procs import cpu_s
from tests.bench.stage import Side, Stage
from tests.bench.stats import median, percentile
from tests.bench.watch import DELETED, TableChanges

SETTLE_S = 0.3
"""After each sample: what a change leaves to be done (a port reported up) is no part of the next one."""
WARM_UP = 2
IDLE_S = 3.0
ADDS, DELETIONS = Pace(90.0, least=8 + WARM_UP), Pace(45.0)
"""What of each kind may take, both sides together."""


@dataclass
class Taken:
    """Samples of one kind of change on one side. `table_ms`: until the last change of a watched table."""

    ms: list[float] = field(default_factory=list)
    cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    table_ms: list[float] = field(default_factory=list)


def take(side: Side, change: Callable[[Guest], None], guest: Guest, into: Taken) -> float:
    """One sample: its duration, and what each kind of process used until all is quiet; when it began."""
    before = {kind: cpu_s(pids) for kind, pids in side.pids.items()}
    start = time.perf_counter()
    change(guest)
    into.ms.append((time.perf_counter() - start) * 1e3)
    time.sleep(SETTLE_S)
    for kind, pids in side.pids.items():
        into.cpu_ms.setdefault(kind, []).append((cpu_s(pids) - before[kind]) * 1e3)
    return start


def take_away(stage: Stage, verb: str, guests: list[Guest]) -> dict[str, Taken]:
    """As `add_all`, of another change, and when the last flow was gone from the last switch."""
    taken = {name: Taken() for name in stage.sides}
    for count, guest in enumerate(DELETIONS.over(guests)):
        for name, side in stage.sides.items():
            with TableChanges(side.bridges, DELETED) as seen:
                start = take(side, getattr(side, verb), guest, taken[name])
            assert seen.last_s > start, f"{verb} of {guest.id}: no flow was deleted on {name}"
            taken[name].table_ms.append((seen.last_s - start) * 1e3)
        stage.tick(f"{verb} {count + 1}/{len(guests)}")
    return taken


def add_all(stage: Stage, guests: list[Guest], pace: Pace = ADDS) -> tuple[dict[str, Taken], list[Guest]]:
    """Adds on both sides, in turn, and who was added; the first ones warm up and do not count."""
    taken = {name: Taken() for name in stage.sides}
    done: list[Guest] = []
    for guest in pace.over(guests):
        for name, side in stage.sides.items():
            take(side, side.add, guest, taken[name] if len(done) >= WARM_UP else Taken())
        done.append(guest)
        stage.tick(f"add {len(done)}/{len(guests)}")
    return taken, done


def add_watched(stage: Stage, guests: list[Guest], hosts: int, pace: Pace) -> dict[str, Taken]:
    """As `add_all`, and when the last change of any of the first `hosts` tables was."""
    taken = {name: Taken() for name in stage.sides}
    with contextlib.ExitStack() as stack:
        seen = {n: stack.enter_context(TableChanges(s.bridges[:hosts])) for n, s in stage.sides.items()}
        for count, guest in enumerate(pace.over(guests)):
            for name, side in stage.sides.items():
                start = take(side, side.add, guest, taken[name])
                assert seen[name].last_s > start, f"add of {guest.id}: no table was changed on {name}"
                taken[name].table_ms.append((seen[name].last_s - start) * 1e3)
            stage.tick(f"add, tables watched, {count + 1}/{len(guests)}")
    return taken


def plug(stage: Stage, guests: list[Guest]) -> None:
    """Plug on both sides who is to be added."""
    for side in stage.sides.values():
        side.plug(guests)
    time.sleep(2)  # agents report, databases settle: none of it is an add
    for side in stage.sides.values():
        side.settle()


def measure(rows: Rows, stage: Stage, count: int) -> None:
    """Fill the rows of this module for one stage; `count` samples of each kind."""
    guests = stage.layout.new(count + WARM_UP)
    plug(stage, guests)
    at = f"at {stage.ports:,} ports"
    resting = {name: idle(side) for name, side in stage.sides.items()}
    added, there = add_all(stage, guests)
    enter(rows, f"add a port, p50, {at}", added, 50)
    enter(rows, f"add a port, p95, {at}", added, 95)
    _enter_cpu(rows, f"CPU an add, all processes, {at}", added, resting)
    half = len(there) // 2
    for what, verb, those in (
        ("revoke a rule", "revoke", there[:half]),
        ("delete a port", "delete", there[half:]),
    ):
        taken = take_away(stage, verb, those)
        enter(rows, f"{what}, p50, {at}", taken, 50)
        enter(rows, f"{what}, p99, {at}", taken, 99)
        gone = {side: median(t.table_ms) for side, t in taken.items()}
        rows.fill_sides(f"{what}: out of the last flow table, p50, {at}", gone)


def enter(rows: Rows, name: str, taken: dict[str, Taken], rank: float, note: str = "") -> None:
    """A percentile of both sides, with all samples."""
    figures = {side: percentile(t.ms, rank) for side, t in taken.items()}
    samples = {side: [round(ms, 3) for ms in t.ms] for side, t in taken.items()}
    rows.fill_sides(name, figures, samples, note)


def idle(side: Side) -> dict[str, float]:
    """What each kind of process uses when nothing is asked for, in ms a second: a part of every figure."""
    before = {kind: cpu_s(pids) for kind, pids in side.pids.items()}
    time.sleep(IDLE_S)
    return {kind: (cpu_s(pids) - before[kind]) * 1e3 / IDLE_S for kind, pids in side.pids.items()}


def cpu_means(taken: dict[str, Taken]) -> dict[str, dict[str, float]]:
    """{side: {kind of process: ms of CPU a sample}}."""
    return {side: {kind: sum(ms) / len(ms) for kind, ms in t.cpu_ms.items()} for side, t in taken.items()}


def _enter_cpu(rows: Rows, name: str, taken: dict[str, Taken], resting: dict[str, dict[str, float]]) -> None:
    means = cpu_means(taken)
    samples = {**means, "idle, ms a second": resting}
    rows.fill_sides(name, {side: sum(kinds.values()) for side, kinds in means.items()}, samples=samples)
