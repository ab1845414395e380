"""A flow is understood exactly if the grammar says so of all of it, although only its form is shown to it."""

from __future__ import annotations

from random import Random

from hypothesis import given

from controller.flows import Flow
from controller.verify.grammar import Refused, fault
from controller.verify.packet import OFFSETS
from controller.verify.rules import match_cube, prepare
from controller.verify.world import World
from tests.support.flow_strategies import flows
from tests.support.mutations import MUTATIONS, Subject
from tests.support.worlds import compile_intent, random_intent

WORLDS, MUTANTS_EACH = 25, 30


def told(flow: Flow) -> bool:
    """Tell whether a flow is taken; that what it is taken for is what it says is asked by the way."""
    try:
        rule = prepare(flow)
    except Refused:
        assert fault(flow) is not None, flow
        return False
    assert fault(flow) is None, flow
    places = [(OFFSETS[term.field.name], term) for term in flow.match]
    value, mask = sum(t.value << at for at, t in places), sum(t.mask << at for at, t in places)
    assert rule.cube == match_cube(flow.match) == (value, mask)
    assert rule.key == (flow.table, flow.priority, value, mask)
    assert len(rule.steps) == len(flow.actions)
    return True


@given(flows())
def test_of_any_flow(flow: Flow) -> None:
    told(flow)


def test_of_what_the_compiler_makes_and_of_what_is_damaged() -> None:
    rng, answers = Random(3), set()
    for _ in range(WORLDS):
        world = World(random_intent(rng, tenants=2, hosts=2, ports=3))
        if len(world.by_ofport) < 2:
            continue
        good = compile_intent(world)  # type: ignore[arg-type]  # reads like an Intent
        everything = [good]
        for name in rng.choices(sorted(MUTATIONS), k=MUTANTS_EACH):
            damaged = MUTATIONS[name](Subject(rng, world, good))
            everything += [damaged] if damaged is not None else []
        seen = {id(flow): flow for states in everything for state in states.values() for flow in state.flows}
        answers |= {told(flow) for flow in seen.values()}
    assert answers == {True, False}
