"""Units exchanged by what differs end as if each had been taken out and put in anew."""

from __future__ import annotations

from functools import cache
from random import Random

import pytest

from controller.flows import Flow, match
from controller.reconcile.exchange import LARGE, between, renewed
from controller.reconcile.flowset import FlowSet, Unit
from tests.support.effort import examples


class Plain(FlowSet):
    """Takes out every unit that is another, and puts it in anew."""

    def _exchange(self, changed: object) -> bool:
        return False


def flow(key: int, cookie: int = 0, goto: int = 1) -> Flow:
    return Flow(table=0, priority=1, match=match(in_port=key), goto=goto, cookie=cookie)


# The same object each time, as the compiler's are where nothing has changed.
one_flow = cache(flow)


def state_of(flows: FlowSet) -> tuple[object, ...]:
    owners = flows.owners(flows.desired.keys())
    assert owners.keys() == flows.desired.keys()
    units = {unit: set(flows.flows_of(unit)) for unit in flows.units}
    return dict(flows.desired), owners, units, flows._by_cookie


@pytest.mark.parametrize("seed", range(examples(80)))
def test_one_by_one_is_as_all_anew(seed: int) -> None:
    rng, quick, plain = Random(seed), FlowSet(), Plain()
    units: list[Unit] = [("port", n) for n in range(3)]
    for _ in range(30):
        changed = {}
        for unit in rng.sample(units, rng.randint(1, 3)):
            # Mostly keys of its own; now and then another's, or one twice.
            keys = rng.choices(range(10 * units.index(unit), 10 * units.index(unit) + 6), k=rng.randint(0, 4))
            keys = keys if rng.random() < 0.2 else list(dict.fromkeys(keys))
            if rng.random() < 0.2:
                keys.append(rng.randrange(30))
            cookie = units.index(unit) + rng.choice((0, 0, 10))
            changed[unit] = tuple(
                rng.choice((flow, one_flow))(key, cookie, rng.choice((1, 1, 2))) for key in keys
            )
        conflicts = [(c.unit, c.other, c.key) for c in quick.set_units(changed)]
        assert conflicts == [(c.unit, c.other, c.key) for c in plain.set_units(changed)]
        assert state_of(quick) == state_of(plain)
        if rng.random() < 0.5:
            ours, theirs = quick.take(), plain.take()
            assert set(ours.delta.add) == set(theirs.delta.add)
            assert set(ours.delta.modify) == set(theirs.delta.modify)
            assert set(ours.delta.delete) == set(theirs.delta.delete)
            for flows, step in ((quick, ours), (plain, theirs)):
                flows.applied(step.delta)
                flows.flushed((*step.zones, *step.free))


@pytest.mark.parametrize("size", [3, LARGE])
def test_a_difference_is_of_the_flows_asked_about(size: int) -> None:
    before = tuple(flow(n) for n in range(size))
    for changed in range(size):
        after = tuple(flow(n, goto=2 if n == changed else 1) for n in range(size))
        for _ in range(2):
            assert between(before, after) == ((flow(changed),), (flow(changed, goto=2),))
            assert between(after, before) == ((flow(changed, goto=2),), (flow(changed),))
    assert between(before, tuple(flow(n) for n in range(size))) == ((), ())


@pytest.mark.parametrize("seed", range(examples(80)))
def test_whether_flows_are_the_same_objects_changes_no_difference(seed: int) -> None:
    rng = Random(seed)

    def some() -> tuple[Flow, ...]:
        keys = rng.sample(range(LARGE), rng.randint(1, LARGE))
        return tuple(rng.choice((flow, one_flow))(n, 0, rng.choice((1, 2))) for n in keys)

    for _ in range(20):
        before, after = some(), some()
        gone, come = between(before, after)
        assert gone == tuple(f for f in before if f not in after)
        assert come == tuple(f for f in after if f not in before)
        assert renewed(before, after) == after
        twice = (*after, rng.choice((flow, one_flow))(*_said(rng.choice(after))))
        assert between(before, twice) == (before, twice)


def _said(made: Flow) -> tuple[int, int, int]:
    assert made.goto is not None
    return made.match[0].value, made.cookie, made.goto


def test_what_is_equal_is_made_the_same() -> None:
    before = tuple(flow(n) for n in range(4))
    assert renewed(before, tuple(flow(n) for n in range(4))) is before
    made = renewed(before, (flow(9), flow(2), flow(0)))
    assert made == (flow(9), flow(2), flow(0))
    assert made[1] is before[2]
    assert made[2] is before[0]
