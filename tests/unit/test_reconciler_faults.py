"""The reconciler when things go wrong: lost subscriptions, restored stores, sessions in any order, agents
that lie, a gate that refuses. What must hold is what holds without faults: nothing is said to be enforced
that is not, and nobody waits for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from cloison.addresses import IpAddress, Mac
from cloison.errors import InvalidIntent, Unavailable
from cloison.identity import Identity, Role
from cloison.model import FixedIp, Meta, Network, Port, Stored, Tenant
from cloison.names import HostName, PortName, SubnetName, TenantName
from cloison.v1 import host_sync_pb2, port_pb2
from controller.__main__ import Options, serve
from controller.api.auth import Caller, set_current_caller
from controller.api.host_sync import HostSyncServicer
from controller.compiler.cookies import CookieKind, unpack
from controller.compiler.view import PortView
from controller.flows import Flow, match
from controller.flows.delta import FlowDelta, InstalledFlows
from controller.openflow.fake import FakeSwitch
from controller.openflow.refusal import FlowError, SwitchRefused
from controller.reconcile import plugs, retrial
from controller.reconcile import reconciler as module
from controller.reconcile import tunnels as tunnels_module
from controller.reconcile.gate import GateMode
from controller.reconcile.progress import Progress
from controller.reconcile.reconciler import Reconciler
from controller.reconcile.views import Location
from controller.store.memory import MemoryStore
from controller.store.state import State
from controller.store.txn import Limits, Txn
from controller.verify.violation import BLACKHOLE
from tests.support.compiler_bugs import any_source, with_bug
from tests.support.hosts import MemoryHost, eventually
from tests.unit.test_reconciler import (
    VNI,
    Controller,
    ack,
    controller,
    port_flows_of,
    wire_of,
    with_base,
)

H1, H2 = HostName("h1"), HostName("h2")


async def pair(made: Controller) -> tuple[MemoryHost, MemoryHost, PortName, PortName]:
    """Port 1 on h1 and port 2 on h2, both ACTIVE and everything confirmed."""
    await with_base(made)
    h1, h2 = MemoryHost(made.reconciler, 1), MemoryHost(made.reconciler, 2)
    await h1.connect("if1")
    await h2.connect("if2")
    p1, p2 = await made.create_port(1, "h1"), await made.create_port(2, "h2")
    await made.active(p1)
    await made.active(p2)
    await eventually(lambda: len(made.store.state.tunnel_ports) == 2, "both devices reported")
    await settled(made)
    return h1, h2, p1, p2


async def come_back(made: Controller, *hosts: tuple[Any, ...]) -> list[MemoryHost]:
    """Agents dial again, with the interfaces named, in the order in which they had them."""
    again = []
    for old, *plugged in hosts:
        host = MemoryHost(made.reconciler, old._number, old.switch)
        host._ofport = 100
        await host.connect(*plugged)
        again.append(host)
    return again


async def settled(made: Controller) -> None:
    realized, _, missing = await made.reconciler.tracker.wait_realized(None, made.store.state.revision, 5.0)
    assert realized, missing


def at_once(made: Controller, *things: Iterable[Stored]) -> int:
    """Commit several transactions before anybody here can look; return the last revision."""
    for thing in things:
        txn = Txn()
        for stored in thing:
            txn.create(stored)
        made.store.etcd.write(txn.writes)
    return made.store.etcd.revision


def port_like(made: Controller, name: PortName, number: int, tenant: str = "acme", *hosts: str) -> Any:
    like = made.store.state.ports[name]
    subnet = SubnetName(tenant, "web", "v4")
    fixed = tuple(replace(f, subnet=subnet, address=ip_address(f"10.0.0.{number}")) for f in like.fixed_ips)
    return replace(
        like,
        name=PortName(tenant, "web", f"p{number}"),
        meta=Meta(uid=f"uid-p{number}"),
        number=number,
        mac=0x020000000000 + number,
        fixed_ips=fixed,
        iface_id=f"if{number}",
        requested_hosts=tuple(map(HostName, hosts)) or like.requested_hosts,
    )


def refused_by_gate(made: Controller) -> int:
    return made.reconciler._gate.refused


# --- following the store ----------------------------------------------------------------------------


async def test_a_reconciler_that_was_too_slow_begins_anew() -> None:
    store = MemoryStore(subscription_revisions_max=3)
    await store.start()
    reconciler = Reconciler(store, "c1", await store.next_epoch("c1"))
    await reconciler.start()
    made = Controller(store, reconciler)
    try:
        await with_base(made)
        h1 = MemoryHost(reconciler, 1)
        await h1.connect("if1")
        p1 = await made.create_port(1, "h1")
        await made.active(p1)
        ports = [port_like(made, p1, n) for n in range(2, 9)]
        at_once(made, *([port] for port in ports))
        await eventually(lambda: ports[-1].name in store.state.ports, "the mirror follows")
        await eventually(lambda: reconciler.revision == store.state.revision, "the reconciler follows")
        again = MemoryHost(reconciler, 1, h1.switch)
        again._ofport = 100
        await again.connect("if1", *(port.iface_id for port in ports))
        for port in ports:
            await made.active(port.name)
        await made.active(p1)
    finally:
        await reconciler.stop()
        await store.stop()


async def test_a_revision_that_cannot_be_worked_out_is_not_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with controller() as made:
        h1, h2, p1, _ = await pair(made)
        right, failures = module.impact_of, [RuntimeError("a bug")]

        def impact_of(*args: Any) -> Any:
            if failures:
                raise failures.pop()
            return right(*args)

        monkeypatch.setattr(module, "impact_of", impact_of)
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
        right = module.port_flows

        def port_flows(view: PortView) -> tuple[Flow, ...]:
            if view.port_number == 3:
                raise ValueError("no flows for that")
            return right(view)

        monkeypatch.setattr(module, "port_flows", port_flows)
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


def relabelled(stored: Any) -> tuple[Any, Any]:
    return stored, replace(
        stored, meta=replace(stored.meta, display_name=stored.meta.display_name[-40:] + "x")
    )


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


# --- the gate ---------------------------------------------------------------------------------------


def lie_about(monkeypatch: pytest.MonkeyPatch, port: PortName) -> list[IpAddress]:
    """Have the tunnel plans lead frames for a port elsewhere; empty the list to stop it."""
    lies: list[IpAddress] = [ip_address("192.0.2.99")]
    right = tunnels_module.location

    def location(state: State, name: PortName) -> Location | None:
        found = right(state, name)
        return replace(found, vtep=lies[0]) if found is not None and name == port and lies else found

    monkeypatch.setattr(tunnels_module, "location", location)
    return lies


async def test_a_plan_that_is_held_back_gets_out_by_no_side_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrial, "RETRY_MIN_S", 0.02)
    async with controller() as made:
        h1, h2, _, _ = await pair(made)
        p3 = PortName("acme", "web", "p3")
        lies = lie_about(monkeypatch, p3)
        await made.create_port(3, "h2")
        h2.plug("if3")
        await eventually(lambda: refused_by_gate(made), "refused")
        again = MemoryHost(made.reconciler, 1, h1.switch)
        again._ofport = 100
        await again.connect("if1")
        await asyncio.sleep(0)
        p4 = await made.create_port(4, "h2")
        h2.plug("if4")
        await eventually(lambda: made.store.state.bindings_of(p4), "another change of the plan")
        for _ in range(20):
            await asyncio.sleep(0.005)
            for host in (h1, again):
                assert wire_of(3) not in host.fdb.get(VNI, {})
        lies.clear()
        await made.commit(lambda txn, state: txn.update(*relabelled(state.ports[p3])))
        third = again
        if again.session.closed_because is not None:
            third = MemoryHost(made.reconciler, 1, h1.switch)
            third._ofport = 100
            await third.connect("if1")
        await eventually(lambda: wire_of(3) in third.fdb.get(VNI, {}), "the right plan is sent")
        assert third.fdb[VNI][wire_of(3)] == b"\xc0\x00\x02\x02"
        await made.active(p3)
        await made.active(p4)


async def test_who_shares_a_moment_with_a_wrong_flow_does_not_share_its_fate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        right = module.port_flows
        bugs = {12}

        def port_flows(view: PortView) -> tuple[Flow, ...]:
            flows = right(view)
            return with_bug(any_source, flows) if view.port_number in bugs else flows

        monkeypatch.setattr(module, "port_flows", port_flows)
        monkeypatch.setattr(retrial, "RETRY_MIN_S", 0.02)
        good, bad = port_like(made, p1, 11), port_like(made, p1, 12)
        h1.plug("if11")
        h1.plug("if12")
        at_once(made, [good], [bad])
        await eventually(lambda: made.store.state.revision == made.reconciler.revision, "followed")
        await eventually(lambda: bad.name in made.store.state.ports, "there")
        await made.active(good.name)
        await eventually(lambda: made.status(bad.name) == port_pb2.Port.ERROR, "refused")
        assert not port_flows_of(h1, 12)
        bugs.clear()
        await made.active(bad.name)


async def test_two_interfaces_of_one_number_bind_nothing_and_hold_up_nobody() -> None:
    """A hostile agent whose switch is away: nobody but itself can be asked, and it contradicts itself."""
    async with controller() as made:
        _, h2, _, _ = await pair(made)
        evil = MemoryHost(made.reconciler, 3)
        await evil.register()
        p5, p6 = await made.create_port(5, "h3"), await made.create_port(6, "h3")
        inventory = host_sync_pb2.Inventory(complete=True)
        inventory.interfaces.add(name="a", iface_id="if5", ofport=7)
        inventory.interfaces.add(name="b", iface_id="if6", ofport=7)
        made.reconciler.inventory(evil.session, inventory)
        await eventually(lambda: len(made.reconciler.tracker.refused.of(HostName("h3"))) == 2, "refused")
        assert not made.store.state.bindings_on(HostName("h3"))
        p4 = await made.create_port(4, "h2")
        h2.plug("if4")
        await made.active(p4)
        assert not refused_by_gate(made)
        made.reconciler.inventory(evil.session, host_sync_pb2.Inventory(removed_interfaces=["b"]))
        await eventually(lambda: made.store.state.bindings_of(p5), "the rest is plugged")
        taken = host_sync_pb2.Inventory(tunnel_ports=[host_sync_pb2.TunnelPort(vni=VNI, ofport=7)])
        made.reconciler.inventory(evil.session, taken)
        await eventually(lambda: not made.store.state.bindings_of(p5), "a device cannot have it as well")
        assert not made.store.state.tunnel_ports_on(HostName("h3"))
        assert not made.store.state.bindings_of(p6)
        assert not refused_by_gate(made)


async def test_interfaces_that_change_numbers_are_never_two_of_one_number() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        names = [f"if{n}" for n in range(1, 61)]
        await h1.connect(*names)
        await made.create_port(1, "h1")
        like = made.store.state.ports[PortName("acme", "web", "p1")]
        for n in range(2, 61):
            at_once(made, [port_like(made, like.name, n)])
        await eventually(lambda: len(made.store.state.bindings_on(H1)) == 60, "all plugged")
        made.reconciler.switch_gone(1)
        numbers = {i.name: i.ofport for i in h1.session.interfaces.values()}
        order = sorted(numbers)
        turned = dict(zip(order, [numbers[n] for n in (*order[1:], order[0])], strict=True))
        seen: list[int] = []

        def look() -> None:
            bindings = made.store.state.bindings_on(H1)
            seen.append(len(bindings) - len({b.ofport for b in bindings}))

        made.store.etcd.on_commit.append(look)
        inventory = host_sync_pb2.Inventory(
            interfaces=[
                host_sync_pb2.Interface(name=name, iface_id=name.removeprefix("tap-"), ofport=ofport)
                for name, ofport in turned.items()
            ]
        )
        made.reconciler.inventory(h1.session, inventory)

        def right() -> bool:
            bindings = made.store.state.bindings_on(H1)
            return {b.interface: b.ofport for b in bindings} == turned

        await eventually(right, "stored as they are now")
        look()
        assert set(seen) == {0}
        assert not refused_by_gate(made)


async def test_a_port_whose_number_is_unconfirmed_is_no_violation_where_its_peers_are() -> None:
    async with controller() as made:
        h1, h2, p1, p2 = await pair(made)
        (binding,) = made.store.state.bindings_of(p1)
        h1.switch.set_port(binding.ofport, "tap-of-somebody-else")
        await eventually(lambda: not port_flows_of(h1, 1), "flows withdrawn")
        await eventually(lambda: wire_of(1) not in h2.fdb[VNI], "nobody is led to it")
        assert made.status(p1) == port_pb2.Port.BUILDING
        assert not refused_by_gate(made)
        h1.switch.set_port(binding.ofport, binding.interface)
        await made.active(p1)
        await made.active(p2)
        assert wire_of(1) in h2.fdb[VNI]


async def test_a_switch_that_went_is_believed_to_be_as_it_was_judged() -> None:
    async with controller() as made:
        h1, h2, _, _ = await pair(made)
        h2.switch.set_port(h2.tunnel_ofports[VNI], "something-else")
        await settled(made)
        made.reconciler.switch_gone(2)
        p3 = await made.create_port(3, "h1")
        h1.plug("if3")
        await eventually(lambda: port_flows_of(h1, 3), "flows of p3")
        assert made.status(p3) == port_pb2.Port.BUILDING
        assert not refused_by_gate(made)


class PickySwitch(FakeSwitch):
    """Refuses flows of a port while that is in `dislikes`."""

    dislikes: set[int] = set()

    async def apply(self, delta: FlowDelta) -> None:
        bad = [f for f in delta.add if (c := unpack(f.cookie)) and c.object in self.dislikes and f.table == 0]
        if bad:
            raise SwitchRefused([FlowError(flow, 4, 9, "no") for flow in bad])
        await super().apply(delta)


async def test_what_a_switch_refused_is_not_believed_to_be_there() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1, PickySwitch(1, "h1"))
        h1.switch.dislikes = {1}  # type: ignore[attr-defined]
        await h1.connect("if1")
        p1 = await made.create_port(1, "h1")
        await eventually(lambda: made.status(p1) == port_pb2.Port.ERROR, "refused by the switch")
        h1.switch.dislikes = set()  # type: ignore[attr-defined]

        def move(txn: Txn, state: State) -> None:
            old = state.ports[p1]
            txn.update(old, replace(old, mac=0x020000000009))

        await made.commit(move)
        await made.active(p1)
        assert not refused_by_gate(made)


async def test_a_wrong_flow_that_harms_nobody_yet_is_found_when_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A port that may say any source is alone in its network; then another joins."""
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        await with_base(made, "globex", 2)
        right = module.port_flows

        def port_flows(view: PortView) -> tuple[Flow, ...]:
            return with_bug(any_source, right(view)) if view.port_number == 12 else right(view)

        monkeypatch.setattr(module, "port_flows", port_flows)
        ports = [port_like(made, p1, number, "globex") for number in (12, 13)]
        for port in ports:
            h1.plug(port.iface_id)
            at_once(made, [port])
            await eventually(lambda name=port.name: made.store.state.bindings_of(name), "plugged")  # type: ignore[misc]
            await eventually(lambda: made.reconciler.revision == made.store.state.revision, "followed")
        # The newcomer's flows are kept back, so it is deaf; but nothing that should not pass does.
        found = made.reconciler._gate._verifier.check_everything()
        assert {violation.kind for violation in found} <= {BLACKHOLE}
        assert made.status(ports[1].name) == port_pb2.Port.ERROR


