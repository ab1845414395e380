"""The kernel seam on the real kernel, each test in a network namespace of its own."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from agent.netlink import LinuxKernel, firewall, kernel, wire
from agent.netlink.requests import Requests
from agent.plan import (
    EMPTY_PLAN,
    Fault,
    Firewall,
    HostPlan,
    Scope,
    Vtep,
    fdb_digest,
    operations,
    plan_faults,
)
from cloison.addresses import Mac, format_mac
from cloison.v1 import host_sync_pb2 as pb
from tests.support.netns import network_namespace, sh

pytestmark = pytest.mark.system

LOCAL = Vtep(bytes([10, 0, 0, 1]))
PEER = bytes([10, 0, 0, 2])
VNI, NAME = 0x1000, "vx001000"
MAC = 0x0AF00A000005
EVERYTHING = Scope(everything=True)
DEADLINE_S = 5.0


@pytest.fixture(autouse=True)
def _own_namespace() -> Iterator[None]:
    with network_namespace():
        yield


class Host:
    """A kernel seam and a plan, without the loop around them."""

    def __init__(self, kernel: LinuxKernel, woken: asyncio.Event) -> None:
        self.kernel, self.woken = kernel, woken
        self.plan: HostPlan = EMPTY_PLAN

    async def run(self, delta: pb.PlanDelta | None = None, scope: Scope = EVERYTHING) -> list[Fault]:
        if delta is not None:
            self.plan = self.plan.apply(delta)
        todo = operations(self.plan, self.kernel.actual, scope, local=LOCAL, guarded=frozenset({"tap1"}))
        faults = await self.kernel.apply(todo)
        return faults + await self.kernel.remove_links(todo.links_delete)

    async def noticed(self, scope_has: str) -> Scope:
        """Wait until the mirror is found wrong in the way named."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            self.woken.clear()
            scope = await self.kernel.refresh()
            if getattr(scope, scope_has):
                return scope
            await asyncio.wait_for(self.woken.wait(), DEADLINE_S)
        raise AssertionError(f"nobody noticed: {scope_has}")

    async def is_settled(self) -> bool:
        """Whether a fresh look at the kernel finds nothing to do, and the digest is that of the plan."""
        await self.kernel.read()
        wanted = fdb_digest({vni: network.fdb for vni, network in self.plan.networks.items()})
        todo = operations(self.plan, self.kernel.actual, EVERYTHING, local=LOCAL, guarded=frozenset({"tap1"}))
        return not todo and self.kernel.actual.digest.value() == wanted


@asynccontextmanager
async def host(**options: int) -> AsyncIterator[Host]:
    woken = asyncio.Event()
    kernel = LinuxKernel(LOCAL, woken.set, **options)
    await kernel.open()
    try:
        await kernel.read()
        yield Host(kernel, woken)
    finally:
        await kernel.close()


def network(entries: int = 1, vni: int = VNI, mtu: int = 1450, revision: int = 1) -> pb.PlanDelta:
    delta = pb.PlanDelta(revision=revision)
    part = delta.networks.add(vni=vni, mtu=mtu)
    for number in range(entries):
        part.upserted.add(mac=MAC + number, vtep=PEER if number % 2 else bytes([10, 0, 1, number % 250 + 1]))
    return delta


async def test_a_device_carries_frames_of_its_network_and_nothing_else() -> None:
    async with host() as h:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as tap:
            tap.setblocking(False)
            assert await h.run(network()) == []
            shown = sh(f"ip -d link show {NAME}")
            assert "mtu 1450" in shown
            assert "UP" in shown
            assert "vxlan id 4096 local 10.0.0.1" in shown
            assert "dstport 4789 nolearning" in shown
            assert not re.search(r"l2miss|l3miss|group 2|remote|proxy|rsc", shown)
            assert sh(f"ip addr show {NAME}").count("inet") == 0
            assert Path(f"/proc/sys/net/ipv6/conf/{NAME}/disable_ipv6").read_text().strip() == "1"
            await asyncio.sleep(1.2)  # what IPv6 would say by itself comes within a second of the device
            with pytest.raises(BlockingIOError):
                tap.recv(2048)
        assert await h.is_settled()


