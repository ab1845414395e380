"""Following the store when it does not go step by step: lost subscriptions, restored stores, records that
come late. Nothing is said to be enforced that is not, and nobody waits for ever.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Any

import pytest

from cloison.addresses import Mac
from cloison.model import FixedIp, Meta, Network, Port, Tenant
from cloison.names import HostName, PortName, SubnetName, TenantName
from cloison.v1 import port_pb2
from controller.compiler.view import PortView
from controller.flows import Flow
from controller.reconcile import reconciler as module
from controller.reconcile import units as units_module
from controller.reconcile.following import BURST_PAUSES, PAUSE_MAX_S, rest
from controller.reconcile.reconciler import Reconciler
from controller.store import keys
from controller.store.base import Outcome
from controller.store.memory import MemoryStore
from controller.store.state import State
from controller.store.txn import Txn
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import (
    H2,
    VNI,
    Controller,
    at_once,
    come_back,
    controller,
    pair,
    port_flows_of,
    port_like,
    relabelled,
    settled,
    wire_of,
    with_base,
)


async def test_a_reconciler_that_was_too_slow_begins_anew() -> None:
    store = MemoryStore()
    await store.start()
    reconciler = Reconciler(store, "c1", await store.next_epoch("c1"))
    await reconciler.start()
    made = Controller(store, reconciler)
    try:
        await with_base(made)
        await eventually(lambda: reconciler._follower._subscription, "it follows")
        h1 = MemoryHost(reconciler, 1)
        await h1.connect("if1")
        p1 = await made.create_port(1, "h1")
        await made.active(p1)
        ports = [port_like(made, p1, n) for n in range(2, 9)]
        subscription = reconciler._follower._subscription
        assert subscription is not None
        subscription._revisions_max = 3
        at_once(made, *([port] for port in ports))
        await eventually(lambda: ports[-1].name in store.state.ports, "the mirror follows")
        await eventually(lambda: h1.session.closed_because, "it begins anew")
        again = MemoryHost(reconciler, 1, h1.switch)
        again._ofport = 100
        await again.connect("if1", *(port.iface_id for port in ports))
        for port in ports:
            await made.active(port.name)
        await made.active(p1)
    finally:
        await reconciler.stop()
        await store.stop()


@pytest.mark.parametrize("hurried", [False, True], ids=["in its turn", "caught up with"])
async def test_a_revision_that_cannot_be_worked_out_is_not_the_last_one(
    monkeypatch: pytest.MonkeyPatch, hurried: bool
) -> None:
    async with controller() as made:
        h1, h2, p1, _ = await pair(made)
        right, failures = module.impact_in_pieces, [RuntimeError("a bug")]

        def impact_in_pieces(*args: Any) -> Any:
            if failures:
                raise failures.pop()
            return right(*args)

        monkeypatch.setattr(module, "impact_in_pieces", impact_in_pieces)
        apply = made.store._mirror.apply

        def applied(*what: Any) -> Any:
            changes = apply(*what)
            if hurried and failures:
                made.reconciler._follower.catch_up()
                assert not failures, "worked out before its turn"
            return changes

        monkeypatch.setattr(made.store._mirror, "apply", applied)
        p3 = await made.create_port(3, "h1")
        await eventually(
            lambda: made.reconciler.revision == made.store.state.revision, "followed all the same"
        )
        await come_back(made, (h1, "if1", "if3"), (h2, "if2"))
        await made.active(p3)
        await made.active(p1)


async def test_an_object_that_cannot_be_compiled_stops_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async with controller() as made:
        h1, _, _, _ = await pair(made)
        right = units_module.port_flows

        def port_flows(view: PortView) -> tuple[Flow, ...]:
            if view.port_number == 3:
                raise ValueError("no flows for that")
            return right(view)

        monkeypatch.setattr(units_module, "port_flows", port_flows)
        bad, good = await made.create_port(3, "h1"), await made.create_port(4, "h1")
        h1.plug("if3")
        h1.plug("if4")
        await made.active(good)
        await eventually(lambda: made.status(bad) == port_pb2.Port.ERROR, "the one is named")
        assert {reason for reason, _ in made.reasons(bad)} == {"COMPILER_FAILED"}
        assert h1.session.closed_because is None


async def test_a_store_that_went_back_is_followed_under_a_new_epoch() -> None:
    async with controller() as made:
        h1, h2, _, _ = await pair(made)
        etcd = made.store.etcd
        saved = dict(etcd.values), etcd.revision
        for _ in range(20):
            await made.commit(lambda txn, state: txn.update(*relabelled(state.tenants[TenantName("acme")])))
        epoch = made.reconciler.epoch
        etcd.values, etcd.revision, etcd.history = dict(saved[0]), saved[1], []
        made.store._news.set()
        await eventually(lambda: made.store.state.revision < epoch + saved[1] + 15, "listed again")
        await eventually(
            lambda: h1.session.closed_because and h2.session.closed_because, "sessions begin anew"
        )
        assert made.reconciler.epoch > epoch, "agents hold a newer revision of the old epoch"
        await come_back(made, (h1, "if1", "if3"), (h2, "if2"))
        await made.active(await made.create_port(3, "h1"))


async def test_a_list_of_the_same_revision_is_no_step_back() -> None:
    async with controller() as made:
        h1, h2, p1, _ = await pair(made)
        epoch = made.reconciler.epoch
        for key in [k for k in made.store.etcd.values if k.endswith("/p1") or "/p1/" in k]:
            del made.store.etcd.values[key]
        await made.store._relist()
        await eventually(lambda: not port_flows_of(h1, 1), "what the list lacks is gone")
        await settled(made)
        assert p1 not in made.store.state.ports
        assert made.reconciler.epoch == epoch
        assert h1.session.closed_because is None
        assert wire_of(1) not in h2.fdb[VNI]


async def test_revisions_that_were_never_seen_are_waited_for_all_the_same() -> None:
    """After a compaction only the sum of several revisions is known; a receipt must cover each of them."""
    async with controller() as made:
        _, h2, p1, _ = await pair(made)
        other = MemoryStore(made.store.etcd)
        await other.start()
        h2.mute = True
        made.store.pause()
        elsewhere = Controller(other, made.reconciler)
        deleted = await elsewhere.delete_port(p1)
        for _ in range(5):
            await elsewhere.commit(
                lambda txn, state: txn.update(*relabelled(state.tenants[TenantName("acme")]))
            )
        made.store.etcd.compact()
        made.store.resume()
        await eventually(lambda: made.reconciler.revision > deleted, "listed again")
        await eventually(lambda: wire_of(1) not in h2.fdb.get(VNI, {}), "h2 told")
        assert not made.reconciler.hosts[H2].holds(deleted)
        realized, _, missing = await made.reconciler.tracker.wait_realized(p1, deleted, 0.1)
        assert not realized
        assert {c.subjects for c in missing} == {("hosts/h2",)}
        await other.stop()


async def test_a_network_whose_record_comes_late_is_served() -> None:
    """A record that could not be read is repaired after others came to rely on it."""
    async with controller() as made:
        await with_base(made)
        h1, h2 = MemoryHost(made.reconciler, 1), MemoryHost(made.reconciler, 2)
        await h1.connect("if1")
        await h2.connect("if2")
        state = made.store.state
        keep = [*state.networks.values(), *state.subnets.values(), *state.tenants.values()]
        etcd = made.store.etcd
        for key in [k for k in etcd.values if any(f"/{part}/" in k for part in ("networks", "tenants"))]:
            etcd.put(key, None)
        await eventually(lambda: not state.networks and not state.tenants, "records gone")
        p1, p2 = await orphan(made, 1, "h1"), await orphan(made, 2, "h2")
        await eventually(lambda: state.bindings_of(p1) and state.bindings_of(p2), "plugged")
        networks = [n for n in keep if isinstance(n, Network)]
        at_once(made, networks)
        await eventually(lambda: state.networks, "network back")
        at_once(made, [t for t in keep if isinstance(t, Tenant)])
        await made.active(p1)
        await made.active(p2)
        assert wire_of(2) in h1.fdb[VNI]


class Slow(MemoryStore):
    """An etcd that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.answer = asyncio.Event(), asyncio.Event()

    async def _commit(self, txn: Txn) -> Outcome:
        self.begun.set()
        await self.answer.wait()
        return await super()._commit(txn)