# --- switches ---------------------------------------------------------------------------------------


class SlowSwitch(FakeSwitch):
    """Waits with an answer until it is let."""

    def __init__(self, dpid: int, host_id: str | None = None) -> None:
        super().__init__(dpid, host_id)
        self.may_read, self.may_apply = asyncio.Event(), asyncio.Event()
        self.may_apply.set()
        self.reading = False

    async def read_flows(self, **how: Any) -> InstalledFlows:
        self.reading = True
        await self.may_read.wait()
        return await super().read_flows(**how)

    async def apply(self, delta: FlowDelta) -> None:
        await self.may_apply.wait()
        await super().apply(delta)


async def test_an_answer_of_the_last_session_is_not_taken_for_one_of_this() -> None:
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        (binding,) = made.store.state.bindings_of(p1)
        made.reconciler.switch_gone(1)
        slow = SlowSwitch(1, "h1")
        slow.ports = dict(h1.switch.ports)
        made.reconciler.switch_connected(1, slow)
        await eventually(lambda: slow.reading, "reading")
        fresh = FakeSwitch(1, "h1")
        fresh.ports = {binding.ofport: "tap-of-somebody-else"}
        made.reconciler.switch_connected(1, fresh)
        slow.may_read.set()
        await eventually(lambda: fresh.deltas, "filled")
        sent = [flow for delta in fresh.deltas for flow in (*delta.add, *delta.modify)]
        assert all((c := unpack(f.cookie)) is None or c.kind is not CookieKind.PORT for f in sent)
        assert ("OFPORT_UNCONFIRMED", ("hosts/h1",)) in made.reasons(p1)


