"""Deleting is truth: nothing is left on hosts or in etcd, and what was given back can be used again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from cloison.v1 import port_pb2
from tests.lab.observe import devices, entries, peers, table
from tests.lab.spine import SETTLE_S, Site, unconfirmed
from tests.lab.traffic import Pings, reaches, silence, uplinks, wait_reaches
from topologies import frames
from topologies.lab import Lab
from topologies.spec import load
from topologies.wait import wait_until

RED = "tenants/red/networks/web"
REUSES = 5


@pytest.fixture(scope="module")
def lab(module_run_dir: Path) -> Iterator[Lab]:
    with Lab(load("overlap"), module_run_dir) as lab:
        yield lab


@pytest.fixture
def cloud(lab: Lab) -> Iterator[Site]:
    """The tenants plugged; taken away again."""
    cloud = Site(lab, lab.spec)
    cloud.fill()
    yield cloud
    for guest in list(lab.workloads.values()):
        lab.unplug(guest)
    cloud.client.delete(cloud.spec)
    wait_until(lambda: not [k for k in keys(lab) if "/red" in k or "/blue" in k], SETTLE_S, "an empty store")


def keys(lab: Lab) -> set[str]:
    """All that is in etcd."""
    return set(lab.etcd.keys())


def unplug_all(cloud: Site, tenant: str) -> None:
    for guest in cloud.tenant(tenant):
        cloud.lab.unplug(guest)


@pytest.mark.parametrize("order", ["unplugged first", "deleted first"])
def test_after_deleting_everything_nothing_is_left_and_it_can_be_made_again(lab: Lab, order: str) -> None:
    """Also when the guests stay plugged: then they are strangers, and mute."""
    wait_until(lambda: not [k for k in keys(lab) if "/alloc/vni/" in k], SETTLE_S, "an empty store")
    wait_until(lambda: all(table(host).flows for host in lab.hosts.values()), SETTLE_S, "static flows")
    bare, stored = {h: table(host) for h, host in lab.hosts.items()}, keys(lab)
    assert all(flow.cookie >> 60 == 1 for t in bare.values() for flow in t.flows.values())
    cloud = Site(lab, lab.spec)
    cloud.fill()
    for tenant in ("red", "blue"):
        wait_reaches(cloud.guests[f"{tenant}/p1"], cloud.guests[f"{tenant}/p3"])
        if order == "unplugged first":
            unplug_all(cloud, tenant)
    cloud.client.delete(cloud.spec)
    wait_until(lambda: nothing_left(lab), SETTLE_S, "hosts empty")
    wait_until(lambda: keys(lab) == stored, SETTLE_S, "etcd as it was")
    for name, host in lab.hosts.items():
        # The static flows are the very same ones, all the time.
        assert bare[name].same(table(host)) == []
    if order == "deleted first":
        assert_strangers(cloud)
        for tenant in ("red", "blue"):
            unplug_all(cloud, tenant)
    assert cloud.client.wait_realized().realized


def nothing_left(lab: Lab) -> bool:
    for host in lab.hosts.values():
        assert devices(host) == {}
        assert entries(host) == set()
        assert peers(host) == set()
        ports = host.switch.vsctl("list-ports", "br-int").stdout.split()
        assert not [port for port in ports if port.startswith("vx")]
        assert all(flow.cookie >> 60 == 1 for flow in table(host).flows.values())
    return True


def assert_strangers(cloud: Site) -> None:
    source = cloud.guests["red/p1"]
    with silence(g for g in cloud.guests.values() if g is not source), uplinks(cloud.lab) as wire:
        assert not reaches(source, cloud.guests["red/p2"], timeout_s=0.3)
        assert not reaches(source, cloud.guests["red/p2"], 6, timeout_s=0.3)
    assert not [f for c in wire.values() for f in c.frames]


def test_one_tenant_goes_and_the_other_does_not_notice(cloud: Site) -> None:
    before = {h: table(host) for h, host in cloud.lab.hosts.items()}
    vni = cloud.vni("red")
    with Pings(cloud.guests["blue/p1"], cloud.guests["blue/p2"]) as pings:
        for short in [s for s in cloud.ports if s.startswith("red/")]:
            cloud.drop(short)
        cloud.client.delete(replace(cloud.spec, tenants=cloud.spec.tenants[:1]))
        wait_until(lambda: not [k for k in keys(cloud.lab) if "/red" in k], SETTLE_S, "no key of red")
        wait_until(lambda: not red_devices(cloud, vni), SETTLE_S, "no device of red")
        pings.wait_more(20)
    assert pings.lost == []
    for name, host in cloud.lab.hosts.items():
        after = table(host)
        assert [w for w in before[name].kept(after) if not w.startswith("gone:")] == []


def red_devices(cloud: Site, vni: int) -> list[str]:
    return [name for host in cloud.lab.hosts.values() for name in devices(host) if name == f"vx{vni:06x}"]


def reuse(cloud: Site, network: str, port_id: str, host: str, like: port_pb2.Port) -> port_pb2.Port:
    """A port with the MAC and the addresses of one that was just deleted; patient until hosts have let go."""
    addresses = [fixed.ip_address for fixed in like.fixed_ips]

    def made() -> port_pb2.Port | None:
        try:
            return cloud.create_port(network, port_id, host, mac=like.mac_address, addresses=addresses)
        except grpc.RpcError as error:
            # Nothing but "not free yet" may be in the way.
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return None
            pytest.fail(str(error.details()))

    port = wait_until(made, SETTLE_S, f"{port_id} with the addresses of {like.name}")
    assert port is not None
    return port


def test_an_address_that_moves_to_a_new_owner_on_another_host_reaches_the_new_owner(cloud: Site) -> None:
    """The asker's caches hold the old one's MAC: nobody has to ask again."""
    asker = cloud.guests["red/p3"]
    for number in range(REUSES):
        old, guest = cloud.ports["red/p1"], cloud.guests["red/p1"]
        wait_reaches(asker, guest)
        host = ("h2", "h1")[number % 2]
        cloud.drop("red/p1")
        port = reuse(cloud, RED, "p1", host, old)
        cloud.adopt(port, cloud.plug_as(port, host, f"red-p1-{number}"))
        cloud.wait_active([port.name])
        # ACTIVE means in force everywhere: at once, without a second try, in both directions and families.
        for version in (4, 6):
            assert asker.ping(cloud.guests["red/p1"].address(version)).ok
            assert cloud.guests["red/p1"].ping(asker.address(version)).ok


def test_a_former_owner_hears_nothing_of_the_new_one(cloud: Site) -> None:
    """The old guest stays plugged and goes on sending: it is nobody now."""
    asker, ghost, old = cloud.guests["red/p3"], cloud.guests.pop("red/p1"), cloud.ports.pop("red/p1")
    wait_reaches(asker, ghost)
    cloud.delete_port(old.name)
    port = reuse(cloud, RED, "p1", "h2", old)
    cloud.adopt(port, cloud.plug_as(port, "h2", "red-p1-new"))
    cloud.wait_active([port.name])
    said = [frames.udp(ghost.plug.mac, asker.plug.mac, ghost.address(4), asker.address(4), b"boo")]
    with ghost.capture() as heard, asker.capture("udp") as asked:
        for _ in range(20):
            ghost.send(said)
            assert asker.ping(port.fixed_ips[0].ip_address).ok
        heard.settle()
    assert [f.data.hex() for f in heard.frames] == []
    assert [f.data.hex() for f in asked.frames] == []
    cloud.lab.unplug(ghost)


def test_what_a_stopped_host_may_still_have_is_not_given_to_another(cloud: Site) -> None:
    """While h3's agent is frozen, h3 may still send to the old owner's place: the address is not free."""
    old, host = cloud.ports["red/p1"], cloud.host("h3")
    assert host.agent is not None
    host.agent.pause()
    try:
        cloud.drop("red/p1")
        addresses = [fixed.ip_address for fixed in old.fixed_ips]
        with pytest.raises(grpc.RpcError) as refused:
            cloud.create_port(RED, "p1", "h2", mac=old.mac_address, addresses=addresses)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "hosts/h3" in str(refused.value.details())
        wait_until(lambda: unconfirmed(cloud, RED) == {"hosts/h3"}, SETTLE_S, "h3 alone is missing")
    finally:
        host.agent.resume()
    port = reuse(cloud, RED, "p1", "h2", old)
    cloud.adopt(port, cloud.plug_as(port, "h2", "red-p1-moved"))
    cloud.wait_active()
