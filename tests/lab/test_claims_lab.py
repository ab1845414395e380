"""One address that two ports list (VRRP): it moves to whoever announced it last, within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from cloison.v1 import port_binding_pb2, port_pb2
from tests.lab.spine import Site, site
from topologies import frames
from topologies.client import CALL_S
from topologies.wait import wait_until
from topologies.workload import GUEST_INTERFACE, Workload

NETWORK = "tenants/red/networks/web"
VIP = {4: "10.0.0.200", 6: "fd00:10::200"}
BITS = {4: 32, 6: 128}
MOVE_S = 1.0
FIRST_S = 20.0


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    """p1 on h1 and p2 on h2 list the addresses, as p4 on h1 does; p3 does not. All of them have them."""
    with site(module_run_dir) as cloud:
        listing = [port_pb2.AddressPair(prefix=address) for address in VIP.values()]
        for short in ("red/p1", "red/p2"):
            cloud.update_port(cloud.ports[short].name, allowed_address_pairs=listing)
        fourth = cloud.create_port(NETWORK, "p4", "h1", mac="52:54:00:00:00:14",
                                   addresses=["10.0.0.14", "fd00:10::14"],
                                   allowed_address_pairs=listing)  # fmt: skip
        cloud.adopt(fourth, cloud.lab.plug_port(fourth))
        cloud.wait_active()
        for short in ("red/p1", "red/p2", "red/p4"):
            for version, address in VIP.items():
                option = "nodad" if version == 6 else ""
                cloud.guests[short].ip([f"addr add {address}/{BITS[version]} dev {GUEST_INTERFACE} {option}"])
        yield cloud


def announce(guest: Workload, version: int) -> None:
    """Say to all that the address lives here, as keepalived does when it becomes master."""
    if version == 4:
        guest.run(["arping", "-U", "-c", "1", "-w", "1", "-I", GUEST_INTERFACE, VIP[4]])
        return
    assert guest.send([advertisement(guest, VIP[6])]) == 1


def advertisement(guest: Workload, target: str) -> bytes:
    """An unsolicited neighbour advertisement (RFC 4861, section 7.2.6)."""
    return frames.advertisement(guest.plug.mac, guest.address(6), target)


def owner(cloud: Site, version: int) -> list[str]:
    """Which ports claim the address, as the API says."""
    listed = cloud.client.bindings.ListPortBindings(
        port_binding_pb2.ListPortBindingsRequest(parent=NETWORK), timeout=CALL_S
    )
    return [b.port.rpartition("/")[2] for b in listed.port_bindings if VIP[version] in b.claimed_addresses]


class Watched:
    """Who answers pings to the address: told by the guests' own counters of echo requests."""

    def __init__(self, cloud: Site, version: int) -> None:
        self.version = version
        self.listing = {short: cloud.guests[short] for short in ("red/p1", "red/p2", "red/p4")}
        self.asker = cloud.guests["red/p3"]

    def answering(self, timeout_s: float = 0.3) -> str:
        """Who gets one ping from p3; "" if nobody answers."""
        before = {short: self._echoes(guest) for short, guest in self.listing.items()}
        if not self.asker.ping(VIP[self.version], timeout_s=timeout_s).received:
            return ""
        got = [short for short, guest in self.listing.items() if self._echoes(guest) > before[short]]
        assert len(got) == 1, got
        return got[0]

    def _echoes(self, guest: Workload) -> int:
        name, field = ("snmp", "InEchos") if self.version == 4 else ("snmp6", "Icmp6InEchos")
        text = guest.run(["cat", f"/proc/net/{name}"], check=True).stdout
        if self.version == 6:
            return int(next(line.split()[1] for line in text.splitlines() if line.startswith(field)))
        heads, values = (line.split() for line in text.splitlines() if line.startswith("Icmp:"))
        return int(values[heads.index(field)])

    def moves_to(self, short: str, within_s: float) -> float:
        """Return after how many seconds a port answers."""
        started_s = time.monotonic()
        wait_until(lambda: self.answering() == short, within_s, f"{short} answers")
        return time.monotonic() - started_s


@pytest.mark.parametrize("version", [4, 6])
def test_it_lives_where_it_was_announced_last(cloud: Site, version: int) -> None:
    watched = Watched(cloud, version)
    announce(cloud.guests["red/p1"], version)
    watched.moves_to("red/p1", FIRST_S)
    # To another host and back, and between two ports of one host.
    took_s = []
    for short in ("red/p2", "red/p1", "red/p4", "red/p1", "red/p2", "red/p4"):
        announce(cloud.guests[short], version)
        took_s.append(watched.moves_to(short, FIRST_S))
        assert owner(cloud, version) == [short.removeprefix("red/")]
    # Most of them: one may meet a moment in which the machine stands still.
    assert median(took_s) < MOVE_S, took_s


@pytest.mark.parametrize("version", [4, 6])
def test_who_does_not_list_it_cannot_take_it(cloud: Site, version: int) -> None:
    watched = Watched(cloud, version)
    announce(cloud.guests["red/p1"], version)
    watched.moves_to("red/p1", FIRST_S)
    thief = cloud.guests["blue/p1"], cloud.guests["red/p3"]
    for guest in thief:
        if version == 4:
            guest.send([frames.arp(guest.plug.mac, VIP[4], VIP[4])] * 5)
        else:
            guest.send([advertisement(guest, VIP[6])] * 5)
    deadline_s = time.monotonic() + 2 * MOVE_S
    while time.monotonic() < deadline_s:
        assert watched.answering(2.0) == "red/p1"
    assert owner(cloud, version) == ["p1"]


def test_who_lists_it_no_more_loses_it(cloud: Site) -> None:
    watched = Watched(cloud, 4)
    announce(cloud.guests["red/p4"], 4)
    watched.moves_to("red/p4", FIRST_S)
    cloud.update_port(cloud.ports["red/p4"].name, allowed_address_pairs=[])
    wait_until(lambda: watched.answering() == "", FIRST_S, "nobody answers")
    announce(cloud.guests["red/p2"], 4)
    watched.moves_to("red/p2", FIRST_S)