class LatePorts(FakeSwitch):
    """A port changes its name after the switch has said what it has, and before that is heard."""

    late: dict[int, str | None] = {}

    async def read_ports(self) -> None:
        said = dict(self.ports)
        for ofport, name in self.late.items():
            self.set_port(ofport, name)
        self.ports = said


async def test_a_port_that_changes_while_ports_are_read_is_noticed() -> None:
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        (binding,) = made.store.state.bindings_of(p1)
        made.reconciler.switch_gone(1)
        late = LatePorts(1, "h1")
        late.ports = dict(h1.switch.ports)
        late.late = {binding.ofport: "tap-of-somebody-else"}
        made.reconciler.switch_connected(1, late)
        await eventually(lambda: late.deltas, "filled")
        assert ("OFPORT_UNCONFIRMED", ("hosts/h1",)) in made.reasons(p1)


async def test_what_is_read_against_does_not_change_meanwhile() -> None:
    """Another thread walks through what a switch is expected to hold."""
    async with controller() as made:
        h1, _, _, _ = await pair(made)
        walks: list[Iterable[Flow]] = []

        class Walking(SlowSwitch):
            async def read_flows(self, **how: Any) -> InstalledFlows:
                walk = iter(how["expected"])
                next(walk)
                walks.append(walk)
                found = await super().read_flows(**how)
                assert list(walk)
                return found

        made.reconciler.switch_gone(1)
        walking = Walking(1, "h1")
        walking.ports = h1.switch.ports
        h1.switch = walking
        made.reconciler.switch_connected(1, walking)
        await eventually(lambda: walks, "reading")
        p3 = await made.create_port(3, "h1")
        h1.plug("if3")
        await eventually(lambda: made.reconciler.hosts[H1].flows.flows_of(("port", p3)), "compiled")
        walking.may_read.set()
        await made.active(p3)