async def test_an_inspection_is_of_the_kernel_and_leaves_the_mirror_to_notice_by_itself() -> None:
    async with host() as h:
        assert await h.run(network(2)) == []
        sh(f"bridge fdb del {format_mac(MAC)} dev {NAME}")
        sh(f"bridge fdb add 52:54:00:00:00:01 dev {NAME} dst 10.9.9.9 self permanent")
        mirror = dict(h.kernel.actual.fdb[VNI])
        seen = await h.kernel.inspect()
        assert set(seen.fdb[VNI]) == {MAC + 1, 0x525400000001}
        assert h.kernel.actual.fdb[VNI] == mirror
        scope = await h.noticed("macs")
        assert scope.macs[VNI] == {MAC, 0x525400000001}


async def test_a_plan_is_followed_there_and_back() -> None:
    async with host() as h:
        assert await h.run(network(5)) == []
        change = pb.PlanDelta(revision=2)
        part = change.networks.add(vni=VNI, mtu=1400, removed_macs=[MAC])
        part.upserted.add(mac=MAC + 1, vtep=bytes([10, 0, 0, 77]))
        change.networks.add(vni=VNI + 1, mtu=1450)
        assert await h.run(change) == []
        table = sh(f"bridge fdb show dev {NAME}")
        assert "0a:f0:0a:00:00:06 dst 10.0.0.77" in table
        assert "0a:f0:0a:00:00:05" not in table
        assert await h.is_settled()
        assert await h.run(pb.PlanDelta(revision=3, removed_vnis=[VNI, VNI + 1])) == []
        assert "vx00" not in sh("ip -br link")
        assert await h.is_settled()


