"""Switches as the controller sees them: one suite for real Open vSwitch bridges over TLS and for the fake."""

import asyncio
from dataclasses import replace

import pytest

from cloison.errors import Unavailable
from controller.flows import (
    CheckPacketLarger,
    Conjunction,
    Ct,
    DecTtl,
    Flow,
    Match,
    Output,
    Resubmit,
    ct_state,
    field,
    match,
)
from controller.flows.delta import FlowDelta, InstalledFlows, flow_delta
from controller.flows.meters import Meter, MeterDelta, meter_delta
from controller.flows.text import flow_text
from controller.openflow.refusal import SwitchRefused
from controller.openflow.statistics import MeterCounters
from controller.openflow.switch import Change, Drift, Switch
from tests.support.openflow_site import DEADLINE_S
from tests.support.openflow_switches import (
    ADMIT,
    ALL,
    FLOWS,
    FORWARD,
    OUTPUT,
    Backdoor,
    drift_of,
    flows_of,
    until,
)

pytestmark = pytest.mark.system

IN_PORT = (field("nxm_in_port"), 0, 16)
FROM_ONE = match(ct_state=ct_state("+trk-inv"), eth_type=0x800, ct_nw_src=1)


def without(name: str, terms: Match) -> Match:
    """What match() would refuse to make."""
    return tuple(term for term in terms if term.field.name != name)


