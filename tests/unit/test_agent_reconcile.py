"""The loop and the session, kernel and bridge in memory: what is obeyed, told, retried, and never done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.outbox import DRIFTS_MAX, Outbox
from agent.ovsdb.view import BridgeSpec, BridgeView, Change, InterfaceView, TunnelView
from agent.plan import Actual, Fault, Link, Operations, Scope, ServiceLink, Vtep, fdb_digest
from agent.reconcile import Reconciler
from agent.seams import HostSettings
from agent.session import Refused, Session
from agent.state import Fence, PlanLog, StateDirectory
from cloison.addresses import Mac
from cloison.errors import Unavailable
from cloison.model import Vni
from cloison.v1 import host_sync_pb2 as pb
from tests.support.agent_host import eventually

LOCAL = Vtep(bytes([10, 0, 0, 1]))
VNI, MAC, PEER = Vni(0x1000), Mac(0x0AF00A000005), bytes([10, 0, 0, 2])
DEADLINE_S = 5.0


class MemoryKernel:
    """Does what it is told on a mirror; `fail` makes it lose its answers, `refuse` refuse entries."""

    def __init__(self) -> None:
        self.actual = Actual()
        self.hints = Scope()
        self.done: list[Operations] = []
        self.fail = self.refuse = False
        # What the next operations wait for.
        self.gate: asyncio.Event | None = None
        self.is_waiting = False

    async def read(self) -> None:
        self.hints = Scope()

    async def refresh(self) -> Scope:
        hints, self.hints = self.hints, Scope()
        return hints

    async def apply(self, operations: Operations) -> list[Fault]:
        if self.fail:
            raise Unavailable("netlink answers were lost")
        if operations:
            self.done.append(operations)
            if self.gate is not None:
                self.is_waiting = True
                await self.gate.wait()
        if operations.firewall is not None:
            self.actual.firewall = operations.firewall
        for vni, mac in operations.fdb_delete:
            self.actual.set_entry(vni, Mac(mac), None)
        for spec in operations.links_create:
            link = Link(spec.vni, int(spec.vni), spec.mtu, True, False, LOCAL, True)
            self.actual.set_link(spec.vni, link)
        if self.refuse:
            return [Fault("FDB_REFUSED", "no")] * bool(operations.fdb_put)
        for put in operations.fdb_put:
            self.actual.set_entry(put.vni, put.mac, put.vtep)
        return []

    async def service_link(self) -> ServiceLink:
        if self.fail:
            raise Unavailable("netlink answers were lost")
        return ServiceLink(7, 8)

    async def remove_links(self, vnis: Sequence[Vni]) -> list[Fault]:
        for vni in vnis:
            self.actual.set_link(vni, None)
        return []


class MemoryBridge:
    """Remembers the spec; tells differences of tunnels only."""

    def __init__(self) -> None:
        self.view = BridgeView(connected=True, exists=True, datapath_id=1)
        self.specs: list[BridgeSpec] = []
        self.revalidated = 0
        self.taken_away: list[bool] = []
        self.away = self.cache_stuck = False
        self.limit = 0
        # What the next revalidations wait for, and how many have begun.
        self.gates: list[asyncio.Event] = []
        self.begun = 0

    async def limit_connections(self, entries: int) -> None:
        self.limit = entries

    async def apply(self, spec: BridgeSpec) -> list[Change]:
        if self.away:
            raise Unavailable("ovsdb-server does not answer")
        self.specs.append(spec)
        return []

    async def revalidate(self, *, taken_away: bool) -> None:
        if self.away or self.cache_stuck:
            raise Unavailable("ovs-vswitchd does not answer")
        self.begun += 1
        if self.gates:
            await self.gates[self.begun - 1].wait()
        self.revalidated += 1
        self.taken_away.append(taken_away)


class Host:
    """The parts around a running loop."""

    def __init__(self, directory: Path) -> None:
        self.kernel, self.bridge, self.outbox = MemoryKernel(), MemoryBridge(), Outbox()
        self.state = StateDirectory(directory)
        self.state.open()
        self.log = PlanLog(self.state.plan_path)
        settings = HostSettings("h1", LOCAL, audit_interval_s=3600)
        self.reconciler = Reconciler(settings, self.kernel, self.bridge, self.log, self.outbox)

    def session(self) -> Session:
        return Session("h1", self.state, self.log, self.reconciler, self.state.read_fence())

    def obeying(self, epoch: int = 1) -> Session:
        session = self.session()
        session.take(message(welcome=pb.Welcome(epoch=epoch, controller_id="c1", openflow_target="tcp:c1")))
        return session

    async def told(self, kind: str) -> list[pb.AgentMessage]:
        """Wait until something of that kind is to be sent; return all of it."""
        found: list[pb.AgentMessage] = []

        async def look() -> None:
            while not found:
                await self.outbox.wait()
                found.extend(m for m in self.outbox.take() if m.WhichOneof("kind") == kind)

        await asyncio.wait_for(look(), DEADLINE_S)
        return found

    async def ack(self) -> pb.Ack:
        return (await self.told("ack"))[-1].ack


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Host]:
    host = Host(directory)
    task = asyncio.create_task(host.reconciler.run())
    try:
        yield host
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        host.state.close()


def message(**kind: object) -> pb.ControllerMessage:
    return pb.ControllerMessage(**kind)  # type: ignore[arg-type]


def plan(revision: int = 10, *macs: int) -> pb.ControllerMessage:
    delta = pb.PlanDelta(revision=revision)
    part = delta.networks.add(vni=VNI, mtu=1450)
    for mac in macs or (MAC,):
        part.upserted.add(mac=mac, vtep=PEER)
    return message(delta=delta)


def complete(revision: int = 10) -> pb.ControllerMessage:
    return message(snapshot_complete=pb.SnapshotComplete(revision=revision))


def barrier(
    revision: int = 10, revalidate: bool = False, flows_changed: bool = False
) -> pb.ControllerMessage:
    return message(barrier=pb.Barrier(revision=revision, revalidate=revalidate, flows_changed=flows_changed))


async def test_nothing_is_deleted_before_a_whole_plan_is_known(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        foreign = Vni(0x2222)
        host.kernel.actual.set_link(foreign, Link(foreign, 9, 1450, True, False, LOCAL, True))
        host.kernel.actual.set_entry(foreign, MAC, Vtep(PEER))
        session = host.obeying()
        session.take(plan())
        host.reconciler.wake()
        await asyncio.sleep(0.05)
        assert foreign in host.kernel.actual.links
        assert all(spec.tunnels is None for spec in host.bridge.specs)
        session.take(complete())
        session.take(barrier())
        await host.ack()
        assert list(host.kernel.actual.links) == [VNI]


async def test_an_ack_carries_what_the_kernel_holds_and_is_on_disk_first(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        session = host.obeying()
        for step in (plan(), complete(), barrier()):
            session.take(step)
        ack = await host.ack()
        assert (ack.revision, list(ack.errors)) == (10, [])
        assert ack.digest == fdb_digest({VNI: {MAC: Vtep(PEER)}})
        recalled = PlanLog(tmp_path / "plan").load()
        assert recalled is not None
        assert recalled.revision == 10
        assert host.bridge.specs[-1].tunnels == {VNI: int(VNI)}
        session.take(barrier(12, revalidate=True))
        assert (await host.ack()).revision == 12
        assert host.bridge.revalidated == 1
        recalled = PlanLog(tmp_path / "plan").load()
        assert recalled is not None
        assert recalled.revision == 12, "a revision that was acknowledged is never gone back behind"


async def test_the_cache_of_flows_is_seen_to_after_every_change_of_flows(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        session = host.obeying()
        for step in (plan(), complete(), barrier()):
            session.take(step)
        await host.ack()
        assert host.bridge.taken_away == [], "no flow was changed"
        session.take(barrier(11, flows_changed=True))
        await host.ack()
        assert host.bridge.taken_away == [False]
        # Something is taken away, and the switch does not answer: what follows must make up for it.
        host.bridge.cache_stuck = True
        session.take(barrier(12, revalidate=True, flows_changed=True))
        assert [error.reason for error in (await host.ack()).errors] == ["REVALIDATION_FAILED"]
        host.bridge.cache_stuck = False
        session.take(barrier(13, flows_changed=True))
        ack = await host.ack()
        while ack.errors:
            ack = await host.ack()
        assert ack.revision == 13
        assert host.bridge.taken_away == [False, True]


async def test_a_receipt_waits_for_a_purge_that_began_after_it_was_asked_for(tmp_path: Path) -> None:
    """One that was under way may have missed the flows of the later revision."""
    async with running(tmp_path) as host:
        session = host.obeying()
        for step in (plan(), complete(), barrier()):
            session.take(step)
        await host.ack()
        gates = host.bridge.gates = [asyncio.Event(), asyncio.Event()]
        session.take(barrier(11, flows_changed=True))
        await eventually(lambda: host.bridge.begun == 1, "the first purge", DEADLINE_S)
        session.take(barrier(12, revalidate=True, flows_changed=True))
        gates[0].set()
        await eventually(lambda: host.bridge.begun == 2, "the second purge", DEADLINE_S)
        assert [m.ack.revision for m in host.outbox.take() if m.WhichOneof("kind") == "ack"] == []
        gates[1].set()
        assert (await host.ack()).revision == 12, "one receipt for both"
        assert host.bridge.taken_away == [False, True]


async def test_a_change_that_comes_during_a_round_is_in_the_next_receipt(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        session = host.obeying()
        for step in (plan(), complete(), barrier()):
            session.take(step)
        await host.ack()
        gate = host.kernel.gate = asyncio.Event()
        session.take(plan(11, MAC + 1))
        await eventually(lambda: host.kernel.is_waiting, "the round of the first change", DEADLINE_S)
        session.take(plan(12, MAC + 2))
        session.take(barrier(12))
        gate.set()
        ack = await host.ack()
        assert ack.revision == 12
        assert ack.digest == fdb_digest({VNI: {Mac(MAC + n): Vtep(PEER) for n in range(3)}})


async def test_a_round_that_has_nothing_to_do_asks_nobody(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        session = host.obeying()
        for step in (plan(), complete(), barrier()):
            session.take(step)
        await host.ack()
        done, spec = len(host.kernel.done), host.bridge.specs[-1]
        session.take(barrier(11, flows_changed=True))
        assert (await host.ack()).revision == 11
        assert len(host.kernel.done) == done
        assert host.bridge.specs[-1] is spec, "so that the bridge sees at once that it is the same"


async def test_a_delta_brings_no_ack_until_it_is_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        session = host.obeying()
        for step in (plan(), complete(), barrier()):
            session.take(step)
        await host.ack()
        session.take(plan(11, MAC + 1))
        await asyncio.sleep(0.05)
        assert MAC + 1 in host.kernel.actual.fdb[VNI]
        assert [m for m in host.outbox.take() if m.WhichOneof("kind") == "ack"] == []
        session.take(barrier(11))
        assert (await host.ack()).revision == 11


async def test_what_is_refused_is_told_and_told_again_when_it_works(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        host.kernel.refuse = True
        session = host.obeying()
        for step in (plan(), complete(), barrier(10, revalidate=True)):
            session.take(step)
        ack = await host.ack()
        assert [error.reason for error in ack.errors] == ["FDB_REFUSED"]
        assert ack.digest == fdb_digest({}), "the digest is of what the kernel holds"
        assert not host.bridge.revalidated, "what was not carried out cannot be revalidated"
        host.kernel.refuse = False
        host.kernel.hints = Scope(networks={VNI})
        ack = await host.ack()
        assert (ack.revision, list(ack.errors)) == (10, [])
        assert host.bridge.revalidated == 1
        assert host.outbox.take() == [], "work that took two rounds is no drift"


async def test_a_round_that_breaks_is_repeated(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        host.kernel.fail = True
        session = host.obeying()
        for step in (plan(), complete(), barrier()):
            session.take(step)
        await asyncio.sleep(0.05)
        host.kernel.fail = False
        assert (await host.ack()).revision == 10
        assert MAC in host.kernel.actual.fdb[VNI]


async def test_a_bridge_that_is_away_stops_nothing_in_the_kernel(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        host.bridge.away = True
        session = host.obeying()
        for step in (plan(), complete(), barrier()):
            session.take(step)
        assert [error.reason for error in (await host.ack()).errors] == ["BRIDGE_UNAVAILABLE"]
        assert MAC in host.kernel.actual.fdb[VNI]


async def test_drift_is_told_apart_from_work(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        session = host.obeying()
        for step in (plan(), complete(), barrier()):
            session.take(step)
        await host.ack()
        host.kernel.actual.set_entry(VNI, MAC, None)
        host.kernel.actual.set_entry(VNI, Mac(2), LOCAL)
        host.kernel.hints = Scope(macs={VNI: {MAC, Mac(2)}})
        host.reconciler.wake()
        drifts = {m.drift.kind: m.drift for m in await host.told("drift")}
        assert set(drifts) == {"FDB_MISSING", "FDB_FOREIGN"}
        assert drifts["FDB_MISSING"].revision == 10
        assert host.kernel.actual.fdb[VNI] == {MAC: Vtep(PEER)}


async def test_a_new_interface_is_shut_to_the_host_and_that_is_no_drift(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        tap = InterfaceView("tap1", "p1", 5, "")
        host.bridge.view = BridgeView(True, True, 1, "netdev", {"tap1": tap})
        host.reconciler.wake()
        await asyncio.sleep(0.05)
        assert "tap1" in host.kernel.actual.firewall.guarded, "even before any plan is known"
        session = host.obeying()
        for step in (plan(), complete(), barrier()):
            session.take(step)
        await host.ack()
        host.bridge.view = BridgeView(True, True, 1, "netdev", {"tap1": tap, "tap2": tap})
        host.reconciler.wake()
        session.take(barrier(11))
        await host.ack()
        assert host.kernel.actual.firewall.guarded == {"tap1", "tap2", "vx001000"}
        assert host.kernel.actual.firewall.peers == {(0x1000, PEER)}
        assert host.outbox.take() == []


async def test_who_is_obeyed(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        with pytest.raises(Refused, match="before Welcome"):
            host.session().take(plan())
        host.obeying(epoch=7)
        assert host.state.read_fence() == Fence(7, "c1", "tcp:c1")
        with pytest.raises(Refused, match="epoch 6"):
            host.obeying(epoch=6)
        assert host.state.read_fence().epoch == 7
        session = host.obeying(epoch=7)
        with pytest.raises(Refused, match="before the snapshot"):
            session.take(barrier())
        for step in (plan(), complete(), barrier()):
            session.take(step)
        await host.ack()
        with pytest.raises(Refused, match="complete already"):
            session.take(complete())
        with pytest.raises(Refused, match="revision 9"):
            host.obeying(epoch=7).take(complete(9))
        host.obeying(epoch=8).take(complete(9))
        assert host.reconciler.plan is not None
        assert host.reconciler.plan.revision == 9


def test_the_outbox_is_bounded_and_keeps_the_newest() -> None:
    outbox = Outbox()
    for number in range(2 * DRIFTS_MAX):
        outbox.drift(pb.Drift(revision=number))
        outbox.ack(pb.Ack(revision=number))
    messages = outbox.take()
    assert [m.ack.revision for m in messages if m.WhichOneof("kind") == "ack"] == [2 * DRIFTS_MAX - 1]
    drifts = [m.drift.revision for m in messages if m.WhichOneof("kind") == "drift"]
    assert drifts == list(range(DRIFTS_MAX, 2 * DRIFTS_MAX))


def test_the_inventory_is_whole_once_and_then_tells_changes() -> None:
    outbox = Outbox()
    tap, unnamed = InterfaceView("tap1", "p1", 5, ""), InterfaceView("tap2", "", 6, "")
    broken = InterfaceView("tap3", "p3", 0, "no such device")
    tunnel = TunnelView(VNI, 7, "", 3)
    outbox.inventory(
        BridgeView(True, True, 1, "netdev", {v.name: v for v in (tap, unnamed, broken)}, {VNI: tunnel})
    )
    first = outbox.begin()
    assert first.complete
    assert [i.name for i in first.interfaces] == ["tap1"]
    assert [(t.vni, t.ofport) for t in first.tunnel_ports] == [(VNI, 7)]
    assert outbox.take() == []
    moved = TunnelView(VNI, 7, "", 4)
    outbox.inventory(BridgeView(True, True, 1, "netdev", {"tap1": tap}, {VNI: moved}))
    assert outbox.take() == [], "another device behind the same number is no news"
    outbox.inventory(BridgeView(True, True, 1, "netdev", {"tap1": InterfaceView("tap1", "p1", 8, "")}))
    (change,) = outbox.take()
    assert [i.ofport for i in change.inventory.interfaces] == [8]
    assert list(change.inventory.removed_tunnel_ports) == [VNI]
    outbox.inventory(BridgeView(True, True, 1, "netdev"))
    (change,) = outbox.take()
    assert list(change.inventory.removed_interfaces) == ["tap1"]
