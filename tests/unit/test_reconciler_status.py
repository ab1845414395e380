"""What is realized, and who is waited for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from cloison.model import Port, Revision
from cloison.v1 import port_pb2
from controller.reconcile import realized
from controller.reconcile.progress import Progress
from controller.store.state import State
from controller.store.txn import Txn
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import (
    H2,
    ack,
    controller,
    pair,
    port_flows_of,
    settled,
    with_base,
    with_slow,
)


async def test_a_port_that_moved_is_active_when_its_old_host_has_let_go() -> None:
    async with controller() as made:
        slow, h1 = await with_slow(made)
        h2 = MemoryHost(made.reconciler, 2)
        await h1.connect("if1")
        await h2.connect("if1")
        port = await made.create_port(1, "h1")
        await made.active(port)
        await settled(made)
        slow.may_apply.clear()

        def move(txn: Txn, state: State) -> None:
            old = state.ports[port]
            txn.update(old, replace(old, requested_hosts=(H2,)))

        revision = await made.commit(move)
        await eventually(lambda: port_flows_of(h2, 1), "on its new host")
        await eventually(lambda: made.reconciler.hosts[H2].holds(revision), "confirmed there")
        assert port_flows_of(h1, 1)
        assert made.status(port) == port_pb2.Port.BUILDING
        realized, _, missing = await made.reconciler.tracker.wait_realized(port, revision, 0.1)
        assert not realized
        assert {c.subjects for c in missing} == {("hosts/h1",)}
        slow.may_apply.set()
        await made.active(port)
        assert not port_flows_of(h1, 1)


async def test_nothing_is_active_before_its_newest_revision_is_compiled() -> None:
    """The state has it a moment before anything is made of it; what was confirmed was the one before."""
    async with controller() as made:
        _, _, p1, _ = await pair(made)
        await settled(made)
        port, tracker = made.store.state.ports[p1], made.reconciler.tracker
        assert tracker.port_state(port)[0] == port_pb2.Port.ACTIVE
        newer = Revision(made.store.state.revision + 1)
        state, conditions, _ = tracker.port_state(replace(port, meta=replace(port.meta, revision=newer)))
        assert (state, [c.reason for c in conditions]) == (port_pb2.Port.BUILDING, ["COMPILING"])


async def test_disabling_a_port_can_be_waited_for() -> None:
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        h1.mute = True

        def disable(txn: Txn, state: State) -> None:
            txn.update(state.ports[p1], replace(state.ports[p1], disabled=True))

        revision = await made.commit(disable)
        wait = made.reconciler.tracker.wait_realized
        realized, _, missing = await wait(p1, revision, 0.1)
        assert (realized, {c.subjects for c in missing}) == (False, {("hosts/h1",)})
        made.reconciler.acked(h1.session, ack(made.store.state.revision))
        realized, _, missing = await wait(p1, revision, 5.0)
        assert realized, missing
        assert not port_flows_of(h1, 1)


async def test_a_deletion_waits_for_no_host_that_never_had_the_port() -> None:
    async with controller() as made:
        h1, _, _, _ = await pair(made)
        await MemoryHost(made.reconciler, 3).register()  # known, but never connects
        p3 = await made.create_port(3, "h1", "h3")
        h1.plug("if3")
        await made.active(p3)
        realized, _, missing = await made.reconciler.tracker.wait_realized(
            p3, await made.delete_port(p3), 5.0
        )
        assert realized, missing


def test_requirements_may_come_in_any_order() -> None:
    progress = Progress()
    progress.confirm(1)
    progress.require(5)
    progress.require(10)
    progress.require(7)
    progress.confirm(6)
    assert not progress.holds(8)
    for _ in range(100):
        progress.reset()
    assert len(progress._required) <= 4


async def test_a_status_that_is_lost_again_is_told() -> None:
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        feed = made.reconciler.tracker.status_changes()
        h1.disconnect_agent()
        again = MemoryHost(made.reconciler, 1, h1.switch)
        again._ofport = 100
        again.mute = True
        await again.connect("if1")
        async with asyncio.timeout(5):
            assert await anext(feed) in made.store.state.ports
        feed.close()
        assert made.status(p1) == port_pb2.Port.BUILDING


async def test_watchers_of_many_ports_leave_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be another for many ports is looked at port by port, and told."""
    monkeypatch.setattr(realized, "SLICE_S", 0.0)
    async with controller() as made:
        await with_base(made)
        host = MemoryHost(made.reconciler, 1)
        await host.connect(*(f"if{number}" for number in range(1, 10)))
        names = {await made.create_port(number, "h1") for number in range(1, 10)}
        for name in names:
            await made.active(name)
        await settled(made)
        tracker, turns, seen = made.reconciler.tracker, 0, dict[object, int]()
        feed, judged = tracker.status_changes(), tracker._judged

        def noted(port: Port, most: int | None = None) -> Any:
            seen[port.name] = turns
            return judged(port, most)

        monkeypatch.setattr(tracker, "_judged", noted)
        host.mute = True
        made.reconciler.hosts[host.name].plan_progress.reset()
        tracker.unsettle(host.name)
        while len(seen) < len(names):
            turns += 1
            await asyncio.sleep(0)
        assert len(set(seen.values())) == len(names), "each in a turn of its own"
        assert {await anext(feed) for _ in names} == names
        feed.close()
