"""Between tenants, as guests see it: nothing with one side's word, what both list with both; it ends at once.

red has 10.0.0.0/24 (the network web of the topology), blue and green have 10.9.0.0/24, each behind a router.
red and blue come to a peering; green has written its half as well, and nobody answers it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloison.v1 import router_pb2
from tests.lab.clients import echo_servers, ping, tcp
from tests.lab.policies import Policies, rule
from tests.lab.spine import SETTLE_S, Site, cloison, site
from tests.lab.test_connections_lab import connection
from tests.lab.test_routers_lab import (
    GATEWAYS,
    add_network,
    believe_advertisements,
    believe_lease,
    enforced,
    route_all,
)
from topologies.client import CALL_S
from topologies.wait import wait_until
from topologies.workload import Workload

FAMILIES = (4, 6)
FAR = {4: "10.9.0.0/24", 6: "fd00:19::/64"}
FAR_GATEWAYS = {4: "10.9.0.1", 6: "fd00:19::1"}
NEAR = {4: "10.0.0.0/24", 6: "fd00:10::/64"}
# Of blue only the one on h3 is listed.
LISTED = ("10.9.0.13/32", "fd00:19::13/128")
SSH, OTHER = 5432, 5433
RED = ("red", "to-blue", "--router", "r", "--peer-router", "tenants/blue/routers/r")
BLUE = ("blue", "to-red", "--router", "r", "--peer-router", "tenants/red/routers/r")
GREEN = ("green", "to-red", "--router", "r", "--peer-router", "tenants/red/routers/r")


def run(cloud: Site, *argv: str) -> str:
    done = cloison(cloud.lab, *argv)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def accept(cloud: Site, half: tuple[str, ...], *said: str) -> None:
    tenant, name, *routers = half
    run(cloud, "peering", "create", name, "-t", tenant, *routers, *said)
    enforced(cloud)


def red_accepts(cloud: Site) -> None:
    """Nothing may be opened to it."""
    near = [part for prefix in NEAR.values() for part in ("--prefix", prefix)]
    accept(cloud, RED, *near, *[part for p in FAR.values() for part in ("--peer-prefix", p)])


def blue_accepts(cloud: Site) -> None:
    """One port of TCP may be opened, of one guest."""
    listed = [part for prefix in LISTED for part in ("--prefix", prefix)]
    near = [part for prefix in NEAR.values() for part in ("--peer-prefix", prefix)]
    accept(cloud, BLUE, *listed, *near, "--service", f"tcp:{SSH}")


def withdraw(cloud: Site, half: tuple[str, ...]) -> None:
    run(cloud, "peering", "delete", half[1], "-t", half[0], "--wait")


@contextmanager
def joined(cloud: Site) -> Iterator[None]:
    red_accepts(cloud)
    blue_accepts(cloud)
    try:
        yield
    finally:
        for half in (RED, BLUE):
            cloison(cloud.lab, "peering", "delete", half[1], "-t", half[0])
        enforced(cloud)


def create_router(cloud: Site, tenant: str, network: str) -> None:
    names = [f"tenants/{tenant}/networks/{network}/subnets/{s}" for s in ("v4", "v6")]
    body = router_pb2.Router(interfaces=[router_pb2.RouterInterface(subnet=name) for name in names])
    request = router_pb2.CreateRouterRequest(parent=f"tenants/{tenant}", router_id="r", router=body)
    cloud.client.routers.CreateRouter(request, timeout=CALL_S)


def add_far(cloud: Site, tenant: str) -> None:
    """A network with a guest on h1 and one on h3, and its router; the same for both tenants."""
    network = add_network(cloud, tenant, "far", *FAR.values())
    for number, host in ((1, "h1"), (3, "h3")):
        port = cloud.create_port(
            network, f"f{number}", host, mac=f"52:54:00:00:00:5{number}",
            addresses=[f"10.9.0.1{number}", f"fd00:19::1{number}"],
        )  # fmt: skip
        cloud.adopt(port, cloud.lab.plug_port(port))
    create_router(cloud, tenant, "far")
    # Groups admit all: what is left is what peerings say.
    Policies(cloud, tenant).add("default", *(rule("ingress", version) for version in FAMILIES))


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir) as cloud:
        run(cloud, "tenant", "create", "green")
        for tenant in ("blue", "green"):
            add_far(cloud, tenant)
        create_router(cloud, "red", "web")
        Policies(cloud, "red").add("default", *(rule("ingress", version) for version in FAMILIES))
        cloud.wait_active()
        near = [part for prefix in NEAR.values() for part in ("--peer-prefix", prefix)]
        far = [part for prefix in FAR.values() for part in ("--prefix", prefix)]
        accept(cloud, GREEN, *far, *near, "--service", "any")
        for short, guest in cloud.guests.items():
            route_all(guest, FAR_GATEWAYS if "/f" in short else GATEWAYS)
        yield cloud


def reached(source: Workload, target: Workload, port: int = SSH) -> set[str]:
    """By which of all ways a guest reaches another."""
    ways = {f"tcp{v}" for v in FAMILIES if tcp(source, target, port, v)}
    return ways | {f"ping{v}" for v in FAMILIES if ping(source, target, v)}


@pytest.mark.parametrize("accepts", [red_accepts, blue_accepts])
def test_nothing_passes_with_one_sides_word(cloud: Site, accepts: object) -> None:
    red, blue = cloud.guests["red/p2"], cloud.guests["blue/f3"]
    half = RED if accepts is red_accepts else BLUE
    accepts(cloud)  # type: ignore[operator]
    try:
        with echo_servers(blue, (SSH,)), echo_servers(red, (SSH,)):
            assert not reached(red, blue)
            assert not reached(blue, red)
        assert "PENDING" in run(cloud, "peering", "list", "-t", half[0])
        assert not run(cloud, "peering", "list", "--effective").strip(), "nothing may pass between tenants"
    finally:
        withdraw(cloud, half)


def test_what_both_list_passes_and_nothing_else(cloud: Site) -> None:
    red, blue, unlisted = cloud.guests["red/p2"], cloud.guests["blue/f3"], cloud.guests["blue/f1"]
    with joined(cloud), echo_servers(blue, (SSH, OTHER)), echo_servers(unlisted, (SSH,)):
        for source in ("red/p1", "red/p2", "red/p3"):
            assert reached(cloud.guests[source], blue) == {"tcp4", "tcp6"}, source
        assert not reached(red, blue, OTHER)
        assert not reached(red, unlisted)
        assert not reached(cloud.guests["red/p1"], unlisted), "on one host neither"
        with echo_servers(red, (SSH,)):
            assert not reached(blue, red), "red lets nothing be opened"
        listed = run(cloud, "peering", "list", "--effective")
        assert f"tcp:{SSH}" in listed
        assert "tenants/red/routers/r" in listed
        assert "10.9.0.13/32" in listed
        run(cloud, "verify", "--live")
        far = "tenants/blue/networks/far/ports/f3"
        traced = run(
            cloud, "trace", "tenants/red/networks/web/ports/p2", f"tcp to 10.9.0.13 port {SSH}", "--live"
        )
        assert "tenants/red/peerings/to-blue" in traced, traced
        assert far in traced, traced


def test_a_third_tenant_stays_apart(cloud: Site) -> None:
    """green has the addresses of blue, and a half of its own: it neither hears nor reaches anybody."""
    red, green = cloud.guests["red/p2"], cloud.guests["green/f3"]
    marker = b"for-blue-alone!!"
    with joined(cloud), echo_servers(cloud.guests["blue/f3"], (SSH,)), green.capture() as capture:
        assert tcp(red, cloud.guests["blue/f3"], SSH)
        red.ping("10.9.0.13", pattern=marker.hex())
        with echo_servers(red, (SSH,)):
            assert not reached(green, red)
        frames = capture.stop()
    assert not [f for f in frames if marker in f.data]
    ours = red.plug.mac
    assert not [f for f in frames if bytes.fromhex(ours.replace(":", "")) in f.data[:12]]


@pytest.mark.parametrize("half", [RED, BLUE], ids=lambda half: half[0])
def test_either_side_ends_it_at_once_for_open_connections_too(cloud: Site, half: tuple[str, ...]) -> None:
    red, blue = cloud.guests["red/p2"], cloud.guests["blue/f3"]
    with joined(cloud):
        theirs, ours = connection(blue, red, SSH)
        with theirs, ours:
            for end, other in ((ours, theirs), (theirs, ours)):
                end.sendall(b"before")
                assert other.recv(16) == b"before"
            withdraw(cloud, half)
            for end, other in ((ours, theirs), (theirs, ours)):
                end.sendall(b"after")
                other.settimeout(1)
                with pytest.raises(TimeoutError):
                    other.recv(16)
        with echo_servers(blue, (SSH,)):
            assert not reached(red, blue)
        run(cloud, "verify", "--live")


SIDE = ("red", "aside", "--router", "side", "--peer-router", "tenants/blue/routers/r")
BLUE_ASIDE = ("blue", "aside", "--router", "r", "--peer-router", "tenants/red/routers/side")


@pytest.fixture
def aside(cloud: Site) -> Iterator[None]:
    """Blue's prefixes are reached by another router of red's than the one at the gateway."""
    ways = {"v4": "10.0.0.254", "v6": "fd00:10::fe"}
    body = router_pb2.Router(
        mac_address="02:00:00:00:00:77",
        interfaces=[
            router_pb2.RouterInterface(subnet=f"tenants/red/networks/web/subnets/{s}", ip_address=address)
            for s, address in ways.items()
        ],
    )
    request = router_pb2.CreateRouterRequest(parent="tenants/red", router_id="side", router=body)
    cloud.client.routers.CreateRouter(request, timeout=CALL_S)
    near = [part for prefix in NEAR.values() for part in ("--prefix", prefix)]
    accept(cloud, SIDE, *near, *[part for p in FAR.values() for part in ("--peer-prefix", p)])
    listed = [part for prefix in LISTED for part in ("--prefix", prefix)]
    accepted = [part for prefix in NEAR.values() for part in ("--peer-prefix", prefix)]
    accept(cloud, BLUE_ASIDE, *listed, *accepted, "--service", "any")
    yield
    for half in (SIDE, BLUE_ASIDE):
        cloison(cloud.lab, "peering", "delete", half[1], "-t", half[0])
    cloison(cloud.lab, "router", "delete", "side", "-t", "red")
    enforced(cloud)


def test_guests_are_told_by_which_router(cloud: Site, aside: None, tmp_path: Path) -> None:
    """A guest that has no route but what it is told reaches the other tenant."""
    mac, addresses = "52:54:00:00:00:61", ["10.0.0.61", "fd00:10::61"]
    port = cloud.create_port("tenants/red/networks/web", "told", "h1", mac=mac, addresses=addresses)
    guest = cloud.lab.plug("h1", port.iface_id, mac, [], name="red-told")
    cloud.adopt(port, guest)
    cloud.wait_active([port.name])
    assert believe_lease(guest, tmp_path)[LISTED[0]] == "10.0.0.254"
    far = cloud.guests["blue/f3"]
    assert ping(guest, far)
    believe_advertisements(guest, "fd00:10::61")

    def routes() -> str:
        return guest.run(["ip", "-6", "route", "show", "dev", "eth0"]).stdout

    wait_until(lambda: "fd00:19::13 via fe80::" in routes(), SETTLE_S, "the route by the second router")
    assert ping(guest, far, 6), routes()
    withdraw(cloud, BLUE_ASIDE)
    wait_until(lambda: "fd00:19::13" not in routes(), SETTLE_S, "the route is taken back")
    assert not ping(guest, far, 6)
