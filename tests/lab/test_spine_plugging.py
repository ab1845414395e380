"""Plugging in every order and place: statuses, the verdict on the interface, silence where none is bound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloison.v1 import port_pb2
from tests.lab.observe import entries, table, verdict
from tests.lab.spine import DOWN, SETTLE_S, Site, site
from tests.lab.traffic import says, silence, uplinks, wait_reaches
from topologies.lab import Lab
from topologies.wait import wait_until
from topologies.workload import Workload

NETWORK = "tenants/red/networks/web"
BOUND = ("bound", "")


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir) as cloud:
        yield cloud


@pytest.fixture
def port(cloud: Site, request: pytest.FixtureRequest) -> Iterator[port_pb2.Port]:
    """A port of red that may be plugged on h1; gone afterwards, with all that was plugged meanwhile."""
    made = cloud.create_port(NETWORK, "extra", *getattr(request, "param", ("h1",)))
    yield made
    cloud.delete_port(made.name)


@pytest.fixture(autouse=True)
def tidy(cloud: Site) -> Iterator[None]:
    """Guests of one test are no guests of the next."""
    yield
    known = set(cloud.guests.values())
    for guest in [g for g in cloud.lab.workloads.values() if g not in known]:
        cloud.lab.unplug(guest)


def wait_verdict(cloud: Site, host: str, guest: Workload, state: str, reason: str = "") -> None:
    """The verdict is on the interface, and a refusal with its sentence in the host's status."""
    wait_until(
        lambda: verdict(cloud.host(host), guest) == (state, reason),
        SETTLE_S,
        f"{guest.name} {state} {reason}",
    )
    refused = {r.interface: r for r in cloud.host_status(host).refused_interfaces}
    if state == "bound":
        assert guest.plug.tap not in refused
    else:
        found = refused[guest.plug.tap]
        assert (found.iface_id, found.condition.reason) == (guest.plug.iface_id, reason)
        assert found.condition.message


def assert_mute(cloud: Site, guest: Workload) -> None:
    """Nothing it says leaves its host or reaches anybody, and nothing of the network reaches it."""
    others = [g for g in cloud.lab.workloads.values() if g is not guest]
    with uplinks(cloud.lab) as wire, silence(others):
        assert guest.send(says(guest) * 3) == 15
    assert [f.data.hex() for c in wire.values() for f in c.frames] == []
    asked = cloud.guests["red/p3"]
    with silence([guest]):
        assert asked.ping(guest.address(4), timeout_s=0.3).received == 0
        assert asked.ping(guest.address(6), timeout_s=0.3).received == 0


def assert_talks(cloud: Site, guest: Workload) -> None:
    """It reaches its tenant's others and is reached."""
    for version in (4, 6):
        wait_reaches(guest, cloud.guests["red/p2"], version)
        wait_reaches(cloud.guests["red/p3"], guest, version)


@contextmanager
def unchanged_elsewhere(cloud: Site) -> Iterator[None]:
    """What is on the hosts before is there afterwards, not installed anew."""
    before = {name: (table(h), entries(h)) for name, h in cloud.lab.hosts.items()}
    yield

    def restored() -> bool:
        for name, host in cloud.lab.hosts.items():
            assert before[name][0].same(table(host)) == []
            assert before[name][1] == entries(host)
        return True

    wait_until(restored, SETTLE_S, "as before")


def test_create_before_plug(cloud: Site, port: port_pb2.Port) -> None:
    cloud.wait_state(port.name, DOWN, "NOT_PLUGGED")
    with unchanged_elsewhere(cloud):
        guest = cloud.plug_as(port, "h1", "extra")
        cloud.wait_active([port.name])
        wait_verdict(cloud, "h1", guest, *BOUND)
        assert cloud.port(port.name).host == "hosts/h1"
        assert_talks(cloud, guest)
        cloud.lab.unplug(guest)
        cloud.wait_state(port.name, DOWN, "NOT_PLUGGED")
        assert not cloud.port(port.name).host


