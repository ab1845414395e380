"""The suite that every Store passes, real or fake. Subclasses give a fixture `backend`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Protocol
from uuid import uuid4

import pytest

from cloison.codec import record_to_bytes
from cloison.errors import AlreadyExists, CallerError, InvalidIntent, NotFound, Precondition
from cloison.model import (
    FixedIp,
    Host,
    Meta,
    Network,
    Port,
    PortBinding,
    Reservation,
    Stored,
    Subnet,
    Tenant,
    Vni,
)
from cloison.names import HostName, NetworkName, PortName, SubnetName, TenantName
from controller.store import keys
from controller.store.changes import Event, RevisionChanges
from controller.store.keys import stored_key
from controller.store.state import State
from controller.store.store import HistoryGone, Store, Subscription, SubscriptionOverrun
from controller.store.txn import Txn

ACME = TenantName("acme")
WEB = NetworkName("acme", "web")
LAN = SubnetName("acme", "web", "lan")
H1 = HostName("h1")
DEADLINE_S = 20.0


class Backend(Protocol):
    """One etcd, or what is like one, and its controllers."""

    async def new_store(self, *, subscription_revisions_max: int = 20_000) -> Store:
        """Start one more controller's store."""

    def cut(self, store: Store) -> None:
        """Keep a store from following."""

    def mend(self, store: Store) -> None:
        """Undo cut."""

    async def put_raw(self, key: str, value: bytes | None) -> None:
        """Write past all stores."""

    async def compact(self) -> None:
        """Forget all history."""

    async def keys(self) -> list[str]:
        """All keys there are."""


def meta(**fields) -> Meta:
    return Meta(uid=str(uuid4()), **fields)


def tenant(name=ACME, number=1) -> Tenant:
    return Tenant(name=name, meta=meta(), number=number)


def network(name=WEB, vni=5001) -> Network:
    return Network(name=name, meta=meta(), vni=Vni(vni))


def subnet(name=LAN, cidr="10.0.0.0/16") -> Subnet:
    return Subnet(name=name, meta=meta(), cidr=ip_network(cidr), gateway_ip=None, allocation_pools=())


def port(name: PortName | str, address: str | None = None, number=1, **fields) -> Port:
    made = meta()
    return Port(
        name=name if isinstance(name, PortName) else PortName(*WEB, name),
        meta=made,
        number=number,
        mac=0x525400000000 + number,
        fixed_ips=(FixedIp(LAN, ip_address(address)),) if address else (),
        iface_id=made.uid,
        **({"requested_hosts": (), "disabled": False} | fields),
    )


def creating(*objects: Stored) -> Callable[[State], tuple[Txn, None]]:
    def build(state: State) -> tuple[Txn, None]:
        txn = Txn()
        for stored in objects:
            if state.lookup(stored_key(stored)) is not None:
                raise AlreadyExists(str(stored_key(stored)))
            txn.create(stored)
        return txn, None

    return build


def taking(new: Port, address: str) -> Callable[[State], tuple[Txn, Port]]:
    """Create a port with a chosen address, as the API does."""

    def build(state: State) -> tuple[Txn, Port]:
        if LAN not in state.subnets:
            raise NotFound(str(LAN))
        key = keys.ip(WEB, ip_address(address))
        if key in state.reservations:
            raise Precondition("TAKEN", str(new.name), f"{address} is taken", [state.reservations[key].owner])
        txn = Txn()
        made = replace(new, fixed_ips=(FixedIp(LAN, ip_address(address)),))
        txn.create(made)
        txn.reserve(key, made.name, made.meta.uid)
        txn.add_reference(LAN, made.name)
        return txn, made

    return build


def taking_any(new: Port) -> Callable[[State], tuple[Txn, Port]]:
    """Create a port with whatever address is free."""

    def build(state: State) -> tuple[Txn, Port]:
        low = int(IPv4Address("10.0.0.1"))
        number = state.reservations.first_free(keys.ip_scope(WEB, 4), low, low + 5000)
        assert number is not None
        return taking(new, str(IPv4Address(number)))(state)

    return build


def deleting(name) -> Callable[[State], tuple[Txn, None]]:
    def build(state: State) -> tuple[Txn, None]:
        old = state.get(name)
        if old is None:
            raise NotFound(str(name))
        if isinstance(name, SubnetName) and (users := state.ports_using(name)):
            raise Precondition("REFERENCED", str(name), "in use", [str(user.name) for user in users])
        if isinstance(name, NetworkName) and state.children_of(name):
            raise Precondition("REFERENCED", str(name), "not empty")
        txn = Txn()
        if isinstance(old, Port):
            for fixed_ip in old.fixed_ips:
                txn.release(state.reservations[keys.ip(name.parent, fixed_ip.address)], ())
                txn.drop_reference(fixed_ip.subnet, name)
        txn.delete(old)
        return txn, None

    return build


