"""Routed between networks of a tenant, as guests see it: pings, TCP, hops, errors, and what stays apart."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from cloison.v1 import network_pb2, port_pb2, router_pb2, subnet_pb2
from tests.lab.clients import Lease, dhclient, dig, dig_status, echo_servers, ping, running, tcp
from tests.lab.spine import SETTLE_S, Site, cloison, site
from topologies.client import CALL_S
from topologies.wait import wait_until
from topologies.workload import Workload

TENANTS, FAMILIES = ("red", "blue"), (4, 6)
GATEWAYS = {4: "10.0.0.1", 6: "fd00:10::1"}
DB_GATEWAYS = {4: "10.1.0.1", 6: "fd00:11::1"}
CHANGE_S = 10.0


def router_name(tenant: str) -> str:
    return f"tenants/{tenant}/routers/r1"


def create_router(cloud: Site, tenant: str) -> None:
    subnets = [f"tenants/{tenant}/networks/{n}/subnets/{s}" for n in ("web", "db") for s in ("v4", "v6")]
    body = router_pb2.Router(interfaces=[router_pb2.RouterInterface(subnet=name) for name in subnets])
    request = router_pb2.CreateRouterRequest(parent=f"tenants/{tenant}", router_id="r1", router=body)
    cloud.client.routers.CreateRouter(request, timeout=CALL_S)


def delete_router(cloud: Site, tenant: str) -> None:
    request = router_pb2.DeleteRouterRequest(name=router_name(tenant))
    cloud.client.routers.DeleteRouter(request, timeout=CALL_S)


def enforced(cloud: Site) -> None:
    answer = cloud.client.wait_realized(timeout_s=int(SETTLE_S))
    assert answer.realized, list(answer.missing)


def add_network(cloud: Site, tenant: str, network_id: str, *cidrs: str) -> str:
    """A network with a subnet of each family."""
    made = network_pb2.CreateNetworkRequest(parent=f"tenants/{tenant}", network_id=network_id)
    network = str(cloud.client.networks.CreateNetwork(made, timeout=CALL_S).name)
    for subnet_id, cidr in zip(("v4", "v6"), cidrs, strict=True):
        request = subnet_pb2.CreateSubnetRequest(
            parent=network, subnet_id=subnet_id, subnet=subnet_pb2.Subnet(cidr=cidr)
        )
        cloud.client.subnets.CreateSubnet(request, timeout=CALL_S)
    return network


def add_db(cloud: Site, tenant: str) -> None:
    """A second network, with a port on h1 and one on h3; both tenants use the same addresses and MACs."""
    network = add_network(cloud, tenant, "db", "10.1.0.0/24", "fd00:11::/64")
    for number, host in ((1, "h1"), (3, "h3")):
        port = cloud.create_port(
            network, f"d{number}", host, mac=f"52:54:00:00:00:2{number}",
            addresses=[f"10.1.0.1{number}", f"fd00:11::1{number}"],
        )  # fmt: skip
        cloud.adopt(port, cloud.lab.plug_port(port))


def route_all(guest: Workload, gateways: dict[int, str]) -> None:
    guest.run(["ip", "route", "replace", "default", "via", gateways[4]], check=True)
    guest.run(["ip", "-6", "route", "replace", "default", "via", gateways[6]], check=True)


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir) as cloud:
        for tenant in TENANTS:
            add_db(cloud, tenant)
            create_router(cloud, tenant)
        cloud.wait_active()
        enforced(cloud)
        for short, guest in cloud.guests.items():
            route_all(guest, DB_GATEWAYS if "/d" in short else GATEWAYS)
        yield cloud


def hop(guest: Workload, target: str, ttl: int, *options: str) -> str:
    """What ping says of one packet with so many hops to go."""
    return guest.run(["ping", "-n", "-c", "1", "-W", "9", "-t", str(ttl), *options, target]).stdout


def test_guests_of_two_networks_reach_each_other(cloud: Site) -> None:
    """On one host, and on two; h2 has no port of db, and sends into it all the same."""
    for version in FAMILIES:
        for source in ("red/p1", "red/p2", "red/p3", "blue/p2"):
            for target in ("d1", "d3"):
                peer = cloud.guests[f"{source.partition('/')[0]}/{target}"]
                assert ping(cloud.guests[source], peer, version), (source, target, version)
        with echo_servers(cloud.guests["red/d3"], (5432,)):
            assert tcp(cloud.guests["red/p2"], cloud.guests["red/d3"], 5432, version)


def test_the_router_answers_for_itself(cloud: Site) -> None:
    guest = cloud.guests["red/p2"]
    for address in (*GATEWAYS.values(), *DB_GATEWAYS.values()):
        assert guest.ping(address).ok, address


def test_each_hop_is_seen(cloud: Site) -> None:
    """What traceroute shows: the router, then the target."""
    guest, peer = cloud.guests["red/p2"], cloud.guests["red/d3"]
    for version in FAMILIES:
        first = hop(guest, peer.address(version), 1)
        assert f"From {GATEWAYS[version]}" in first, first
        assert "exceeded" in first, first
        second = hop(guest, peer.address(version), 2)
        assert "1 received" in second, second
    assert "ttl=63" in hop(guest, peer.address(4), 64)


def test_what_has_no_route_is_said_to_be_unreachable(cloud: Site) -> None:
    guest = cloud.guests["red/p2"]
    for version, target in ((4, "192.0.2.1"), (6, "2001:db8::1")):
        told = hop(guest, target, 64)
        assert f"From {GATEWAYS[version]}" in told, told
        assert "nreachable" in told, told


def test_what_is_too_long_for_the_overlay_is_said_to_be(cloud: Site) -> None:
    guest, peer = cloud.guests["red/p2"], cloud.guests["red/d3"]
    whole = cloud.lab.underlay.mtu
    usual, ends = whole - 50, ((guest, "eth0"), (cloud.host("h2").node, guest.plug.tap))
    for node, device in ends:
        node.ip([f"link set {device} mtu {whole}"])
    try:
        for version, headers_bytes in ((4, 28), (6, 48)):
            size = str(whole - headers_bytes)
            argv = ["ping", "-n", "-c", "2", "-W", "8", "-M", "do", "-s", size, peer.address(version)]
            said = guest.run(argv)
            assert re.search(rf"mtu ?= ?{usual}\b", said.stdout + said.stderr), said.stdout + said.stderr
    finally:
        for node, device in ends:
            node.ip([f"link set {device} mtu {usual}"])
        route_all(guest, GATEWAYS)


def test_security_groups_count_on_the_way(cloud: Site) -> None:
    """Groups know no networks: the default one admits its members, whichever network they are in."""
    name, guest, peer = cloud.ports["red/d3"].name, cloud.guests["red/p2"], cloud.guests["red/d3"]
    cloud.update_port(name, security_groups=[], no_security_groups=True)
    enforced(cloud)
    try:
        assert not ping(guest, peer)
    finally:
        cloud.update_port(
            name, security_groups=["tenants/red/securityGroups/default"], no_security_groups=False
        )
        enforced(cloud)
    assert ping(guest, peer)


def test_tenants_with_the_same_routers_stay_apart(cloud: Site) -> None:
    """Blue has the same networks, addresses and MACs, and hears nothing of what red sends."""
    marker = b"routed-within-red"
    blue = [guest for short, guest in cloud.guests.items() if short.startswith("blue/")]
    captures = [guest.capture() for guest in blue]
    for capture in captures:
        capture.__enter__()
    try:
        for version in FAMILIES:
            for target in ("red/d1", "red/d3"):
                peer = cloud.guests[target]
                done = cloud.guests["red/p2"].ping(peer.address(version), pattern=marker[:16].hex())
                assert done.ok
    finally:
        for capture in captures:
            capture.__exit__(None, None, None)
    heard = [frame for capture in captures for frame in capture.stop() if marker[:16] in frame.data]
    assert not heard


def test_what_is_proved_holds_on_the_switches(cloud: Site) -> None:
    done = cloison(cloud.lab, "verify", "--live")
    assert done.returncode == 0, done.stdout + done.stderr
    web, db = "tenants/red/networks/web/ports", "tenants/red/networks/db/ports"
    traced = cloison(cloud.lab, "trace", f"{web}/p2", "--to", f"{db}/d3", "--live")
    assert traced.returncode == 0, traced.stdout + traced.stderr
    assert "ROUTE" in traced.stdout, traced.stdout


def set_routes(cloud: Site, routes: Mapping[str, Sequence[str]]) -> None:
    """Give red's router these routes, next hops by destination, and no others."""
    made = [router_pb2.RouterRoute(destination=to, next_hops=hops) for to, hops in routes.items()]
    body = router_pb2.Router(name=router_name("red"), routes=made)
    request = router_pb2.UpdateRouterRequest(router=body, update_mask=FieldMask(paths=["routes"]))
    cloud.client.routers.UpdateRouter(request, timeout=CALL_S)


