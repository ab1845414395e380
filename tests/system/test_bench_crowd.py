"""What stands in for many agents in the benchmark: it reports and acknowledges as an agent does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloison.identity import Identity
from cloison.v1 import host_sync_pb2 as pb
from controller.cli.pki import init_ca, issue
from tests.bench.crowd import Agent, Member, Spec
from tests.support.ovs import Ovs
from tests.support.sync_peer import PeerSession, SyncPeer

BRIDGE, VNI = "br-int", 0x1001


@pytest.fixture
async def crowd(tmp_path: Path) -> AsyncIterator[tuple[Agent, PeerSession, Ovs]]:
    ca = tmp_path / "ca"
    init_ca(ca)
    controller, host = issue(ca, Identity.parse("controller/c1")), issue(ca, Identity.parse("host/h11"))
    async with SyncPeer(tmp_path / "c1.sock", controller) as peer:
        with Ovs() as ovs:
            ovs.add_bridge(BRIDGE, dpid=11)
            member = Member("h11", "192.0.2.11", 11, str(host.cert), str(host.key), ovs.db, BRIDGE)
            agent = Agent(member, Spec(peer.endpoint, "controller.c1", str(host.ca), "", [member]))
            task = asyncio.create_task(agent.run())
            session = await peer.session()
            session.welcome()
            yield agent, session, ovs
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_a_snapshot_is_acknowledged_when_its_devices_are_reported(
    crowd: tuple[Agent, PeerSession, Ovs],
) -> None:
    agent, session, ovs = crowd
    plan = pb.PlanDelta(revision=7)
    plan.networks.add(vni=VNI, mtu=1450)
    ack = await session.snapshot(7, plan)
    assert not ack.errors
    assert agent.complete.is_set()
    assert session.hello.host_id == "h11"
    assert session.tunnel_ports == {VNI: int(ovs.vsctl("get", "Interface", "vx001001", "ofport"))}
    gone = pb.PlanDelta(revision=8, removed_vnis=[VNI])
    await session.change(gone)
    assert not session.tunnel_ports
    assert "vx001001" not in ovs.vsctl("list-ports", BRIDGE)


async def test_what_is_plugged_is_reported_at_once(
    crowd: tuple[Agent, PeerSession, Ovs],
) -> None:
    agent, session, _ = crowd
    await session.snapshot(1)
    await agent.plugged([("tap1", "if1", 5), ("tap2", "if2", 6)])
    await session.until(lambda: session.interfaces.keys() == {"tap1", "tap2"}, "both interfaces")
    await agent.plugged([("tap3", "if3", 7)])
    await session.until(lambda: len(session.interfaces) == 3, "the third one besides")
    assert session.interfaces["tap3"].ofport == 7
