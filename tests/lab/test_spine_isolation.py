"""Two tenants with one address plan, apart on the wire and in every workload, seen in real packets."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.observe import devices, received
from tests.lab.spine import Site, site
from tests.lab.traffic import silence, uplinks, wait_reaches
from topologies import frames
from topologies.demo import probes
from topologies.demo.guests import Guest, Token, guests
from topologies.state import LabState
from topologies.wait import wait_until
from topologies.workload import Workload

TENANTS = ("red", "blue")
FLOOD_ROUNDS = 40
BURST_FRAMES, BURST_INTERVAL_S = 20, 0.005
ARP_REQUEST, ARP_REPLY = 1, 2
ICMP6_SOLICITATION, ICMP6_ADVERTISEMENT = 135, 136


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir) as cloud:
        yield cloud


@dataclass(frozen=True)
class Crossing:
    """A tenant's frame on the underlay: its VNI, the inner frame, and whose token it carries."""

    vni: int
    inner: bytes
    token: Token | None

    @property
    def kind(self) -> str:
        """What the inner frame is, as far as it matters here."""
        ethertype = int.from_bytes(self.inner[12:14], "big")
        if ethertype == frames.ARP:
            return f"arp {int.from_bytes(self.inner[20:22], 'big')}"
        if ethertype == frames.IPV6 and self.inner[20] == frames.ICMP6_PROTOCOL:
            return f"icmp6 {self.inner[54]}"
        return {frames.IPV4: "ipv4", frames.IPV6: "ipv6"}.get(ethertype, hex(ethertype))


def everyone(cloud: Site) -> list[Guest]:
    state = LabState.load(cloud.lab.run_dir)
    return guests(state, {name: name.split("-")[0] for name in state.workloads})


def crossings(cloud: Site, act: Callable[[], None]) -> list[Crossing]:
    """Every VXLAN frame that left a host while `act` ran."""
    found = []
    with uplinks(cloud.lab) as captures:
        act()
    for capture in captures.values():
        for frame in capture.frames:
            packet = frames.vxlan(frame.data) if frame.outgoing else None
            if packet is not None:
                found.append(Crossing(*packet, Token.find(packet[1])))
    return found


def talk(cloud: Site, tenant: str) -> None:
    """Everything the guests' own kernels say when neighbours are new: ARP, ND, ping, TCP, all pairs."""
    members = cloud.tenant(tenant)
    for guest in members:
        guest.flush_neighbours()
    for source in members:
        for target in members:
            if source is not target:
                wait_reaches(source, target, 4)
                wait_reaches(source, target, 6)


def test_a_tenants_own_traffic_is_in_its_own_vni_only(cloud: Site) -> None:
    vnis = {tenant: cloud.vni(tenant) for tenant in TENANTS}
    assert vnis["red"] != vnis["blue"]
    for tenant in TENANTS:
        other = cloud.tenant(next(t for t in TENANTS if t != tenant))
        with silence(other):
            seen = crossings(cloud, lambda tenant=tenant: talk(cloud, tenant))
        assert {c.vni for c in seen} == {vnis[tenant]}
        kinds = Counter(c.kind for c in seen)
        # All of it was resolved over the overlay, and by unicast.
        for kind in (ARP_REQUEST, ARP_REPLY):
            assert kinds[f"arp {kind}"], kinds
        for kind in (ICMP6_SOLICITATION, ICMP6_ADVERTISEMENT):
            assert kinds[f"icmp6 {kind}"], kinds
        assert not [c.inner[:60].hex() for c in seen if frames.is_group(c.inner)]


def test_both_tenants_at_once_never_meet_in_a_vni(cloud: Site) -> None:
    people = everyone(cloud)
    tenant_of = {g.index: g.tenant for g in people}
    vnis = {cloud.vni(tenant): tenant for tenant in TENANTS}

    def speak() -> None:
        for round_ in range(10):
            for source in people:
                for target in people:
                    if source.index != target.index and source.tenant == target.tenant:
                        # Token.kind tells the rounds apart.
                        cloud.lab.workloads[source.name].send(_said(source, target, round_))

    seen = [c for c in crossings(cloud, speak) if c.token]
    by_vni: dict[int, set[str]] = {}
    for crossing in seen:
        assert crossing.token is not None
        by_vni.setdefault(crossing.vni, set()).add(tenant_of[crossing.token.source])
    assert by_vni == {vni: {tenant} for vni, tenant in vnis.items()}
    assert {c.kind for c in seen} >= {"arp 1", "ipv4", "ipv6", "icmp6 135"}
    assert not [c.inner[:60].hex() for c in seen if frames.is_group(c.inner)]