def test_routes_to_a_next_hop(cloud: Site) -> None:
    """192.0.2.0/24 and 2001:db8:f::/48 are behind red/d3; without the route nobody answers."""
    guest, hop_ = cloud.guests["red/p2"], cloud.guests["red/d3"]
    behind = {4: "192.0.2.7", 6: "2001:db8:f::7"}
    for address in behind.values():
        hop_.run(["ip", "address", "add", address, "dev", "lo"], check=True)
    cloud.update_port(cloud.ports["red/d3"].name, no_port_security=True)
    set_routes(cloud, {"192.0.2.0/24": ["10.1.0.13"], "2001:db8:f::/48": ["fd00:11::13"]})
    enforced(cloud)
    try:
        for address in behind.values():
            wait_until(lambda address=address: guest.ping(address).ok, CHANGE_S, f"{address} answers")
        set_routes(cloud, {})
        enforced(cloud)
        for address in behind.values():
            assert not guest.ping(address).ok
    finally:
        cloud.update_port(cloud.ports["red/d3"].name, no_port_security=False)
        enforced(cloud)


BEHIND = {4: "192.0.2.7", 6: "2001:db8:f::7"}
SAYING_PORT = 7000
# As Linux chooses them: even ones.
SOURCE_PORTS = range(42000, 42032, 2)


