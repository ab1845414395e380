"""A large round in turns with others: what comes between its pieces changes nothing of it and is not lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from cloison.addresses import Mac
from cloison.errors import Unavailable
from cloison.names import HostName, TenantName
from controller.reconcile import rounds, taking_turns
from controller.reconcile.reconciler import Reconciler
from controller.reconcile.rounds import Rounds
from controller.reconcile.session import AgentSession
from controller.store.memory import MemoryEtcd, MemoryStore
from controller.store.mirror import Mirror
from controller.verify.isolation import Verifier
from tests.support.hosts import MemoryHost, eventually
from tests.support.meddling import Meddler, assert_ends_where_a_start_does
from tests.support.reconciling import Controller, controller, pair, relabelled, settled


@pytest.fixture(autouse=True)
def _every_piece_is_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking_turns, "SLICE_S", 0.0)
    monkeypatch.setattr(rounds, "HELD_S", 0.0)


@pytest.mark.parametrize("seed", range(16))
async def test_whatever_comes_between_its_pieces_it_ends_where_a_start_does(seed: int) -> None:
    await assert_ends_where_a_start_does(seed, is_busy, 20)


def is_busy(reconciler: Reconciler) -> bool:
    return reconciler._rounds.busy


def meddler(reconciler: Reconciler, deeds: Iterable[Callable[[], object]]) -> Meddler:
    """Who does these things between the pieces of the next round."""
    return Meddler(reconciler, deeds, lambda: is_busy(reconciler))


async def test_while_a_round_is_under_way_nothing_moves_and_nobody_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with controller() as made:
        h1, h2, p1, p2 = await pair(made)
        reconciler, state = made.reconciler, made.store.state
        seen = set()

        def look() -> None:
            told = tuple((len(h.switch.deltas), len(h.heard)) for h in (h1, h2))
            seen.add((state.revision, reconciler.revision, reconciler._settled(), told))

        writing: list[asyncio.Task[int]] = []

        def again() -> None:
            writing.append(asyncio.create_task(made.change(p2, dns_name="late")))

        before, told = reconciler.revision, tuple((len(h.switch.deltas), len(h.heard)) for h in (h1, h2))
        deeds = [look, again, *[look] * 20]
        others = meddler(reconciler, deeds)
        revision = await made.change(p1, mac=Mac(0x02AA00000001), dns_name="other")
        await others.task
        assert seen == {(revision, before, None, told)}
        late = await writing[0]
        assert late > revision
        await made.active(p1)
        await made.active(p2)
        await settled(made)
        assert state.ports[p2].dns_name == "late"
        assert {len(h.switch.deltas) > d for h, (d, _) in zip((h1, h2), told, strict=True)} == {True, False}


async def test_a_bridge_that_changes_meanwhile_is_taken_at_its_word_afterwards() -> None:
    async with controller() as made:
        h1, _, p1, p2 = await pair(made)
        binding = made.store.state.bindings_on(HostName("h1"))[0]
        actor = made.reconciler.hosts[HostName("h1")]
        found = []

        def rename() -> None:
            h1.switch.set_port(binding.ofport, "other")
            found.append(actor.has_port(binding.ofport, binding.interface))

        others = meddler(made.reconciler, [rename, *[lambda: None] * 5])
        await made.change(p2, mac=Mac(0x02AA00000001))
        await others.task
        assert found == [True], "as it was when the round began"
        await eventually(lambda: not actor.flows.flows_of(("port", p1)), "its flows are gone")
        assert not actor.has_port(binding.ofport, binding.interface)
        h1.switch.set_port(binding.ofport, binding.interface)
        await made.active(p1)


async def test_an_agent_that_dials_meanwhile_is_told_of_all_of_it() -> None:
    async with controller() as made:
        _, h2, p1, p2 = await pair(made)
        again, refused, dialling = MemoryHost(made.reconciler, 2, h2.switch), [], []
        again._ofport = 100

        def dial() -> None:
            with pytest.raises(Unavailable) as error:
                made.reconciler.inventory(AgentSession(HostName("h2")), None)  # type: ignore[arg-type]
            refused.append(error)
            dialling.append(asyncio.create_task(again.connect("if2")))

        others = meddler(made.reconciler, [dial, *[lambda: None] * 5])
        await made.change(p1, mac=Mac(0x02AA00000001))
        await others.task
        await dialling[0]
        await made.active(p1)
        await made.active(p2)
        assert refused
        assert again.fdb == h2.fdb
        assert again.barriers


async def test_a_round_that_fails_on_its_way_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with controller() as made:
        h1, h2, p1, p2 = await pair(made)
        right, failures, before = Verifier.checking, [RuntimeError("a bug")], made.reconciler.hosts.copy()  # type: ignore[attr-defined]

        def checking(self: Verifier, *args: Any) -> Any:
            found = yield from right(self, *args)
            if failures and made.reconciler._rounds.busy:
                raise failures.pop()
            return found

        monkeypatch.setattr(Verifier, "checking", checking)
        others = meddler(made.reconciler, [lambda: h1.switch.set_port(7, "new")])
        p3 = await made.create_port(3, "h1")
        await others.task
        await eventually(lambda: not failures and made.reconciler.hosts.keys() == before.keys(), "anew")
        await eventually(lambda: made.reconciler.revision == made.store.state.revision, "followed")
        assert all(made.reconciler.hosts[name] is not actor for name, actor in before.items())
        assert not made.reconciler._rounds._waiting
        for number, host, *plugged in ((1, h1, "if1", "if3"), (2, h2, "if2")):
            back = MemoryHost(made.reconciler, number, host.switch)
            back._ofport = 100
            await back.connect(*plugged)
        for port in (p1, p2, p3):
            await made.active(port)


async def test_a_controller_that_is_stopped_meanwhile_lets_the_state_move_on() -> None:
    before = asyncio.all_tasks()
    etcd = MemoryEtcd()
    store = MemoryStore(etcd)
    await store.start()
    reconciler = Reconciler(store, "c1", await store.next_epoch("c1"))
    await reconciler.start()
    made = Controller(store, reconciler)
    _, _, p1, _ = await pair(made)
    stopping: list[asyncio.Task[None]] = []
    stop = lambda: stopping.append(asyncio.create_task(reconciler.stop()))  # noqa: E731
    others = meddler(reconciler, [stop])
    write_etcd = asyncio.create_task(made.change(p1, mac=Mac(0x02AA00000001)))
    await others.task
    await stopping[0]
    await write_etcd
    assert not reconciler._rounds.busy
    await made.commit(lambda txn, state: txn.update(*relabelled(state.tenants[TenantName("acme")])))
    await store.stop()
    for host in asyncio.all_tasks() - before:
        host.cancel()


async def test_several_rounds_and_who_waits_for_their_end() -> None:
    store, done = MemoryStore(), list[str]()
    await store.start()
    made = Rounds(store)

    def pieces(name: str) -> Any:
        for n in range(3):
            done.append(f"{name}{n}")
            yield

    async def wait() -> None:
        await made.quiet()
        done.append("quiet")

    made.soon(lambda: done.append("at once"))
    running, waiting = asyncio.create_task(made.run(pieces("a"))), asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert made.busy
    made.soon(lambda: done.append("first"))
    made.soon(lambda: done.append("second"))
    await asyncio.gather(running, waiting)
    assert done == ["at once", "a0", "a1", "a2", "first", "second", "quiet"]
    await store.stop()


async def test_what_does_not_come_while_the_state_stands_still_is_not_late() -> None:
    mirror = Mirror()
    with mirror.standing_still():
        waiting = asyncio.create_task(mirror.reached(2, 0.0))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
    assert not await waiting
