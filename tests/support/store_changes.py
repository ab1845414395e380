"""What every store promises of changes and of their history; see store_suite."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from cloison.errors import AlreadyExists, InvalidIntent
from cloison.model import Tenant
from cloison.names import PortName, TenantName
from controller.store import ids
from controller.store.state import State
from controller.store.store import HistoryGone, Store, SubscriptionOverrun
from controller.store.txn import Txn
from tests.support.store_world import (
    ACME,
    LAN,
    WEB,
    Backend,
    Replica,
    content,
    creating,
    deleting,
    eventually,
    meta,
    port,
    relabelling,
    tenant,
)


class Changes:
    """What is written is in every mirror, whole or not at all, and everybody can follow it."""

    async def test_what_is_written_is_in_every_mirror(self, backend: Backend, store: Store) -> None:
        other = await backend.new_store()
        made = tenant()
        revision, _ = await store.transact(creating(made))
        stored = store.state.tenants[ACME]
        assert stored == replace(made, meta=replace(made.meta, revision=revision))
        assert store.state.revision == revision
        await eventually(lambda: other.state.get(ACME) == stored)
        later = await backend.new_store()
        assert content(later.state) == content(store.state)

    @pytest.mark.parametrize("lists", [False, True], ids=["watched", "listed anew"])
    async def test_a_state_that_stands_still(self, backend: Backend, store: Store, lists: bool) -> None:
        other, before = await backend.new_store(), store.state.revision
        with store.standing_still(), store.standing_still():
            writing = asyncio.create_task(store.transact(creating(tenant())))
            await eventually(lambda: other.state.get(ACME))
            if lists:
                backend.cut(store)
                await other.transact(relabelling(ACME, "again"))
                await backend.compact()
                backend.mend(store)
            assert await store.transact(lambda state: (Txn(), None)) == (before, None)
            assert store.state.revision == before
            assert not writing.done()
        await writing
        await eventually(lambda: content(store.state) == content(other.state))

    async def test_one_transaction_is_one_revision(self, base: Store) -> None:
        replica = Replica(base)
        objects = [port(f"p{n}", number=n) for n in (1, 2, 3)]
        revision, _ = await base.transact(creating(*objects))
        replica.check()
        [changes] = replica.seen
        assert changes.revision == revision
        assert not changes.resync
        assert {change.key for change in changes.changes} == {made.name for made in objects}
        assert all(change.old is None for change in changes.changes)

    async def test_an_update_has_both_sides_and_a_delete_the_old_one(self, base: Store) -> None:
        replica = Replica(base)
        before = base.state.networks[WEB]
        await base.transact(relabelling(LAN, "office"))
        await base.transact(deleting(LAN))
        await base.transact(deleting(WEB))
        replica.check()
        update, _, delete = (changes.changes[0] for changes in replica.seen)
        assert (update.old.meta.display_name, update.new.meta.display_name) == ("", "office")
        assert (delete.old, delete.new) == (before, None)

    async def test_nothing_to_do_is_no_revision(self, base: Store) -> None:
        before = base.state.revision
        assert await base.transact(lambda state: (Txn(), state.revision)) == (before, before)
        assert base.state.revision == before

    async def test_an_error_of_build_is_the_callers_and_stores_nothing(self, base: Store) -> None:
        before = content(base.state)
        with pytest.raises(AlreadyExists):
            await base.transact(creating(port("p1"), tenant()))
        assert content(base.state) == before

    async def test_what_is_too_large_is_refused_before_it_is_sent(self, base: Store) -> None:
        before = base.state.revision
        with pytest.raises(InvalidIntent, match="operations"):
            await base.transact(creating(*(port(f"p{n}", number=n) for n in range(1, 130))))
        labels = {str(n): "x" * 1000 for n in range(1600)}
        with pytest.raises(InvalidIntent, match="bytes"):
            await base.transact(creating(Tenant(name=TenantName("big"), meta=meta(labels=labels), number=2)))
        await base.transact(creating(*(port(f"p{n}", number=n) for n in range(1, 127))))
        assert base.state.revision == before + 1

    async def test_a_megabyte_is_not_too_large(self, base: Store) -> None:
        labels = {str(n): "x" * 1000 for n in range(1000)}
        await base.transact(creating(Tenant(name=TenantName("big"), meta=meta(labels=labels), number=2)))
        assert base.state.tenants[TenantName("big")].meta.labels == labels

    async def test_one_key_twice_in_a_transaction_is_refused(self, base: Store) -> None:
        def build(state: State) -> tuple[Txn, None]:
            txn = Txn()
            for _ in range(2):
                txn.reserve(ids.ip(WEB, IPv4Address("10.0.0.1")), PortName(*WEB, "p1"), "u")
            return txn, None

        with pytest.raises(InvalidIntent, match="once"):
            await base.transact(build)

    async def test_a_stale_reader_is_made_to_read_again(self, backend: Backend, base: Store) -> None:
        slow = await backend.new_store()
        backend.cut(slow)
        await base.transact(relabelling(LAN, "new"))
        assert slow.state.subnets[LAN].meta.display_name == ""
        seen = []

        def build(state: State) -> tuple[Txn, None]:
            seen.append(state.subnets[LAN].meta.display_name)
            return relabelling(LAN, seen[-1] + "er")(state)

        task = asyncio.create_task(slow.transact(build))
        await asyncio.sleep(0)
        backend.mend(slow)
        await task
        assert seen[-1] == "new"
        assert slow.state.subnets[LAN].meta.display_name == "newer"

    async def test_history_is_what_subscribers_saw(self, base: Store) -> None:
        replica = Replica(base)
        start = base.state.revision
        for n in range(1, 6):
            await base.transact(creating(port(f"p{n}", number=n)))
        replica.check()
        assert base.changes_since(start) == replica.seen
        assert base.changes_since(replica.seen[2].revision) == replica.seen[3:]
        assert base.changes_since(base.state.revision) == []
        for unknown in (0, base.state.revision + 1):
            with pytest.raises(HistoryGone):
                base.changes_since(unknown)

    async def test_a_slow_subscriber_is_told(self, backend: Backend) -> None:
        store = await backend.new_store(subscription_revisions_max=3)
        slow = store.subscribe()
        await store.transact(creating(tenant()))
        for n in range(4):
            await store.transact(relabelling(ACME, str(n)))
        with pytest.raises(SubscriptionOverrun):
            await anext(slow)
        fresh = store.subscribe()
        revision, _ = await store.transact(relabelling(ACME, "z"))
        assert (await anext(fresh)).revision == revision

    async def test_subscriptions_end_with_the_store(self, store: Store) -> None:
        subscription = store.subscribe()
        waiting = asyncio.create_task(anext(subscription, None))
        await asyncio.sleep(0)
        await store.stop()
        assert await waiting is None