async def delete_host(made: Controller, name: HostName) -> None:
    def fill(txn: Txn, state: State) -> None:
        host = state.hosts[name]
        txn.delete(host)
        for key in [k for k, r in state.reservations.items() if r.owner == str(name)]:
            txn.release(state.reservations[key], ())

    await made.commit(fill)


async def test_a_host_that_was_deleted_and_comes_back_has_its_switch() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect()
        await eventually(lambda: h1.switch.deltas, "filled")
        h1.disconnect_agent()
        await delete_host(made, H1)
        await eventually(lambda: H1 not in made.reconciler.hosts, "forgotten")
        realized, _, missing = await made.reconciler.tracker.wait_realized(H1, made.store.state.revision, 0.1)
        assert realized, missing
        again = MemoryHost(made.reconciler, 1, h1.switch)
        await again.register()
        status = made.reconciler.tracker.host_status
        await eventually(lambda: status(H1).switch_connected, "the session that never ended counts")


async def test_a_host_with_another_bridge_has_lost_the_old_one() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect()
        status = made.reconciler.tracker.host_status
        assert status(H1).switch_connected
        h1.disconnect_agent()
        moved = MemoryHost(made.reconciler, 1, FakeSwitch(77, "h1"))
        moved._number = 77
        await moved.register(vtep="192.0.2.1")
        await eventually(lambda: not status(H1).switch_connected, "that bridge is not this host's")
        made.reconciler.switch_connected(77, moved.switch)
        await eventually(lambda: moved.switch.deltas, "the new one is filled")


