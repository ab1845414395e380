"""What every store promises of changes made at once; see store_suite."""

from __future__ import annotations

import asyncio
from collections import Counter
from ipaddress import IPv4Address

import pytest

from cloison.errors import CallerError, NotFound, Precondition
from cloison.model import PortBinding
from cloison.names import PortName
from controller.store import ids
from controller.store.state import State
from controller.store.store import Store
from controller.store.txn import Txn
from tests.support.store_world import (
    H1,
    LAN,
    WEB,
    Backend,
    creating,
    deleting,
    eventually,
    network,
    port,
    relabelling,
    subnet,
    taking,
    taking_any,
)


class Races:
    """Of two that cannot both be, one happens."""

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
        key = ids.ip(WEB, IPv4Address("10.0.0.7"))
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