def _said(source: Guest, target: Guest, number: int) -> list[bytes]:
    mark = Token(source.index, target.index, number).encode()
    return [
        frames.arp(source.mac, source.v4, target.v4, trailer=mark),
        frames.solicitation(source.mac, source.v6, target.v6, mark),
        frames.udp(source.mac, target.mac, source.v4, target.v4, mark, port=9),
        frames.udp(source.mac, target.mac, source.v6, target.v6, mark, port=9),
    ]


@pytest.mark.parametrize("tenant", TENANTS)
def test_a_flood_reaches_nobody_of_the_other_tenant_and_no_broadcast_crosses(
    cloud: Site, tenant: str
) -> None:
    people = everyone(cloud)
    victims = [g for g in people if g.tenant != tenant]
    sent: Counter[str] = Counter()

    def flood() -> None:
        for source in (g for g in people if g.tenant == tenant):
            sent.update(_flood(cloud, source, victims))

    guests_of_others = [cloud.lab.workloads[g.name] for g in victims]
    taken = {g.name: _received(cloud, g) for g in people if g.tenant == tenant}
    with silence(guests_of_others):
        seen = crossings(cloud, flood)
    assert set(sent) == {"arp", "broadcast", "multicast", "unknown unicast"}
    assert {c.vni for c in seen} <= {cloud.vni(tenant)}
    assert not [c.inner[:60].hex() for c in seen if frames.is_group(c.inner)]
    # A frame that the switch never looked at would prove nothing.
    looked_at = sum(_received(cloud, g) - taken[g.name] for g in people if g.tenant == tenant)
    assert looked_at >= sum(sent.values())


def _flood(cloud: Site, source: Guest, victims: list[Guest]) -> Counter[str]:
    flood = list(probes.flood(source, victims, FLOOD_ROUNDS))
    guest = cloud.lab.workloads[source.name]
    for start in range(0, len(flood), BURST_FRAMES):
        guest.send([frame for _, frame in flood[start : start + BURST_FRAMES]])
        # Slow enough for the userspace datapath to take every frame out of its socket.
        time.sleep(BURST_INTERVAL_S)
    return Counter(kind for kind, _ in flood)


def _received(cloud: Site, guest: Guest) -> int:
    return received(cloud.host(guest.host), cloud.lab.workloads[guest.name].plug.tap)


def test_a_capture_of_silence_can_hear(cloud: Site) -> None:
    """The counter-proof of the tests above: one frame of its own tenant and the silence is broken."""
    source, target = cloud.guests["blue/p1"], cloud.guests["blue/p2"]
    with pytest.raises(AssertionError, match=target.name), silence([target]):
        source.send([frames.udp(source.plug.mac, target.plug.mac, "10.0.0.11", "10.0.0.12", b"hear me")])


def test_the_address_of_nobody_is_met_with_silence(cloud: Site) -> None:
    source = cloud.guests["red/p1"]
    with uplinks(cloud.lab) as wire, silence([g for g in cloud.guests.values() if g is not source]):
        assert source.ping("10.0.0.99", count=3, timeout_s=0.3).received == 0
        assert source.ping("fd00:10::99", count=3, timeout_s=0.3).received == 0
    assert not [f for c in wire.values() for f in c.frames]


def test_duplicate_address_detection_finds_no_duplicate_of_itself(cloud: Site) -> None:
    guest = cloud.guests["red/p2"]
    guest.ip(["address del fd00:10::12/64 dev eth0"])
    guest.ip(["address add fd00:10::12/64 dev eth0"])  # with DAD, as a guest does it

    def settled() -> bool:
        shown = guest.run(["ip", "-6", "address", "show", "dev", "eth0"]).stdout
        assert "dadfailed" not in shown
        return "fd00:10::12" in shown and "tentative" not in shown

    wait_until(settled, 10, "the address usable")
    wait_reaches(cloud.guests["red/p1"], guest, 6)


