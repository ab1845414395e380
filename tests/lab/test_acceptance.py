"""The whole chain in a lab: faults by hand and by kill, what comes back, what is left after deleting."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloison.v1 import host_pb2, port_pb2, watch_pb2
from topologies import frames
from topologies.daemon import Daemon
from topologies.host import Host
from topologies.lab import Lab
from topologies.spec import PortSpec, load
from topologies.wait import wait_until
from topologies.workload import Workload

WEB = "tenants/{}/networks/web"
_DURATION = re.compile(r"duration=([0-9.]+)s")
_COUNTERS = re.compile(r"(duration|n_packets|n_bytes|idle_age|hard_age)=[^,]+, ?")
_PING_LOSS = re.compile(r"(\d+) packets transmitted, (\d+) received")


@pytest.fixture(scope="module")
def lab(module_run_dir: Path) -> Iterator[Lab]:
    """Two tenants with the same addresses, three workloads each, all active."""
    spec = load("overlap")
    with Lab(spec, module_run_dir) as lab:
        for port in lab.client.apply(spec):
            lab.plug_port(port)
            assert lab.client.wait_realized(port.name).realized
        yield lab


def flow_lines(host: Host) -> list[str]:
    return [line.strip() for line in host.switch.ofctl("dump-flows").stdout.splitlines() if "actions" in line]


def flows(host: Host) -> set[str]:
    """The flows with their cookies, without what counts."""
    return {_COUNTERS.sub("", line) for line in flow_lines(host)}


def ages_s(host: Host) -> list[float]:
    return [float(_DURATION.search(line)[1]) for line in flow_lines(host)]  # type: ignore[index]


def drift(lab: Lab, host: str) -> int:
    request = host_pb2.GetHostRequest(name=f"hosts/{host}")
    return int(lab.client.hosts.GetHost(request, timeout=5).drift_count)


def fdb(host: Host) -> set[str]:
    """Static entries of all VXLAN devices."""
    lines = host.node.run(["bridge", "fdb", "show"]).stdout.splitlines()
    return {line.strip() for line in lines if "dev vx" in line and "dst" in line}


def guest(lab: Lab, name: str) -> Workload:
    return lab.workloads[name]


def settled(lab: Lab) -> bool:
    status = lab.client.state.GetStatus(watch_pb2.GetStatusRequest(), timeout=5)
    return status.hosts_connected == len(lab.hosts) and status.realized_revision == status.revision


@pytest.mark.parametrize("which", ["controller", "agent"])
def test_a_killed_program_that_starts_again_changes_nothing_and_loses_no_packet(lab: Lab, which: str) -> None:
    host = lab.hosts["h1"]
    daemon: Daemon = lab.controller if which == "controller" else host.agent  # type: ignore[assignment]
    before, started = {n: flows(h) for n, h in lab.hosts.items()}, time.monotonic()
    links = host.node.run(["ip", "-o", "link"]).stdout.count("vx")
    with guest(lab, "red-p1").popen(
        ["ping", "-n", "-i", "0.05", "-c", "100", "-W", "1", "10.0.0.12"], text=True
    ) as ping:
        daemon.kill()
        daemon.start()
        wait_until(lambda: settled(lab), 30, "every host connected and realized")
        out, _ = ping.communicate(timeout=30)
    sent, received = map(int, _PING_LOSS.search(out).groups())  # type: ignore[union-attr]
    assert sent == received == 100, out
    assert {n: flows(h) for n, h in lab.hosts.items()} == before
    assert host.node.run(["ip", "-o", "link"]).stdout.count("vx") == links
    lasted_s = time.monotonic() - started
    for other in lab.hosts.values():
        # Not one flow is younger than the kill: nothing was installed again.
        assert min(ages_s(other)) >= lasted_s - 0.5


def test_flows_deleted_by_hand_come_back_and_are_reported(lab: Lab) -> None:
    host = lab.hosts["h2"]
    before, drifts = flows(host), drift(lab, "h2")
    host.switch.ofctl("del-flows")
    wait_until(lambda: flows(host) == before, 30, "the flows back")
    wait_until(lambda: drift(lab, "h2") > drifts, 15, "drift reported")
    wait_until(lambda: guest(lab, "red-p1").ping("10.0.0.12").ok, 5, "ping")


def test_a_flow_of_somebody_else_is_removed(lab: Lab) -> None:
    host = lab.hosts["h2"]
    before, drifts = flows(host), drift(lab, "h2")
    host.switch.ofctl("add-flow", "table=0,priority=65535,cookie=0xbad,actions=NORMAL")
    wait_until(lambda: drift(lab, "h2") > drifts, 30, "drift reported")
    wait_until(lambda: flows(host) == before, 5, "the foreign flow gone")


def test_fdb_entries_deleted_by_hand_come_back_within_a_second_and_are_reported(lab: Lab) -> None:
    host = lab.hosts["h1"]
    before, drifts = fdb(host), drift(lab, "h1")
    assert before
    mac, _, device, *_ = sorted(before)[0].split()
    host.node.run(["bridge", "fdb", "del", mac, "dev", device], check=True)
    wait_until(lambda: fdb(host) == before, 1, "the FDB entry back")
    wait_until(lambda: drift(lab, "h1") > drifts, 15, "drift reported")


def test_a_vxlan_device_deleted_by_hand_comes_back(lab: Lab) -> None:
    host = lab.hosts["h3"]
    before = fdb(host)
    device = sorted(before)[0].split()[2]
    host.node.run(["ip", "link", "del", device], check=True)
    wait_until(lambda: fdb(host) == before, 10, "the device and its entries back")
    for name in ("red-p1", "blue-p1"):
        wait_until(lambda name=name: guest(lab, name).ping("10.0.0.13").ok, 10, "ping over the new device")


def test_a_guest_does_not_reach_the_stack_of_its_host(lab: Lab) -> None:
    host, source = lab.hosts["h1"], guest(lab, "red-p1")
    # A way back, so that silence is the guard's doing and not a missing route's.
    host.node.ip([f"route add 10.0.0.0/24 dev {source.plug.tap}"])
    source.ip([f"route add {host.vtep}/32 dev eth0"])
    try:
        with source.capture() as heard:
            assert source.ping(host.vtep, count=2, timeout_s=0.5).received == 0
            source.send([frames.arp(source.plug.mac, "10.0.0.11", host.vtep)])
            heard.settle(0.3)
        assert not [f for f in heard.frames if f.data[12:14] == b"\x08\x06" and f.data[20:22] == b"\0\2"]
    finally:
        source.ip([f"route del {host.vtep}/32 dev eth0"])
        host.node.ip([f"route del 10.0.0.0/24 dev {source.plug.tap}"])


def test_a_port_plugged_on_another_host_is_refused_and_gets_nothing(lab: Lab) -> None:
    parent = WEB.format("red")
    port = lab.client.create_port(parent, PortSpec("stray", "h1"))
    stray = lab.plug_port(port, host="h3", name="stray")

    def refused() -> bool:
        host = lab.client.hosts.GetHost(host_pb2.GetHostRequest(name="hosts/h3"), timeout=5)
        return stray.plug.tap in {r.interface for r in host.refused_interfaces}

    wait_until(refused, 10, "the refusal reported")
    assert lab.client.port(port.name).state != port_pb2.Port.ACTIVE
    with guest(lab, "red-p3").capture() as capture:
        assert not stray.ping("10.0.0.13", timeout_s=0.5).ok
    assert capture.frames == []
    lab.unplug(stray)
    lab.client.ports.DeletePort(port_pb2.DeletePortRequest(name=port.name), timeout=5)


def test_an_unplugged_port_goes_down_and_its_flows_and_entries_go(lab: Lab) -> None:
    parent = WEB.format("blue")
    before = {n: (flows(h), fdb(h)) for n, h in lab.hosts.items()}
    port = lab.client.create_port(parent, PortSpec("guest", "h2"))
    vm = lab.plug_port(port, name="guest")
    assert lab.client.wait_realized(port.name).realized
    assert vm.ping("10.0.0.11").ok
    lab.unplug(vm)
    wait_until(lambda: lab.client.port(port.name).state == port_pb2.Port.DOWN, 10, "the port down")
    lab.client.ports.DeletePort(port_pb2.DeletePortRequest(name=port.name), timeout=5)
    wait_until(lambda: {n: (flows(h), fdb(h)) for n, h in lab.hosts.items()} == before, 10, "all as before")


def test_after_deleting_everything_nothing_is_left(lab: Lab) -> None:
    """Last: it takes the lab's tenants away."""
    lab.client.delete(lab.spec)
    assert lab.client.wait_realized().realized
    for host in lab.hosts.values():
        wait_until(lambda h=host: not fdb(h), 10, "no FDB entry")
        wait_until(lambda h=host: "vx" not in h.node.run(["ip", "-o", "link"]).stdout, 10, "no VXLAN device")
        assert all("in_port" not in flow for flow in flows(host)), flows(host)
    keys = lab.etcd.keys()
    assert not [key for key in keys if re.search(r"\b(red|blue)\b", key)]
