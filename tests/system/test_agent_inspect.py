"""A real agent asked what its host really holds: it answers, changes nothing, and does not hang."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cloison.v1 import host_sync_pb2 as pb
from tests.support.agent_host import VTEP, AgentHost, eventually
from tests.support.netns import network_namespace, sh
from tests.support.ovs import Ovs
from tests.support.sync_peer import PeerSession, SyncPeer

pytestmark = pytest.mark.system

VNI, NAME = 0x1000, "vx001000"
MAC, MAC_TEXT = 0x0AF00A000005, "0a:f0:0a:00:00:05"
PEER = bytes([10, 77, 0, 2])
ENTRIES = 9000


@pytest.fixture
def host(tmp_path: Path) -> Iterator[AgentHost]:
    with network_namespace(), Ovs(dummy=False) as ovs:
        running = AgentHost(tmp_path, ovs)
        try:
            yield running
        finally:
            running.close()


@pytest_asyncio.fixture
async def session(tmp_path: Path, host: AgentHost) -> AsyncIterator[PeerSession]:
    """A stream of an agent that carries out a plan of ENTRIES entries."""
    async with SyncPeer(tmp_path / "c1.sock") as peer:
        host.start(peer.endpoint)
        made = await peer.session()
        made.welcome(1, "tcp:127.0.0.1:6653")
        delta = pb.PlanDelta(revision=10)
        part = delta.networks.add(vni=VNI, mtu=1450)
        for number in range(ENTRIES):
            part.upserted.add(mac=MAC + number, vtep=PEER)
        ack = await made.snapshot(10, delta)
        assert not ack.errors
        await made.until(lambda: made.tunnel_ports.get(VNI), "the tunnel port")
        yield made


async def ask(session: PeerSession, number: int, **question: Any) -> list[pb.Inspection]:
    """Ask, and return the whole answer."""
    session.send(inspect=pb.Inspect(id=number, **question))

    def parts() -> list[pb.Inspection] | None:
        told = [m.inspection for m in session.heard if m.WhichOneof("kind") == "inspection"]
        mine = [part for part in told if part.id == number]
        return mine if mine and not mine[-1].partial else None

    found: list[pb.Inspection] = await session.until(parts, f"answer {number}")
    return found


def entries(parts: list[pb.Inspection]) -> dict[int, bytes]:
    return {e.mac: e.vtep for part in parts for n in part.networks if n.vni == VNI for e in n.upserted}


async def test_the_kernel_answers_as_it_is_and_nothing_changes(host: AgentHost, session: PeerSession) -> None:
    rules, fdb = sh("nft -s list ruleset"), host.fdb(VNI)
    parts = await ask(session, 1, kernel=True)
    assert len(parts) > 2
    assert entries(parts) == {MAC + n: PEER for n in range(ENTRIES)}
    assert parts[0].vtep == bytes(int(n) for n in VTEP.split("."))
    assert {t.vni: t.ofport for t in parts[0].tunnel_ports} == session.tunnel_ports
    assert not any(part.oddities or part.HasField("error") for part in parts)
    assert (sh("nft -s list ruleset"), host.fdb(VNI)) == (rules, fdb)


async def test_a_question_takes_no_news_away_from_the_repair(host: AgentHost, session: PeerSession) -> None:
    assert host._process is not None
    # While the agent stands still its repair does too: question and news of the kernel meet.
    os.kill(host._process.pid, signal.SIGSTOP)
    sh(f"bridge fdb replace {MAC_TEXT} dev {NAME} dst 10.9.9.9 self permanent")
    os.kill(host._process.pid, signal.SIGCONT)
    await ask(session, 1, kernel=True)
    await session.drift("FDB_ALTERED")
    await eventually(lambda: "10.9.9.9" not in sh(f"bridge fdb show dev {NAME}"), "the entry to be put right")
    assert entries(await ask(session, 2, kernel=True))[MAC] == PEER


async def test_open_vswitch_traces_a_packet(host: AgentHost, session: PeerSession) -> None:
    ofport = session.tunnel_ports[VNI]
    host.ovs.ofctl("add-flow", "br-int", f"table=0,ip,nw_dst=10.0.0.5,actions=output:{ofport}")
    before = host.ovs.ofctl("dump-flows", "br-int")
    (part,) = await ask(session, 1, ofproto_trace="in_port=7,ip,nw_dst=10.0.0.5")
    assert f"output:{ofport}" in part.ofproto_trace
    assert "n_packets=0" in before
    assert "n_packets=0" in host.ovs.ofctl("dump-flows", "br-int"), "a trace is no packet"
    (part,) = await ask(session, 2, ofproto_trace="no_such_field=1")
    assert part.error.reason == "UNREADABLE"
    assert "no_such_field" in part.error.message
    (part,) = await ask(session, 3, ofproto_trace="-generate")
    assert part.error.reason == "REFUSED"
    (part,) = await ask(session, 4, ofproto_trace="in_port=7,ip,nw_dst=10.0.0.5 --ct-next new,trk")
    assert f"output:{ofport}" in part.ofproto_trace


async def test_a_hanging_vswitchd_is_given_up_and_the_agent_goes_on(
    host: AgentHost, session: PeerSession
) -> None:
    os.kill(host.ovs.switch_pid, signal.SIGSTOP)
    try:
        started_s = time.monotonic()
        (part,) = await ask(session, 1, ofproto_trace="in_port=7,ip")
        assert time.monotonic() - started_s < 10
        assert part.error.reason == "UNREADABLE"
        assert entries(await ask(session, 2, kernel=True))
    finally:
        os.kill(host.ovs.switch_pid, signal.SIGCONT)
    (part,) = await ask(session, 3, ofproto_trace="in_port=7,ip")
    assert "Datapath actions" in part.ofproto_trace
