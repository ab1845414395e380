"""The store on a real etcd with TLS: the common suite, and what only real faults can show."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from cloison.codec import record_to_bytes
from cloison.errors import Unavailable
from cloison.model import Revision, Tenant
from cloison.names import PortName, TenantName
from controller.store import keys
from controller.store.etcd import Client, Endpoint, Tls
from controller.store.etcd_store import EtcdStore, Settings
from controller.store.txn import Write
from tests.support.etcd import EtcdCluster, Proxy
from tests.support.exit_suite import ExitSuite
from tests.support.profile_suite import ProfileSuite
from tests.support.store_suite import StoreSuite
from tests.support.store_world import (
    ACME,
    WEB,
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

pytestmark = pytest.mark.system

QUICK = Settings(request_timeout_s=1.0, probe_interval_s=0.3, silence_max_s=1.0, retry_delay_max_s=0.3)


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    with EtcdCluster() as cluster:
        yield cluster


class EtcdBackend:
    """Stores on one member, each behind a proxy of its own."""

    def __init__(self, etcd: EtcdCluster) -> None:
        self.etcd = etcd
        self.stores: dict[EtcdStore, Proxy] = {}

    async def new_store(
        self, *, settings: Settings = QUICK, subscription_revisions_max: int = 20_000
    ) -> EtcdStore:
        proxy = Proxy(self.etcd.endpoints[0])
        settings = replace(settings, subscription_revisions_max=subscription_revisions_max)
        store = EtcdStore([await proxy.start()], self.etcd.tls, settings)
        self.stores[store] = proxy
        await store.start()
        await eventually(lambda: store.healthy)
        return store

    def cut(self, store: EtcdStore) -> None:
        self.stores[store].cut()

    def mend(self, store: EtcdStore) -> None:
        self.stores[store].mend()

    async def write(self, *writes: Write) -> int:
        client = Client(Endpoint.parse(self.etcd.endpoints[0]), self.etcd.tls, timeout_s=5)
        await client.connect()
        try:
            return (await client.txn((), writes)).header.revision
        finally:
            await client.close()

    async def put_raw(self, key: str, value: bytes | None) -> None:
        await self.write(Write(key, value))

    async def compact(self) -> None:
        revision = await self.write(Write("/other", b""))
        await asyncio.to_thread(self.etcd.ctl, "compact", str(revision))

    async def keys(self) -> list[str]:
        listed = await asyncio.to_thread(self.etcd.ctl, "get", keys.PREFIX, "--prefix", "--keys-only")
        return listed.stdout.split()

    async def stop(self) -> None:
        for store, proxy in self.stores.items():
            await store.stop()
            await proxy.stop()


@pytest.fixture
async def backend(etcd: EtcdCluster) -> AsyncIterator[EtcdBackend]:
    backend = EtcdBackend(etcd)
    yield backend
    await backend.stop()
    await backend.write(Write(keys.PREFIX, None, keys.range_end(keys.PREFIX)))


class TestEtcdStore(StoreSuite):
    async def test_more_than_10000_objects_are_listed(self, backend: EtcdBackend) -> None:
        """Across many pages, at one revision although others write meanwhile."""
        made = [Tenant(name=TenantName(f"t{n}"), meta=meta(), number=n) for n in range(1, 12_001)]
        for begin in range(0, len(made), 120):
            await backend.write(
                *(Write(keys.key_of(one), record_to_bytes(one)) for one in made[begin : begin + 120])
            )
        writer = await backend.new_store()
        stop = asyncio.Event()

        async def keep_writing() -> None:
            while not stop.is_set():
                await writer.transact(relabelling(TenantName("t1"), str(time.monotonic())))

        writing = asyncio.create_task(keep_writing())
        store = await backend.new_store(settings=replace(QUICK, page_keys=500))
        stop.set()
        await writing
        assert {str(name) for name in store.state.tenants} == {str(one.name) for one in made}
        await eventually(lambda: store.state.revision == writer.state.revision)
        assert content(store.state) == content(writer.state)

    async def test_an_answer_that_is_lost_is_found_out(self, backend: EtcdBackend) -> None:
        store = await backend.new_store()
        await store.transact(creating(tenant()))
        other = await backend.new_store()
        for n in range(3):
            backend.stores[store].swallow = True
            change = asyncio.create_task(store.transact(relabelling(ACME, str(n))))
            await eventually(lambda n=n: other.state.tenants[ACME].meta.display_name == str(n))
            backend.cut(store)
            backend.mend(store)
            revision, _ = await change
            assert other.state.tenants[ACME].meta.revision == revision
            assert store.state.tenants[ACME] == other.state.tenants[ACME]

    async def test_a_silent_etcd_is_noticed_and_changes_end_in_time(self, backend: EtcdBackend) -> None:
        store = await backend.new_store(settings=replace(QUICK, patience_s=2.0))
        backend.stores[store].swallow = True
        begun_s = time.monotonic()
        with pytest.raises(Unavailable, match="may have been stored"):
            await store.transact(creating(tenant()))
        assert time.monotonic() - begun_s < 6
        assert not store.healthy
        backend.mend(store)
        await eventually(lambda: store.healthy)

    async def test_what_the_watch_lost_is_found_by_the_audit(self, backend: EtcdBackend) -> None:
        store = await backend.new_store(settings=replace(QUICK, audit_interval_s=0.2))
        await store.transact(creating(tenant(), tenant(TenantName("b"), 2)))
        await asyncio.sleep(0.5)
        assert not [
            changes for changes in store.changes_since(Revision(store.state.revision)) if changes.resync
        ]
        true = content(store.state)
        # As if one event had been lost, and another had never been sent.
        store._mirror.state.apply(store.state.revision, [])
        del store._mirror.state._tenants[ACME]
        await eventually(lambda: content(store.state) == true)

    async def test_a_certificate_of_a_host_is_refused(self, etcd: EtcdCluster) -> None:
        tls = Tls(etcd.tls.ca, etcd.stranger.cert, etcd.stranger.key)
        store = EtcdStore(etcd.endpoints, tls, QUICK)
        starting = asyncio.create_task(store.start())
        done, _ = await asyncio.wait([starting], timeout=1)
        assert not done
        assert not store.healthy
        starting.cancel()
        await store.stop()


async def stored_until(store: EtcdStore, stop: asyncio.Event, pairs: list[tuple[int, str]]) -> None:
    """Create pairs of tenants, noting those that were acknowledged, until told to stop."""
    number = 1
    while not stop.is_set():
        pair = [tenant(TenantName(f"t{number}{side}"), number) for side in "ab"]
        try:
            revision, _ = await store.transact(creating(*pair))
        except Unavailable:
            pass
        else:
            pairs.append((revision, pair[0].name.tenant))
        number += 1


async def test_kill_9_of_etcd_loses_nothing_and_halves_nothing() -> None:
    with EtcdCluster(durable=True) as etcd:
        writer, follower = (EtcdStore(etcd.endpoints, etcd.tls, QUICK) for _ in range(2))
        await writer.start()
        await follower.start()
        replica = Replica(follower)
        acknowledged: list[tuple[int, str]] = []
        stop = asyncio.Event()
        writing = asyncio.create_task(stored_until(writer, stop, acknowledged))
        for _ in range(3):
            before = len(acknowledged)
            await eventually(lambda before=before: len(acknowledged) > before + 20)
            etcd.kill()
            await asyncio.to_thread(etcd.start, 0)
        await eventually(lambda: writer.healthy and follower.healthy)
        before = len(acknowledged)
        await eventually(lambda: len(acknowledged) > before + 20)
        stop.set()
        await writing
        await eventually(lambda: follower.state.revision == writer.state.revision)
        replica.check()
        for changes in replica.seen:
            names = sorted(change.key.tenant for change in changes.changes)
            assert changes.resync or [name[-1] for name in names] in ([], ["a", "b"]), names
        for revision, name in acknowledged:
            assert follower.state.tenants[TenantName(name)].meta.revision == revision
        await writer.stop()
        await follower.stop()


async def test_the_loss_of_any_member_of_three_is_survived() -> None:
    with EtcdCluster(members=3) as etcd:
        store = EtcdStore(etcd.endpoints, etcd.tls, Settings())
        await store.start()
        replica = Replica(store)
        await store.transact(creating(tenant()))
        leader = etcd.leader()
        etcd.kill(leader)
        begun_s = time.monotonic()
        await store.transact(relabelling(ACME, "without leader"))
        assert time.monotonic() - begun_s < 10
        await asyncio.to_thread(etcd.start, leader)
        # Frozen, not dead: connections stay open and nothing answers.
        await eventually(lambda: store.healthy)
        begun_s = time.monotonic()
        for member in range(3):
            etcd.signal(member, signal.SIGSTOP)
            try:
                await store.transact(relabelling(ACME, f"without {member}"))
                await eventually(lambda: store.healthy)
            finally:
                etcd.signal(member, signal.SIGCONT)
            assert time.monotonic() - begun_s < 15
            begun_s = time.monotonic()
            for other in range(3):
                await asyncio.to_thread(etcd.wait_healthy, other)
        replica.check()
        await store.stop()


async def test_without_a_quorum_the_store_says_so() -> None:
    with EtcdCluster(members=3) as etcd:
        store = EtcdStore(etcd.endpoints[:1], etcd.tls, replace(Settings(), patience_s=2.0))
        await store.start()
        await store.transact(creating(tenant()))
        for member in (1, 2):
            etcd.signal(member, signal.SIGSTOP)
        await eventually(lambda: not store.healthy)
        with pytest.raises(Unavailable):
            await store.transact(relabelling(ACME, "x"))
        assert ACME in store.state.tenants
        for member in (1, 2):
            etcd.signal(member, signal.SIGCONT)
        await eventually(lambda: store.healthy)
        await store.transact(relabelling(ACME, "y"))
        await store.stop()


async def test_a_store_that_lost_its_data_does_not_delete_everything() -> None:
    with EtcdCluster() as etcd:
        settings = replace(QUICK, refused_delay_s=0.2, mass_delete_min_objects=5)
        store = EtcdStore(etcd.endpoints, etcd.tls, settings)
        await store.start()
        for n in range(1, 11):
            await store.transact(creating(tenant(TenantName(f"t{n}"), n)))
        known = content(store.state)
        snapshot = etcd.directory / "snapshot"
        await asyncio.to_thread(etcd.ctl, "snapshot", "save", str(snapshot))
        etcd.kill()
        etcd.wipe()
        await asyncio.to_thread(etcd.start, 0)
        await eventually(lambda: store._refused)
        assert content(store.state) == known
        assert not store.healthy
        with pytest.raises(Unavailable, match="another or an older state"):
            await store.transact(relabelling(TenantName("t1"), "x"))
        # Restarted controllers take the store for what it is.
        fresh = EtcdStore(etcd.endpoints, etcd.tls, settings)
        await fresh.start()
        assert not fresh.state.tenants
        await fresh.stop()
        # And the right data brought back is followed again.
        etcd.kill()
        etcd.wipe()
        await asyncio.to_thread(etcd.restore, snapshot)
        await asyncio.to_thread(etcd.start, 0)
        await eventually(lambda: store.healthy)
        assert {n: replace(t, meta=meta_without_revision(t)) for n, t in content(store.state).items()} == {
            n: replace(t, meta=meta_without_revision(t)) for n, t in known.items()
        }
        await store.transact(deleting(TenantName("t1")))
        await store.stop()


def meta_without_revision(stored: object) -> object:
    return replace(stored.meta, revision=Revision(0))


async def test_names_of_ports_do_not_bleed_between_tenants(backend: EtcdBackend) -> None:
    """acme/web and acme-web are prefixes of nothing but themselves."""
    store = await backend.new_store()
    await store.transact(creating(tenant(), tenant(TenantName("acme-web"), 2)))
    await store.transact(deleting(ACME))
    assert list(store.state.tenants) == [TenantName("acme-web")]
    assert PortName(*WEB, "p") == port("p").name


class TestEtcdProfiles(ProfileSuite):
    pass


class TestEtcdExits(ExitSuite):
    pass
