"""The bridge seam on a real Open vSwitch (dummy datapath but where packets matter)."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.ovsdb import BridgeSpec, BridgeView, OvsBridge, TlsFiles, Verdict
from cloison.errors import Unavailable
from tests.support.agent_host import eventually
from tests.support.netns import network_namespace, sh
from tests.support.ovs import Ovs

pytestmark = pytest.mark.system

TARGET = "ssl:127.0.0.1:6653"
TLS = TlsFiles("/etc/host.key", "/etc/host.crt", "/etc/ca.crt")
VNI, NAME = 0x1000, "vx001000"
DEADLINE_S = 15.0


@pytest.fixture
def ovs() -> Iterator[Ovs]:
    with network_namespace(), Ovs(dummy=False) as running:
        yield running


class Watched:
    """The seam, and waiting for what it shows."""

    def __init__(self, ovs: Ovs) -> None:
        self.woken = asyncio.Event()
        self.bridge = OvsBridge(ovs.db, "br-int", self.woken.set, ovs.run_dir / "switch.ctl")

    async def shows(self, check: Callable[[BridgeView], object], what: str) -> BridgeView:
        deadline = time.monotonic() + DEADLINE_S
        while not check(self.bridge.view):
            assert time.monotonic() < deadline, f"not shown: {what}: {self.bridge.view}"
            self.woken.clear()
            await asyncio.wait_for(self.woken.wait(), DEADLINE_S)
        return self.bridge.view

    async def apply(self, **spec: object) -> list[str]:
        """Apply a spec; return the kinds of what differed."""
        wanted = BridgeSpec(**{**SPEC, **spec})  # type: ignore[arg-type]
        return [change.kind for change in await self.bridge.apply(wanted)]


SPEC: dict[str, object] = {
    "name": "br-int", "datapath_type": None, "new_datapath_type": "netdev", "tls": TLS, "target": TARGET
}  # fmt: skip


@asynccontextmanager
async def watched(ovs: Ovs) -> AsyncIterator[Watched]:
    seam = Watched(ovs)
    seam.bridge.open()
    try:
        await seam.shows(lambda view: view.connected, "a connection")
        yield seam
    finally:
        seam.bridge.close()


def device(vni: int = VNI) -> int:
    """Make a VXLAN device; return its ifindex."""
    name = f"vx{vni:06x}"
    sh(f"ip link add {name} type vxlan id {vni} local 10.0.0.1 dstport 4789 nolearning")
    sh(f"ip link set {name} up")
    return socket.if_nametoindex(name)


async def test_the_bridge_is_closed_from_its_first_moment(ovs: Ovs) -> None:
    async with watched(ovs) as seam:
        await seam.apply(tunnels={VNI: device(), VNI + 1: device(VNI + 1)})
        await seam.shows(
            lambda view: view.datapath_id and all(t.usable for t in view.tunnels.values()), "ports"
        )
        records = (ovs.run_dir / "conf.db").read_text().splitlines()
        first = next(line for line in records if '"br-int"' in line)
        assert '"fail_mode":"secure"' in first
        assert '"disable-in-band"' in first
        assert NAME in first
        assert "OpenFlow14" in first
        assert await seam.apply(tunnels={VNI: device_index(), VNI + 1: device_index(VNI + 1)}) == []
    ssl = ovs.vsctl("get-ssl")
    assert all(path in ssl for path in (TLS.key, TLS.cert, TLS.ca))


def device_index(vni: int = VNI) -> int:
    return socket.if_nametoindex(f"vx{vni:06x}")


async def test_a_new_target_flushes_no_flow(ovs: Ovs) -> None:
    async with watched(ovs) as seam:
        await seam.apply()
        await seam.shows(lambda view: view.datapath_id, "the bridge")
        row = ovs.vsctl("get", "bridge", "br-int", "controller")
        ovs.ofctl("add-flow", "br-int", "cookie=0x7,priority=5,actions=drop")
        assert await seam.apply(target="ssl:127.0.0.1:7777") == ["controller"]
        assert ovs.vsctl("get-controller", "br-int").split() == ["ssl:127.0.0.1:7777"]
        assert ovs.vsctl("get", "bridge", "br-int", "controller") == row
        assert any("cookie=0x7" in flow for flow in ovs.flows("br-int"))


async def test_what_is_not_known_is_left_alone(ovs: Ovs) -> None:
    async with watched(ovs) as seam:
        await seam.apply(tunnels={VNI: device()})
        assert await seam.apply(target=None, tunnels=None) == []
        assert ovs.vsctl("get-controller", "br-int").split() == [TARGET]
        assert NAME in ovs.vsctl("list-ports", "br-int")
        assert await seam.apply(tunnels={}) == ["tunnel"]
        assert NAME not in ovs.vsctl("list-ports", "br-int")


async def test_ports_of_others_stay_and_are_shown(ovs: Ovs) -> None:
    async with watched(ovs) as seam:
        await seam.apply(tunnels={})
        sh("ip link add tap1 type veth peer name vm1")
        ovs.vsctl("add-port", "br-int", "tap1", "--", "set", "interface", "tap1", "external_ids:iface-id=p1")
        ovs.vsctl(
            "add-port", "br-int", "ghost", "--", "set", "interface", "ghost", "external_ids:iface-id=p2"
        )
        await seam.shows(lambda view: "ghost" in view.interfaces, "ghost")
        view = await seam.shows(lambda view: view.interfaces["tap1"].ofport, "the number of tap1")
        assert view.interfaces["tap1"].usable
        await seam.shows(lambda v: v.interfaces["ghost"].error, "an error for the device that is not there")
        assert not seam.bridge.view.interfaces["ghost"].usable
        assert await seam.apply(tunnels={VNI: device()}) == ["tunnel"]
        assert {"tap1", "ghost", NAME} <= set(ovs.vsctl("list-ports", "br-int").split())


async def test_a_verdict_is_written_to_the_interface_it_is_about(ovs: Ovs) -> None:
    async with watched(ovs) as seam:
        await seam.apply(tunnels={})
        sh("ip link add tap1 type veth peer name vm1")
        ovs.vsctl("add-port", "br-int", "tap1", "--", "set", "interface", "tap1", "external_ids:iface-id=p1")
        await seam.shows(lambda view: "tap1" in view.interfaces, "tap1")
        await seam.apply(verdicts={"tap1": Verdict("p1", "refused", "UNKNOWN_IFACE_ID")})
        assert "UNKNOWN_IFACE_ID" in ovs.vsctl("get", "interface", "tap1", "external_ids:cloison-reason")
        assert await seam.apply(verdicts={"tap1": Verdict("p1", "refused", "UNKNOWN_IFACE_ID")}) == []
        assert await seam.apply(verdicts={"tap1": Verdict("other", "bound")}) == []
        await seam.apply(verdicts={"tap1": Verdict("p1", "bound")})
        ids = ovs.vsctl("get", "interface", "tap1", "external_ids")
        assert "cloison-state=bound" in ids
        assert "cloison-reason" not in ids
        assert "iface-id=p1" in ids


async def test_the_port_of_a_device_made_anew_carries_frames_again(ovs: Ovs) -> None:
    """The userspace datapath stays with the device that is gone; nothing in the database says so."""
    async with watched(ovs) as seam:
        await seam.apply(tunnels={VNI: device()})
        before = await seam.shows(lambda view: VNI in view.tunnels and view.tunnels[VNI].usable, "the port")
        sh(f"ip link del {NAME}")
        index = device()
        assert await seam.apply(tunnels={VNI: index}) == ["tunnel"]
        view = await seam.shows(lambda v: VNI in v.tunnels and v.tunnels[VNI].usable, "the port again")
        assert view.tunnels[VNI].ofport == before.tunnels[VNI].ofport, "flows need not change"
        sh("ip link add tap1 type veth peer name vm1 && ip link set tap1 up && ip link set vm1 up")
        ovs.vsctl("add-port", "br-int", "tap1")
        ovs.ofctl("add-flow", "br-int", f"in_port=tap1,actions=output:{view.tunnels[VNI].ofport}")
        with (
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as out,
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as vm,
        ):
            out.bind((NAME, 3))
            out.settimeout(DEADLINE_S)
            vm.bind(("vm1", 0))
            frame = bytes.fromhex("0af00a000001 525400000001 88b5") + b"cloison" * 8
            vm.send(frame)
            while b"cloison" not in out.recv(2048):
                pass


async def test_a_switch_that_is_away_is_told_and_made_up_for(ovs: Ovs) -> None:
    async with watched(ovs) as seam:
        await seam.apply(tunnels={VNI: device()})
        await seam.shows(lambda view: VNI in view.tunnels and view.tunnels[VNI].usable, "the port")
        ovs.stop_switch(signal.SIGKILL)
        sh(f"ip link del {NAME}")
        index = device()
        with pytest.raises(Unavailable, match="ovs-vswitchd"):
            await seam.apply(tunnels={VNI: index})
        with pytest.raises(Unavailable):
            await seam.bridge.revalidate(taken_away=True)
        ovs.start_switch()
        deadline = time.monotonic() + DEADLINE_S
        while not (VNI in seam.bridge.view.tunnels and seam.bridge.view.tunnels[VNI].usable):
            assert time.monotonic() < deadline
            try:
                await seam.apply(tunnels={VNI: index})
            except Unavailable:
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.02)
        await seam.bridge.revalidate(taken_away=True)


async def test_a_database_that_is_away_or_was_wiped(ovs: Ovs) -> None:
    async with watched(ovs) as seam:
        index = device()
        await seam.apply(tunnels={VNI: index})
        known = await seam.shows(lambda view: VNI in view.tunnels and view.tunnels[VNI].usable, "the port")
        ovs.kill_db()
        gone = await seam.shows(lambda view: not view.connected, "that the database is away")
        assert gone.tunnels == known.tunnels, "what was known is not forgotten"
        with pytest.raises(Unavailable):
            await seam.apply(tunnels={VNI: index})
        ovs.wipe_db()
        await seam.shows(lambda view: view.connected and not view.exists, "an empty database")
        assert await seam.apply(tunnels={VNI: index}) == ["bridge"]
        view = await seam.shows(
            lambda v: v.datapath_id and VNI in v.tunnels and v.tunnels[VNI].usable, "all again"
        )
        assert view.exists


async def test_no_database_at_first(tmp_path: Path) -> None:
    bridge = OvsBridge(f"unix:{tmp_path}/nobody.sock", "br-int", lambda: None)
    bridge.open()
    try:
        with pytest.raises(Unavailable, match="ovsdb-server"):
            await asyncio.wait_for(bridge.apply(BridgeSpec(**SPEC)), DEADLINE_S)  # type: ignore[arg-type]
    finally:
        bridge.close()


async def test_what_others_do_to_an_interface_is_made_up_for_beside_a_verdict(ovs: Ovs) -> None:
    """A look at the interfaces that changed finds what a look at all would."""
    async with watched(ovs) as seam:
        sh("ip link add tap1 type veth peer name vm1 && ip link add tap2 type veth peer name vm2")
        tunnels = {VNI: device()}
        said = {f"tap{n}": Verdict(f"p{n}", "bound") for n in (1, 2)}
        await seam.apply(tunnels=tunnels)
        for n in (1, 2):
            plug = f"add-port br-int tap{n} -- set interface tap{n} external_ids:iface-id=p{n}"
            ovs.vsctl(*plug.split())
        await seam.shows(lambda view: len(view.interfaces) == 2, "both")
        assert await seam.apply(tunnels=tunnels, verdicts=said) == ["verdict", "verdict"]
        assert await seam.apply(tunnels=tunnels, verdicts=said) == []

        def alters(*words: str) -> None:
            ovs.vsctl(*words)

        refused = said | {"tap1": Verdict("p1", "refused", "NO")}
        assert await seam.apply(tunnels=tunnels, verdicts=refused) == ["verdict", "verdict"]
        assert await seam.apply(tunnels=tunnels, verdicts=refused) == []
        # Between two verdicts somebody changes another interface, one of ours, and takes one away.
        seqno = seam.bridge._thread.replica  # type: ignore[union-attr]
        alters("remove", "interface", "tap2", "external_ids", "cloison-state")
        await eventually(lambda: seam.bridge._thread.replica != seqno, "the change")  # type: ignore[union-attr]
        assert await seam.apply(tunnels=tunnels, verdicts=said) == ["verdict", "verdict", "verdict"]
        ids = ovs.vsctl("get", "interface", "tap1", "external_ids")
        assert "cloison-reason" not in ids
        assert await seam.apply(tunnels=tunnels, verdicts=said) == []
        alters("set", "interface", NAME, "external_ids:cloison-ifindex=1")
        await seam.shows(lambda view: view.tunnels[VNI].ifindex == 1, "the alteration")
        assert "tunnel" in await seam.apply(tunnels=tunnels, verdicts=refused)
        alters("del-port", "br-int", "tap2")
        alters("remove", "bridge", "br-int", "other_config", "disable-in-band")
        await seam.shows(lambda view: "tap2" not in view.interfaces, "tap2 gone")
        assert "bridge" in await seam.apply(tunnels=tunnels, verdicts=said)
        assert await seam.apply(tunnels=tunnels, verdicts=said) == []


async def test_a_view_that_was_followed_is_the_one_that_would_be_read(ovs: Ovs) -> None:
    async with watched(ovs) as seam:
        await seam.apply(tunnels={VNI: device()})
        steps = [
            "add-port br-int tap1 -- set interface tap1 type=internal external_ids:iface-id=p1",
            'set interface tap1 type=""',
            "set interface tap1 external_ids:iface-id=other",
            f"set interface {NAME} external_ids:cloison-ifindex=9",
            "add-port br-int cl-services -- set interface cl-services external_ids:cloison-ifindex=4",
            "set interface cl-services external_ids:cloison-ifindex=5",
            "set interface tap1 external_ids:unread=1",
            "add-br br-ex -- add-port br-ex clo00000007",
            "set port clo00000007 tag=7",
            "del-port br-int tap1",
        ]
        for step in steps:
            ovs.vsctl(*step.split())
            async with watched(ovs) as fresh:
                await fresh.shows(lambda view: view.exists, "the bridge")

                def agree(fresh: Watched = fresh) -> bool:
                    return seam.bridge.view == fresh.bridge.view

                await eventually(agree, f"the same after {step}")
