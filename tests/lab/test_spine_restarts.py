"""Killing the controller, an agent, etcd: traffic goes on, flows stay the very same, statuses come back."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from cloison.v1 import network_pb2, port_pb2
from tests.lab.observe import devices, entries, peers, reinstalled, tables
from tests.lab.spine import ACTIVE, SETTLE_S, Site, cloison, site, status_code, unconfirmed
from tests.lab.traffic import Pings
from topologies.client import CALL_S
from topologies.daemon import Daemon
from topologies.wait import wait_until

SEED = 2
KILLS = 3
BACK_S = 30.0


@pytest.fixture(scope="module")
def lab_site(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir) as built:
        yield built


@pytest.fixture
def cloud(lab_site: Site) -> Iterator[Site]:
    """The lab with everything running and every port ACTIVE, before and after the test."""
    yield lab_site
    control = lab_site.lab.control
    assert control is not None
    daemons = [control.etcd, control.controller]
    for host in lab_site.lab.hosts.values():
        daemons += [host.ovsdb, host.vswitchd, agent(lab_site, host.name)]
    for daemon in daemons:
        if not daemon.alive:
            daemon.start()
        daemon.resume()
    lab_site.lab.wait_connected()
    lab_site.wait_active(timeout_s=BACK_S)


def agent(cloud: Site, host: str) -> Daemon:
    found = cloud.host(host).agent
    assert found is not None
    return found


@contextlib.contextmanager
def traffic(cloud: Site) -> Iterator[list[Pings]]:
    """Pings between all hosts, both tenants, both families; not one may be lost."""
    pairs = [("red/p1", "red/p2", 4), ("blue/p2", "blue/p3", 6), ("blue/p3", "blue/p1", 4)]
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(Pings(cloud.guests[a], cloud.guests[b], v)) for a, b, v in pairs]
        yield running
        for pings in running:
            pings.wait_more(20)
    assert {p.name: p.lost for p in running if p.lost} == {}


def kernel(cloud: Site) -> dict[str, object]:
    """What agents put into the kernel of each host; device numbers included: a new device has a new one."""
    return {
        name: (
            entries(host),
            peers(host),
            {n: (d["ifindex"], d["mtu"]) for n, d in devices(host).items()},
        )
        for name, host in cloud.lab.hosts.items()
    }


def quiet(cloud: Site) -> None:
    """Every agent and switch connected, every port ACTIVE, everything confirmed."""
    cloud.wait_settled(BACK_S)
    cloud.wait_active(timeout_s=BACK_S)


def test_kill_of_the_controller_changes_no_flow_and_loses_no_packet(cloud: Site) -> None:
    quiet(cloud)
    before, kernels, drifts = tables(cloud.lab), kernel(cloud), cloud.drifts()
    with traffic(cloud) as running:
        cloud.lab.controller.kill()
        for pings in running:
            pings.wait_more(30)
        cloud.lab.controller.start()
        quiet(cloud)
    assert reinstalled(before, tables(cloud.lab)) == {}
    assert kernel(cloud) == kernels
    # A restart is nobody's tampering.
    assert set(cloud.drifts().values()) == {0}, drifts


def test_kill_of_every_agent_changes_no_flow_and_loses_no_packet(cloud: Site) -> None:
    quiet(cloud)
    before, kernels, drifts = tables(cloud.lab), kernel(cloud), cloud.drifts()
    with traffic(cloud) as running:
        for name in cloud.lab.hosts:
            agent(cloud, name).kill()
        for pings in running:
            pings.wait_more(30)
        for name in cloud.lab.hosts:
            agent(cloud, name).start()
        quiet(cloud)
    assert reinstalled(before, tables(cloud.lab)) == {}
    assert kernel(cloud) == kernels
    assert cloud.drifts() == drifts


class Churn(threading.Thread):
    """Creates and deletes ports as fast as it is let, and takes every refusal for an answer."""

    def __init__(self, cloud: Site) -> None:
        super().__init__(name="churn", daemon=True)
        self.cloud, self.over = cloud, threading.Event()
        self.calls = 0

    def run(self) -> None:
        for number in itertools.count():
            if self.over.is_set():
                return
            name = f"tenants/red/networks/web/ports/churn{number % 8}"
            with contextlib.suppress(grpc.RpcError):
                self.cloud.create_port("tenants/red/networks/web", name.rpartition("/")[2], "h1", "h2")
            with contextlib.suppress(grpc.RpcError):
                self.cloud.delete_port(name)
            self.calls += 2
            # A call that is refused at once must not become a busy loop.
            self.over.wait(0.02)

    def __enter__(self) -> Churn:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join(CALL_S + 5)


@pytest.mark.parametrize("victim", ["controller", "agent"])
def test_kill_at_any_moment_of_a_change_ends_in_the_same_flows(cloud: Site, victim: str) -> None:
    """While ports come and go on h1 (plugged ones too), kill and start again at moments of a seeded dice."""
    quiet(cloud)
    dice = random.Random(SEED)
    before, kernels = tables(cloud.lab), kernel(cloud)
    daemon = cloud.lab.controller if victim == "controller" else agent(cloud, "h1")
    with traffic(cloud), Churn(cloud) as churn, ThreadPoolExecutor() as pool:
        for number in range(KILLS):
            mover = pool.submit(_come_and_go, cloud, number)
            # The moment is the test's input, not a wait for a result.
            time.sleep(dice.uniform(0.0, 0.6))
            daemon.kill()
            daemon.start()
            mover.result(3 * BACK_S)
    assert churn.calls > 10
    for number, kind in itertools.product(range(8), ("churn", "mover")):
        name = f"tenants/red/networks/web/ports/{kind}{number}"
        wait_until(lambda name=name: _gone(cloud, name), SETTLE_S, f"{name} deleted")
    quiet(cloud)
    assert reinstalled(before, tables(cloud.lab)) == {}
    wait_until(lambda: kernel(cloud) == kernels, SETTLE_S, "the kernels as before")


def _come_and_go(cloud: Site, number: int) -> None:
    """One port on h1 is made, plugged until it is ACTIVE, and taken away, whatever is down meanwhile."""
    network, port_id = "tenants/red/networks/web", f"mover{number}"

    def made() -> port_pb2.Port:
        with contextlib.suppress(grpc.RpcError):
            cloud.create_port(network, port_id, "h1")
        return cloud.port(f"{network}/ports/{port_id}")

    port = wait_until(made, BACK_S, f"{port_id} made")
    guest = cloud.lab.plug("h1", port.iface_id, port.mac_address, [], name=port_id)
    cloud.wait_state(port.name, ACTIVE, timeout_s=BACK_S)
    cloud.lab.unplug(guest)
    wait_until(lambda: _gone(cloud, port.name), BACK_S, f"{port_id} deleted")


def _gone(cloud: Site, name: str) -> bool:
    return status_code(lambda: cloud.delete_port(name)) is grpc.StatusCode.NOT_FOUND


def test_kill_of_etcd_the_api_says_so_and_traffic_goes_on(cloud: Site) -> None:
    quiet(cloud)
    before = tables(cloud.lab)

    def change() -> object:
        network = network_pb2.Network(name="tenants/red/networks/web", display_name=f"at {time.monotonic()}")
        request = network_pb2.UpdateNetworkRequest(network=network)
        request.update_mask.paths.append("display_name")
        return cloud.client.networks.UpdateNetwork(request, timeout=CALL_S)

    assert status_code(change) is grpc.StatusCode.OK
    with traffic(cloud) as running:
        cloud.lab.etcd.kill()
        with ThreadPoolExecutor() as pool:
            code = pool.submit(lambda: status_code(change))
            done = cloison(cloud.lab, "network", "create", "more", "--tenant", "red")
        assert code.result() is grpc.StatusCode.UNAVAILABLE
        assert done.returncode == 4, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        for pings in running:
            pings.wait_more(30)
        cloud.lab.etcd.start()
        wait_until(lambda: status_code(change) is grpc.StatusCode.OK, BACK_S, "the API takes changes again")
        quiet(cloud)
    assert reinstalled(before, tables(cloud.lab)) == {}


def test_headless_an_agent_starts_from_its_disk_and_still_repairs(cloud: Site) -> None:
    """No controller, no etcd: devices and entries come back from the plan on disk, drift is repaired."""
    quiet(cloud)
    before, kernels = tables(cloud.lab), kernel(cloud)
    host = cloud.host("h2")
    with traffic(cloud) as running:
        cloud.lab.controller.kill()
        cloud.lab.etcd.kill()
        agent(cloud, "h2").kill()
        agent(cloud, "h2").start()
        wait_until(lambda: "plan recalled from disk" in cloud.log("h2"), SETTLE_S, "the plan recalled")
        for pings in running:
            pings.wait_more(30)
        assert kernel(cloud) == kernels
    device, mac, vtep = sorted(entries(host))[0]
    host.node.run(["bridge", "fdb", "del", mac, "dev", device, "dst", vtep], check=True)
    wait_until(lambda: entries(host) == kernels["h2"][0], 5, "the entry back")  # type: ignore[index]
    agent(cloud, "h2").kill()
    host.node.run(["ip", "link", "del", device], check=True)
    host.node.run(["nft", "flush", "ruleset"], check=True)
    agent(cloud, "h2").start()

    def restored() -> bool:
        assert entries(host) == kernels["h2"][0]  # type: ignore[index]
        assert peers(host) == kernels["h2"][1]  # type: ignore[index]
        return True

    wait_until(restored, SETTLE_S, "devices, entries and filter from disk")
    cloud.lab.etcd.start()
    cloud.lab.controller.start()
    quiet(cloud)
    after = tables(cloud.lab)
    others = {h: t for h, t in before.items() if h != "h2"}
    assert reinstalled(others, {h: after[h] for h in others}) == {}
    assert set(after["h2"].flows) == set(before["h2"].flows)


def test_wait_names_the_host_whose_agent_does_not_answer_and_returns_when_it_does(cloud: Site) -> None:
    quiet(cloud)
    port = cloud.create_port("tenants/red/networks/web", "p9", "h1")
    agent(cloud, "h2").pause()
    guest = cloud.plug_as(port, "h1", "red-p9")
    try:
        wait_until(lambda: unconfirmed(cloud, port.name) == {"hosts/h2"}, SETTLE_S, "h2 alone is missing")
        done = cloison(cloud.lab, "wait", port.name, "--timeout", "1")
        assert done.returncode == 3, done.stdout + done.stderr
        assert "h2" in done.stdout + done.stderr
        started_s = time.monotonic()
        waiting: list[object] = []
        waiter = threading.Thread(
            target=lambda: waiting.append(cloud.client.wait_realized(port.name, timeout_s=30))
        )
        waiter.start()
        agent(cloud, "h2").resume()
        waiter.join(40)
        assert waiting
        assert waiting[0].realized  # type: ignore[attr-defined]
        assert time.monotonic() - started_s < SETTLE_S
        done = cloison(cloud.lab, "wait", port.name, "--timeout", "10")
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        agent(cloud, "h2").resume()
        cloud.lab.unplug(guest)
        cloud.delete_port(port.name)


def test_wait_names_the_host_whose_agent_is_dead_and_the_others_go_on(cloud: Site) -> None:
    quiet(cloud)
    port = cloud.create_port("tenants/blue/networks/web", "p9", "h1")
    agent(cloud, "h3").kill()
    guest = cloud.plug_as(port, "h1", "blue-p9")
    try:
        wait_until(lambda: unconfirmed(cloud, port.name) == {"hosts/h3"}, SETTLE_S, "h3 alone is missing")
        answer = cloud.client.wait_realized(port.name, timeout_s=1)
        assert {c.reason for c in answer.missing} == {"HOST_UNREACHABLE"}
        # Where the agents live the port is in force already.
        assert guest.ping(cloud.guests["blue/p2"].address(4)).ok
        agent(cloud, "h3").start()
        assert cloud.client.wait_realized(port.name, timeout_s=30).realized
        assert guest.ping(cloud.guests["blue/p3"].address(4)).ok
    finally:
        cloud.lab.unplug(guest)
        cloud.delete_port(port.name)
