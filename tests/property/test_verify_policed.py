"""What is remembered of policy is what would be found without any memory.

Over random histories of correct changes, and over random damage of random intents, with one memory for all.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from controller.verify.grammar import Refused
from controller.verify.holding import Held
from controller.verify.policed import Policed
from controller.verify.world import World
from tests.property.test_gate_follows import Gated
from tests.support.intents import World as Intents
from tests.support.mutations import MUTATIONS, States, Subject
from tests.support.worlds import compile_intent, random_intent

STATES = int(os.environ.get("STATES", "40"))
MUTANTS_EACH = 12


@pytest.mark.parametrize("seed", range(6))
def test_after_each_change_of_a_history(seed: int) -> None:
    history, gated = Intents(seed), Gated()
    for revision in history.history(60):
        gated.follow(revision, history.state)
        verifier = gated.gate._verifier
        for host, held in verifier.hosts.items():
            for tenant in verifier.world.tenants_on(host):
                assert verifier.world.has_tenant(host, tenant)
                assert host in verifier.world.hosts_of(tenant)
                remembered = verifier._policed.wrong(held.bridge, verifier.world, tenant)
                assert remembered == Policed().wrong(held.bridge, verifier.world, tenant)


def test_over_damage() -> None:
    rng, policed = Random(11), Policed()
    verdicts: set[bool] = set()
    for _ in range(STATES):
        world = World(random_intent(rng, tenants=2, hosts=2, ports=3))
        good = compile_intent(world)  # type: ignore[arg-type]  # reads like an Intent
        verdicts |= compared(policed, world, good)
        # (Damage is often about the MAC of some port.)
        for name in rng.sample(sorted(MUTATIONS), MUTANTS_EACH) if world.ports else ():
            damaged = MUTATIONS[name](Subject(rng, world, good))
            if damaged is not None:
                verdicts |= compared(policed, world, damaged)
    assert verdicts == {True, False}


def compared(policed: Policed, world: World, states: States) -> set[bool]:
    """Ask twice of each tenant on each host; return whether anything was wrong."""
    answers = set()
    for host, state in states.items():
        held = Held()
        try:
            for flow in state.flows:
                held.add(flow)
        except Refused:
            continue
        for tenant in world.tenants_on(host):
            wanted = Policed().wrong(held.bridge, world, tenant)
            for _ in range(2):
                found = policed.wrong(held.bridge, world, tenant)
                assert set(map(str, found)) == set(map(str, wanted))
            answers.add(bool(wanted))
    return answers
