"""The whole agent as a process: real kernel, real Open vSwitch, and a controller played over mTLS."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from statistics import median

import pytest
import pytest_asyncio

from agent.plan import EMPTY_PLAN, fdb_digest
from cloison.addresses import format_mac
from cloison.identity import Identity
from cloison.v1 import common_pb2
from cloison.v1 import host_sync_pb2 as pb
from controller.cli.pki import Issued, init_ca, issue
from tests.support.agent_host import DEADLINE_S, VTEP, AgentHost, eventually
from tests.support.netns import network_namespace, sh
from tests.support.ovs import Ovs
from tests.support.sync_peer import PeerSession, SyncPeer

pytestmark = pytest.mark.system

VNI, NAME = 0x1000, "vx001000"
MAC, MAC_TEXT = 0x0AF00A000005, "0a:f0:0a:00:00:05"
PEER = bytes([10, 77, 0, 2])
TARGET = "tcp:127.0.0.1:6653"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Issued]:
    ca = tmp_path_factory.mktemp("ca")
    init_ca(ca)
    return {text: issue(ca, Identity.parse(text)) for text in ("controller/c1", "host/h1", "controller/c2")}


@pytest.fixture
def host(tmp_path: Path, certificates: dict[str, Issued]) -> Iterator[AgentHost]:
    with network_namespace(), Ovs(dummy=False) as ovs:
        running = AgentHost(tmp_path, ovs, certificates["host/h1"])
        try:
            yield running
        finally:
            running.close()


@pytest_asyncio.fixture
async def peer(tmp_path: Path, certificates: dict[str, Issued]) -> AsyncIterator[SyncPeer]:
    async with SyncPeer(tmp_path / "c1.sock", certificates["controller/c1"]) as running:
        yield running


def plan(revision: int = 10, entries: int = 3, vni: int = VNI) -> pb.PlanDelta:
    delta = pb.PlanDelta(revision=revision)
    part = delta.networks.add(vni=vni, mtu=1450)
    for number in range(entries):
        part.upserted.add(mac=MAC + number, vtep=PEER)
    return delta


def digest(*deltas: pb.PlanDelta) -> bytes:
    whole = EMPTY_PLAN
    for delta in deltas:
        whole = whole.apply(delta)
    return fdb_digest({vni: network.fdb for vni, network in whole.networks.items()})


async def settled(host: AgentHost, peer: SyncPeer, epoch: int = 1, **options: float) -> PeerSession:
    """Start the agent and bring it to plan()."""
    host.start(peer.endpoint, **options)
    session = await peer.session()
    session.welcome(epoch, TARGET)
    ack = await session.snapshot(10, plan())
    assert not ack.errors, ack
    await session.until(lambda: session.tunnel_ports.get(VNI), "the tunnel port")
    return session


async def test_a_host_registers_and_carries_out_its_plan(host: AgentHost, peer: SyncPeer) -> None:
    session = await settled(host, peer)
    hello = session.hello
    assert (hello.host_id, hello.vtep_address, hello.underlay_mtu) == ("h1", VTEP, 1500)
    assert (hello.datapath_type, hello.labels["zone"], hello.revision, hello.epoch) == ("netdev", "z1", 0, 0)
    shown = host.ovs.vsctl("get", "bridge", "br-int", "datapath_id").strip().strip('"')
    assert hello.datapath_id == int(shown, 16)
    bridge = host.ovs.vsctl("list", "bridge", "br-int")
    for setting in ("secure", "OpenFlow14", 'disable-in-band="true"', "netdev"):
        assert setting in bridge
    assert host.ovs.vsctl("get-controller", "br-int").split() == [TARGET]
    assert host.interface(NAME, "ofport") == str(session.tunnel_ports[VNI])
    change = pb.PlanDelta(revision=11)
    change.networks.add(vni=VNI, removed_macs=[MAC]).upserted.add(mac=MAC + 9, vtep=PEER)
    ack = await session.change(change)
    assert not ack.errors
    assert ack.digest == digest(plan(), change)
    assert set(host.fdb(VNI)) == {"0a:f0:0a:00:00:06", "0a:f0:0a:00:00:07", "0a:f0:0a:00:00:0e"}
    ack = await session.change(pb.PlanDelta(revision=12, removed_vnis=[VNI]))
    assert not ack.errors
    assert ack.digest == digest()
    assert host.links() == []
    await session.until(lambda: not session.tunnel_ports, "the tunnel port to go")
    assert not session.drifts()


async def test_interfaces_are_reported_and_their_verdict_is_shown(host: AgentHost, peer: SyncPeer) -> None:
    session = await settled(host, peer)
    sh("ip link add tap1 type veth peer name vm1 && ip link set tap1 up")
    sh("ip link add tap2 type veth peer name vm2 && ip link set tap2 up")
    ids = ["--", "set", "interface", "tap1", "external_ids:iface-id=port-a"]
    host.ovs.vsctl("add-port", "br-int", "tap1", *ids, "--", "add-port", "br-int", "tap2")
    await session.until(lambda: "tap1" in session.interfaces, "tap1")
    assert session.interfaces["tap1"].iface_id == "port-a"
    assert session.interfaces["tap1"].ofport == int(host.interface("tap1", "ofport"))
    condition = common_pb2.Condition(reason="WRONG_HOST", message="scheduled to h2")
    refused = pb.InterfaceVerdict(interface="tap1", iface_id="port-a", condition=condition)
    session.send(verdicts=pb.InterfaceVerdicts(verdicts=[refused]))
    await eventually(lambda: "refused" in host.interface("tap1", "external_ids:cloison-state"), "refused")
    assert "WRONG_HOST" in host.interface("tap1", "external_ids:cloison-reason")
    bound = pb.InterfaceVerdict(interface="tap1", iface_id="port-a", bound=True)
    session.send(verdicts=pb.InterfaceVerdicts(verdicts=[bound]))
    await eventually(lambda: "bound" in host.interface("tap1", "external_ids:cloison-state"), "bound")
    assert "cloison-reason" not in host.interface("tap1", "external_ids")
    assert "tap2" not in session.interfaces, "an interface without iface-id is nobody's"
    host.ovs.vsctl("del-port", "tap1")
    await session.until(lambda: "tap1" not in session.interfaces, "tap1 to go")
    assert not session.drifts()


TAMPERINGS = {
    "FDB_MISSING": f"bridge fdb del {MAC_TEXT} dev {NAME}",
    "FDB_ALTERED": f"bridge fdb replace {MAC_TEXT} dev {NAME} dst 10.9.9.9 self permanent",
    "FDB_FOREIGN": f"bridge fdb add 52:54:00:00:00:01 dev {NAME} dst 10.9.9.9 self permanent",
    "LINK_MISSING": f"ip link del {NAME}",
    "LINK_ALTERED": f"ip link set {NAME} mtu 1300",
    "LINK_FOREIGN": "ip link add vx00abcd type vxlan id 43981 local 10.77.0.1 dstport 4789 nolearning",
    "FIREWALL_ALTERED": "nft flush ruleset",
}


async def test_drift_is_repaired_within_a_second_and_reported(host: AgentHost, peer: SyncPeer) -> None:
    """Most of the seven: one may meet a moment in which the machine stands still. An audit is far away."""
    session = await settled(host, peer)
    told_s, repaired_s = [], []

    def state() -> list[str]:
        device = sh(f"ip -d -o link show {NAME}").split("\\")
        rows = sorted(sh("bridge fdb show").splitlines())
        return [device[0].partition(":")[2], device[2], *rows, *host.links(), sh("nft -s -nn list ruleset")]

    before = state()
    for number, (kind, command) in enumerate(TAMPERINGS.items(), 1):
        started = time.monotonic()
        sh(command)
        drift = await session.drift(kind)
        told_s.append(time.monotonic() - started)
        repaired_s.append(drift.repair_s)
        assert drift.revision == 10
        assert drift.details
        assert state() == before, kind
        print(f"{kind}: repaired {drift.repair_s:.4f} s after it was noticed, {drift.details}")
        # The port is of the device that is there now, not of one that is gone.
        await eventually(
            lambda: str(socket.if_nametoindex(NAME)) in host.interface(NAME, "external_ids:cloison-ifindex"),
            "the port to be of the device",
        )
        assert len(session.drifts()) == number, "nothing else was found wrong"
    assert median(told_s) < 1.0
    assert min(repaired_s) >= 0
    assert median(repaired_s) < 1.0


BRIDGE_TAMPERINGS = {
    "set-fail-mode br-int standalone": "BRIDGE_ALTERED",
    "del-fail-mode br-int": "BRIDGE_ALTERED",
    "set-controller br-int tcp:127.0.0.1:1 tcp:127.0.0.1:2": "BRIDGE_ALTERED",
    "del-controller br-int": "BRIDGE_ALTERED",
    "remove bridge br-int other_config disable-in-band": "BRIDGE_ALTERED",
    f"del-port {NAME}": "TUNNEL_PORT_ALTERED",
    "del-br br-int": "BRIDGE_ALTERED",
}


async def test_a_bridge_changed_by_hand_is_repaired(host: AgentHost, peer: SyncPeer) -> None:
    session = await settled(host, peer)

    def right() -> bool:
        if "br-int" not in host.ovs.vsctl("list-br"):
            return False
        mode = host.ovs.vsctl("get-fail-mode", "br-int").strip()
        target = host.ovs.vsctl("get-controller", "br-int").split()
        in_band = host.ovs.vsctl("get", "bridge", "br-int", "other_config")
        ports = host.ovs.vsctl("list-ports", "br-int").split()
        return (mode, target, NAME in ports) == ("secure", [TARGET], True) and "disable-in-band" in in_band

    repaired_s = []
    for number, (command, kind) in enumerate(BRIDGE_TAMPERINGS.items(), 1):
        # Until the switch has seen it: a bridge that is back before it looks has its former number.
        os.kill(host.pid, signal.SIGSTOP)
        host.ovs.vsctl(*command.split())
        os.kill(host.pid, signal.SIGCONT)
        repaired_s.append(await eventually(right, f"the bridge to be right again after {command}"))
        await eventually(lambda: len(host.logged("drift repaired")) == number, f"drift told: {command}")  # noqa: B023
        assert host.logged("drift repaired")[-1]["kind"] == kind, command
        if command != "del-br br-int":
            await session.drift(kind)
    assert median(repaired_s) < 1.0
    session = await peer.session()
    assert session.hello.revision == 10, "a new bridge is registered anew"
    session.welcome(1, TARGET)
    assert not (await session.snapshot(10, plan())).errors
    await session.until(lambda: session.tunnel_ports.get(VNI), "the tunnel port")


async def test_killed_and_started_again_with_no_controller(host: AgentHost, peer: SyncPeer) -> None:
    await settled(host, peer)
    links = sh(f"ip -o link show {NAME}")
    host.stop(signal.SIGKILL)
    await peer.stop()
    assert sh(f"ip -o link show {NAME}") == links
    assert len(host.fdb(VNI)) == 3
    sh(f"bridge fdb del {MAC_TEXT} dev {NAME}")
    ofport = host.interface(NAME, "ofport")
    host.start(peer.endpoint)
    await eventually(lambda: MAC_TEXT in host.fdb(VNI), "the entry to come back from disk")
    assert sh(f"ip -o link show {NAME}") == links, "what was right was left alone"
    assert host.interface(NAME, "ofport") == ofport
    sh(f"bridge fdb del {MAC_TEXT} dev {NAME}")
    await eventually(lambda: MAC_TEXT in host.fdb(VNI), "repair without a controller, long before an audit")
    await peer.start()
    session = await peer.session()
    assert (session.hello.revision, session.hello.epoch) == (10, 1)


async def test_a_stop_leaves_the_data_plane_as_it_is(host: AgentHost, peer: SyncPeer) -> None:
    await settled(host, peer)
    before = sh("ip -o link; bridge fdb; nft -s list ruleset") + host.ovs.vsctl("show")
    assert host.stop() == 0
    assert sh("ip -o link; bridge fdb; nft -s list ruleset") + host.ovs.vsctl("show") == before


async def test_a_lower_epoch_is_refused_for_ever(
    host: AgentHost, peer: SyncPeer, certificates: dict[str, Issued], tmp_path: Path
) -> None:
    await settled(host, peer, epoch=7)
    host.stop(signal.SIGKILL)
    host.start(peer.endpoint)
    stale = await peer.session()
    assert stale.hello.epoch == 7
    stale.welcome(6, "tcp:127.0.0.1:9999", "deposed")
    stale.send(delta=pb.PlanDelta(revision=99, removed_vnis=[VNI]))
    stale.send(snapshot_complete=pb.SnapshotComplete(revision=99))
    await stale.until(lambda: stale.ended, "the agent to hang up")
    await eventually(lambda: host.logged("controller not obeyed"), "the refusal in the log")
    assert host.ovs.vsctl("get-controller", "br-int").split() == [TARGET]
    assert len(host.fdb(VNI)) == 3
    newer = await peer.session()
    newer.welcome(8, "tcp:127.0.0.1:7777", "c2")
    assert not (await newer.snapshot(3, plan(3, entries=1))).errors, "a newer epoch may begin its own count"
    assert host.ovs.vsctl("get-controller", "br-int").split() == ["tcp:127.0.0.1:7777"]
    assert list(host.fdb(VNI)) == [MAC_TEXT]


async def test_an_older_revision_of_the_same_epoch_is_refused(host: AgentHost, peer: SyncPeer) -> None:
    session = await settled(host, peer)
    await session.barrier(40)
    host.stop(signal.SIGKILL)
    host.start(peer.endpoint)
    session = await peer.session()
    assert session.hello.revision == 40, "what was acknowledged is remembered"
    session.welcome(1, TARGET)
    session.send(snapshot_complete=pb.SnapshotComplete(revision=39))
    await session.until(lambda: session.ended, "the agent to hang up")
    assert len(host.fdb(VNI)) == 3


async def test_a_reconnect_changes_nothing_that_is_right(host: AgentHost, peer: SyncPeer) -> None:
    await settled(host, peer)
    command = ["ip", "monitor", "link", "neigh"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:  # noqa: ASYNC220
        await peer.stop()
        await peer.start()
        session = await peer.session()
        session.welcome(1, TARGET)
        session.send(delta=plan(11))
        await asyncio.sleep(0.3)
        assert len(host.fdb(VNI)) == 3, "half a snapshot takes nothing away"
        ack = await session.snapshot(11)
        assert not ack.errors
        assert ack.digest == digest(plan())
        watch.terminate()
        assert watch.stdout is not None
        assert NAME not in watch.stdout.read()


async def test_controllers_are_tried_in_turn(
    host: AgentHost, peer: SyncPeer, certificates: dict[str, Issued], tmp_path: Path
) -> None:
    async with SyncPeer(tmp_path / "c2.sock", certificates["controller/c2"]) as other:
        host.start(f"unix:{tmp_path}/nobody.sock", other.endpoint, peer.endpoint)
        session = await peer.session()
        session.welcome(1, TARGET)
        assert not (await session.snapshot(10, plan())).errors
    refusals = [str(line["error"]) for line in host.logged("no stream")]
    assert len(refusals) >= 2, "nobody listens at the first, the second is not the controller it should be"


async def test_a_barrier_waits_for_the_revalidation_of_cached_flows(host: AgentHost, peer: SyncPeer) -> None:
    session = await settled(host, peer)
    assert not (await session.barrier(11, revalidate=True)).errors
    host.ovs.stop_switch(signal.SIGKILL)
    ack = await session.barrier(12, revalidate=True)
    assert [error.reason for error in ack.errors] == ["REVALIDATION_FAILED"]
    known = len(session.heard)
    host.ovs.start_switch()
    acks = await session.until(
        lambda: [m.ack for m in session.heard[known:] if m.WhichOneof("kind") == "ack" and not m.ack.errors],
        "a clean Ack after the switch is back",
    )
    assert acks[0].revision == 12


async def test_what_fails_is_told_and_retried(host: AgentHost, peer: SyncPeer) -> None:
    sh("ip link add holder type vxlan id 4096 local 10.77.0.1 dstport 4789")
    host.start(peer.endpoint)
    session = await peer.session()
    session.welcome(1, TARGET)
    ack = await session.snapshot(10, plan(), plan(10, vni=VNI + 1))
    assert {error.reason for error in ack.errors} == {"LINK_FAILED"}
    assert "already exists" in ack.errors[0].message
    assert ack.errors[0].subjects == ["hosts/h1"]
    assert len(host.fdb(VNI + 1)) == 3, "the other network is not held up"
    known = len(session.heard)
    sh("ip link del holder")
    await session.until(
        lambda: any(m.WhichOneof("kind") == "ack" and not m.ack.errors for m in session.heard[known:]),
        "a clean Ack by itself",
    )
    assert len(host.fdb(VNI)) == 3


async def test_the_switch_restarted_keeps_numbers_and_the_database_wiped_is_rebuilt(
    host: AgentHost, peer: SyncPeer
) -> None:
    session = await settled(host, peer)
    ofport = session.tunnel_ports[VNI]
    host.ovs.stop_switch(signal.SIGKILL)
    host.ovs.start_switch()
    await eventually(lambda: host.interface(NAME, "ofport") == str(ofport), "the same number")
    host.ovs.wipe_db()
    # (It is registered anew only if ovs-vswitchd saw the bridge go, and gave it another id.)
    await eventually(lambda: host.interface(NAME, "ofport").isdecimal(), "the bridge to be rebuilt")
    assert host.ovs.vsctl("get-fail-mode", "br-int").strip() == "secure"
    assert host.ovs.vsctl("get-controller", "br-int").split() == [TARGET]


async def test_strangers_and_workloads_do_not_reach_the_host(host: AgentHost, peer: SyncPeer) -> None:
    await settled(host, peer)
    name = f"cl-{Path(host.directory).name[-6:]}-{time.monotonic_ns() % 100000}"
    sh(f"ip netns add {name}")
    try:
        sh(f"ip link set u1 netns {name} && ip netns exec {name} ip link set u1 up")
        sh(f"ip netns exec {name} ip addr add 10.77.0.2/24 dev u1")
        sh(f"ip netns exec {name} ip addr add 10.77.0.66/24 dev u1")
        header = bytes([8, 0, 0, 0, 0, 0x10, 0, 0])
        frame = bytes.fromhex("0af00a000001 525400000001 88b5") + b"cloison" * 8
        send = (
            "import socket,sys;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);"
            "s.bind((sys.argv[1],0));"
            f"[s.sendto(bytes.fromhex('{(header + frame).hex()}'),('{VTEP}',4789)) for _ in range(20)]"
        )
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5)) as tap:
            tap.bind((NAME, 0x88B5))
            tap.settimeout(1)
            sh(f'ip netns exec {name} python3 -c "{send}" 10.77.0.66')
            with pytest.raises(TimeoutError):
                tap.recv(2048)
            tap.settimeout(DEADLINE_S)
            sh(f'ip netns exec {name} python3 -c "{send}" 10.77.0.2')
            assert b"cloison" in tap.recv(2048)
        sh(f"ip link add tap1 type veth peer name vm1 && ip link set vm1 netns {name}")
        sh(f"ip link set tap1 up && ip netns exec {name} ip link set vm1 up")
        sh(f"ip netns exec {name} ip addr add 10.88.0.9/24 dev vm1")
        ping = f"ip netns exec {name} arping -q -f -w {{}} -I vm1 {VTEP} && echo answered || true"
        assert "answered" in sh(ping.format(10)), (
            "without the bridge the host does answer: the check can fail"
        )
        host.ovs.vsctl("add-port", "br-int", "tap1")
        await eventually(lambda: '"tap1"' in sh("nft list table arp cloison"), "tap1 to be shut")
        assert "answered" not in sh(ping.format(1))
        assert Path("/proc/sys/net/ipv6/conf/tap1/disable_ipv6").read_text().strip() == "1"
    finally:
        sh(f"ip netns del {name}")


async def test_ten_thousand_entries_from_the_wire(host: AgentHost, peer: SyncPeer) -> None:
    host.start(peer.endpoint)
    session = await peer.session()
    session.welcome(1, TARGET)
    chunks = []
    for start in range(0, 10_000, 4000):
        chunk = pb.PlanDelta(revision=5)
        part = chunk.networks.add(vni=VNI, mtu=1450)
        for number in range(start, min(start + 4000, 10_000)):
            part.upserted.add(
                mac=MAC + number, vtep=bytes([10, 77, number // 250 % 250 + 1, number % 250 + 1])
            )
        chunks.append(chunk)
    started = time.monotonic()
    ack = await session.snapshot(5, *chunks)
    whole_s = time.monotonic() - started
    assert not ack.errors
    assert ack.digest == digest(*chunks)
    change = pb.PlanDelta(revision=6)
    change.networks.add(vni=VNI, removed_macs=[MAC])
    started = time.monotonic()
    assert not (await session.change(change)).errors
    one_s = time.monotonic() - started
    print(f"10,000 entries from snapshot to Ack: {whole_s:.3f} s; one more change: {one_s:.4f} s")
    for number in range(1, 4):
        sh(f"bridge fdb del {format_mac(MAC + number)} dev {NAME}")
        await session.until(lambda number=number: len(session.drifts()) == number, "drift")
    assert {drift.kind for drift in session.drifts()} == {"FDB_MISSING"}
    assert median(drift.repair_s for drift in session.drifts()) < 1.0