# --- agents -----------------------------------------------------------------------------------------


async def test_a_receipt_for_an_older_question_does_not_answer_the_newer_one_of_that_revision() -> None:
    async with controller() as made:
        h1, _, _, _ = await pair(made)
        h1.mute = True
        before = len(h1.barriers)
        p3 = await made.create_port(3, "h2")
        revision = made.store.state.revision
        await eventually(lambda: made.reconciler.revision == revision, "followed")
        actor = made.reconciler.hosts[H1]
        actor.send_barrier(force=True)
        await eventually(lambda: len(h1.barriers) > before, f"asked after {p3}")
        revision = h1.barriers[-1].revision
        evil = Flow(table=0, priority=65535, match=match(in_port=9), goto=20)
        h1.switch.tamper(add=(evil,))
        await eventually(lambda: evil.key not in h1.switch.flows, "repaired")
        # The agent answers what it was asked before the flow went.
        made.reconciler.acked(h1.session, ack(revision))
        assert not actor.holds(revision), "the cached flows were not revalidated yet"
        await eventually(lambda: h1.barriers[-1].revalidate, "asked again")
        made.reconciler.acked(h1.session, ack(h1.barriers[-1].revision))
        assert actor.holds(revision)


async def test_an_agent_that_comes_back_has_confirmed_nothing() -> None:
    async with controller() as made:
        _, h2, p1, p2 = await pair(made)
        h2.disconnect_agent()
        again = MemoryHost(made.reconciler, 2, h2.switch)
        again._ofport = 100
        again.mute = True
        await again.connect("if2")
        await eventually(lambda: made.status(p1) == made.status(p2) == port_pb2.Port.BUILDING, "not known")
        made.reconciler.acked(again.session, ack(made.store.state.revision))
        await made.active(p1)
        await made.active(p2)