async def test_what_was_applied_is_read(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    assert await switch.read_flows() == InstalledFlows({})
    await switch.apply(FlowDelta(add=FLOWS))
    assert flows_of(await switch.read_flows()) == {flow.key: flow for flow in FLOWS}


async def test_delta_of_what_was_read_leads_to_what_is_desired(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    await backdoor.add_foreign()
    await switch.apply(FlowDelta(add=(ADMIT, FORWARD)))
    changed = Flow(table=20, priority=50, match=FORWARD.match, actions=(), cookie=0x23)
    desired = {flow.key: flow for flow in (changed, OUTPUT)}
    await switch.apply(flow_delta(desired, await switch.read_flows()))
    installed = await switch.read_flows()
    assert flows_of(installed) == desired
    assert not installed.foreign
    assert not flow_delta(desired, installed)


async def test_a_changed_flow_keeps_its_counters_and_gets_its_cookie(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    await switch.apply(FlowDelta(add=(ALL,)))
    await backdoor.count_packets()
    before = await until(lambda installed: installed.flows[ALL.key].packets > 0, switch)
    changed = Flow(table=0, priority=1, match=(), actions=(Output(1),), goto=10, cookie=8)
    await switch.apply(FlowDelta(modify=(changed,)))
    after = (await switch.read_flows()).flows[ALL.key]
    assert after.flow == changed
    assert after.packets >= before.flows[ALL.key].packets


async def test_one_bad_flow_spoils_all_and_is_named(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    await switch.apply(FlowDelta(add=(ADMIT, OUTPUT)))
    no_prerequisite = Flow(table=3, priority=1, match=match(ipv4_src=1), cookie=0xBAD)
    backwards = Flow(table=3, priority=2, match=(), goto=1, cookie=0xBAD2)
    with pytest.raises(SwitchRefused) as refused:
        delta = FlowDelta(add=(FORWARD, no_prerequisite, ALL), modify=(backwards,), delete=(OUTPUT.key,))
        await switch.apply(delta)
    assert {error.change for error in refused.value.errors} == {no_prerequisite, backwards}
    assert all("OFPET_BAD" in error.text for error in refused.value.errors)
    assert "cookie=0xbad" in str(refused.value)
    assert flows_of(await switch.read_flows()) == {flow.key: flow for flow in (ADMIT, OUTPUT)}
    await switch.apply(FlowDelta(add=(FORWARD,)))
    assert flows_of(await switch.read_flows()) == {flow.key: flow for flow in FLOWS}


async def test_drift_is_seen_and_own_changes_are_not(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    watch = switch.watch_drift()
    await switch.apply(FlowDelta(add=FLOWS))
    await switch.apply(
        FlowDelta(modify=(Flow(table=30, priority=10, match=(), cookie=2),), delete=(ADMIT.key,))
    )
    await backdoor.delete(FORWARD.key)
    assert await drift_of(watch) == Drift(frozenset({FORWARD.key}), True)
    await backdoor.add(ALL)
    assert await drift_of(watch) == Drift(frozenset({ALL.key}), True)
    await backdoor.add(Flow(table=0, priority=1, match=(), actions=(Output(1),), cookie=7))
    assert await drift_of(watch) == Drift(frozenset({ALL.key}), True)
    await backdoor.add_foreign()
    assert not (await drift_of(watch)).complete
    assert len((await switch.read_flows()).foreign) == 1


async def test_what_is_expected_does_not_change_what_is_read(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    for flow in (ADMIT, FORWARD):
        await backdoor.add(flow)
    other = Flow(table=20, priority=50, match=FORWARD.match, actions=(), cookie=0x23)
    installed = await switch.read_flows(expected=(ADMIT, other, OUTPUT))
    assert flows_of(installed) == {flow.key: flow for flow in (ADMIT, FORWARD)}


async def test_reading_a_part(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    await switch.apply(FlowDelta(add=FLOWS))
    assert flows_of(await switch.read_flows(table=20)) == {FORWARD.key: FORWARD}
    assert flows_of(await switch.read_flows(cookie=0x10, cookie_mask=0xF0)) == {ADMIT.key: ADMIT}
    assert len((await switch.read_flows()).flows) == len(FLOWS)


TRACKED = match(ct_state=ct_state("+trk-inv"), eth_type=0x800, ct_nw_proto=6, ct_tp_dst=(80, 0xFFF0))
POLICY = (
    Flow(table=8, priority=1, match=match(eth_type=0x800), actions=(Ct(zone=IN_PORT, table=9),)),
    Flow(table=9, priority=2, match=match(ct_state=ct_state("+new"), eth_type=0x800), actions=(Ct(True, 5),)),
    Flow(table=24, priority=100, match=TRACKED, actions=(Conjunction(7, 1, 2), Conjunction(8, 2, 3))),
    Flow(table=24, priority=100, match=match(conj_id=7, reg8=4), goto=25),
    Flow(table=15, priority=9, match=match(eth_type=0x86DD, ip_ttl=1), goto=31),
    Flow(table=15, priority=1, match=match(eth_type=0x86DD), actions=(DecTtl(),), goto=20),
    Flow(table=27, priority=1, match=match(), actions=(CheckPacketLarger(1464, field("reg3"), 3),), goto=29),
    Flow(table=20, priority=1, match=match(), actions=(Resubmit(22), Resubmit(27)), goto=30),
)


async def test_connection_tracking_conjunctions_and_lengths(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    await switch.apply(FlowDelta(add=POLICY[:3]))
    for flow in POLICY[3:]:
        await backdoor.add(flow)
    assert flows_of(await switch.read_flows()) == {flow.key: flow for flow in POLICY}


@pytest.mark.parametrize(
    "bad",
    [
        Flow(table=1, priority=1, match=(), actions=(Ct(table=2),)),
        Flow(table=1, priority=1, match=match(eth_type=0x806), actions=(Ct(table=2),)),
        Flow(
            table=1,
            priority=1,
            match=match(eth_type=0x800, ct_state=ct_state("+inv+trk")),
            actions=(Ct(commit=True),),
        ),
        Flow(table=1, priority=1, match=(), actions=(Conjunction(1, 1, 2), Output(1))),
        Flow(table=1, priority=1, match=(), actions=(Conjunction(1, 1, 2),), goto=3),
        Flow(table=1, priority=1, match=(), actions=(Output(1),), meter=99),
        Flow(table=1, priority=1, match=without("ct_state", TRACKED)),
        Flow(table=1, priority=1, match=without("eth_type", FROM_ONE)),
    ],
    ids=lambda flow: flow_text(flow),
)
async def test_what_the_switch_would_not_do_is_refused(both: tuple[Switch, Backdoor], bad: Flow) -> None:
    switch, _ = both
    with pytest.raises(SwitchRefused) as refused:
        await switch.apply(FlowDelta(add=(ADMIT, bad)))
    assert [error.change for error in refused.value.errors] == [bad]
    assert not (await switch.read_flows()).flows


async def test_meters_come_before_their_flows_and_take_them_along(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    watch = switch.watch_drift()
    wanted = {number: Meter(number, 100, 50) for number in (3, 4)}
    assert await switch.read_meters() == {}
    await switch.apply_meters(meter_delta(wanted, await switch.read_meters()))
    metered = Flow(table=31, priority=1, match=match(reg1=3), goto=32, meter=3)
    await switch.apply(FlowDelta(add=(metered,)))
    assert await switch.read_meters() == wanted
    wanted = {3: Meter(3, 200, 1), 5: Meter(5, 1, 1)}
    await switch.apply_meters(meter_delta(wanted, await switch.read_meters()))
    assert await switch.read_meters() == wanted
    assert not meter_delta(wanted, await switch.read_meters())
    assert flows_of(await switch.read_flows()) == {metered.key: metered}
    await switch.apply_meters(MeterDelta(delete=(3, 77)))
    assert not (await switch.read_flows()).flows
    assert await drift_of(watch) == Drift(frozenset({metered.key}), True)


async def test_counters_of_meters_are_read(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    await switch.apply_meters(MeterDelta(add=(Meter(3, 100, 50), Meter(4, 100, 50))))
    assert await switch.read_meter_counters() == {3: MeterCounters(0, 0), 4: MeterCounters(0, 0)}


async def test_a_refused_meter_is_named(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    there, missing, good = Meter(1, 100, 100), Meter(2, 100, 100), Meter(3, 100, 100)
    await switch.apply_meters(MeterDelta(add=(there,)))
    with pytest.raises(SwitchRefused) as refused:
        await switch.apply_meters(MeterDelta(add=(Meter(1, 5, 5), good), modify=(missing,)))
    assert [error.change for error in refused.value.errors] == [Meter(1, 5, 5), missing]
    assert await switch.read_meters() == {1: there, 3: good}


METERED = Flow(table=31, priority=1, match=match(reg1=3), goto=32, meter=3)


async def test_meters_and_zones_go_before_the_flows_they_come_with(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    wanted = Meter(3, 100, 50)
    change = Change(FlowDelta(add=(METERED,)), MeterDelta(add=(wanted,)), zones=(7, 9))
    assert await switch.carry_out(change) == ()
    assert await switch.read_meters() == {3: wanted}
    assert flows_of(await switch.read_flows()) == {METERED.key: METERED}
    gone = Change(FlowDelta(delete=(METERED.key,)), zones=(7,))
    assert await switch.carry_out(gone) == ()
    assert await switch.carry_out(Change(meters=MeterDelta(delete=(3,)), zones=(7,))) == ()
    assert await switch.carry_out(Change()) == ()
    assert not await switch.read_meters()
    assert not (await switch.read_flows()).flows


async def test_a_refused_meter_keeps_no_flow_back(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    there, other = Meter(3, 100, 50), Meter(3, 7, 7)
    await switch.apply_meters(MeterDelta(add=(there,)))
    refused = await switch.carry_out(Change(FlowDelta(add=(METERED,)), MeterDelta(add=(other,))))
    assert [error.change for error in refused] == [other]
    assert await switch.carry_out(Change(meters=MeterDelta(add=(other,)))) == refused
    assert await switch.read_meters() == {3: there}
    assert flows_of(await switch.read_flows()) == {METERED.key: METERED}


async def test_a_bad_flow_is_named_and_the_meter_before_it_stays(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    bad, meter = replace(METERED, meter=99), Meter(3, 100, 50)
    with pytest.raises(SwitchRefused) as refused:
        await switch.carry_out(Change(FlowDelta(add=(METERED, bad)), MeterDelta(add=(meter,)), (7,)))
    assert [error.change for error in refused.value.errors] == [bad]
    assert await switch.read_meters() == {3: meter}
    assert not (await switch.read_flows()).flows


async def test_port_counters_are_read(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    await switch.apply(FlowDelta(add=(ALL,)))
    await backdoor.count_packets()
    async with asyncio.timeout(DEADLINE_S):
        while not (await switch.read_port_counters())[1].received_packets:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    counters = (await switch.read_port_counters())[1]
    assert counters.received_packets == 1
    assert counters.received_bytes is not None
    assert counters.received_bytes >= 14
    assert counters.sent_packets == 0


async def test_a_lost_switch_is_unavailable(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    await backdoor.disconnect()
    watch = switch.watch_drift()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(anext(watch), DEADLINE_S)
    with pytest.raises(Unavailable):
        await switch.read_flows()
    with pytest.raises(Unavailable):
        await switch.apply(FlowDelta(add=FLOWS))