async def test_ten_thousand_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a change follows the change, not the table: in bytes, and in the time of a processor."""
    told_bytes = 0

    async def counted(receive: Callable[[], Awaitable[bytes]]) -> bytes:
        nonlocal told_bytes
        data = await receive()
        told_bytes += len(data)
        return data

    async with host() as h:
        requests = h.kernel._requests
        monkeypatch.setattr(requests, "_receive", partial(counted, requests._receive))
        started_s = time.process_time()
        assert await h.run(network(10_000)) == []
        apply_s = time.process_time() - started_s
        assert len(sh(f"bridge fdb show dev {NAME}").splitlines()) == 10_000
        await h.kernel.read()
        whole_bytes, told_bytes, asked, one_s = told_bytes, 0, requests._seq, []
        for number in range(1, 4):
            one = pb.PlanDelta(revision=1 + number)
            one.networks.add(vni=VNI).upserted.add(mac=MAC, vtep=bytes([10, 0, 1, 1 + 2 * number]))
            started_s = time.process_time()
            assert await h.run(one, Scope(macs={VNI: {MAC}})) == []
            one_s.append(time.process_time() - started_s)
        # (Written, and read back.)
        assert requests._seq - asked <= 3 * 2
        assert 0 < told_bytes < whole_bytes / 1000
        # (One of them may have garbage to collect.)
        assert min(one_s) < apply_s / 10
        assert await h.is_settled()


@pytest.mark.parametrize(
    ("made", "vtep"),
    [
        ("dst 10.9.9.9 self permanent", bytes([10, 9, 9, 9])),
        ("dst 10.9.9.9 port 8472 self permanent", None),
        ("dst 10.9.9.9 vni 77 self permanent", None),
        ("dst 10.9.9.9 self dynamic", None),
        ("dst 10.9.9.9 self static", None),
    ],
)
async def test_the_short_way_to_read_an_entry_says_what_the_long_one_does(
    made: str, vtep: bytes | None
) -> None:
    sh(f"ip link add {NAME} type vxlan id 4096 local 10.0.0.1 dstport 4789 nolearning")
    index = socket.if_nametoindex(NAME)
    sh(f"bridge fdb add {format_mac(MAC)} dev {NAME} {made}")
    requests = Requests()
    try:
        _, [body] = await requests.batch([wire.fdb_get(index, MAC)])
        assert wire.neighbour(body) == wire._any_neighbour(body) == wire.Neighbour(index, MAC, vtep)
        assert (wire._listed4(body) is not None) == (vtep is not None)
    finally:
        requests.close()


async def test_entries_changed_by_hand_are_noticed_and_put_right() -> None:
    async with host() as h:
        await h.run(network(20))
        sh(f"bridge fdb del 0a:f0:0a:00:00:05 dev {NAME}")
        sh(f"bridge fdb replace 0a:f0:0a:00:00:06 dev {NAME} dst 10.9.9.9 self permanent")
        sh(f"bridge fdb add 52:54:00:00:00:01 dev {NAME} dst 10.9.9.9 self permanent")
        sh(f"bridge fdb append 00:00:00:00:00:00 dev {NAME} dst 10.9.9.8 self permanent")
        sh(f"bridge fdb append 00:00:00:00:00:00 dev {NAME} dst 10.9.9.9 self permanent")
        sh(f"bridge fdb replace 0a:f0:0a:00:00:07 dev {NAME} dst 10.0.1.3 port 8472 self permanent")
        sh(f"bridge fdb add 0a:f0:0a:00:00:ff dev {NAME} dst 10.9.9.9 self dynamic")
        scope = await h.noticed("macs")
        while scope:
            assert await h.run(scope=scope) == []
            await asyncio.sleep(0.05)
            scope = await h.kernel.refresh()
        assert await h.is_settled()
        assert len(sh(f"bridge fdb show dev {NAME}").splitlines()) == 20


@pytest.mark.parametrize(
    "tampering",
    [
        f"ip link del {NAME}",
        f"ip link set {NAME} down",
        f"ip link set {NAME} mtu 1300",
        f"ip link set {NAME} type vxlan learning",
        f"ip link del {NAME} && ip link add {NAME} type vxlan id 4096 local 10.0.0.1 dstport 4789 nolearning",
        f"ip link del {NAME} && ip link add {NAME} type vxlan id 4097 local 10.0.0.1 dstport 4789 nolearning",
        f"ip link del {NAME} && ip link add {NAME} type vxlan id 4096 local 10.0.0.1 dstport 8472 nolearning",
        f"ip link del {NAME} && ip link add {NAME} type vxlan id 4096 group 239.1.1.1 dev lo dstport 4789",
    ],
)
async def test_a_device_changed_by_hand_is_noticed_and_put_right(tampering: str) -> None:
    async with host() as h:
        await h.run(network(20))
        await h.kernel.refresh()
        sh(tampering)
        scope = await h.noticed("networks")
        while scope:
            await h.run(scope=scope)
            await asyncio.sleep(0.05)
            scope = await h.kernel.refresh()
        assert await h.is_settled()
        assert "vxlan id 4096 local 10.0.0.1" in sh(f"ip -d link show {NAME}")


async def test_own_changes_are_not_mistaken_for_those_of_others() -> None:
    async with host() as h:
        await h.run(network(500))
        await h.run(pb.PlanDelta(revision=2, removed_vnis=[VNI]))
        await h.run(network(300, revision=3))
        await asyncio.sleep(0.2)
        assert not await h.kernel.refresh()


async def test_only_devices_named_as_ours_are_touched() -> None:
    sh("ip link add vxlan7 type vxlan id 7 local 10.0.0.1 dstport 4789 nolearning")
    sh("bridge fdb add 52:54:00:00:00:09 dev vxlan7 dst 10.0.0.9 self permanent")
    sh("ip link add vx001001 type veth peer name other && ip link set vx001001 mtu 1280")
    async with host() as h:
        delta = network()
        delta.networks.add(vni=0x1001, mtu=1450)
        await h.run(delta)
        assert [fault.reason for fault in plan_faults(h.plan, h.kernel.actual)] == ["LINK_NAME_TAKEN"]
        await h.run(pb.PlanDelta(revision=2, removed_vnis=[VNI, 0x1001]))
    assert "10.0.0.9" in sh("bridge fdb show dev vxlan7")
    assert "mtu 1280" in sh("ip link show vx001001")


async def test_what_the_kernel_refuses_is_told_in_its_words_and_stops_nothing_else() -> None:
    sh("ip link add holder type vxlan id 4097 local 10.0.0.1 dstport 4789")
    async with host() as h:
        delta = network()
        delta.networks.add(vni=0x1001, mtu=1450).upserted.add(mac=MAC, vtep=PEER)
        delta.networks[0].upserted.add(mac=MAC + 9, vtep=bytes([0x20, 1, *[0] * 13, 1]))
        faults = {fault.reason: fault.message for fault in await h.run(delta)}
        assert "already exists" in faults["LINK_FAILED"]
        assert "0a:f0:0a:00:00:0e" in faults["FDB_REFUSED"]
        assert "0a:f0:0a:00:00:05" in sh(f"bridge fdb show dev {NAME}")
        sh("ip link del holder")
        faults = await h.run()
        assert [fault.reason for fault in faults] == ["FDB_REFUSED"]


async def test_lost_events_lead_to_a_full_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async with host(event_buffer_bytes=4096) as h:
        await h.run(network(20))
        await asyncio.sleep(0.1)
        await h.kernel.refresh()
        # Nobody reads events while these are made (the shell runs to its end first), so the buffer overruns.
        macs = (f"52:54:00:00:{number // 256:02x}:{number % 256:02x}" for number in range(2000))
        commands = "\\n".join(f"fdb add {mac} dev {NAME} dst 10.9.9.9" for mac in macs)
        sh(f"printf '{commands}\\n' | bridge -batch -")
        assert (await h.noticed("everything")).everything
        assert await h.run() == []
        assert await h.is_settled()
        # Deleting them was 2,000 events again, too many for this buffer.
        await asyncio.sleep(0.05)
        while await h.kernel.refresh():  # noqa: ASYNC110 - it is the kernel we wait for
            await asyncio.sleep(0.05)
        sh(f"bridge fdb del 0a:f0:0a:00:00:05 dev {NAME}")
        assert (await h.noticed("macs")).macs, "the new socket listens"


async def test_only_peers_may_send_vxlan_and_the_bridge_is_not_heard_by_the_host() -> None:
    sh("ip link add u0 type veth peer name u1 && ip link set u0 up && ip link set u1 up")
    async with host() as h:
        await h.run(network(2))
        rules = sh("nft list table inet cloison")
        assert "10.0.0.2" in rules
        assert "udp dport 4789 ip saddr . @th,96,24 != @vteps4" in rules
        assert '"tap1"' in rules
        assert '"tap1"' in sh("nft list table arp cloison")
        await h.run(pb.PlanDelta(revision=2, removed_vnis=[VNI]))
        assert "10.0.0.2" not in sh("nft list table inet cloison")


@pytest.mark.parametrize(
    "tampering",
    [
        "flush ruleset",
        "delete table arp cloison",
        "flush chain inet cloison vxlan",
        "add rule inet cloison vxlan accept",
        "insert rule inet cloison guard accept",
        "add element inet cloison vteps4 { 10.9.9.9 . 5001 }",
        f"delete element inet cloison vteps4 {{ 10.0.0.2 . {VNI} }}",
        "add element arp cloison guarded { eth9 }",
        "chain inet cloison guard { policy drop\\; }",
    ],
)
async def test_a_firewall_changed_by_hand_is_noticed_and_put_right(tampering: str) -> None:
    async with host() as h:
        await h.run(network(2))
        await h.kernel.refresh()
        before = sh("nft -s list ruleset")
        sh(f"nft '{tampering}'".replace("\\;", ";"))
        assert (await h.noticed("firewall")).firewall
        assert await h.run() == []
        assert sh("nft -s list ruleset").split() == before.split() or await h.is_settled()


async def test_tables_of_others_are_left_alone() -> None:
    sh("nft 'add table inet mine; add chain inet mine input { type filter hook input priority 0; }'")
    async with host() as h:
        await h.run(network(2))
        await h.run(pb.PlanDelta(revision=2, removed_vnis=[VNI]))
    assert "chain input" in sh("nft list table inet mine")


async def test_the_mtu_of_the_underlay() -> None:
    sh("ip link add u0 type veth peer name u1 && ip link set u0 up mtu 1600 && ip link set u1 up")
    sh("ip addr add 10.0.0.1/24 dev u0")
    async with host() as h:
        assert await h.kernel.underlay_mtu() == 1600
        sh("ip addr del 10.0.0.1/24 dev u0 && ip addr add 10.5.5.1/24 dev u0")
        sh("ip addr add 10.0.0.1/32 dev lo")
        assert await h.kernel.underlay_mtu() == 1600


async def turns(count: int = 4) -> None:
    """Let the loop take in what the kernel has told already (it tells before it answers a request)."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_echo_of_an_own_change_wakes_nobody() -> None:
    async with host() as h:
        assert await h.run(network(2)) == []
        assert await h.is_settled()
        await turns()
        await h.kernel.refresh()
        h.woken.clear()
        delta = pb.PlanDelta(revision=2)
        part = delta.networks.add(vni=VNI, removed_macs=[MAC])
        part.upserted.add(mac=MAC + 1, vtep=bytes([10, 0, 1, 1]))
        part.upserted.add(mac=MAC + 7, vtep=PEER)
        assert await h.run(delta) == []
        await turns()
        assert not h.woken.is_set()
        sh(f"bridge fdb del {format_mac(MAC + 7)} dev {NAME}")
        assert (await h.noticed("macs")).macs[VNI] == {MAC + 7}