@contextlib.contextmanager
def saying(cloud: Site, port: port_pb2.Port) -> Iterator[None]:
    """The guest of a port, which has the addresses behind as well, and says its name to whoever connects."""
    name, guest = port.name.rpartition("/")[2], cloud.lab.plug_port(port)
    cloud.wait_active([port.name])
    route_all(guest, DB_GATEWAYS)
    for address in BEHIND.values():
        guest.run(["ip", "address", "add", address, "dev", "lo"], check=True)
    listen = f"TCP6-LISTEN:{SAYING_PORT},fork,reuseaddr,ipv6-v6only=0"
    with running(guest, ["socat", listen, f"EXEC:echo {name}"]):
        wait_until(lambda: str(SAYING_PORT) in guest.run(["ss", "-Hntl"]).stdout, SETTLE_S, f"{name} listens")
        yield
    cloud.lab.unplug(guest)


def sayings(guest: Workload, version: int = 4) -> dict[int, str]:
    """Who answers, by the port that a connection comes from."""
    argv = ["nc", "-w", "9", "-p"]
    found = {}
    for port in SOURCE_PORTS:
        said = guest.run([*argv, str(port), BEHIND[version], str(SAYING_PORT)]).stdout
        found[port] = said.strip()
    return found


def test_two_next_hops_share_a_route_and_one_takes_over(cloud: Site) -> None:
    """Each connection goes by one of them, the same each time; when one is unplugged, all by the other."""
    guest, network = cloud.guests["red/p2"], "tenants/red/networks/db"
    one, three = (
        cloud.create_port(
            network, f"e{n}", f"h{n}", mac=f"52:54:00:00:00:5{n}", no_port_security=True,
            addresses=[f"10.1.0.2{n}", f"fd00:11::2{n}"],
        )
        for n in (1, 3)
    )  # fmt: skip
    routes = {"192.0.2.0/24": ["10.1.0.21", "10.1.0.23"], "2001:db8:f::/48": ["fd00:11::21", "fd00:11::23"]}
    set_routes(cloud, routes)
    with saying(cloud, one):
        with saying(cloud, three):
            enforced(cloud)
            first = sayings(guest)
            assert Counter(first.values()) == {"e1": len(first) // 2, "e3": len(first) // 2}, first
            assert sayings(guest) == first
            assert set(sayings(guest, 6).values()) == {"e1", "e3"}
        enforced(cloud)
        assert set(sayings(guest).values()) == {"e1"}, "the other one has them all"
        with saying(cloud, three):
            enforced(cloud)
            assert sayings(guest) == first
    set_routes(cloud, {})
    for port in (one, three):
        cloud.delete_port(port.name)
    enforced(cloud)


def test_names_are_known_across_the_networks_of_a_tenant(cloud: Site) -> None:
    """By the full name, and backwards; what is short is completed by the guest's own domain alone."""
    guest, server = cloud.guests["red/p2"], "169.254.169.253"
    name = "d3.db.red.cloison.internal"
    assert dig(guest, server, name, "A") == ["10.1.0.13"]
    assert [ip_address(a) for a in dig(guest, "fd00:ec2::253", name, "AAAA")] == [ip_address("fd00:11::13")]
    for address in ("10.1.0.13", "fd00:11::13"):
        assert dig(guest, server, "-x", address) == [f"{name}."]
    own = ["+search", "+domain=web.red.cloison.internal"]
    assert dig(guest, server, *own, "p1", "A") == ["10.0.0.11"]
    assert dig(guest, server, *own, "d3", "A") == []
    assert dig_status(guest, server, "d3.web.red.cloison.internal") == "NXDOMAIN"
    for foreign in ("d3.db.blue.cloison.internal", "p1.web.blue.cloison.internal"):
        assert dig_status(guest, server, foreign) == "NXDOMAIN"
    assert dig(cloud.guests["blue/p2"], server, "-x", "10.1.0.13") == ["d3.db.blue.cloison.internal."]


OPS = "tenants/red/networks/ops"


@pytest.fixture
def ops(cloud: Site) -> Workload:
    """A guest of a third network of red, on h3, which another router (.254 and ::fe) joins with web."""
    add_network(cloud, "red", "ops", "10.2.0.0/24", "fd00:12::/64")
    port = cloud.create_port(OPS, "o1", "h3", mac="52:54:00:00:00:31", addresses=["10.2.0.11", "fd00:12::11"])
    guest = cloud.lab.plug_port(port)
    cloud.adopt(port, guest)
    subnets = {"web/subnets/v4": "10.0.0.254", "web/subnets/v6": "fd00:10::fe"}
    subnets |= dict.fromkeys(("ops/subnets/v4", "ops/subnets/v6"), "")
    body = router_pb2.Router(
        mac_address="02:00:00:00:00:77",
        interfaces=[
            router_pb2.RouterInterface(subnet=f"tenants/red/networks/{subnet}", ip_address=address)
            for subnet, address in subnets.items()
        ],
    )
    request = router_pb2.CreateRouterRequest(parent="tenants/red", router_id="r2", router=body)
    cloud.client.routers.CreateRouter(request, timeout=CALL_S)
    enforced(cloud)
    route_all(guest, {4: "10.2.0.1", 6: "fd00:12::1"})
    return guest


def test_guests_are_told_which_router_leads_where(cloud: Site, ops: Workload, tmp_path: Path) -> None:
    """A guest that believes what it is told reaches what is behind each of the two routers of its network."""
    mac, addresses = "52:54:00:00:00:41", ["10.0.0.41", "fd00:10::41"]
    port = cloud.create_port("tenants/red/networks/web", "told", "h1", mac=mac, addresses=addresses)
    guest = cloud.lab.plug("h1", port.iface_id, mac, [], name="red-told")
    cloud.adopt(port, guest)
    cloud.wait_active([port.name])
    believe_lease(guest, tmp_path)
    assert ping(guest, ops), "by the second router"
    assert ping(guest, cloud.guests["red/d3"]), "by the one at the gateway"
    believe_advertisements(guest, "fd00:10::41")

    def routes() -> str:
        return guest.run(["ip", "-6", "route", "show", "dev", "eth0"]).stdout

    wait_until(lambda: "fd00:12::/64 via fe80::" in routes(), SETTLE_S, "the route by the second router")
    assert "default via fe80::a9fe:a9fd" in routes(), routes()
    for target in (ops, cloud.guests["red/d3"]):
        assert ping(guest, target, 6), routes()
    request = router_pb2.DeleteRouterRequest(name="tenants/red/routers/r2")
    cloud.client.routers.DeleteRouter(request, timeout=CALL_S)
    wait_until(lambda: "fd00:12::/64" not in routes(), SETTLE_S, "the route is taken back")
    assert not ping(guest, ops, 6)
    assert ping(guest, cloud.guests["red/d3"], 6)


def believe_lease(guest: Workload, directory: Path) -> dict[str, str]:
    """Give a guest the routes that DHCP tells it, and no others; return them."""
    told = told_routes(dhclient(guest, directory))
    for network, hop in told.items():
        by = ["via", hop] if hop else ["dev", "eth0"]
        guest.run(["ip", "route", "replace", network, *by], check=True)
    return told


def believe_advertisements(guest: Workload, address: str) -> None:
    """Have a guest of that address take the routes of router advertisements."""
    guest.sysctl(
        net__ipv6__conf__eth0__accept_ra=2,
        net__ipv6__conf__eth0__accept_ra_defrtr=1,
        net__ipv6__conf__eth0__accept_ra_rt_info_max_plen=128,
    )
    guest.run(["ip", "address", "add", f"{address}/64", "dev", "eth0"], check=True)
    guest.run(["ip", "link", "set", "eth0", "down"], check=True)
    guest.run(["ip", "link", "set", "eth0", "up"], check=True)
    guest.run(["ip", "address", "replace", f"{address}/64", "dev", "eth0", "nodad"], check=True)


def told_routes(lease: Lease) -> dict[str, str]:
    """Next hops by network (RFC 3442), '' for what is on the link; dhclient writes it number by number."""
    numbers, found = deque(map(int, lease["rfc3442_classless_static_routes"].split())), {}
    while numbers:
        length = numbers.popleft()
        octets = [numbers.popleft() for _ in range((length + 7) // 8)]
        network = ip_network((bytes(octets).ljust(4, b"\0"), length))
        hop = ip_address(bytes(numbers.popleft() for _ in range(4)))
        found[str(network)] = "" if hop.is_unspecified else str(hop)
    return found


def test_a_router_withdrawn_stops_at_once_and_takes_its_networks_off_other_hosts(cloud: Site) -> None:
    guest, peer, vni = cloud.guests["red/p2"], cloud.guests["red/d3"], cloud.vni("red", "db")
    device = f"vx{vni:06x}"
    assert device in cloud.host("h2").node.run(["ip", "-o", "link"]).stdout
    with echo_servers(peer, (5432,)):
        assert tcp(guest, peer, 5432)
        delete_router(cloud, "red")
        enforced(cloud)
        began_s = time.monotonic()
        for version in FAMILIES:
            assert not ping(guest, peer, version)
            assert not tcp(guest, peer, 5432, version)
        assert time.monotonic() - began_s < SETTLE_S
    assert not guest.ping(GATEWAYS[4]).ok
    assert device not in cloud.host("h2").node.run(["ip", "-o", "link"]).stdout
    assert ping(cloud.guests["blue/p2"], cloud.guests["blue/d3"]), "the other tenant's router stays"
    create_router(cloud, "red")
    enforced(cloud)
    wait_until(lambda: ping(guest, peer), CHANGE_S, "routed again")
