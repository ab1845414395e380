"""What becomes of connections: a withdrawn rule ends them at once, and nobody inherits one."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloison.v1 import port_pb2
from tests.lab.clients import IPERF_PORT, iperf_server, received_segments, running, silent_since_s
from tests.lab.policies import Policies, rule
from tests.lab.spine import SETTLE_S, Site, site
from tests.support.mostly import mostly_within
from topologies.wait import wait_until
from topologies.workload import Workload

STOPPED_WITHIN_S = 1.0
QUIET_S = 2.0
CONNECT_S = 20.0
FLOWING_SEGMENTS = 500


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir) as cloud:
        yield cloud


def flowing(guests: list[Workload]) -> None:
    """Return when data flows to each of the guests."""
    before = [received_segments(g) for g in guests]

    def more() -> bool:
        return all(received_segments(g) > b + FLOWING_SEGMENTS for g, b in zip(guests, before, strict=True))

    wait_until(more, SETTLE_S, "data in both directions")


@pytest.fixture(scope="module")
def stopped_after_s() -> Iterator[list[float]]:
    """How long transfers went on after what admitted them was taken away: most of them less than a second."""
    yield from mostly_within(STOPPED_WITHIN_S)


def stops_at(take_away: Callable[[], object], cloud: Site, red: Policies, version: int) -> float:
    """A transfer between p1 and p2, both ways, stops when take_away is enforced; their groups are reset.

    Returns how many seconds after take_away that was.
    """
    me, you = cloud.guests["red/p1"], cloud.guests["red/p2"]
    argv = ["iperf3", "-c", you.address(version), "-p", str(IPERF_PORT), "-t", "30", "--bidir", "-b", "50M"]
    try:
        with iperf_server(you), running(me, argv):
            flowing([me, you])
            take_away()
            told_s = time.monotonic()
            red.enforced()
            enforced_s = time.monotonic()
            stopped_s = silent_since_s([me, you], QUIET_S, 15)
        assert stopped_s - enforced_s < STOPPED_WITHIN_S
        return stopped_s - told_s
    finally:
        for short in ("red/p1", "red/p2"):
            red.put(cloud.ports[short].name, ["default"])
        red.enforced()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("side", ["ingress", "egress"])
def test_a_rule_withdrawn_stops_a_running_transfer_when_that_is_enforced(
    cloud: Site, version: int, side: str, stopped_after_s: list[float]
) -> None:
    red = Policies(cloud, "red")
    admits, sends = f"admits-{side}-{version}", f"sends-{side}-{version}"
    red.group(admits, rule(id="iperf", protocol="tcp", ports=(IPERF_PORT, IPERF_PORT)))
    red.group(sends, rule("egress", id="all"))
    red.put(cloud.ports["red/p2"].name, [admits])
    red.put(cloud.ports["red/p1"].name, [sends])
    red.enforced()
    gone = (admits, "iperf") if side == "ingress" else (sends, "all")
    stopped_after_s.append(stops_at(lambda: red.remove(*gone), cloud, red, version))


def test_who_leaves_a_remote_group_loses_its_connections(cloud: Site, stopped_after_s: list[float]) -> None:
    red = Policies(cloud, "red")
    red.group("talkers")
    red.group("hearers", rule(protocol="tcp", ports=(IPERF_PORT, IPERF_PORT), group=red.name("talkers")))
    red.put(cloud.ports["red/p2"].name, ["hearers"])
    red.put(cloud.ports["red/p1"].name, ["default", "talkers"])
    red.enforced()
    after_s = stops_at(lambda: red.put(cloud.ports["red/p1"].name, ["default"]), cloud, red, 4)
    stopped_after_s.append(after_s)


def connection(listener: Workload, caller: Workload, port: int) -> tuple[socket.socket, socket.socket]:
    """An established connection: the listener's and the caller's end."""

    def listen() -> socket.socket:
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((listener.address(4), port))
        server.listen()
        server.settimeout(CONNECT_S)
        return server

    def call() -> socket.socket:
        client = socket.socket()
        client.settimeout(CONNECT_S)
        client.connect((listener.address(4), port))
        return client

    with listener.within(listen) as server:
        theirs = caller.within(call)
        ours, _ = server.accept()
    theirs.sendall(b"hello")
    assert ours.recv(16) == b"hello"
    return ours, theirs


@pytest.mark.parametrize("same_port_id", [False, True])
def test_an_address_given_to_another_port_inherits_no_connection(cloud: Site, same_port_id: bool) -> None:
    """The new owner may open connections and admits none: what it got by inheritance would look answered."""
    red = Policies(cloud, "red")
    listener, network = cloud.guests["red/p1"], "tenants/red/networks/web"
    outward = f"outward-{int(same_port_id)}"
    red.group(outward, rule("egress"))
    red.group(f"{outward}-admits", rule(group=red.name(outward)))
    red.put(cloud.ports["red/p1"].name, ["default", f"{outward}-admits"])
    number = 21 + same_port_id
    mac, addresses = f"52:54:00:00:00:{number}", [f"10.0.0.{number}", f"fd00:10::{number}"]
    groups = [red.name(outward)]
    first = cloud.create_port(network, "old", "h2", mac=mac, addresses=addresses, security_groups=groups)
    cloud.adopt(first, cloud.lab.plug_port(first))
    cloud.wait_active([first.name])
    ours, theirs = connection(listener, cloud.guests["red/old"], 7001 + same_port_id)
    with ours, theirs:
        cloud.drop("red/old")
        port_id = "old" if same_port_id else "new"

        def again() -> port_pb2.Port:
            # Refused until every host has confirmed that the former owner is gone.
            return cloud.create_port(
                network, port_id, "h2", mac=mac, addresses=addresses, security_groups=groups
            )

        second = wait_until(again, SETTLE_S, "the address free")
        heir = cloud.lab.plug_port(second)
        cloud.adopt(second, heir)
        try:
            with heir.capture("tcp") as heard:
                cloud.wait_active([second.name])
                ours.sendall(b"for the former owner")
                heard.settle(1.0)
            assert not heard.frames
            # And it is alive: it may open its own.
            for end in connection(listener, heir, 7003 + same_port_id):
                end.close()
        finally:
            cloud.drop(f"red/{port_id}")