async def test_a_session_that_was_closed_is_over() -> None:
    async with controller() as made:
        await with_base(made)
        old, new = MemoryHost(made.reconciler, 1), MemoryHost(made.reconciler, 1)
        await old.connect("if1")
        worker = old.session.worker
        await new.connect("if1")
        assert worker is not None
        await eventually(worker.done, "nobody settles what the old session says")
        with pytest.raises(Unavailable):
            made.reconciler.inventory(old.session, host_sync_pb2.Inventory(complete=True))
        assert made.reconciler.hosts[H1].agent is new.session


async def test_an_agent_of_a_host_that_was_deleted_must_register_again() -> None:
    async with controller() as made:
        h1 = MemoryHost(made.reconciler, 1)
        await h1.register()
        await delete_host(made, H1)
        await eventually(lambda: H1 not in made.reconciler.hosts, "forgotten")
        with pytest.raises(Unavailable):
            made.reconciler.inventory(h1.session, host_sync_pb2.Inventory(complete=True))
        assert H1 not in made.reconciler.hosts


async def test_a_worker_that_fails_ends_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async with controller() as made:
        h1, _, _, _ = await pair(made)

        def broken(*args: Any) -> Any:
            raise RuntimeError("a bug")

        monkeypatch.setattr(plugs, "binding_changes", broken)
        h1.plug("if9")
        await eventually(lambda: h1.session.closed_because, "the agent dials again, and has a new worker")


async def test_a_host_is_not_told_of_ports_that_are_not_its_own() -> None:
    async with controller() as made:
        await with_base(made)
        await MemoryHost(made.reconciler, 1).register()
        h2 = MemoryHost(made.reconciler, 2)
        await made.create_port(1, "h1")
        await h2.connect("if1")
        await eventually(lambda: "if1" in h2.verdicts, "judged")
        condition = h2.verdicts["if1"].condition
        assert condition.reason == "NOT_SCHEDULED_HERE"
        assert not condition.subjects
        assert "acme" not in condition.message
        assert "h1" not in condition.message


# --- what is realized -------------------------------------------------------------------------------


