"""The lab without a control plane: underlay, Open vSwitch per host, workloads, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import links, namespaces, plain
from topologies import frames, holder
from topologies.lab import Lab, LabError
from topologies.nodes import NodeError
from topologies.state import LabState, Process, clean, marked
from topologies.wait import WaitTimeoutError, looks, wait_until

NORMAL = "priority=0,actions=NORMAL"


@pytest.fixture(scope="module")
def lab(module_run_dir: Path) -> Iterator[Lab]:
    with plain("overlap", module_run_dir) as lab:
        yield lab


def test_every_host_reaches_every_vtep_with_frames_of_the_full_mtu(lab: Lab) -> None:
    for host in lab.hosts.values():
        for other in lab.hosts.values():
            whole = str(lab.underlay.mtu - 28)
            done = host.node.run(["ping", "-c1", "-W9", "-M", "do", "-s", whole, other.vtep])
            assert done.returncode == 0, done.stdout


def test_vxlan_between_leaves_spreads_over_both_spines(lab: Lab) -> None:
    seen = set()
    for port in range(40):
        route = lab.nodes["leaf1"].run(
            [
                "ip",
                "route",
                "get",
                lab.hosts["h3"].vtep,
                "ipproto",
                "udp",
                "sport",
                str(40000 + port),
                "dport",
                "4789",
            ]
        )
        seen |= {spine for spine in ("to-spine1", "to-spine2") if spine in route.stdout}
    assert seen == {"to-spine1", "to-spine2"}


def test_each_host_has_a_switch_of_its_own_that_starts_closed(lab: Lab) -> None:
    systems = {
        h.switch.vsctl("get", "Open_vSwitch", ".", "external_ids:system-id").stdout
        for h in lab.hosts.values()
    }
    assert systems == {"h1\n", "h2\n", "h3\n"}
    for host in lab.hosts.values():
        assert "secure" in host.switch.vsctl("get-fail-mode", "br-int").stdout
        assert "actions" not in host.switch.ofctl("dump-flows").stdout


def test_a_plugged_workload_is_known_by_its_iface_id_and_talks_only_as_flows_say(lab: Lab) -> None:
    switch = lab.hosts["h1"].switch
    a = lab.plug("h1", "id-a", "52:54:00:00:00:01", ["10.0.0.1/24", "fd00::1/64"], name="a")
    b = lab.plug("h1", "id-b", "52:54:00:00:00:02", ["10.0.0.2/24", "fd00::2/64"], name="b")
    found = switch.vsctl("--bare", "--columns=name", "find", "Interface", "external_ids:iface-id=id-a")
    assert found.stdout.strip() == a.plug.tap
    assert len(a.plug.tap) <= 15
    assert not a.ping("10.0.0.2", timeout_s=0.3).ok
    switch.ofctl("add-flow", NORMAL)
    wait_until(lambda: a.ping("10.0.0.2").ok, 20, "ping after the flow")
    assert a.ping("fd00::2").ok
    whole = a.plug.mtu - 28
    assert a.ping("10.0.0.2", size_bytes=whole).ok
    lab.unplug(a)
    assert "id-a" not in switch.vsctl("list", "Interface").stdout
    assert a.plug.tap not in lab.hosts["h1"].node.run(["ip", "-o", "link"]).stdout
    assert "a" not in LabState.load(lab.run_dir).workloads
    lab.unplug(b)
    switch.ofctl("del-flows")


def test_tcp_gets_through_the_userspace_datapath(lab: Lab) -> None:
    lab.hosts["h2"].switch.ofctl("add-flow", NORMAL)
    a = lab.plug("h2", "id-a", "52:54:00:00:00:01", ["10.0.0.1/24"])
    b = lab.plug("h2", "id-b", "52:54:00:00:00:02", ["10.0.0.2/24"])
    server = b.popen(["iperf3", "-s", "-1"])
    wait_until(lambda: ":5201" in b.run(["ss", "-ltn"]).stdout, 20, "iperf3 listening")
    done = a.run(["iperf3", "-c", "10.0.0.2", "-n", "20M", "-J"], timeout_s=30)
    assert done.returncode == 0, done.stdout
    server.communicate(timeout=10)
    lab.unplug(a)
    lab.unplug(b)


def test_a_capture_sees_every_frame_as_it_was_sent(lab: Lab) -> None:
    a = lab.plug("h3", "id-a", "52:54:00:00:00:01", ["10.0.0.1/24"])
    b = lab.plug("h3", "id-b", "52:54:00:00:00:02", ["10.0.0.2/24"])
    lab.hosts["h3"].switch.ofctl("add-flow", NORMAL)
    tagged = (
        frames.mac_bytes(frames.BROADCAST)
        + frames.mac_bytes(a.plug.mac)
        + b"\x81\x00\x00\x07\x88\xb5"
        + bytes(50)
    )
    sent = [
        frames.udp(a.plug.mac, b.plug.mac, "10.0.0.1", "10.0.0.2", f"frame {n}".encode()) for n in range(50)
    ]
    with b.capture("udp") as udp, b.capture() as everything:
        assert a.send([*sent, tagged], interval_s=0.001) == 51
        assert everything.wait_for(lambda f: f.data == tagged, 20)
        everything.settle()
    assert [f.data for f in udp.frames] == sent
    assert [f.data for f in everything.frames if f.data in sent] == sent
    lab.unplug(a)
    lab.unplug(b)


def test_a_daemon_can_be_killed_and_started_again(lab: Lab) -> None:
    host = lab.hosts["h1"]
    before = host.vswitchd.pid
    host.vswitchd.kill(signal.SIGKILL)
    assert not host.vswitchd.alive
    assert "h1/vswitchd" not in LabState.load(lab.run_dir).daemons
    host.vswitchd.start()
    assert host.vswitchd.pid != before
    assert LabState.load(lab.run_dir).daemons["h1/vswitchd"]["pid"] == host.vswitchd.pid


def test_bad_plugs_are_refused_and_leave_nothing(lab: Lab) -> None:
    with pytest.raises(LabError, match="no host 'h9' in this lab: hosts are h1, h2, h3"):
        lab.plug("h9", "x", "52:54:00:00:00:01", [])
    with pytest.raises(ValueError, match="prefix length"):
        lab.plug("h1", "x", "52:54:00:00:00:01", ["10.0.0.1"])
    with pytest.raises(NodeError):
        lab.plug("h1", "x", "52:54:00:00:00:01", ["10.0.0.1/24"], mtu=1, name="broken")
    assert "broken" not in lab.workloads
    assert "broken" not in LabState.load(lab.run_dir).workloads


def test_two_labs_do_not_share_a_run_directory(lab: Lab) -> None:
    other = subprocess.run(
        [sys.executable, "-m", "topologies.holder", "two-hosts", str(lab.run_dir), "plain", "alone"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
    )
    assert other.returncode == 1
    assert "still held by process" in other.stderr
    assert lab.hosts["h1"].vswitchd.alive


def test_a_lab_that_ends_leaves_nothing(run_dir: Path) -> None:
    before = links()
    with plain("two-hosts", run_dir) as lab:
        lab.plug("h1", "x", "52:54:00:00:00:01", ["10.0.0.1/24"]).popen(["sleep", "600"])
        processes = lab.state.processes("daemons", "workloads", "nodes")
        assert all(p.alive for p in processes)
        assert links() == before
    assert not [p for p in processes if p.alive]
    assert not marked(lab.mark)
    assert not run_dir.exists()
    assert links() == before


def test_a_lab_that_cannot_start_leaves_nothing_and_says_why(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("topologies.switch.SCHEMA", "/no/such/schema")
    lab = plain("two-hosts", run_dir)
    with pytest.raises(subprocess.CalledProcessError):
        lab.start()
    assert not marked(lab.mark)
    assert not run_dir.exists()


def test_what_a_killed_holder_leaves_is_cleaned_by_the_next_start(run_dir: Path) -> None:
    holder.up("two-hosts", run_dir, mode="plain")
    holder.call(
        run_dir, do="plug", host="h1", iface_id="x", mac="52:54:00:00:00:01", addresses=["10.0.0.1/24"]
    )
    state = LabState.load(run_dir)
    daemons = state.processes("daemons")
    state.holder.kill()
    wait_until(lambda: not state.holder.alive, 20, "the holder dead")
    assert all(p.alive for p in daemons)
    assert namespaces(state.mark)
    holder.up("two-hosts", run_dir, mode="plain")
    assert not [p for p in daemons if p.alive]
    assert not marked(state.mark)
    assert holder.down(run_dir)
    assert not run_dir.exists()


def test_a_process_is_not_taken_for_an_earlier_one_of_its_number(run_dir: Path) -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        real = Process.of(bystander.pid)
        dead = Process(999_999_999, 1)
        run_dir.mkdir()
        state = LabState("no-such-mark", "x", dead)
        state.daemons["h1/agent"] = {"pid": real.pid, "start_ticks": real.start_ticks - 1}
        state.save(run_dir)
        assert clean(run_dir)
        assert real.alive
    finally:
        bystander.kill()
        bystander.wait()


def test_a_moment_in_which_all_stands_still_is_one_look() -> None:
    began_s = time.monotonic()
    for looked, _ in enumerate(looks(0.2), 1):
        if looked == 1:
            # (Nobody here has a turn for longer than was to be waited.)
            while time.monotonic() - began_s < 0.3:
                pass
    assert looked == 20


def test_waiting_says_what_was_seen_last() -> None:
    with pytest.raises(WaitTimeoutError, match=r"three apples: not within 0\.1 s; last seen: \[\]"):
        wait_until(list, 0.1, "three apples")
