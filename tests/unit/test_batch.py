"""Changes that are committed together: as one after the other, each whole, and none refused for another."""

from __future__ import annotations

import asyncio
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloison.errors import AlreadyExists, Unavailable
from cloison.model import Meta, Tenant
from cloison.names import TenantName
from controller.store import base, batch
from controller.store.batch import Batches, Outcome
from controller.store.memory import MemoryEtcd, MemoryStore
from controller.store.state import State
from controller.store.txn import Compare, Condition, Limits, Txn, Write
from tests.support.effort import examples
from tests.unit.test_combine import BASE, KEYS, RANGES, content_of, etcd_of, stores


@st.composite
def changes(draw: st.DrawFn) -> list[Txn]:
    """Transactions of which none knows of the others: built on one state, or on an older one."""
    made = []
    for number in range(draw(st.integers(2, 5))):
        compares = []
        for key in draw(st.sets(st.sampled_from(KEYS), max_size=2)):
            condition = draw(st.sampled_from([Condition.ABSENT, Condition.PRESENT, Condition.UNCHANGED]))
            revision = draw(st.integers(1, BASE)) if condition is Condition.UNCHANGED else 0
            compares.append(Compare(key, condition, revision))
        for start, end in draw(st.sets(st.sampled_from(RANGES), max_size=1)):
            condition = draw(st.sampled_from([Condition.ABSENT, Condition.NOT_NEWER]))
            revision = draw(st.integers(1, BASE)) if condition is Condition.NOT_NEWER else 0
            compares.append(Compare(start, condition, revision, end))
        writes = []
        for key in draw(st.sets(st.sampled_from(KEYS), min_size=1, max_size=2)):
            writes.append(Write(key, draw(st.sampled_from([None, b"%d" % number]))))
        made.append(Txn(compares, writes))
    return made


def commit(etcd: MemoryEtcd, txn: Txn) -> bool:
    if not all(etcd.holds(compare) for compare in txn.compares):
        return False
    etcd.write(txn.writes)
    return True


@pytest.mark.slow
@settings(max_examples=examples(600))
@given(stores, changes())
def test_a_batch_is_as_one_change_after_the_other(
    values: dict[str, tuple[bytes, int]], made: list[Txn]
) -> None:
    future = asyncio.Future[Outcome](loop=asyncio.new_event_loop())
    first, together, left = batch._first([batch._Waiting(txn, future) for txn in made], Limits())
    sent = [waiting.txn for waiting in first]
    assert len(sent) + len(left) == len(made), "each is sent now or later"
    here, in_turn = etcd_of(values, BASE), etcd_of(values, BASE)
    committed = commit(here, together)
    assert committed == all(commit(in_turn, txn) for txn in sent)
    assert content_of(here) == (content_of(in_turn) if committed else content_of(etcd_of(values, BASE)))


def tenant(number: int) -> Tenant:
    return Tenant(name=TenantName(f"t{number}"), meta=Meta(uid=f"uid-{number}"), number=number)


async def create(store: MemoryStore, number: int) -> int:
    def build(state: State) -> tuple[Txn, None]:
        if tenant(number).name in state.tenants:
            raise AlreadyExists(str(tenant(number).name))
        txn = Txn()
        txn.create(tenant(number))
        return txn, None

    revision, _ = await store.transact(build)
    return revision


async def test_who_is_refused_holds_up_nobody_else() -> None:
    etcd = MemoryEtcd()
    store, other = MemoryStore(etcd), MemoryStore(etcd)
    await store.start()
    await other.start()
    store.pause()
    await create(other, 17)
    store_tasks = [asyncio.create_task(create(store, number)) for number in range(10, 30)]
    await asyncio.sleep(0)
    store.resume()
    await create(other, 99)
    done = await asyncio.gather(*store_tasks, return_exceptions=True)
    failed = {
        number for number, result in zip(range(10, 30), done, strict=True) if isinstance(result, Exception)
    }
    assert failed == {17}
    assert isinstance(done[7], AlreadyExists)
    assert {f"t{n}" for n in (*range(10, 30), 99)} == {name.tenant for name in store.state.tenants}
    await store.stop()
    await other.stop()


