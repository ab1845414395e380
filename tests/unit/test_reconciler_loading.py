"""Working out everything in turns: what comes meanwhile is followed, and nothing is sent before."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from cloison.errors import Unavailable
from cloison.names import HostName, PortName, TenantName
from controller.reconcile import reconciler as reconciler_module
from controller.reconcile import taking_turns
from controller.reconcile.realized import NOTHING
from controller.reconcile.reconciler import Reconciler
from controller.store.memory import MemoryEtcd, MemoryStore
from tests.support.hosts import MemoryHost, eventually
from tests.support.intents import World
from tests.support.loaded import meant
from tests.support.meddling import write
from tests.support.reconciling import (
    Controller,
    beyond_static,
    controller,
    pair,
    relabelled,
    settled,
)


@pytest.fixture(autouse=True)
def _every_piece_is_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking_turns, "SLICE_S", 0.0)


class Turns:
    """Somebody else in the loop: does one thing after the other, and counts its turns while all is loaded."""

    def __init__(self, reconciler: Reconciler, deeds: Iterable[Callable[[], object]]) -> None:
        self.reconciler, self.deeds, self.taken = reconciler, deque(deeds), 0
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self.deeds:
            await asyncio.sleep(0)
            self.taken += self.reconciler.revision == NOTHING
            if self.taken:
                self.deeds.popleft()()


@pytest.mark.parametrize("seed", range(12))
async def test_in_turns_with_changes_is_the_same_as_after_them_and_as_step_by_step(seed: int) -> None:
    world, etcd = World(seed), MemoryEtcd()
    revisions = deque(world.history(60))
    followed = MemoryStore(etcd)
    await followed.start()
    step_by_step = Reconciler(followed, "c0", 1)
    await step_by_step.start()
    for _ in range(world.random.randrange(20, 50)):
        write(etcd, revisions.popleft())
        await asyncio.sleep(0)
    store = MemoryStore(etcd)
    await store.start()
    in_turns = Reconciler(store, "c1", 1)
    others = Turns(in_turns, [lambda r=r: write(etcd, r) for r in revisions])  # type: ignore[misc]
    await in_turns.start()
    assert others.taken > 1, "somebody else had turns while everything was worked out"
    await others.task
    at_the_end = Reconciler(store, "c2", 1)
    await at_the_end.start()
    made = (step_by_step, in_turns, at_the_end)
    for reconciler in made:
        await eventually(lambda r=reconciler: r.revision == etcd.revision, "followed")  # type: ignore[misc]
    assert meant(in_turns) == meant(at_the_end) == meant(step_by_step)
    for reconciler in made:
        await reconciler.stop()
    await store.stop()
    await followed.stop()


async def test_nobody_is_sent_anything_before_all_is_proved() -> None:
    etcd = MemoryEtcd()
    async with controller(etcd) as first:
        h1, h2, p1, p2 = await pair(first)
        desired = {name: dict(actor.flows.desired) for name, actor in first.reconciler.hosts.items()}
    h1.switch.tamper(delete=tuple(beyond_static(h1)))
    sent, bundles = [], len(h1.switch.deltas)
    store = MemoryStore(etcd)
    await store.start()
    reconciler = Reconciler(store, "c2", await store.next_epoch("c2"))
    with pytest.raises(Unavailable):
        await MemoryHost(reconciler, 1)._reconciler.register(None, 0)  # type: ignore[arg-type]
    reconciler.switch_connected(h1.switch.dpid, h1.switch)

    def look() -> None:
        sent.append(len(h1.switch.deltas) - bundles)
        port = store.state.ports[p1]
        assert {c.reason for c in reconciler.tracker.port_state(port)[1]} == {"COMPILING"}

    others = Turns(reconciler, [look] * 10)
    waiting = asyncio.create_task(reconciler.tracker.wait_realized(TenantName("acme"), 0, 10.0))
    await reconciler.start()
    assert others.taken >= 10
    assert sent == [0] * 10
    assert not waiting.done()
    made = Controller(store, reconciler)
    for number, host in ((1, h1), (2, h2)):
        again = MemoryHost(reconciler, number, host.switch)
        again._ofport = 100
        await again.connect(f"if{number}")
    await made.active(p1)
    await made.active(p2)
    realized, _, _ = await waiting
    assert realized
    assert {name: dict(actor.flows.desired) for name, actor in reconciler.hosts.items()} == desired
    assert beyond_static(h1), "what was missing is there again"
    await reconciler.stop()
    await store.stop()


async def test_what_is_written_meanwhile_is_waited_for_and_realized() -> None:
    etcd = MemoryEtcd()
    async with controller(etcd) as first:
        _, h2, p1, _ = await pair(first)
    store = MemoryStore(etcd)
    await store.start()
    reconciler = Reconciler(store, "c2", await store.next_epoch("c2"))
    made, done = Controller(store, reconciler), asyncio.Event()

    async def delete() -> None:
        revision = await made.delete_port(p1)
        assert reconciler.revision == NOTHING, "written while everything was worked out"
        realized, _, missing = await reconciler.tracker.wait_realized(p1, revision, 0.0)
        assert not realized
        assert {c.reason for c in missing} == {"COMPILING"}
        done.set()

    deleting = asyncio.create_task(delete())
    await reconciler.start()
    await deleting
    assert reconciler.revision == store.state.revision
    assert not reconciler.hosts[HostName("h1")].flows.flows_of(("port", p1))
    again = MemoryHost(reconciler, 2, h2.switch)
    again._ofport = 100
    await again.connect("if2")
    await eventually(lambda: again.barriers, "h2 is told")
    assert not again.fdb.get(5001)
    await reconciler.stop()
    await store.stop()


async def test_a_store_that_goes_back_meanwhile_is_followed_under_a_new_epoch() -> None:
    etcd = MemoryEtcd()
    async with controller(etcd) as first:
        await pair(first)
        saved = dict(etcd.values), etcd.revision
        for _ in range(20):
            await first.commit(lambda txn, state: txn.update(*relabelled(state.tenants[TenantName("acme")])))
    store = MemoryStore(etcd)
    await store.start()
    reconciler = Reconciler(store, "c2", 1)

    def go_back() -> None:
        etcd.values, etcd.revision, etcd.history = dict(saved[0]), saved[1], []
        store._news.set()

    Turns(reconciler, [go_back])
    await reconciler.start()
    assert reconciler.epoch > 1
    await eventually(lambda: reconciler.revision == store.state.revision, "followed")
    await reconciler.stop()
    await store.stop()


async def test_a_controller_that_is_stopped_meanwhile_leaves_nothing() -> None:
    etcd = MemoryEtcd()
    async with controller(etcd) as first:
        await pair(first)
    before = asyncio.all_tasks()
    store = MemoryStore(etcd)
    await store.start()
    reconciler = Reconciler(store, "c2", await store.next_epoch("c2"))
    starting = asyncio.create_task(reconciler.start())
    await eventually(lambda: reconciler.hosts, "on its way")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await reconciler.stop()
    await store.stop()
    await eventually(lambda: asyncio.all_tasks() <= before, "all tasks ended")
    assert not store._mirror._subscriptions


async def test_beginning_anew_takes_turns_too() -> None:
    async with controller() as made:
        h1, h2, p1, p2 = await pair(made)
        others = Turns(made.reconciler, [lambda: None] * 10)
        again = asyncio.create_task(made.reconciler._begin(None, made.store.subscribe()))
        await again
        assert others.taken >= 10
        assert h1.session.closed_because
        for number, host in ((1, h1), (2, h2)):
            back = MemoryHost(made.reconciler, number, host.switch)
            back._ofport = 100
            await back.connect(f"if{number}")
        await made.active(p1)
        await made.active(p2)
        await settled(made)


async def test_what_is_wrong_in_a_state_is_found_in_turns_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One port's flows are another's: it gets none, and everybody else all."""
    etcd = MemoryEtcd()
    async with controller(etcd) as first:
        _, _, p1, p2 = await pair(first)
    right = reconciler_module.Compiled.load

    def load(self: Any, state: Any) -> Any:
        units, edges = yield from right(self, state)
        h1, h2 = HostName("h1"), HostName("h2")
        units[h1]["port", p1] = units[h2]["port", p2]
        return units, edges

    monkeypatch.setattr(reconciler_module.Compiled, "load", load)
    async with controller(etcd) as second:
        hosts = second.reconciler.hosts
        assert {c.reason for c in hosts[HostName("h1")].blocked.values()} == {"REFUSED_BY_GATE"}
        assert _ports(hosts[HostName("h2")]) == {p2} or hosts[HostName("h2")].blocked
        await eventually(lambda: not hosts[HostName("h1")].blocked, "judged again, apart")
        assert _ports(hosts[HostName("h1")]) == {p1}


def _ports(actor: Any) -> set[PortName]:
    return {unit[1] for unit in actor.flows.units if unit[0] == "port"}
