"""What became of a port's frames: worked out from counters, and read from a switch."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloison.errors import Unavailable
from cloison.names import HostName
from cloison.v1 import port_pb2
from controller.compiler import compile_host
from controller.compiler.cookies import STATIC
from controller.compiler.describe import example_host
from controller.compiler.pipeline import ADMISSION, CLAIMED, DIRECTION, EGRESS, FORWARD, TABLES, Table
from controller.compiler.view import METERS_OF_CONNECTIONS, METERS_OF_SPREADING
from controller.flows import Flow
from controller.flows.delta import InstalledFlow, InstalledFlows
from controller.openflow.fake import FakeSwitch
from controller.openflow.statistics import MeterCounters, PortCounters
from controller.reconcile.counting import Count, Drop, Fate, Readings, fate_of
from controller.reconcile.statistics import AT_ONCE_MAX, CounterReader
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import H1, Controller, controller, pair, port_flows_of

FRAME_BYTES = 100


def port_counted(received: int = 0, sent: int = 0, sent_dropped: int | None = 0) -> PortCounters:
    return PortCounters(
        received, sent, received * FRAME_BYTES, sent * FRAME_BYTES, 0, sent_dropped, None, None
    )


def count(packets: int) -> Count:
    return Count(packets, packets * FRAME_BYTES)


def counted(table: Table, packets: int, *, drops: bool = False) -> InstalledFlow:
    """A flow that lets packets on, or drops them."""
    flow = Flow(table=table.number, priority=0, match=(), goto=None if drops else table.next[0])
    return InstalledFlow(flow, packets, packets * FRAME_BYTES)


def read(*, refused: int, admitted: int, meant: int, sent: int, dropped: dict[str, int]) -> Readings:
    """A port of a bridge whose tables have dropped so much."""
    bridge = tuple(counted(table, dropped.get(table.name, 0), drops=True) for table in TABLES)
    of_port = (
        counted(CLAIMED, refused, drops=True),
        counted(ADMISSION, admitted - 1),
        counted(CLAIMED, 1),
        counted(FORWARD, meant),
    )
    return Readings(of_port, bridge, None, port_counted(refused + admitted, sent))


def own(fate: Fate) -> set[Drop]:
    return {drop for drop in fate.drops if drop.of_port}


def test_every_table_says_why_it_drops() -> None:
    assert all(re.fullmatch(r"[A-Z]+(_[A-Z]+)*", table.drop_reason) for table in TABLES)


def test_what_drops_is_of_no_object_but_in_claimed_so_that_no_drop_goes_uncounted() -> None:
    drops = [f for f in compile_host(example_host()).values() if not f.actions and f.goto is None]
    assert {flow.table for flow in drops} == {table.number for table in TABLES}
    assert {flow.cookie for flow in drops if flow.table != CLAIMED.number} == {STATIC}


def test_what_was_not_believed_and_what_was_refused() -> None:
    dropped = {"CLAIMED": 170, "INGRESS": 50}
    fate = fate_of(read(refused=100, admitted=20, meant=70, sent=20, dropped=dropped))
    assert (fate.received, fate.admitted, fate.delivered) == (count(120), count(20), count(20))
    assert own(fate) == {
        Drop("SPOOFED", "CLAIMED", count(100), True),
        Drop("NOT_ADMITTED_BY_POLICY", "INGRESS", count(50), True),
    }
    assert set(fate.drops) - own(fate) == {
        Drop("SPOOFED", "CLAIMED", count(170), False),
        Drop("NOT_ADMITTED_BY_POLICY", "INGRESS", count(50), False),
    }


def test_all_tables_that_come_into_question_are_named() -> None:
    judged = {"EGRESS": 30, "INGRESS": 50}
    fate = fate_of(read(refused=0, admitted=0, meant=60, sent=0, dropped=judged))
    assert own(fate) == {Drop("NOT_ADMITTED_BY_POLICY", "EGRESS/INGRESS", count(60), True)}
    fate = fate_of(read(refused=0, admitted=0, meant=60, sent=0, dropped=judged | {"DIRECTION": 5}))
    assert own(fate) == {Drop("NOT_ADMITTED", "DIRECTION/EGRESS/INGRESS", count(60), True)}


def test_nothing_is_called_dropped_that_no_table_dropped() -> None:
    # What a guest sends to itself is meant for it and never sent.
    assert fate_of(read(refused=0, admitted=20, meant=25, sent=20, dropped={})).drops == ()
    fate = fate_of(read(refused=0, admitted=20, meant=25, sent=20, dropped={"EGRESS": 2}))
    assert own(fate) == {Drop("NOT_ADMITTED_BY_POLICY", "EGRESS", count(2), True)}


def test_what_is_on_its_way_while_counters_are_read_is_not_called_dropped() -> None:
    fate = fate_of(read(refused=0, admitted=0, meant=170, sent=200, dropped={"EGRESS": 1000}))
    assert own(fate) == set()
    assert fate.delivered == count(200)


def test_what_a_switch_does_not_count_is_nothing() -> None:
    unknown = PortCounters(None, None, None, None, None, None, None, None)
    assert fate_of(Readings((), (), MeterCounters(None, None), unknown)) == Fate(
        Count(), Count(), Count(), ()
    )


def test_more_than_its_rate_and_more_than_the_guest_takes() -> None:
    read = Readings((), (), MeterCounters(9, 900), port_counted(sent_dropped=3), MeterCounters(4, 400))
    assert own(fate_of(read)) == {
        Drop("RATE_LIMITED", "METER", count(9), True),
        Drop("RATE_LIMITED", "OPENING", count(4), True),
        Drop("NOT_TAKEN_BY_GUEST", "OUTPUT", Count(3), True),
    }


@pytest.fixture
async def made() -> AsyncIterator[Controller]:
    async with controller() as made:
        yield made


def let_count(switch: FakeSwitch, table: Table, packets: int, *, dropping: bool = False) -> None:
    """Every flow of a table that passes on (or drops: its miss) has counted so much."""
    for key, installed in switch.flows.items():
        drops = not installed.flow.actions and installed.flow.goto is None
        if key.table == table.number and drops == dropping and (key.priority == 0) == dropping:
            switch.flows[key] = InstalledFlow(installed.flow, packets, packets * FRAME_BYTES)


def bound(made: Controller, host: MemoryHost) -> int:
    """The OpenFlow port of the only port on a host."""
    return next(b.ofport for b in made.store.state.bindings_on(host.name))


def reader(made: Controller) -> CounterReader:
    return CounterReader(made.store, made.reconciler.hosts)


async def test_the_counters_of_the_port_and_of_its_bridge_are_read(made: Controller) -> None:
    h1, _, p1, _ = await pair(made)
    ofport = bound(made, h1)
    let_count(h1.switch, CLAIMED, 70, dropping=True)
    let_count(h1.switch, EGRESS, 4, dropping=True)
    for flow in port_flows_of(h1, 1):
        if flow.goto is None or flow.table in (ADMISSION.number, CLAIMED.number):
            n = 100 if flow.goto is None else 10
            h1.switch.flows[flow.key] = InstalledFlow(flow, n, n * FRAME_BYTES)
    h1.switch.port_counters[ofport] = port_counted(received=120, sent=0)
    h1.switch.meter_counters[ofport] = MeterCounters(2, 200)
    h1.switch.meter_counters[METERS_OF_CONNECTIONS + ofport] = MeterCounters(3, 300)
    h1.switch.meter_counters[METERS_OF_SPREADING + ofport] = MeterCounters(5, 500)
    told = await reader(made).port_statistics(made.store.state.ports[p1], H1)
    assert (told.received_from_guest.packets, told.admitted.packets, told.delivered.packets) == (120, 20, 0)
    assert {(d.reason, d.table, d.count.packets, d.count.bytes, d.of_port) for d in told.drops} == {
        ("SPOOFED", "CLAIMED", 100, 10000, True),
        ("RATE_LIMITED", "METER", 2, 200, True),
        ("RATE_LIMITED", "OPENING", 3, 300, True),
        ("RATE_LIMITED", "SPREADING", 5, 500, True),
        ("SPOOFED", "CLAIMED", 170, 17000, False),
        ("NOT_ADMITTED_BY_POLICY", "EGRESS", 4, 400, False),
    }


async def test_flows_of_another_port_do_not_count(made: Controller) -> None:
    h1, _, p1, p2 = await pair(made)
    ofport = bound(made, h1)
    h1.switch.port_counters[ofport] = port_counted()
    let_count(h1.switch, FORWARD, 7)
    let_count(h1.switch, DIRECTION, 7)
    told = await reader(made).port_statistics(made.store.state.ports[p1], H1)
    assert told == port_pb2.PortStatistics(
        received_from_guest=port_pb2.Count(), admitted=port_pb2.Count(), delivered=port_pb2.Count()
    )
    with pytest.raises(Unavailable, match="does not have"):
        await reader(made).port_statistics(made.store.state.ports[p2], H1)


async def test_what_cannot_be_read_is_said(made: Controller) -> None:
    h1, _, p1, _ = await pair(made)
    port = made.store.state.ports[p1]
    with pytest.raises(Unavailable, match="any more"):
        await reader(made).port_statistics(port, H1)
    with pytest.raises(Unavailable, match="hosts/h9 is not connected"):
        await reader(made).port_statistics(port, HostName("h9"))
    made.reconciler.switch_gone(h1.switch.dpid)
    with pytest.raises(Unavailable, match="hosts/h1 is not connected"):
        await reader(made).port_statistics(port, H1)


async def test_who_asks_too_often_is_turned_away(made: Controller) -> None:
    h1, _, p1, _ = await pair(made)
    h1.switch.port_counters[bound(made, h1)] = port_counted()
    asked, port = reader(made), made.store.state.ports[p1]

    async def never(**_: Any) -> InstalledFlows:
        await asyncio.Event().wait()
        raise AssertionError

    h1.switch.read_flows = never  # type: ignore[method-assign]
    tasks = [asyncio.create_task(asked.port_statistics(port, H1)) for _ in range(AT_ONCE_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="too many"):
        await asked.port_statistics(port, H1)
    tasks.pop().cancel()
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(asked.port_statistics(port, H1)))
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await eventually(lambda: all(task.done() for task in tasks), "all gave up")