def test_overlay_mtu_is_the_underlays_less_the_vxlan_header_everywhere(cloud: Site) -> None:
    wanted = cloud.lab.underlay.mtu - 50
    for host in cloud.lab.hosts.values():
        assert {d["mtu"] for d in devices(host).values()} == {wanted}
        assert len(devices(host)) == len(TENANTS)
    assert {cloud.client.mtu(port) for port in cloud.ports.values()} == {wanted}


@pytest.mark.parametrize("version", [4, 6])
def test_the_largest_packet_passes_whole_and_a_larger_one_is_not_cut(cloud: Site, version: int) -> None:
    source, target = cloud.guests["red/p1"], cloud.guests["red/p3"]
    overlay_mtu = cloud.lab.underlay.mtu - 50
    headers = {4: 28, 6: 48}[version]

    def whole(size: int) -> bool:
        argv = ["ping", "-n", "-c1", "-W9", "-M", "do", "-s", str(size - headers), target.address(version)]
        return source.run(argv).returncode == 0

    with uplinks(cloud.lab, "") as wire:
        assert whole(overlay_mtu)
    largest = max(len(f.data) for c in wire.values() for f in c.frames)
    # The outer packet fills the underlay to the byte: nothing was fragmented on the way.
    assert largest == cloud.lab.underlay.mtu + 14
    assert not whole(overlay_mtu + 1)


def test_a_packet_too_large_for_the_overlay_is_dropped_and_not_cut_by_the_underlay(cloud: Site) -> None:
    """A guest that ignores the network's MTU: its frame ends at the VXLAN device, on its own host."""
    source, target = cloud.guests["blue/p1"], cloud.guests["blue/p2"]
    overlay_mtu, underlay_mtu = cloud.lab.underlay.mtu - 50, cloud.lab.underlay.mtu
    source.ip([f"link set eth0 mtu {underlay_mtu}"])
    cloud.host("h1").node.ip([f"link set {source.plug.tap} mtu {underlay_mtu}"])
    try:
        with uplinks(cloud.lab, "ip") as wire, target.capture("ip") as heard:
            for size in (overlay_mtu, overlay_mtu + 1, underlay_mtu):
                payload = bytes(size - 28)
                frame = frames.udp(source.plug.mac, target.plug.mac, "10.0.0.11", "10.0.0.12", payload)
                assert source.send([frame]) == 1
            heard.settle()
        assert [len(f.data) - 14 for f in heard.frames] == [overlay_mtu]
        large = [f.data for c in wire.values() for f in c.frames if len(f.data) > 1000 and f.outgoing]
        assert [frames.vxlan(f) is not None for f in large] == [True]
    finally:
        cloud.host("h1").node.ip([f"link set {source.plug.tap} mtu {overlay_mtu}"])
        source.ip([f"link set eth0 mtu {overlay_mtu}"])


def test_a_large_transfer_gets_through(cloud: Site) -> None:
    source, target = cloud.guests["blue/p1"], cloud.guests["blue/p3"]
    size = 4 << 20
    got = _transfer(source, target, size)
    assert got == size


def _transfer(source: Workload, target: Workload, size: int) -> int:
    def listen() -> socket.socket:
        server = socket.socket()
        server.bind(("0.0.0.0", 5001))
        server.listen()
        server.settimeout(10)
        return server

    def connect() -> socket.socket:
        client = socket.socket()
        client.settimeout(10)
        client.connect((target.address(4), 5001))
        return client

    with target.within(listen) as server, source.within(connect) as client:
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(10)
            sender = threading.Thread(target=lambda: (client.sendall(bytes(size)), client.shutdown(1)))
            sender.start()
            total = 0
            while data := accepted.recv(1 << 16):
                total += len(data)
            sender.join()
    return total


def test_a_guest_does_not_reach_the_stack_of_its_host(cloud: Site) -> None:
    host, source = cloud.host("h1"), cloud.guests["red/p1"]
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
