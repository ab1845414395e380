"""Steps of a flow set: no flow comes into a zone that remembers somebody else, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from random import Random

import pytest

from cloison.model import AddressPair, Vni
from controller.compiler import PortView, port_flows
from controller.compiler.pipeline import DELIVER, EGRESS, FORWARD, INGRESS
from controller.compiler.registers import CLAIMED_IP, TO_PORT
from controller.flows import Flow, match
from controller.flows.delta import FlowDelta, InstalledFlow, InstalledFlows
from controller.reconcile.counting import ADMITTING as ADMITTING_TABLES
from controller.reconcile.flowset import FlowSet, Step
from controller.reconcile.zones import NOBODY, may_keep, owner_of, zone_of
from tests.support.effort import examples

ADMITTING = {table.number for table in ADMITTING_TABLES}
A, B = ip_address("10.0.0.5"), ip_address("10.0.0.6")
PORT = PortView(
    tenant_number=1, port_number=7, vni=Vni(5001), ofport=3, mac=0x020000000005, addresses=(A,), profile=16
)


def unit(view: PortView) -> tuple[str, int]:
    return ("port", view.port_number)


def settle(flows: FlowSet) -> list[Step]:
    """Carry out every step; return them."""
    steps = []
    while flows.dirty:
        step = flows.take()
        flows.flushed(step.free)
        flows.applied(step.delta)
        flows.flushed(step.zones)
        steps.append(step)
    return steps


def holding(*views: PortView) -> FlowSet:
    """A flow set whose switch holds these ports, and has settled."""
    flows = FlowSet()
    flows.set_units({unit(view): port_flows(view) for view in views})
    settle(flows)
    return flows


def flushed(steps: list[Step]) -> list[int]:
    return [zone for step in steps for zone in (*step.free, *step.zones)]


def restarted(flows: FlowSet, *views: PortView) -> FlowSet:
    """What a new process, which wants these ports, knows of the same switch."""
    new = FlowSet()
    new.set_units({unit(view): port_flows(view) for view in views})
    new.observed(InstalledFlows({key: InstalledFlow(flow, 0, 0) for key, flow in flows.installed.items()}))
    return new


def test_a_zone_of_which_nothing_is_known_is_flushed_before_its_first_flow() -> None:
    flows = FlowSet()
    flows.set_units({unit(PORT): port_flows(PORT)})
    (step,) = settle(flows)
    assert (step.free, step.zones) == ((3,), ())
    assert set(step.delta.add) == set(port_flows(PORT))


def test_a_zone_is_not_free_while_anything_goes_that_might_use_it() -> None:
    flows, other = holding(PORT), replace(PORT, port_number=8)
    admission = next(flow for flow in flows.installed.values() if zone_of(flow) is not None)
    new = FlowSet()
    new.set_units({unit(other): port_flows(other)})
    # All of the former owner's flows are left but those that say who it was.
    left = {k: f for k, f in flows.installed.items() if zone_of(f) is None}
    assert len(left) < len(flows.installed)
    new.observed(InstalledFlows({key: InstalledFlow(flow, 0, 0) for key, flow in left.items()}))
    first, second = settle(new)
    assert first.zones == (zone_of(admission),)
    assert not first.free
    assert set(first.delta.delete) | set(second.delta.modify) | set(second.delta.add) >= left.keys()
    assert not second.free


def test_a_zone_is_free_whatever_becomes_of_policy() -> None:
    """A port that comes with a rule of its own is one bundle: no policy says in which zone a packet comes."""
    flows, tenant = FlowSet(), ("policy", 1)
    before, after = (
        Flow(table=EGRESS.number, priority=100, match=match(reg6=profile), goto=INGRESS.number)
        for profile in (16, 17)
    )
    flows.set_units({tenant: (before,)})
    settle(flows)
    flows.set_units({tenant: (after,), unit(PORT): port_flows(PORT)})
    (step,) = settle(flows)
    assert (step.free, step.zones) == ((3,), ())
    assert set(step.delta.add) == {after, *port_flows(PORT)}
    assert step.delta.delete == (before.key,)


def test_a_zone_is_not_free_while_somebody_is_still_sent_there() -> None:
    """A flow that nobody wants any more leads to the port that another one gets."""
    flows = FlowSet()
    there = match(reg0=1, eth_dst=2)
    stray = Flow(
        table=FORWARD.number, priority=9, match=there, actions=(TO_PORT.load(3),), goto=DELIVER.number
    )
    flows.set_units({("network", 1): (stray,)})
    settle(flows)
    flows.set_units({("network", 1): (), unit(PORT): port_flows(PORT)})
    first, second = settle(flows)
    assert (first.delta.delete, first.free, first.zones) == ((stray.key,), (), (3,))
    assert set(second.delta.add) == set(port_flows(PORT))


@pytest.mark.parametrize(
    "after",
    [
        replace(PORT, port_number=8),
        replace(PORT, tenant_number=2),
        replace(PORT, addresses=(B,)),
        replace(PORT, addresses=()),
        replace(PORT, mac=0x020000000009),
        replace(PORT, profile=1),
    ],
    ids=["port", "tenant", "address", "none", "mac", "open"],
)
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_another_owner_finds_the_zone_empty(after: PortView, restart: bool) -> None:
    flows = holding(PORT)
    if restart:
        flows = restarted(flows, after)
    else:
        flows.set_units({unit(PORT): ()})
        flows.set_units({unit(after): port_flows(after)})
    first, second = settle(flows)
    assert not first.delta.add
    assert not first.delta.modify
    assert set(first.delta.delete) == {flow.key for flow in port_flows(PORT)}, "not one of the old is left"
    assert first.zones == (3,)
    assert set(second.delta.add) == set(port_flows(after))
    assert not second.zones


@pytest.mark.parametrize(
    "after",
    [
        PORT,
        replace(PORT, profile=17),
        replace(PORT, addresses=(A, B)),
        replace(PORT, allowed_address_pairs=(AddressPair(ip_network("10.0.0.64/26")),)),
    ],
    ids=["same", "groups", "one more address", "pair"],
)
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_who_keeps_its_addresses_keeps_its_connections(after: PortView, restart: bool) -> None:
    flows = holding(PORT)
    if restart:
        flows = restarted(flows, after)
    else:
        flows.set_units({unit(after): port_flows(after)})
    steps = settle(flows)
    assert not flushed(steps)
    assert not any(step.delta.delete for step in steps), "nothing is taken away even for a moment"
    assert set(flows.installed.values()) == set(port_flows(after))


def test_a_zone_is_flushed_when_its_port_goes_and_is_ready_for_the_next() -> None:
    flows = holding(PORT)
    flows.set_units({unit(PORT): ()})
    (step,) = settle(flows)
    assert step.zones == (3,)
    assert not flows.installed
    other = replace(PORT, port_number=8)
    flows.set_units({unit(other): port_flows(other)})
    assert not flushed(settle(flows)), "nobody has used it since"


def test_a_port_under_another_number_leaves_nothing_behind() -> None:
    flows, moved = holding(PORT), replace(PORT, ofport=4)
    flows.set_units({unit(PORT): port_flows(moved)})
    first, second = settle(flows)
    assert set(first.zones) == {3, 4}
    assert not first.delta.add
    assert set(flows.installed.values()) == set(port_flows(moved))
    assert not second.zones


def test_a_flush_that_failed_is_made_up_for() -> None:
    """The switch was lost between the removal and the flush: what it forgot is not known."""
    flows, other = holding(PORT), replace(PORT, port_number=8)
    flows.set_units({unit(PORT): (), unit(other): port_flows(other)})
    flows.applied(flows.take().delta)
    assert flushed(settle(restarted(flows, other))) == [3]
    assert flushed(settle(flows)) == [3], "nor did this process see it flushed"


def test_what_others_did_to_a_zone_while_the_switch_was_away_is_not_known() -> None:
    flows = holding(PORT)
    flows.set_units({unit(PORT): ()})
    settle(flows)
    flows.observed(InstalledFlows({}))
    flows.set_units({unit(PORT): port_flows(PORT)})
    assert flushed(settle(flows)) == [3]


def test_two_ports_in_one_zone_share_no_connections() -> None:
    flows, other = holding(PORT), replace(PORT, port_number=8, mac=0x020000000008, addresses=(B,))
    flows.set_units({unit(other): tuple(f for f in port_flows(other) if f.table in ADMITTING and f.goto)})
    assert flushed(settle(flows)) == [3]


def test_a_bundle_that_failed_leaves_nothing_to_be_believed() -> None:
    flows = FlowSet()
    flows.set_units({unit(PORT): port_flows(PORT)})
    step = flows.take()
    flows.flushed((*step.free, *step.zones))
    flows.failed(step.delta)
    flows.set_units({unit(PORT): ()})
    assert not settle(flows)[-1].delta.add
    assert not flows.installed


def test_others_do_not_wait_for_a_flush() -> None:
    flows, other = holding(PORT), replace(PORT, port_number=9, ofport=4, mac=0x020000000009, addresses=(B,))
    flows.set_units({unit(other): port_flows(other)})
    settle(flows)
    changed, new = replace(other, profile=17), replace(PORT, port_number=8)
    flows.set_units({unit(PORT): (), unit(new): port_flows(new), unit(other): port_flows(changed)})
    first = flows.take()
    assert {flow.cookie for flow in first.delta.modify} == {changed.cookie}


def test_an_owner_is_a_port_with_its_addresses() -> None:
    owner = owner_of(f for f in port_flows(PORT) if zone_of(f) == 3)
    both = owner_of(f for f in port_flows(replace(PORT, addresses=(A, B))) if zone_of(f) == 3)
    assert may_keep(owner, both)
    assert not may_keep(both, owner), "what is given up may be another's next"
    assert not may_keep(NOBODY, owner)
    assert not may_keep(owner, NOBODY)


class Memory:
    """A switch with zones that remember each guest ever admitted, until they are flushed."""

    def __init__(self) -> None:
        self.held: dict[object, Flow] = {}
        self.remembered: dict[int, set[tuple[int, int]]] = {}

    def carry_out(self, step: Step) -> None:
        self.flush(step.free)
        self.apply(step.delta)
        self.flush(step.zones)

    def flush(self, zones: Iterable[int]) -> None:
        for zone in zones:
            assert zone not in self.admitted(), "a zone is flushed while somebody uses it"
            self.remembered.pop(zone, None)

    def apply(self, delta: FlowDelta) -> None:
        for key in delta.delete:
            del self.held[key]
        self.held.update((flow.key, flow) for flow in (*delta.add, *delta.modify))
        for zone, guests in self.admitted().items():
            assert self.remembered.get(zone, set()) <= guests, "a connection is inherited"
            self.remembered.setdefault(zone, set()).update(guests)

    def admitted(self) -> Mapping[int, set[tuple[int, int]]]:
        found: dict[int, set[tuple[int, int]]] = {}
        for flow in self.held.values():
            terms = {t.field.name: t.value for t in flow.match}
            source = terms.get("ipv4_src") or terms.get(CLAIMED_IP.field.name)
            if flow.table in ADMITTING and source:
                found.setdefault(terms["in_port"], set()).add((flow.cookie, source))
        return found


@pytest.mark.parametrize("seed", range(examples(400)))
def test_whatever_happens_no_connection_is_inherited(seed: int) -> None:
    """Ports come, go, move and change, in the middle of steps too, and controllers start anew."""
    rng, memory, flows = Random(seed), Memory(), FlowSet()
    units: dict[tuple[str, int], tuple[Flow, ...]] = {}
    addresses = [ip_address(f"10.0.0.{n}") for n in range(2, 6)]
    for _ in range(40):
        free = [
            n
            for n in (3, 4, 5)
            if not any(f.table in ADMITTING and zone_of(f) == n for us in units.values() for f in us)
        ]
        number = rng.randint(1, 3)
        if units.get(("port", number)) and rng.random() < 0.4:
            units[("port", number)] = ()
        elif free:
            taken = {
                f.match for key, us in units.items() if key != ("port", number) for f in us if f.table == 20
            }
            view = replace(
                PORT,
                port_number=number,
                ofport=rng.choice(free),
                mac=0x020000000000 + number,
                addresses=tuple(rng.sample(addresses, rng.randint(1, 2))),
            )
            made = port_flows(view)
            if taken.isdisjoint(f.match for f in made if f.table == 20):
                units[("port", number)] = made
        assert not flows.set_units(units)
        for _ in range(rng.randint(0, 3)):
            if flows.dirty:
                step = flows.take()
                if rng.random() < 0.2:
                    flows.failed(step.delta)
                    continue
                memory.carry_out(step)
                flows.flushed(step.free)
                flows.applied(step.delta)
                flows.flushed(step.zones)
        if rng.random() < 0.15:
            flows = FlowSet()
            flows.set_units(units)
            flows.observed(InstalledFlows({k: InstalledFlow(f, 0, 0) for k, f in memory.held.items()}))
    while flows.dirty:
        step = flows.take()
        memory.carry_out(step)
        flows.flushed(step.free)
        flows.applied(step.delta)
        flows.flushed(step.zones)
    assert set(memory.held.values()) == {f for us in units.values() for f in us}


def test_what_a_switch_has_as_it_should_be_is_kept_once_and_the_rest_as_it_was_read() -> None:
    wanted = port_flows(PORT)
    flows, altered = FlowSet(), replace(wanted[1], cookie=wanted[1].cookie + 1)
    flows.set_units({unit(PORT): wanted})
    held = [replace(flow) for flow in (wanted[0], altered, *wanted[2:])]
    flows.observed(InstalledFlows({flow.key: InstalledFlow(flow, 0, 0) for flow in held}))
    for key, installed in flows.installed.items():
        assert installed in held
        as_wanted = installed != altered
        assert (installed is flows.desired[key]) == as_wanted
        assert (key is flows.desired[key].key) == as_wanted
    settle(flows)
    assert flows.installed == flows.desired
