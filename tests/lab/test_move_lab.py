"""Live migration: a port on two hosts is blocked on the second until its guest announces itself there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloison.v1 import port_binding_pb2, port_pb2
from tests.lab import pinger
from tests.lab.observe import entries
from tests.lab.spine import SETTLE_S, Site, cloison, site
from tests.lab.traffic import reaches, says, silence, uplinks, wait_reaches
from topologies import frames
from topologies.client import CALL_S
from topologies.wait import wait_until
from topologies.workload import GUEST_INTERFACE, Workload

NETWORK = "tenants/red/networks/web"
MAC, ADDRESSES = "52:54:00:00:00:15", ["10.0.0.15", "fd00:10::15"]
INTERVAL_S, REQUESTS = 0.001, 2500
LOST_MAX = 4


class Migration:
    """The port, and its guest as it is on h1 and on h3: the hypervisor's copy of it, with all its state."""

    def __init__(self, cloud: Site) -> None:
        self.cloud = cloud
        self.port: port_pb2.Port = cloud.create_port(
            NETWORK, "mover", "h1", "h3", mac=MAC, addresses=ADDRESSES
        )
        self.guests = {"hosts/h1": cloud.lab.plug_port(self.port, host="h1", name="mover-1")}
        cloud.wait_active([self.port.name])
        self.guests["hosts/h3"] = cloud.lab.plug_port(self.port, host="h3", name="mover-3")
        wait_until(lambda: self.standby == ["hosts/h3"], SETTLE_S, "it stands by on h3")
        cloud.wait_active([self.port.name])

    def binding(self) -> port_binding_pb2.PortBinding:
        request = port_binding_pb2.GetPortBindingRequest(name=f"{self.port.name}/binding")
        found: port_binding_pb2.PortBinding = self.cloud.client.bindings.GetPortBinding(
            request, timeout=CALL_S
        )
        return found

    @property
    def host(self) -> str:
        """Where it lives."""
        return str(self.binding().host)

    @property
    def standby(self) -> list[str]:
        return list(self.binding().standby_hosts)

    def ends(self) -> tuple[Workload, Workload]:
        """The guest where it lives, and where it stands by."""
        host = self.host
        (other,) = self.guests.keys() - {host}
        for guest in self.guests.values():
            guest.ip([f"link set {GUEST_INTERFACE} up"])
        return self.guests[host], self.guests[other]

    def wait_at(self, guest: Workload) -> None:
        wait_until(lambda: self.guests[self.host] is guest, SETTLE_S, f"it lives where {guest.name} is")


@pytest.fixture(scope="module")
def moving(module_run_dir: Path) -> Iterator[Migration]:
    with site(module_run_dir) as cloud:
        yield Migration(cloud)


def test_the_second_place_is_mute_and_deaf(moving: Migration) -> None:
    live, blocked = moving.ends()
    cloud = moving.cloud
    for asker in ("red/p1", "red/p2", "red/p3"):
        wait_reaches(cloud.guests[asker], live)
    others = [g for g in cloud.lab.workloads.values() if g is not blocked]
    with uplinks(cloud.lab) as wire, silence(others):
        assert blocked.send(says(blocked) * 3) == 15
    assert [f.data.hex() for c in wire.values() for f in c.frames] == []
    with silence([blocked]):
        for asker in ("red/p1", "red/p2", "red/p3"):
            assert reaches(cloud.guests[asker], live)
            assert reaches(cloud.guests[asker], live, 6)
    assert moving.standby == ["hosts/h3"]
    shown = cloison(cloud.lab, "binding", "list", "--tenant", "red", "--network", "web").stdout
    row = next(line for line in shown.splitlines() if "mover" in line)
    assert row.split()[3] == "h1"
    assert "hosts/h3" in row


@pytest.mark.parametrize("how", ["rarp", "gratuitous-arp", "advertisement"])
def test_it_lives_where_its_guest_announces_itself(moving: Migration, how: str) -> None:
    before, after = moving.ends()
    said = {
        "rarp": frames.rarp(MAC),
        "gratuitous-arp": frames.arp(MAC, ADDRESSES[0], ADDRESSES[0]),
        "advertisement": frames.advertisement(MAC, ADDRESSES[1], ADDRESSES[1]),
    }
    after.send([said[how]])
    moving.wait_at(after)
    moving.cloud.wait_active([moving.port.name])
    with silence([before]):
        for asker in ("red/p1", "red/p2", "red/p3"):
            for version in (4, 6):
                assert reaches(moving.cloud.guests[asker], after, version)
    others = [g for g in moving.cloud.lab.workloads.values() if g is not before]
    with uplinks(moving.cloud.lab) as wire, silence(others):
        assert before.send(says(before)) == 5
    assert [f.data.hex() for c in wire.values() for f in c.frames] == []
    vteps = {e for host in moving.cloud.lab.hosts.values() for e in entries(host) if e[1] == MAC}
    assert len({vtep for *_, vtep in vteps}) <= 1


def test_another_guest_cannot_say_that_it_has_come(moving: Migration) -> None:
    live, _ = moving.ends()
    host = moving.host
    for thief in ("red/p3", "blue/p3", "red/p1"):
        moving.cloud.guests[thief].send([frames.rarp(MAC), frames.arp(MAC, ADDRESSES[0], ADDRESSES[0])] * 3)
    assert reaches(moving.cloud.guests["red/p2"], live)
    assert moving.host == host


@pytest.mark.parametrize("asker", ["red/p2", "red/p1", "red/p3"])
def test_a_move_loses_next_to_nothing(moving: Migration, asker: str) -> None:
    """The guest runs here until it runs there: what is lost is the network's doing, not the hypervisor's."""
    before, after = moving.ends()
    guest = moving.cloud.guests[asker]
    wait_reaches(guest, before)
    # A guest that is migrated brings along whom it knows.
    known = f"{guest.address(4)} lladdr {guest.plug.mac} nud reachable"
    after.ip([f"neigh replace {known} dev {GUEST_INTERFACE}"])
    argv = [sys.executable, pinger.__file__, ADDRESSES[0], str(INTERVAL_S), str(REQUESTS)]
    pings = guest.popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    with after.capture("icmp") as arrived:
        with before.capture("icmp") as asked:
            wait_until(lambda: len(asked.frames) > 500, SETTLE_S, "pings are under way")
        after.send([frames.rarp(MAC)])
        moving.wait_at(after)
        wait_until(lambda: len(arrived.frames) > 50, SETTLE_S, "they arrive at the new place")
        before.ip([f"link set {GUEST_INTERFACE} down"])
        out, _ = pings.communicate(timeout=30)
    lost = json.loads(out)["lost"]
    assert len(lost) <= LOST_MAX, lost


def test_the_end_of_a_migration(moving: Migration) -> None:
    """The IaaS leaves the new host alone in requested_hosts, and takes the guest away where it was."""
    live, old = moving.ends()
    cloud, host = moving.cloud, moving.host
    cloud.schedule(moving.port.name, host.removeprefix("hosts/"))
    wait_until(lambda: not moving.standby, SETTLE_S, "it stands by nowhere")
    cloud.lab.unplug(old)
    cloud.wait_active([moving.port.name])
    assert moving.host == host
    wait_reaches(cloud.guests["red/p2"], live)
