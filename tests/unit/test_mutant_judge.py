"""The judge of damaged states: what is harm, and what only looks like it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address
from random import Random
from typing import Any

import pytest

from cloison.names import HostName
from controller.flows import Conjunction, Ct, Flow, MatchTerm
from controller.verify.packet import Packet
from controller.verify.path import Fabric, HostState, Journey
from controller.verify.world import World
from tests.support.mutant_corpus import Probe
from tests.support.mutant_judge import Judge
from tests.support.mutations import MUTATIONS, States
from tests.support.worlds import compile_intent, random_intent

pytestmark = pytest.mark.slow
METER, COMMIT = 31, 26


@cache
def made(seed: int) -> tuple[Judge, Any]:
    """The judge of a seed, and where its rng stands."""
    rng = Random(seed)
    while True:
        world = World(random_intent(rng, tenants=2, hosts=2, ports=4))
        if len(world.by_ofport) > 3 and any(host.service_ofport for host in world.hosts.values()):
            judge = Judge(rng, world, compile_intent(world))  # type: ignore[arg-type]  # reads like an Intent
            return judge, rng.getstate()


@pytest.fixture(params=(3, 5, 9))
def judge(request: pytest.FixtureRequest) -> Judge:
    judge, state = made(request.param)
    judge.rng.setstate(state)
    return judge


def edited(judge: Judge, host: HostName, flows: list[Flow]) -> States:
    state = judge.states[host]
    return {**judge.states, host: HostState(flows, state.fdb, state.devices)}


def spot(judge: Judge, table: int) -> tuple[HostName, list[Flow], int]:
    """A host that has ports, its flows, and which of them is one of a table."""
    for host in judge.world.on_host:
        flows = list(judge.states[host].flows)
        for at, flow in enumerate(flows):
            if flow.table == table and (flow.meter is not None or flow.priority > 100):
                return host, flows, at
    raise AssertionError(f"nothing in table {table}")


def test_there_are_kinds_for_everything_the_pipeline_does() -> None:
    assert len(MUTATIONS) >= 100


def test_the_right_state_is_right(judge: Judge) -> None:
    for _ in range(3):
        assert not judge.harmful(judge.states)


def test_an_empty_database_leads_nobody_astray(judge: Judge) -> None:
    host, state = next(iter(judge.states.items()))
    for entries, harmful in (({}, False), ({0x020000000001: IPv4Address("172.16.0.9")}, True)):
        fdb = {**state.fdb, 0x123456: entries}
        assert judge.harmful({**judge.states, host: HostState(state.flows, fdb, state.devices)}) == harmful


def test_a_number_that_no_port_has_may_have_a_meter(judge: Judge) -> None:
    host, flows, at = spot(judge, METER)
    number = next(term for term in flows[at].match if term.field.name == "reg1")
    wider = MatchTerm(number.field, number.value, number.mask & ~(1 << 20))
    flows[at] = replace(flows[at], match=(wider,))
    assert not judge.harmful(edited(judge, host, flows))


def test_a_conjunction_of_two_priorities_is_not_defined(judge: Judge) -> None:
    for host in judge.world.on_host:
        flows = list(judge.states[host].flows)
        for at, flow in enumerate(flows):
            parts = [a for a in flow.actions if isinstance(a, Conjunction)]
            if len(parts) == 1:
                flows[at] = replace(flow, priority=flow.priority + 1)
                assert judge.harmful(edited(judge, host, flows))
                return


def test_a_connection_that_is_not_remembered_is_harm() -> None:
    """No packet shows it by itself."""
    rng = Random(11)
    for _ in range(12):
        world = World(random_intent(rng, tenants=1, hosts=1, ports=6))
        if len(world.by_ofport) < 4:
            continue
        judge = Judge(rng, world, compile_intent(world))  # type: ignore[arg-type]  # reads like an Intent
        host = next(iter(judge.world.on_host))
        flows = [
            replace(f, actions=tuple(a for a in f.actions if not isinstance(a, Ct)))
            if f.table == COMMIT
            else f
            for f in judge.states[host].flows
        ]
        if judge.harmful(edited(judge, host, flows)):
            return
    raise AssertionError("no packet after it shows it either")


def test_one_who_gets_it_twice_does_not_make_up_for_one_who_does_not() -> None:
    def spreads() -> tuple[Judge, Probe, Journey]:
        for seed in range(40):
            judge, _ = made(seed)
            for arrivals in judge.corpus.arrivals.values():
                for arrival in arrivals:
                    journey = judge.right.walk(*arrival.probe)
                    if len(journey.deliveries) > 1 and arrival.probe[:2] in judge.world.by_ofport:
                        return judge, arrival.probe, journey
        raise AssertionError("nothing reaches two ports")

    judge, probe, journey = spreads()

    class Astray(Fabric):
        def walk(self, host: HostName, in_port: int, packet: Packet) -> Journey:
            first, *others = journey.deliveries
            return replace(journey, deliveries=(first,) * (1 + len(others)))

    assert not judge.mistreated(judge.right, *probe)
    assert judge.mistreated(Astray(judge.states, judge.world.by_vtep), *probe)