def relabelling(name, display_name: str) -> Callable[[State], tuple[Txn, None]]:
    def build(state: State) -> tuple[Txn, None]:
        old = state.get(name)
        assert old is not None
        txn = Txn()
        txn.update(old, replace(old, meta=replace(old.meta, display_name=display_name)))
        return txn, None

    return build


async def eventually(condition: Callable[[], object], what: str = "", deadline_s: float = DEADLINE_S) -> None:
    """Poll until condition() is true."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, what or "not within the deadline"
        await asyncio.sleep(0.01)


def content(state: State) -> dict[object, Stored]:
    """Everything in a state."""
    tables = (
        *(state.tenants, state.networks, state.subnets, state.ports, state.hosts),
        *(state.security_groups, state.address_groups),
    )
    found: dict[object, Stored] = {str(name): stored for table in tables for name, stored in table.items()}
    return (
        found
        | dict(state.bindings)
        | dict(state.tunnel_ports)
        | {str(keys.stored_key(profile)): profile for profile in state.profiles.values()}
        | {f"r/{k}": r for k, r in state.reservations.items()}
    )


class Replica:
    """What a subscriber knows that begins with a snapshot and then only believes the changes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.known = content(store.state)
        self.seen: list[RevisionChanges] = []
        self.subscription: Subscription = store.subscribe()

    def catch_up(self) -> None:
        for changes in self.subscription.pending():
            self.seen.append(changes)
            for change in changes.changes:
                key = change.key if isinstance(change.stored, PortBinding) else str(change.key)
                key = f"r/{key}" if isinstance(change.stored, Reservation) else key
                assert self.known.get(key) == change.old
                if change.new is None:
                    del self.known[key]
                else:
                    self.known[key] = change.new

    def check(self) -> None:
        self.catch_up()
        assert self.known == content(self.store.state)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
