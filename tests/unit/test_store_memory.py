"""The fake store passes the suite of the real one, and resolves lost answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cloison.errors import Unavailable
from controller.store.memory import MemoryEtcd, MemoryStore
from tests.support.exit_suite import ExitSuite
from tests.support.profile_suite import ProfileSuite
from tests.support.store_suite import StoreSuite
from tests.support.store_world import ACME, creating, deleting, relabelling, tenant


class MemoryBackend:
    def __init__(self) -> None:
        self.etcd = MemoryEtcd()
        self.stores: list[MemoryStore] = []

    async def new_store(self, *, subscription_revisions_max: int = 20_000) -> MemoryStore:
        store = MemoryStore(self.etcd, subscription_revisions_max=subscription_revisions_max)
        await store.start()
        self.stores.append(store)
        return store

    def cut(self, store: MemoryStore) -> None:
        store.pause()

    def mend(self, store: MemoryStore) -> None:
        store.resume()

    async def put_raw(self, key: str, value: bytes | None) -> None:
        self.etcd.put(key, value)

    async def compact(self) -> None:
        self.etcd.compact()

    async def keys(self) -> list[str]:
        return list(self.etcd.values)


@pytest.fixture
async def backend() -> AsyncIterator[MemoryBackend]:
    backend = MemoryBackend()
    yield backend
    for store in backend.stores:
        await store.stop()


class TestMemoryStore(StoreSuite):
    @pytest.mark.parametrize("fault", ["lost", "late"])
    async def test_a_lost_answer_is_found_out(self, store: MemoryStore, fault: str) -> None:
        store.faults = [fault]
        made = tenant()
        revision, _ = await store.transact(creating(made))
        assert store.state.tenants[ACME].meta.uid == made.meta.uid
        assert store.state.tenants[ACME].meta.revision == revision
        store.faults = [fault]
        await store.transact(relabelling(ACME, "once"))
        assert store.state.tenants[ACME].meta.display_name == "once"
        store.faults = [fault]
        await store.transact(deleting(ACME))
        await asyncio.sleep(0.05)
        assert not store.state.tenants

    async def test_a_late_transaction_comes_never(self, store: MemoryStore) -> None:
        """Even where nothing else would stop it: what the second attempt created is deleted again."""
        store.faults = ["late"]
        await store.transact(creating(tenant()))
        await store.transact(deleting(ACME))
        await asyncio.sleep(0.1)
        assert not store.state.tenants

    async def test_a_store_that_is_down_says_so(self, store: MemoryStore) -> None:
        store.faults = ["down"]
        with pytest.raises(Unavailable, match="nothing was changed"):
            await store.transact(creating(tenant()))
        await store.transact(creating(tenant()))


class TestMemoryProfiles(ProfileSuite):
    pass


class TestMemoryExits(ExitSuite):
    pass