def acme(_: State) -> tuple[Txn, None]:
    """Make a tenant."""
    txn = Txn()
    txn.create(Tenant(name=TenantName("acme"), meta=Meta(uid="uid"), number=1))
    return txn, None


@pytest.mark.parametrize(
    ("spent_s", "come", "busy", "pauses"),
    [
        (0.01, 0, False, [0.01]),
        (0.01, 0, True, [0.01]),
        (0.01, 1, False, [0.01]),
        (0.01, 1, True, [0.01, (BURST_PAUSES - 1) * 0.01]),
        (0.01, 2, False, [0.01, (BURST_PAUSES - 1) * 0.01]),
        (0.1, 9, True, [0.1, PAUSE_MAX_S - 0.1]),
        (3.0, 9, True, [PAUSE_MAX_S, 0]),
    ],
    ids=[
        "nothing comes",
        "about to come",
        "one by one",
        "more to come",
        "several",
        "a large round",
        "larger",
    ],
)
async def test_a_burst_is_few_rounds(spent_s: float, come: int, busy: bool, pauses: list[float]) -> None:
    """The pause after a round is longer where several changes come, and never longer than the limit."""
    store, had = Slow(), []
    await store.start()
    subscription = store.subscribe()

    async def sleep(pause_s: float) -> None:
        had.append(pause_s)
        if len(had) == 1:
            for number in range(come):
                store.etcd.put(f"{keys.PREFIX}stranger{number}", b"")
            await eventually(lambda: subscription.waiting == come, "the mirror follows")

    changing = asyncio.create_task(store.transact(acme)) if busy else None
    if changing is not None:
        await store.begun.wait()
    await rest(store, subscription, spent_s, sleep)
    assert had == pytest.approx(pauses)
    assert len(subscription.pending()) == come, "all are left for the next round"
    store.answer.set()
    if changing is not None:
        await changing
        assert not store.busy, "it has come"
    await store.stop()


async def orphan(made: Controller, number: int, host: str) -> PortName:
    address = FixedIp(SubnetName("acme", "web", "v4"), ip_address(f"10.0.0.{number}"))
    port = Port(
        name=PortName("acme", "web", f"p{number}"), meta=Meta(uid=f"uid-p{number}"), number=number,
        mac=Mac(0x020000000000 + number), fixed_ips=(address,), requested_hosts=(HostName(host),),
        disabled=False, iface_id=f"if{number}",
    )  # fmt: skip
    at_once(made, [port])
    await eventually(lambda: port.name in made.store.state.ports, "port there")
    return port.name