def test_plug_before_create(cloud: Site) -> None:
    addresses = ["10.0.0.77/24", "fd00:10::77/64"]
    guest = cloud.lab.plug("h1", "early-bird", "52:54:00:00:00:77", addresses, name="early")
    wait_verdict(cloud, "h1", guest, "refused", "UNKNOWN_IFACE_ID")
    assert_mute(cloud, guest)
    plain = [a.partition("/")[0] for a in addresses]
    made = cloud.create_port(
        NETWORK, "early", "h1", mac=guest.plug.mac, addresses=plain, iface_id="early-bird"
    )
    cloud.wait_active([made.name])
    wait_verdict(cloud, "h1", guest, *BOUND)
    assert_talks(cloud, guest)
    # And the other way round: the port goes while the guest stays.
    cloud.delete_port(made.name)
    wait_verdict(cloud, "h1", guest, "refused", "UNKNOWN_IFACE_ID")
    assert_mute(cloud, guest)


def test_unplug_and_plug_again(cloud: Site, port: port_pb2.Port) -> None:
    for _ in range(2):
        guest = cloud.plug_as(port, "h1", "extra")
        cloud.wait_active([port.name])
        assert_talks(cloud, guest)
        cloud.lab.unplug(guest)
        cloud.wait_state(port.name, DOWN, "NOT_PLUGGED")
        wait_until(
            lambda: not any(port.mac_address in e for h in ("h2", "h3") for e in entries(cloud.host(h))),
            SETTLE_S,
            "no entry for a port that is nowhere",
        )


def test_plug_on_a_host_it_is_not_scheduled_to(cloud: Site, port: port_pb2.Port) -> None:
    with unchanged_elsewhere(cloud):
        guest = cloud.plug_as(port, "h3", "extra")
        wait_verdict(cloud, "h3", guest, "refused", "NOT_SCHEDULED_HERE")
        cloud.wait_state(port.name, DOWN, "NOT_SCHEDULED_HERE")
        assert_mute(cloud, guest)
    # Once it is scheduled there nobody has to plug anything again.
    cloud.schedule(port.name, "h3")
    cloud.wait_active([port.name])
    wait_verdict(cloud, "h3", guest, *BOUND)
    assert_talks(cloud, guest)
    cloud.schedule(port.name, "h1")
    wait_verdict(cloud, "h3", guest, "refused", "NOT_SCHEDULED_HERE")
    assert_mute(cloud, guest)


@pytest.mark.parametrize("port", [()], indirect=True)
def test_a_port_scheduled_nowhere_binds_nowhere(cloud: Site, port: port_pb2.Port) -> None:
    cloud.wait_state(port.name, DOWN, "NOT_SCHEDULED")
    guest = cloud.plug_as(port, "h2", "extra")
    wait_verdict(cloud, "h2", guest, "refused", "NOT_SCHEDULED_HERE")
    assert_mute(cloud, guest)


@pytest.mark.parametrize("port", [("h1", "h3")], indirect=True)
def test_the_same_iface_id_on_two_hosts_lives_on_the_first_until_that_goes(
    cloud: Site, port: port_pb2.Port
) -> None:
    first = cloud.plug_as(port, "h1", "extra-1")
    cloud.wait_active([port.name])
    second = cloud.plug_as(port, "h3", "extra-3")
    # It may come to live there (test_move_lab.py), but does not as long as its guest does not say so.
    wait_verdict(cloud, "h3", second, *BOUND)
    cloud.wait_active([port.name])
    wait_verdict(cloud, "h1", first, *BOUND)
    wait_reaches(first, cloud.guests["red/p2"])
    with silence([second]), uplinks(cloud.lab) as wire:
        assert second.send(says(second)) == 5
    assert [f.data.hex() for c in wire.values() for f in c.frames] == []
    assert cloud.port(port.name).host == "hosts/h1"
    cloud.lab.unplug(first)
    wait_until(lambda: cloud.port(port.name).host == "hosts/h3", SETTLE_S, "it lives on h3")
    cloud.wait_active([port.name])
    assert_talks(cloud, second)


