"""Verdicts taken over from contracts of the same shape are those that the rules themselves would give.

One memory for all intents and all kinds of damage: what it has learnt from a good state must not pass for a
bad one elsewhere, nor the other way round.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random

from controller.verify import admission, forwarding
from controller.verify.forwarding import Place
from controller.verify.grammar import Refused
from controller.verify.holding import Held
from controller.verify.known import Known
from controller.verify.symbolic import Undefined
from controller.verify.world import World
from tests.support.mutations import MUTATIONS, States, Subject
from tests.support.worlds import compile_intent, random_intent

STATES = int(os.environ.get("STATES", "40"))
MUTANTS_EACH = 12


def test_known_and_proved_agree() -> None:
    rng, known = Random(5), Known()
    answers: list[bool | None] = []
    for _ in range(STATES):
        world = World(random_intent(rng, tenants=2, hosts=3, ports=3))
        if len(world.by_ofport) < 2:
            continue
        good = compile_intent(world)  # type: ignore[arg-type]  # reads like an Intent
        answers += compared(known, world, good)
        for name in rng.sample(sorted(MUTATIONS), MUTANTS_EACH):
            damaged = MUTATIONS[name](Subject(rng, world, good))
            if damaged is not None:
                answers += compared(known, world, damaged, only=changed(good, damaged))
    assert {True, False} <= set(answers)


def changed(good: States, damaged: States) -> set[str]:
    return {host for host, state in damaged.items() if state is not good.get(host)}


def compared(known: Known, world: World, states: States, only: set[str] | None = None) -> list[bool | None]:
    answers = []
    for host, state in states.items():
        held = Held()
        try:
            for flow in state.flows:
                held.add(flow)
        except Refused:
            continue
        if held.irregular or (only is not None and host not in only):
            continue
        for ofport in world.ofports_of(host):
            answers.append(
                same(
                    lambda h=host, o=ofport, b=held.bridge: known.admission(b, world, h, o),
                    lambda h=host, o=ofport, b=held.bridge: admission.admission(b, world, h, o),
                )
            )
        for name in world.on_host.get(host, ()):
            place = Place(world.members_of(name), host, world.networks[name])
            every = sorted({*place.members.by_frame_mac, 0x02AABBCCDDEE, 0x0AF00A000063, 0x0AF600000063})
            for macs in (None, *((mac,) for mac in every)):
                answers.append(
                    same(
                        lambda b=held.bridge, p=place, m=macs: known.forwarding(b, p, m),
                        lambda b=held.bridge, p=place, m=macs: forwarding.forwarding(b, p, m),
                    )
                )
    return answers


def same(one: Callable[[], bool], other: Callable[[], bool]) -> bool | None:
    """Both answers, None for `not defined`: what is not defined is never taken for fine."""
    mine, wanted = answer(one), answer(other)
    assert bool(mine) == bool(wanted)
    return wanted


def answer(ask: Callable[[], bool]) -> bool | None:
    try:
        return ask()
    except Undefined:
        return None