async def test_what_waits_together_is_committed_together() -> None:
    store = MemoryStore()
    await store.start()
    revisions = await asyncio.gather(*(create(store, number) for number in range(1, 41)))
    assert len(set(revisions)) < 10
    for changes in store.changes_since(1):
        assert all(change.new.meta.revision == changes.revision for change in changes.changes)  # type: ignore[union-attr]
    await store.stop()


async def test_a_lost_answer_is_settled_for_all_of_a_batch() -> None:
    store = MemoryStore()
    await store.start()
    store.faults = ["", "", "lost", "late"]
    await asyncio.gather(*(create(store, number) for number in range(1, 41)))
    assert len(store.state.tenants) == 40
    store.faults = ["down"] * 4
    done = await asyncio.gather(*(create(store, n) for n in range(41, 60)), return_exceptions=True)
    assert {type(result) for result in done} == {Unavailable}
    assert len(store.state.tenants) == 40
    await store.stop()


async def test_who_has_gone_is_not_sent_and_stops_nobody() -> None:
    sent: list[Txn] = []
    gate = asyncio.Event()

    async def send(txn: Txn) -> Outcome:
        sent.append(txn)
        await gate.wait()
        return Outcome(committed=True, revision=5)

    batches = Batches(send, Limits())

    def begin(number: int) -> asyncio.Task[Outcome]:
        return asyncio.create_task(batches.commit(Txn(writes=[Write(f"/p/{number}", b"x")])))

    tasks = []
    for number in range(8):
        tasks.append(begin(number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    # Two are on their way, the others wait.
    tasks[1].cancel()
    tasks[7].cancel()
    gate.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, Outcome) for result in done] == [n not in (1, 7) for n in range(8)]
    assert {write.key for txn in sent for write in txn.writes} == {f"/p/{number}" for number in range(7)}


@pytest.mark.parametrize("limits", [Limits(ops=4), Limits(ops=1)])
async def test_no_batch_is_more_than_etcd_takes(limits: Limits) -> None:
    sent: list[Txn] = []

    async def send(txn: Txn) -> Outcome:
        sent.append(txn)
        await asyncio.sleep(0)
        return Outcome(committed=True, revision=len(sent))

    batches = Batches(send, limits)
    changes = [Txn(writes=[Write(f"/p/{n}", b"x")]) for n in range(9)]
    await asyncio.gather(*map(batches.commit, deepcopy(changes)))
    assert max(txn.ops for txn in sent) <= limits.ops
    assert {write.key for txn in sent for write in txn.writes} == {f"/p/{n}" for n in range(9)}


class Suspicious(MemoryStore):
    """Notes what it takes the watch to have lost."""

    def __init__(self, etcd: MemoryEtcd) -> None:
        super().__init__(etcd)
        self.suspected: list[int] = []

    def _suspect(self, revision: int) -> None:
        self.suspected.append(revision)


@pytest.mark.parametrize("comes", [True, False])
async def test_a_mirror_that_is_behind_and_moves_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, comes: bool
) -> None:
    monkeypatch.setattr(base, "MIRROR_WAIT_S", 0.05)
    monkeypatch.setattr(base, "MIRROR_GRACE_S", 0.05)
    etcd = MemoryEtcd()
    store = Suspicious(etcd)
    await store.start()
    store.pause()
    for number in range(20):
        etcd.put(f"/elsewhere/{number}", b"x")
    begun = asyncio.create_task(create(store, 1))
    while comes and not begun.done():
        await asyncio.sleep(0.02)
        of_next = next((found for found in etcd.history if found[0] > store.state.revision), None)
        if of_next is not None:
            store._mirror.apply(*of_next)
    assert await begun == 22
    assert store.suspected == ([] if comes else [22])
    await store.stop()


async def test_who_comes_as_the_last_sender_ends_is_sent() -> None:
    async def send(txn: Txn) -> Outcome:
        return Outcome(committed=True, revision=5)

    batches = Batches(send, Limits())

    async def again_and_again(name: str) -> None:
        # Each change follows on the end of the one before, in the same turn of the loop.
        for number in range(50):
            await batches.commit(Txn(writes=[Write(f"/{name}/{number}", b"x")]))

    async with asyncio.timeout(20):
        await asyncio.gather(*(again_and_again(name) for name in "abcd"))