class StoreSuite:
    """Say what a store promises."""

    @pytest.fixture
    async def store(self, backend: Backend) -> Store:
        return await backend.new_store()

    @pytest.fixture
    async def base(self, store: Store) -> Store:
        for stored in (tenant(), network(), subnet(), Host(name=H1, meta=meta())):
            await store.transact(creating(stored))
        return store

    # -- changes -----------------------------------------------------------------------------------

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
                txn.reserve(keys.ip(WEB, IPv4Address("10.0.0.1")), PortName(*WEB, "p1"), "u")
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

    # -- races -------------------------------------------------------------------------------------

    async def test_of_100_that_want_one_address_one_gets_it(self, backend: Backend, base: Store) -> None:
        stores = [base] + [await backend.new_store() for _ in range(3)]
        wishes = [stores[n % 4].transact(taking(port(f"p{n}", number=n + 1), "10.0.0.7")) for n in range(100)]
        results = await asyncio.gather(*wishes, return_exceptions=True)
        winners = [result for result in results if not isinstance(result, BaseException)]
        losers = [result for result in results if isinstance(result, BaseException)]
        assert len(winners) == 1
        assert all(isinstance(loser, Precondition) and loser.kind == "TAKEN" for loser in losers)
        won = winners[0][1]
        assert {loser.subjects for loser in losers} == {(str(won.name),)}
        for store in stores:
            await eventually(lambda store=store: won.name in store.state.ports)
            assert list(store.state.ports) == [won.name]
            assert list(store.state.reservations) == ["ip/acme/web/10.0.0.7"]

    async def test_of_100_that_want_any_address_each_gets_its_own(
        self, backend: Backend, base: Store
    ) -> None:
        stores = [base, await backend.new_store()]
        wishes = [stores[n % 2].transact(taking_any(port(f"p{n}", number=n + 1))) for n in range(100)]
        made = [result for _, result in await asyncio.gather(*wishes)]
        assert max(Counter(p.fixed_ips[0].address for p in made).values()) == 1
        await eventually(lambda: len(base.state.ports) == 100)
        assert len(base.state.reservations) == 100

    async def test_100_that_change_one_object_all_get_their_turn(self, base: Store) -> None:
        def build(state: State) -> tuple[Txn, None]:
            name = state.subnets[LAN].meta.display_name
            return relabelling(LAN, f"{name}x")(state)

        await asyncio.gather(*(base.transact(build) for _ in range(100)))
        assert base.state.subnets[LAN].meta.display_name == 100 * "x"

    async def test_a_port_and_the_end_of_its_subnet_never_both_happen(
        self, backend: Backend, base: Store
    ) -> None:
        other = await backend.new_store()
        outcomes = Counter()
        for _ in range(200):
            await eventually(lambda: LAN in other.state.subnets)
            results = await asyncio.gather(
                base.transact(taking(port("p", number=1), "10.0.0.7")),
                other.transact(deleting(LAN)),
                return_exceptions=True,
            )
            created, deleted = (not isinstance(result, BaseException) for result in results)
            assert created != deleted, results
            assert all(isinstance(r, CallerError) for r in results if isinstance(r, BaseException)), results
            outcomes[created] += 1
            if created:
                await base.transact(deleting(PortName(*WEB, "p")))
            else:
                await other.transact(creating(subnet()))
                await eventually(lambda: LAN in base.state.subnets)
        assert not await backend.keys() or not [
            k for k in await backend.keys() if "/refs/" in k or "/alloc/" in k
        ]

    async def test_a_child_and_the_end_of_its_parent_never_both_happen(
        self, backend: Backend, base: Store
    ) -> None:
        await base.transact(deleting(LAN))
        other = await backend.new_store()
        for _ in range(50):
            await eventually(lambda: WEB in base.state.networks and WEB in other.state.networks)

            def build(state: State) -> tuple[Txn, None]:
                if WEB not in state.networks:
                    raise NotFound(str(WEB))
                return creating(subnet())(state)

            results = await asyncio.gather(
                base.transact(build), other.transact(deleting(WEB)), return_exceptions=True
            )
            created, deleted = (not isinstance(result, BaseException) for result in results)
            assert created != deleted, results
            if created:
                await base.transact(deleting(LAN))
            else:
                await other.transact(creating(network()))

    async def test_with_a_port_go_its_bindings_even_unseen_ones(self, backend: Backend, base: Store) -> None:
        plugged = port("p1", requested_hosts=(H1,))
        await base.transact(creating(plugged))
        other = await backend.new_store()
        backend.cut(base)
        report = PortBinding(
            port=plugged.name, port_uid=plugged.meta.uid, host=H1, interface="tap1", ofport=7
        )
        await other.transact(creating(report))
        backend.mend(base)
        await base.transact(deleting(plugged.name))
        await eventually(lambda: plugged.name not in other.state.ports)
        assert not other.state.bindings
        assert not base.state.bindings
        assert not [key for key in await backend.keys() if "/bindings/" in key]

    async def test_no_binding_of_a_port_that_is_gone(self, base: Store) -> None:
        report = PortBinding(port=PortName(*WEB, "p1"), port_uid="u", host=H1, interface="tap1", ofport=7)

        def build(state: State) -> tuple[Txn, None]:
            if state.revision > before:
                raise NotFound("p1")
            txn = Txn()
            txn.create(report)
            return txn, None

        before = base.state.revision
        task = asyncio.create_task(base.transact(build))
        await base.transact(creating(port("p2")))
        with pytest.raises(NotFound):
            await task
        assert not base.state.bindings

    async def test_a_released_identifier_stays_taken_until_its_hosts_confirm(self, base: Store) -> None:
        key = keys.ip(WEB, IPv4Address("10.0.0.7"))
        _, made = await base.transact(taking(port("p1"), "10.0.0.7"))

        def release(state: State) -> tuple[Txn, None]:
            txn = Txn()
            txn.release(state.reservations[key], [H1])
            return txn, None

        await base.transact(release)
        [waiting] = base.state.reservations.released()
        assert (waiting.key, waiting.owner_uid, waiting.hosts) == (key, made.meta.uid, (H1,))
        assert not base.state.reservations.is_free(key)

        def free(state: State) -> tuple[Txn, None]:
            txn = Txn()
            txn.release(state.reservations[key], [])
            return txn, None

        await base.transact(free)
        assert base.state.reservations.is_free(key)
        assert not base.state.reservations.released()

    async def test_epochs_rise_and_are_nobody_elses(self, backend: Backend, store: Store) -> None:
        other = await backend.new_store()
        taken = await asyncio.gather(*(s.next_epoch("c") for s in (store, other) for _ in range(5)))
        assert len(set(taken)) == 10
        assert await store.next_epoch("c1") > max(taken)

    # -- history -----------------------------------------------------------------------------------

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

    # -- faults ------------------------------------------------------------------------------------

    async def test_after_compaction_deletions_are_found(self, backend: Backend, base: Store) -> None:
        for n in range(1, 6):
            await base.transact(taking(port(f"p{n}", number=n), f"10.0.0.{n}"))
        other = await backend.new_store()
        replica = Replica(other)
        backend.cut(other)
        await base.transact(deleting(PortName(*WEB, "p1")))
        await base.transact(relabelling(PortName(*WEB, "p2"), "changed"))
        revision, _ = await base.transact(creating(port("p6", number=6)))
        await backend.compact()
        backend.mend(other)
        await eventually(lambda: other.state.revision >= revision)
        replica.check()
        assert content(other.state) == content(base.state)
        [resync] = [changes for changes in replica.seen if changes.resync]
        assert PortName(*WEB, "p1") in {change.key for change in resync.changes if change.new is None}

    async def test_deletions_are_told_apart_by_kind(self, backend: Backend, base: Store) -> None:
        """A tenant and a host, a subnet and a port may have the same ids."""
        await base.transact(creating(Host(name=HostName("acme"), meta=meta()), port("lan")))
        other = await backend.new_store()
        backend.cut(other)
        await base.transact(deleting(HostName("acme")))
        revision, _ = await base.transact(deleting(LAN))
        await backend.compact()
        backend.mend(other)
        await eventually(lambda: other.state.revision >= revision)
        assert content(other.state) == content(base.state)
        assert HostName("acme") not in other.state.hosts
        assert LAN not in other.state.subnets

    async def test_a_cut_watch_misses_nothing_and_halves_nothing(self, backend: Backend, base: Store) -> None:
        other = await backend.new_store()
        replica = Replica(other)
        expected = []
        for n in range(1, 10):
            if n % 3 == 0:
                backend.cut(other)
            if n % 3 == 1:
                backend.mend(other)
            both = [port(f"p{n}{side}", number=2 * n + side) for side in (0, 1)]
            revision, _ = await base.transact(creating(*both))
            expected.append((revision, {made.name for made in both}))
        backend.mend(other)
        await eventually(lambda: other.state.revision >= revision)
        replica.check()
        seen = [(c.revision, {change.key for change in c.changes}) for c in replica.seen if c.changes]
        assert seen == expected

    @pytest.mark.parametrize(
        "poison",
        [
            b"\xff\xff\xff",
            b"",
            record_to_bytes(port("other", number=9)),
            record_to_bytes(port("p1", number=9))[:-3],
            b"\x9a\x06\x03abc",
        ],
        ids=["noise", "empty", "another's", "truncated", "unknown kind"],
    )
    async def test_a_bad_record_hurts_only_itself(self, backend: Backend, base: Store, poison: bytes) -> None:
        await base.transact(creating(port("p1", number=1), port("p2", number=2)))
        replica = Replica(base)
        good = base.state.ports[PortName(*WEB, "p1")]
        key = keys.resource_key(good.name)
        await backend.put_raw(key, poison)
        await eventually(lambda: key in base.quarantine)
        assert base.state.ports[good.name] == good
        await base.transact(relabelling(PortName(*WEB, "p2"), "goes on"))
        later = await backend.new_store()
        assert key in later.quarantine
        assert good.name not in later.state.ports
        assert later.state.ports[PortName(*WEB, "p2")] == base.state.ports[PortName(*WEB, "p2")]
        # The last good value is what an update starts from, and it replaces the bad record.
        await base.transact(relabelling(good.name, "mended"))
        await eventually(lambda: not later.quarantine)
        assert not base.quarantine
        assert later.state.ports[good.name].meta.display_name == "mended"
        replica.check()

    async def test_keys_of_strangers_hurt_nobody(self, backend: Backend, base: Store) -> None:
        for stranger in ("junk", "ports/a/b", "alloc/ip/a/b/10.0.0.01", "alloc/none/1", "hosts/UPPER"):
            await backend.put_raw(keys.PREFIX + stranger, b"x")
            await eventually(lambda key=keys.PREFIX + stranger: key in base.quarantine)
            await backend.put_raw(keys.PREFIX + stranger, None)
            await eventually(lambda: not base.quarantine)

    async def test_events_know_their_keys(self, base: Store) -> None:
        await base.transact(taking(port("p1"), "10.0.0.7"))
        copy = State()
        copy.apply(1, [Event(stored_key(stored), stored) for stored in content(base.state).values()])
        assert content(copy) == content(base.state)
