"""How far the proof looks for who suffers: no change holds up everything else, and none passes unproved."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from cloison.names import HostName
from controller.flows import Flow, match
from controller.verify.budget import CHANGE_STEPS, Budget, Exhausted
from controller.verify.holding import HostChange
from controller.verify.intent import IntentDelta, PortIntent
from controller.verify.isolation import Verifier, change_to
from controller.verify.path import HostState
from controller.verify.violation import BLACKHOLE, UNPROVED, Violation
from controller.verify.world import World
from tests.bench.proof import by_cookie, states_of
from tests.mutants import difference
from tests.support.effort import examples
from tests.support.mutations import MUTATIONS, Subject
from tests.support.scale import large_intent
from tests.support.worlds import compile_intent, port_view, random_intent

H0 = HostName("h0")
# What one change may cost, in calls: it takes less than 0.3 s.
CALLS_MAX = 600_000


class Large:
    """Two tenants; as many hosts as it takes to have so many ports on each."""

    def __init__(self, ports: int, on_each: int = 20) -> None:
        self.intent = large_intent(ports=ports, tenants=2, hosts=ports // on_each)
        self.world = World(self.intent)
        self.states: dict[HostName, HostState] = states_of(self.world)
        self.verifier = Verifier(CHANGE_STEPS)
        changes = {host: change_to(state) for host, state in self.states.items()}
        assert self.verifier.check(IntentDelta.whole(self.intent), changes) == []

    def flow(self, wanted: Callable[[Flow], bool]) -> Flow:
        return next(flow for flow in self.states[H0].flows if wanted(flow))

    def own(self, port: PortIntent) -> list[Flow]:
        return by_cookie(self.states)[port.host][port_view(self.world, port).cookie]


def calls(work: Callable[[], list[Violation]]) -> tuple[int, list[Violation]]:
    """How many functions are called: what it costs, on any machine."""
    count = 0

    def called(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(called)
    try:
        found = work()
    finally:
        sys.setprofile(None)
    return count, found


def neighbours_unseen(large: Large) -> HostChange:
    """ND_GUARD drops what it should let through, of every port: nobody gets more than he should."""
    return HostChange(
        removed=[large.flow(lambda f: f.table == 5 and f.priority == 200 and f.goto is not None)]
    )


def any_sender(large: Large) -> HostChange:
    """ADMISSION lets everything through, from anywhere."""
    return HostChange(added=[Flow(table=0, priority=60000, match=match(), goto=20)])


@pytest.mark.slow
@pytest.mark.parametrize("damage", [neighbours_unseen, any_sender])
def test_what_is_wrong_for_all_costs_no_more_where_there_are_more(
    damage: Callable[[Large], HostChange],
) -> None:
    small, large = Large(80), Large(320)
    few, found_few = calls(lambda: small.verifier.check(None, {H0: damage(small)}))
    many, found_many = calls(lambda: large.verifier.check(None, {H0: damage(large)}))
    assert found_few
    assert found_many
    assert many < 2 * few


def undelivered(large: Large) -> HostChange:
    """FORWARD has lost all ports of the host."""
    return HostChange(removed=[f for f in large.states[H0].flows if f.table == 20 and f.priority >= 110])


def no_guard(large: Large) -> HostChange:
    """ND_GUARD lets everything through, past connection tracking."""
    return HostChange(added=[Flow(table=5, priority=60000, match=match(), goto=20)])


@pytest.mark.slow
@pytest.mark.parametrize("damage", [neighbours_unseen, any_sender, undelivered, no_guard])
def test_what_is_wrong_for_all_of_a_full_host_holds_up_nobody_for_long(
    damage: Callable[[Large], HostChange],
) -> None:
    """A hundred ports, of networks of hundreds: whatever there is to explain, the loop goes on soon."""
    large = Large(400, on_each=100)
    cost, found = calls(lambda: large.verifier.check(None, {H0: damage(large)}))
    assert found
    assert cost < CALLS_MAX


def test_once_it_is_known_to_be_wrong_no_search_takes_what_others_need() -> None:
    budget = Budget(1_000)
    budget.begin()
    budget.spend(300)
    budget.hurry(200)
    budget.begin()
    budget.spend(200)
    with pytest.raises(Exhausted):
        budget.spend()
    budget.begin()
    budget.spend(100)
    budget.begin()
    budget.spend(200)
    budget.begin()
    with pytest.raises(Exhausted):
        budget.spend(200)


@pytest.mark.slow
def test_a_port_without_its_flows_is_named_and_holds_up_nobody() -> None:
    large = Large(320)
    first, *_, last = large.world.ports_on(H0, sorted(large.world.networks)[0]).values()
    found = large.verifier.check(None, {H0: HostChange(removed=large.own(first))})
    assert found
    assert all(v.kind == BLACKHOLE and str(first.name) in v.objects for v in found)
    # Whatever happens next, in the same network and in others: nothing else is wrong.
    other = large.own(last)
    again = HostChange(removed=other[:1], added=[replace(other[0], cookie=7)])
    for violation in large.verifier.check(None, {H0: again}):
        assert violation.kind == BLACKHOLE
        assert str(first.name) in violation.objects
    assert large.verifier.check(None, {H0: HostChange(added=large.own(first))}) == []


@pytest.mark.slow
def test_two_ports_without_their_flows_are_both_named() -> None:
    """What is lost to the one does not hide what is lost to the other, of the same network and host."""
    large = Large(80)
    first, *_, last = large.world.ports_on(H0, sorted(large.world.networks)[0]).values()
    forward = [f for port in (first, last) for f in large.own(port) if f.table == 20]
    found = large.verifier.check(None, {H0: HostChange(removed=forward)})
    named = {name for violation in found for name in violation.objects}
    assert {str(first.name), str(last.name)} <= named


def test_what_was_not_looked_at_is_said() -> None:
    large = Large(80)
    hasty = Verifier(0)
    changes = {host: change_to(state) for host, state in large.states.items()}
    assert hasty.check(IntentDelta.whole(large.intent), changes) == []
    kinds = {violation.kind for violation in hasty.check(None, {H0: any_sender(large)})}
    assert UNPROVED in kinds


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_where_the_budget_ends_nothing_passes(seed: int) -> None:
    """Whatever is found with much time is not let through with little."""
    rng = Random(seed)
    for _ in range(examples(24)):
        intent = random_intent(rng, tenants=2, hosts=3, ports=3)
        world = World(intent)
        states = compile_intent(intent)
        whole = {host: change_to(state) for host, state in states.items()}
        for name in rng.sample(list(MUTATIONS), 2) if world.by_ofport else ():
            damaged = MUTATIONS[name](Subject(rng, world, states))
            if damaged is None:
                continue
            change = difference(states, damaged)
            told = []
            for steps in (CHANGE_STEPS, rng.choice((0, 3, 30, 300))):
                verifier = Verifier(steps)
                assert verifier.check(IntentDelta.whole(intent), whole) == []
                told.append({violation.kind for violation in verifier.check(None, change)})
            patient, hasty = told
            assert not patient or hasty, name
            assert not patient - {BLACKHOLE} or hasty - {BLACKHOLE}, name


@pytest.mark.slow
def test_a_correct_change_costs_no_more_where_there_are_more_hosts() -> None:
    """Nothing is made ready for the judge before somebody asks him."""
    cost = []
    for large in (Large(80), Large(640)):
        own = large.own(next(iter(large.world.ports_on(H0, sorted(large.world.networks)[0]).values())))
        change = HostChange(removed=own[:1], added=[replace(own[0], cookie=7)])
        many, found = calls(lambda c=change, v=large.verifier: v.check(None, {H0: c}))
        assert found == []
        cost.append(many)
    assert cost[1] < 1.2 * cost[0]
