"""What a guest gets from its own host: a lease, names and metadata, from the clients that guests run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.lab.clients import Lease, dhclient, dig, dig_status
from tests.lab.provider import (
    METADATA_PORT,
    OUTSIDE_ADDRESS,
    OUTSIDE_NAME,
    RESOLVER_PORT,
    address,
    metadata_server,
    resolver,
)
from tests.lab.spine import SETTLE_S, Site, site
from topologies.spec import load
from topologies.wait import wait_until
from topologies.workload import Workload

DNS = {4: "169.254.169.253", 6: "fd00:ec2::253"}
METADATA = {4: "169.254.169.254", 6: "fd00:ec2::254"}
DOMAIN = "web.red.cloison.internal"
NEW4, NEW6, NEW_MAC = "10.0.0.31", "fd00:10::31", "52:54:00:00:00:31"


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    spec = load("overlap")
    there = address(spec)
    flags = ["--metadata-url", f"http://{there}:{METADATA_PORT}", "--resolver", f"{there}:{RESOLVER_PORT}"]
    with site(module_run_dir, spec, flags) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def fresh(cloud: Site) -> Workload:
    """A guest without any address of its own yet."""
    port = cloud.create_port("tenants/red/networks/web", "fresh", "h1", mac=NEW_MAC, addresses=[NEW4, NEW6])
    guest = cloud.lab.plug("h1", port.iface_id, NEW_MAC, [], name="red-fresh")
    cloud.adopt(port, guest)
    cloud.wait_active([port.name])
    return guest


@pytest.fixture(scope="module")
def lease(cloud: Site, fresh: Workload, tmp_path_factory: pytest.TempPathFactory) -> Lease:
    return dhclient(fresh, tmp_path_factory.mktemp("dhcp"))


def test_dhclient_gets_its_address_and_all_that_belongs_to_it(
    cloud: Site, fresh: Workload, lease: Lease
) -> None:
    assert lease["ip_address"] == NEW4
    assert lease["subnet_mask"] == "255.255.255.0"
    assert lease["interface_mtu"] == str(cloud.lab.underlay.mtu - 50)
    assert lease["domain_name_servers"] == DNS[4]
    assert lease["domain_name"] == DOMAIN
    assert lease["host_name"] == "fresh"
    # The way to the metadata is told too (RFC 3442): mask width, address, next hop.
    assert "32 169 254 169 254 " in lease["rfc3442_classless_static_routes"] + " "
    assert fresh.ping("10.0.0.12").ok


def test_dhclient_gets_its_ipv6_address(cloud: Site, fresh: Workload, tmp_path: Path) -> None:
    lease = dhclient(fresh, tmp_path, version=6)
    assert ip_address(lease["ip6_address"]) == ip_address(NEW6)
    assert DNS[6] in lease["dhcp6_name_servers"].split()
    fresh.ip(["route replace fd00:10::/64 dev eth0"])
    assert fresh.ping("fd00:10::12").ok


def test_the_lease_comes_without_any_controller(cloud: Site, fresh: Workload, tmp_path: Path) -> None:
    cloud.lab.controller.kill()
    cloud.lab.etcd.kill()
    try:
        assert dhclient(fresh, tmp_path)["ip_address"] == NEW4
        assert dig(cloud.guests["red/p1"], DNS[4], f"p2.{DOMAIN}") == ["10.0.0.12"]
    finally:
        cloud.lab.etcd.start()
        cloud.lab.controller.start()
        cloud.lab.wait_connected()


@pytest.mark.parametrize("version", [4, 6])
def test_dig_finds_the_tenants_own_ports(cloud: Site, version: int) -> None:
    guest, server = cloud.guests["red/p1"], DNS[version]
    assert dig(guest, server, f"p2.{DOMAIN}", "A") == ["10.0.0.12"]
    assert [ip_address(a) for a in dig(guest, server, f"p2.{DOMAIN}", "AAAA")] == [ip_address("fd00:10::12")]
    assert dig(guest, server, "-x", "10.0.0.12") == [f"p2.{DOMAIN}."]
    assert dig(guest, server, "-x", "fd00:10::12") == [f"p2.{DOMAIN}."]
    assert dig_status(guest, server, f"nobody.{DOMAIN}") == "NXDOMAIN"
    assert dig(guest, server, "+tcp", f"p2.{DOMAIN}", "A") == ["10.0.0.12"]


def test_dig_finds_nothing_of_the_other_tenant(cloud: Site) -> None:
    for question in ("p2.web.blue.cloison.internal", "blue.cloison.internal"):
        assert dig_status(cloud.guests["red/p1"], DNS[4], question) in ("NXDOMAIN", "REFUSED")
    assert dig(cloud.guests["blue/p1"], DNS[4], "p2.web.blue.cloison.internal") == ["10.0.0.12"]


def test_a_new_port_has_its_name_soon_and_a_deleted_one_has_none(cloud: Site) -> None:
    port = cloud.create_port("tenants/red/networks/web", "db", "h3", addresses=["10.0.0.41"])
    cloud.adopt(port, cloud.lab.plug_port(port))
    guest, name = cloud.guests["red/p1"], f"db.{DOMAIN}"
    wait_until(lambda: dig(guest, DNS[4], name) == ["10.0.0.41"], SETTLE_S, f"{name} known")
    cloud.drop("red/db")
    wait_until(lambda: dig_status(guest, DNS[4], name) == "NXDOMAIN", SETTLE_S, f"{name} unknown")


def test_other_names_are_asked_of_the_resolver(cloud: Site) -> None:
    with resolver(cloud.lab) as asked:
        assert dig(cloud.guests["red/p1"], DNS[4], OUTSIDE_NAME, "A") == [OUTSIDE_ADDRESS]
        assert dig(cloud.guests["blue/p2"], DNS[6], OUTSIDE_NAME, "A") == [OUTSIDE_ADDRESS]
    assert asked


def curl(guest: Workload, version: int, path: str, *more: str) -> str:
    there = METADATA[4] if version == 4 else f"[{METADATA[6]}]"
    argv = ["curl", "-sS", "-g", "-m", "9", *more, f"http://{there}{path}"]
    return guest.run(argv, timeout_s=10, check=True).stdout


@pytest.mark.parametrize("version", [4, 6])
def test_curl_gets_metadata_and_the_iaas_learns_who_asks(cloud: Site, version: int) -> None:
    """Two guests with one address, of two tenants: each is told apart, whatever it says of itself."""
    with metadata_server(cloud.lab) as heard:
        lie = ["-H", "X-Instance-ID: somebody", "-H", "X-Forwarded-For: 10.9.9.9"]
        for short in ("red/p1", "blue/p1"):
            answer = curl(cloud.guests[short], version, "/latest/meta-data/", *lie)
            assert answer == "metadata /latest/meta-data/\n"
    for short, (path, headers) in zip(("red/p1", "blue/p1"), heard.requests, strict=True):
        port = cloud.port(cloud.ports[short].name)
        assert path == "/latest/meta-data/"
        assert headers["x-instance-id"] == (port.device_id or port.uid)
        assert headers["x-tenant-id"] == short.split("/")[0]
        assert ip_address(headers["x-forwarded-for"]) == ip_address(cloud.guests[short].address(version))


def test_every_guest_gets_its_own_metadata_at_once(cloud: Site) -> None:
    with metadata_server(cloud.lab) as heard, contextlib.ExitStack() as stack:
        argv = ["curl", "-sS", "-m", "9", "-o", "/dev/null", f"http://{METADATA[4]}/who"]
        asking = [stack.enter_context(g.popen(argv)) for g in cloud.guests.values() if g.addresses]
        assert [process.wait(10) for process in asking] == [0] * len(asking)
    assert len({headers["x-instance-id"] for _, headers in heard.requests}) == len(asking)


def test_nothing_but_http_is_behind_the_metadata_address(cloud: Site) -> None:
    guest: Workload = cloud.guests["red/p1"]
    for port in ("22", "8775", "6653"):
        assert guest.run(["nc", "-z", "-n", "-w1", METADATA[4], port]).returncode != 0
