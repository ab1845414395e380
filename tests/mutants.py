"""Damage correct states in many ways, and see whether the proof notices exactly the harmful ones.

    python -m tests.mutants --n 10000 --out mutants.json

The judge of what is harmful is not the symbolic engine (tests/support/mutant_judge.py): it sends packets
through the damaged flows step by step (such as come to what was damaged, and ones made from its match) and
compares with the meaning, and with what connection tracking and meters are due to be asked. A flow that no
switch would take, a conjunction that is not defined, another device or another FDB than is due, and a frame
from the overlay that gets out of its network are harmful by themselves. A packet that the proof shows is
sent through as well: so a harm that the judge overlooked counts as harm (overlooked). What a report says of
a table that is the same for all, or of policy, needs no victim: if the judge finds none, it asks that table
alone, about packets that nobody in this world can bring there (latent). Any other report is a false alarm.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from random import Random

from cloison.names import HostName
from controller.verify.budget import CHANGE_STEPS
from controller.verify.holding import FdbChange, HostChange
from controller.verify.intent import IntentDelta, PortIntent
from controller.verify.isolation import Verifier, change_to
from controller.verify.path import HostState
from controller.verify.violation import Violation
from controller.verify.world import World
from tests.support.mutant_judge import Judge
from tests.support.mutations import MUTATIONS, States, Subject
from tests.support.worlds import compile_intent, random_intent

MUTANTS_PER_INTENT = 60
# So many pairs of ports of one network there are at least: harm needs somebody to suffer from it.
PAIRS_MIN = 6
FULL_CHECK_EVERY = 16
# A share of its own seed: what a run makes does not depend on how many processes make it.
MUTANTS_PER_SHARE = 500
SEEDS_PER_RUN = 1 << 20


@dataclass(slots=True)
class Score:
    """What became of the mutants of a kind.

    overlooked: harmful and caught, with a packet that the judge had not found. latent: reported, and harmful
    to nobody yet.
    """

    made: int = 0
    harmful: int = 0
    caught: int = 0
    missed: int = 0
    false_alarms: int = 0
    overlooked: int = 0
    latent: int = 0

    def plus(self, other: Score) -> Score:
        """Both together."""
        return Score(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Score)))


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


def run_shared(n: int, seed: int, processes: int) -> dict[str, Score]:
    """As `run`, in shares that processes make at once; n and seed alone decide what is made."""
    shares = [min(MUTANTS_PER_SHARE, n - done) for done in range(0, n, MUTANTS_PER_SHARE)]
    seeds = [seed * SEEDS_PER_RUN + number for number in range(len(shares))]
    # The order of a set decides what a random choice takes from it: processes that are spawned read this.
    os.environ["PYTHONHASHSEED"] = "0"
    total = {name: Score() for name in MUTATIONS}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for scores in pool.map(run, shares, seeds):
            for name, score in scores.items():
                total[name] = total[name].plus(score)
    return total


class _Bench:
    """One correct state, damaged again and again."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.checked = 0
        while True:
            intent = random_intent(rng, tenants=2, hosts=3, ports=3)
            self.world = World(intent)
            if sum(len(m) * (len(m) - 1) for m in self._members()) >= PAIRS_MIN:
                break
        self.states: States = compile_intent(intent)
        self.judge = Judge(rng, self.world, self.states)
        self.verifier = Verifier()
        delta = IntentDelta(
            hosts=intent.hosts, networks=intent.networks, ports=intent.ports, policies=intent.policies
        )
        wrong = self.verifier.check(delta, {h: change_to(s) for h, s in self.states.items()})
        assert not wrong, wrong[0]

    def _members(self) -> Iterator[list[PortIntent]]:
        for name in self.world.networks:
            yield [p for p in self.world.members_of(name).ports.values() if p.host is not None]

    def try_one(self, name: str, score: Score) -> bool:
        """Make one mutant, judge it, ask the proof, undo it; False if this kind cannot be made here."""
        damaged = MUTATIONS[name](Subject(self.rng, self.world, self.states))
        if damaged is None or not difference(self.states, damaged):
            return False
        found = self.judge.harmful(damaged)
        reported = self._reported(damaged, CHANGE_STEPS)
        if not (found and reported):
            # Harm is still to be shown, or its absence to be seen to the end.
            reported = self._reported(damaged, None)
        shown = not found and any(self.proves(violation, damaged) for violation in reported)
        harmful = found or shown
        latent = bool(reported) and not harmful and self.judge.differs(damaged)
        score.made += 1
        score.overlooked += shown
        score.latent += latent
        score.harmful += harmful
        score.caught += bool(reported) and harmful
        score.missed += harmful and not reported
        score.false_alarms += bool(reported) and not harmful and not latent
        return True

    def _reported(self, damaged: States, steps: int | None) -> list[Violation]:
        """What the proof says of the change, as the gate asks it; now and then, all is looked through too."""
        self.verifier.steps = steps
        reported = self.verifier.check(None, difference(self.states, damaged))
        self.checked += 1
        if not reported and self.checked % FULL_CHECK_EVERY == 0:
            missed = self.verifier.check_everything()
            assert not missed, f"seen only when all is looked through: {missed[0]}"
        undone = self.verifier.check(None, difference(damaged, self.states))
        assert not undone, f"not whole again: {undone[0]}"
        return reported

    def proves(self, violation: Violation, damaged: States) -> bool:
        """Tell whether the packet of a violation is really mistreated."""
        if violation.packet is None or violation.host is None:
            return False
        fabric = self.judge.fabric(damaged)
        return self.judge.mistreated(fabric, violation.host, violation.in_port, violation.packet)


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
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at once")
    given = parser.parse_args()
    scores = run_shared(given.n, given.seed, given.processes)
    total = Counter[str]()
    for score in scores.values():
        total.update(asdict(score))
    head = tuple(f.name for f in fields(Score))
    print(f"{'kind':36}" + "".join(f"{h:>13}" for h in head))
    for name, row in [*((k, asdict(v)) for k, v in scores.items()), ("all", dict(total))]:
        print(f"{name:36}" + "".join(f"{row[h]:13}" for h in head))
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