def test_the_same_iface_id_twice_on_one_host(cloud: Site, port: port_pb2.Port) -> None:
    guest = cloud.plug_as(port, "h1", "extra")
    cloud.wait_active([port.name])
    twin = cloud.lab.plug("h1", "not-yet", port.mac_address, list(cloud.client.addresses(port)), name="twin")
    wait_verdict(cloud, "h1", twin, "refused", "UNKNOWN_IFACE_ID")
    set_iface_id(cloud, "h1", twin, port.iface_id)
    wait_until(
        lambda: verdict(cloud.host("h1"), twin) == ("refused", "DUPLICATE_IFACE_ID"),
        SETTLE_S,
        "the twin refused",
    )
    wait_reaches(guest, cloud.guests["red/p2"])
    with silence([twin]), uplinks(cloud.lab) as wire:
        assert twin.send(says(twin)) == 5
    assert [f.data.hex() for c in wire.values() for f in c.frames] == []
    # The one that holds it goes, the other takes over.
    cloud.lab.unplug(guest)
    wait_until(lambda: verdict(cloud.host("h1"), twin) == BOUND, SETTLE_S, "the twin bound")
    cloud.wait_active([port.name])
    assert_talks(cloud, twin)


def set_iface_id(cloud: Site, host: str, guest: Workload, iface_id: str) -> None:
    cloud.host(host).switch.vsctl("set", "Interface", guest.plug.tap, f"external_ids:iface-id={iface_id}")


def test_an_interface_that_changes_its_iface_id_changes_its_port(cloud: Site, port: port_pb2.Port) -> None:
    """From red to blue on one wire: from then on it is blue's, and red's flows for it are gone."""
    blue = cloud.create_port("tenants/blue/networks/web", "extra", "h1")
    guest = cloud.plug_as(port, "h1", "extra")
    try:
        cloud.wait_active([port.name])
        wait_reaches(guest, cloud.guests["red/p2"])
        set_iface_id(cloud, "h1", guest, blue.iface_id)
        cloud.wait_state(port.name, DOWN, "NOT_PLUGGED")
        cloud.wait_active([blue.name])
        flows = table(cloud.host("h1")).flows
        numbers = {(flow.cookie >> 8) & 0xFFFFFFFF for flow in flows.values() if flow.cookie >> 60 == 3}
        assert blue.number in numbers
        assert port.number not in numbers
        # It still speaks as red's port did: blue's port has other addresses.
        with silence(g for g in cloud.lab.workloads.values() if g is not guest):
            guest.send(says(guest))
    finally:
        cloud.lab.unplug(guest)
        cloud.delete_port(blue.name)


def test_a_disabled_port_neither_sends_nor_receives(cloud: Site, port: port_pb2.Port) -> None:
    guest = cloud.plug_as(port, "h1", "extra")
    cloud.wait_active([port.name])
    wait_reaches(guest, cloud.guests["red/p2"])
    cloud.disable(port.name, True)
    cloud.wait_state(port.name, DOWN, "DISABLED")
    assert cloud.client.wait_realized(NETWORK).realized
    assert_mute(cloud, guest)
    cloud.disable(port.name, False)
    cloud.wait_active([port.name])
    assert_talks(cloud, guest)


def test_a_guest_plugged_while_nobody_is_there_is_mute_until_somebody_is(
    cloud: Site, port: port_pb2.Port
) -> None:
    lab: Lab = cloud.lab
    lab.controller.kill()
    try:
        guest = lab.plug(
            "h1", port.iface_id, port.mac_address, ["10.0.0.78/24", "fd00:10::78/64"], name="extra"
        )
        assert_mute(cloud, guest)
    finally:
        lab.controller.start()
    lab.wait_connected()
    cloud.wait_active([port.name])
    cloud.wait_active()