@pytest.mark.parametrize("one_by_one", [True, False], ids=["asked-for", "listed"])
async def test_what_others_change_during_an_own_change_is_noticed(
    monkeypatch: pytest.MonkeyPatch, one_by_one: bool
) -> None:
    """Its event comes while the mirror is being written, together with the echo.

    Where the list is read after it, the mirror has what others made of an entry that was written: then the
    write itself tells, and is tried again. Of other entries nothing is taken from that list.
    """
    async with host() as h:
        assert await h.run(network(3)) == []
        await turns()
        await h.kernel.refresh()
        h.woken.clear()
        batch = h.kernel._requests.batch
        if not one_by_one:
            monkeypatch.setattr(kernel, "LISTED_MIN", 1)

        async def meddled(requests: list[bytes]) -> object:
            answers = await batch(requests)
            sh(f"bridge fdb del {format_mac(MAC)} dev {NAME}")
            sh(f"bridge fdb replace {format_mac(MAC + 7)} dev {NAME} dst 10.9.9.9 self permanent")
            await turns()
            return answers

        monkeypatch.setattr(h.kernel._requests, "batch", meddled)
        delta = pb.PlanDelta(revision=2)
        delta.networks.add(vni=VNI).upserted.add(mac=MAC + 7, vtep=PEER)
        assert [f.reason for f in await h.run(delta)] == ([] if one_by_one else ["FDB_ALTERED"])
        monkeypatch.undo()
        assert h.woken.is_set()
        assert (await h.noticed("macs")).macs[VNI] == ({MAC, MAC + 7} if one_by_one else {MAC})
        assert h.kernel.actual.fdb[VNI][Mac(MAC + 7)] == Vtep(bytes([10, 9, 9, 9]))
        assert await h.run() == []
        assert await h.is_settled()


async def test_the_rules_are_listed_only_when_somebody_has_changed_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed: list[None] = []
    read = firewall.read

    async def counted() -> Firewall:
        listed.append(None)
        return await read()

    monkeypatch.setattr(firewall, "read", counted)
    async with host() as h:
        assert len(listed) == 1
        assert await h.run(network(1)) == []
        assert await h.is_settled()
        assert await h.run(network(1, vni=VNI + 1)) == []
        assert await h.is_settled()
        assert len(listed) == 1, "an own change is known to be all that was changed"
        sh("nft add element inet cloison vteps4 '{ 10.9.9.9 . 4096 }'")
        await h.kernel.read()
        assert (VNI, bytes([10, 9, 9, 9])) in h.kernel.actual.firewall.peers
        assert len(listed) == 2
        # Another's change just before an own one: what the own one led to is not what the mirror says.
        sh("nft add element inet cloison vteps4 '{ 10.8.8.8 . 4096 }'")
        assert await h.run() == []
        await h.kernel.read()
        assert h.kernel.actual.firewall.peers - h.plan.peers == {(VNI, bytes([10, 8, 8, 8]))}
        assert await h.run() == []
        assert await h.is_settled()