async def test_a_port_that_moved_is_active_when_its_old_host_has_let_go() -> None:
    async with controller() as made:
        await with_base(made)
        slow = SlowSwitch(1, "h1")
        slow.may_read.set()
        h1, h2 = MemoryHost(made.reconciler, 1, slow), MemoryHost(made.reconciler, 2)
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


# --- the stream, and the process --------------------------------------------------------------------


async def said(*messages: host_sync_pb2.AgentMessage) -> AsyncIterator[host_sync_pb2.AgentMessage]:
    """What an agent says, and then nothing more, without going away."""
    for message in messages:
        yield message
    await asyncio.Event().wait()


def hello(**fields: Any) -> host_sync_pb2.AgentMessage:
    given = {"host_id": "h1", "vtep_address": "192.0.2.1", "datapath_id": 1, "underlay_mtu": 1500} | fields
    return host_sync_pb2.AgentMessage(hello=host_sync_pb2.Hello(**given))


def reported(**fields: Any) -> host_sync_pb2.AgentMessage:
    return host_sync_pb2.AgentMessage(inventory=host_sync_pb2.Inventory(complete=True, **fields))


async def stream(made: Controller, *messages: host_sync_pb2.AgentMessage) -> None:
    """Be an agent, until the controller ends it."""
    set_current_caller(Caller(Identity(Role.HOST, "h1")))
    servicer = HostSyncServicer(made.reconciler, "ssl:192.0.2.9:6653")
    async with asyncio.timeout(5):
        async for _ in servicer.Sync(said(*messages), None):
            pass


def tunnels(count: int) -> list[host_sync_pb2.TunnelPort]:
    return [host_sync_pb2.TunnelPort(vni=n + 1, ofport=n % 60000 + 1) for n in range(count)]


@pytest.mark.parametrize(
    "messages",
    [
        (hello(vtep_address="fe80::1%eth0"),),
        (hello(vtep_address="fe80::1"),),
        (hello(vtep_address="::ffff:192.0.2.1"),),
        (hello(vtep_address="255.255.255.255"),),
        (hello(), reported(interfaces=[{"name": "x" * 300, "iface_id": "if1", "ofport": 5}])),
        (hello(), reported(interfaces=[{"name": "", "iface_id": "if1", "ofport": 5}])),
        (hello(), reported(tunnel_ports=tunnels(40_000))),
        (hello(), reported(), reported(tunnel_ports=tunnels(20_000)), reported(tunnel_ports=tunnels(20_000))),
    ],
    ids=["scoped", "link-local", "mapped", "broadcast", "long name", "no name", "tunnels", "more tunnels"],
)
async def test_what_no_agent_says_ends_the_stream(messages: tuple[host_sync_pb2.AgentMessage, ...]) -> None:
    async with controller() as made:
        with pytest.raises(InvalidIntent):
            await stream(made, *messages)


async def test_a_stream_that_nobody_reads_any_more_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with controller() as made:

        def broken(*args: Any) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(made.reconciler, "inventory", broken)
        with pytest.raises(RuntimeError):
            await stream(made, hello(), reported())


async def test_labels_of_an_agent_take_no_more_than_some_room() -> None:
    async with controller() as made:
        with pytest.raises(InvalidIntent):
            await stream(made, hello(labels={"k" * 5000: "v" * 5000}), host_sync_pb2.AgentMessage())
        (labels,) = [dict(host.agent_labels) for host in made.store.state.hosts.values()]
        assert all(len(key) <= 255 and len(value) <= 255 for key, value in labels.items())


async def test_a_controller_that_waits_for_etcd_can_be_stopped() -> None:
    options = Options(
        name="c1",
        etcd=("http://127.0.0.1:9",),
        etcd_tls=None,
        etcd_limits=Limits(),
        grpc_listen=(),
        openflow_listen=("127.0.0.1", 0),
        openflow_advertise="tcp:127.0.0.1:0",
        tls=None,
        gate=GateMode.ENFORCE,
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(options, stop))
    await asyncio.sleep(0.05)
    assert not serving.done()
    stop.set()
    async with asyncio.timeout(5):
        await serving
