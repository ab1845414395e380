"""Rounds of random changes and faults; after each all must be in force, proved, and as wanted."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.lab.spine import Site
from tests.soak import judge
from tests.soak.changes import Changes
from tests.soak.faults import Faults

CHANGES_A_ROUND = (5, 25)
FAULTS_A_ROUND = (0, 3)
PAUSE_MAX_S = 0.4


@dataclass
class Outcome:
    """What became of a soak; `complaints` is empty if it went well."""

    rounds: int = 0
    complaints: list[str] = field(default_factory=list)
    changes: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    admitted: int = 0
    kept_apart: int = 0
    resources: dict[str, list[dict[str, int]]] = field(default_factory=dict)


def soak(
    site: Site,
    *,
    seed: int,
    duration_s: float,
    kills: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Rounds until the time is over or one ends wrong."""
    dice = random.Random(seed)
    changes, faults = (
        Changes(site, random.Random(seed + 1)),
        Faults(site, random.Random(seed + 2), kills=kills),
    )
    outcome = Outcome(changes=changes.done, refused=changes.failed, faults=faults.done)
    deadline_s = time.monotonic() + duration_s
    while time.monotonic() < deadline_s and not outcome.complaints:
        outcome.rounds += 1
        outcome.complaints += _round(site, dice, changes, faults, outcome)
        for daemon in faults.daemons():
            outcome.resources.setdefault(daemon.key, []).append(judge.taken(daemon))
        pairs = f"{outcome.admitted} pairs admitted, {outcome.kept_apart} kept apart"
        say(f"round {outcome.rounds}: {sum(changes.done.values())} changes, {pairs}")
    outcome.complaints += judge.tracebacks(site)
    return outcome


def _round(site: Site, dice: random.Random, changes: Changes, faults: Faults, outcome: Outcome) -> list[str]:
    """Changes and faults beside each other, then peace; what is wrong after it."""
    count_changes, count_faults = dice.randint(*CHANGES_A_ROUND), dice.randint(*FAULTS_A_ROUND)
    with judge.tagged(site, random.Random(dice.random())) as leaks:
        breaking = threading.Thread(target=faults.some, args=(count_faults,), name="faults")
        breaking.start()
        for _ in range(count_changes):
            changes.one()
            # Spread over what breaks: calls that are refused at once would all fall into one moment.
            time.sleep(dice.uniform(0, PAUSE_MAX_S))
        breaking.join()
        faults.mend()
        try:
            site.wait_settled(judge.BACK_S)
        except Exception as error:  # noqa: BLE001 -- whatever kept it from settling is the finding
            return [f"not settled: {error}"]
    expected = judge.admitted(site)
    outcome.admitted += sum(expected.values())
    outcome.kept_apart += len(expected) - sum(expected.values())
    return [*leaks, *judge.unfinished(site), *judge.wrong(site, expected), *judge.unproved(site)]
