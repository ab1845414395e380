"""What a guest, or a stranger on the underlay, can forge: nothing of it is delivered; the legitimate passes.

Frames are made with scapy and carry a mark, so that each one that arrives is known by name.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from tests.lab.forgeries import (
    FORGED,
    HIM,
    HIM4,
    LEGITIMATE,
    ME,
    ME4,
    ME6,
    ROGUE,
    YOU,
    YOU4,
    YOU6,
    Named,
    arp,
    data,
    eth,
    ip4,
    ip6,
    vxlan,
    wrapped,
)
from tests.lab.observe import entries, refused_vxlan
from tests.lab.spine import Site, site
from tests.lab.traffic import uplinks, wait_reaches
from topologies.capture import Capture, settle
from topologies.workload import Workload

MARK = b"SPF" + os.urandom(5)
SEND_INTERVAL_S = 0.002


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    """The two tenants, and one more guest of red's beside the attacker (red/p1) on h1."""
    with site(module_run_dir) as cloud:
        port = cloud.create_port("tenants/red/networks/web", "p4", "h1", mac="52:54:00:00:00:14",
                                 addresses=["10.0.0.14", "fd00:10::14"])  # fmt: skip
        cloud.adopt(port, cloud.plug_as(port, "h1", "red-p4"))
        cloud.wait_active()
        # Nobody asks while we look: every neighbour is known.
        for target in ("red/p2", "red/p3", "red/p4"):
            for version in (4, 6):
                wait_reaches(cloud.guests["red/p1"], cloud.guests[target], version)
        yield cloud


def marked(frames: Named) -> dict[bytes, tuple[str, bytes]]:
    """Each frame with a mark of its own at its end, padded before it: mark -> (name, bytes)."""
    out = {}
    for number, (name, packet) in enumerate(frames.items()):
        mark = MARK + struct.pack("!H", number)
        raw = packet if isinstance(packet, bytes) else bytes(packet / Raw(mark))
        out[mark] = (name, raw if len(raw) >= 60 else raw + bytes(60 - len(raw)))
    return out


def carried(frames: Sequence[bytes], sent: dict[bytes, tuple[str, bytes]]) -> set[str]:
    """Names of the marked frames that are in these."""
    found = set()
    for frame in frames:
        at = frame.find(MARK)
        if at >= 0 and frame[at : at + 10] in sent:
            found.add(sent[frame[at : at + 10]][0])
    return found


def deliver(cloud: Site, source: Workload, frames: Named) -> tuple[dict[str, set[str]], set[str]]:
    """Send; who received what (by name), and what crossed the underlay."""
    sent = marked(frames)
    others = [g for g in cloud.lab.workloads.values() if g is not source]
    with contextlib.ExitStack() as stack:
        captures: dict[str, Capture] = {g.name: stack.enter_context(g.capture()) for g in others}
        wire = stack.enter_context(uplinks(cloud.lab, ""))
        assert source.send([raw for _, raw in sent.values()], SEND_INTERVAL_S) == len(sent)
        settle(list(captures.values()))
    got = {name: carried([f.data for f in c.frames], sent) for name, c in captures.items()}
    crossed = carried([f.data for c in wire.values() for f in c.frames], sent)
    return {name: names for name, names in got.items() if names}, crossed


def test_the_legitimate_passes_and_reaches_the_one_it_is_for(cloud: Site) -> None:
    got, crossed = deliver(cloud, cloud.guests["red/p1"], LEGITIMATE)
    assert got == {"red-p2": set(LEGITIMATE)}
    assert crossed == set(LEGITIMATE)


def test_on_one_host_too(cloud: Site) -> None:
    to = "52:54:00:00:00:14"
    frames: Named = {
        "udp 4": eth(to=to) / ip4(to="10.0.0.14") / data(),
        "udp 6": eth(to=to) / ip6(to="fd00:10::14") / data(),
        "arp": eth(to="ff:ff:ff:ff:ff:ff") / arp(ME, ME4, "10.0.0.14"),
        "forged": eth(to=to) / ip4(HIM4, "10.0.0.14") / data(),
        "forged arp": eth(to=to) / arp(ME, HIM4, "10.0.0.14", 2),
    }
    got, crossed = deliver(cloud, cloud.guests["red/p1"], frames)
    assert got == {"red-p4": {"udp 4", "udp 6", "arp"}}
    assert crossed == set()


@pytest.mark.parametrize("family", FORGED)
def test_nothing_forged_is_delivered_anywhere_or_leaves_the_host(cloud: Site, family: str) -> None:
    got, crossed = deliver(cloud, cloud.guests["red/p1"], FORGED[family])
    assert (got, crossed) == ({}, set())


def test_ip_in_snap_is_checked_like_ip(cloud: Site) -> None:
    got, _ = deliver(cloud, cloud.guests["red/p1"], {"right": wrapped("SNAP", ip4() / data())})
    assert set(got) <= {"red-p2"}


def test_the_other_tenant_is_not_reached_by_its_own_addresses(cloud: Site) -> None:
    """All that is right in red's network, from red: blue's twins with the same MACs hear nothing of it."""
    got, _ = deliver(cloud, cloud.guests["red/p1"], LEGITIMATE)
    assert not [name for name in got if name.startswith("blue")]


# --- T2: from a guest to the tunnels ----------------------------------------------------------------------


def test_vxlan_from_a_guest_reaches_no_vtep_and_no_host(cloud: Site) -> None:
    source, h1 = cloud.guests["red/p1"], cloud.host("h1")
    device = f"vx{cloud.vni('red'):06x}"
    doors = {name: _mac(cloud, name) for name in (source.plug.tap, "to-leaf1", "br-int", device)}
    doors |= {"all": "ff:ff:ff:ff:ff:ff", "nobody": ROGUE}
    for host in cloud.lab.hosts.values():
        doors[f"wire MAC of {host.name}"] = "0a:f0:" + ":".join(f"{int(b):02x}" for b in host.vtep.split("."))
    frames: Named = {}
    for tenant in ("red", "blue"):
        inner = Ether(src=HIM, dst=YOU) / IP(src=HIM4, dst=YOU4) / UDP(sport=9, dport=9)
        for host in cloud.lab.hosts.values():
            for door, mac in doors.items():
                outer = eth(to=mac) / ip4(to=host.vtep) / UDP(sport=50000, dport=4789, chksum=0)
                frames[f"{tenant} to {host.name} by {door}"] = outer / vxlan(cloud.vni(tenant)) / inner
    refused = {h.name: refused_vxlan(h) for h in cloud.lab.hosts.values()}
    got, crossed = deliver(cloud, source, frames)
    assert (got, crossed) == ({}, set())
    # It did not even come as far as the filter: no host's own stack heard of it.
    assert {h.name: refused_vxlan(h) for h in cloud.lab.hosts.values()} == refused
    source.ip([f"route add {h1.vtep}/32 dev eth0"])
    try:
        assert source.ping(h1.vtep, count=2, timeout_s=0.3).received == 0
    finally:
        source.ip([f"route del {h1.vtep}/32 dev eth0"])


def _mac(cloud: Site, interface: str) -> str:
    text = cloud.host("h1").node.run(["cat", f"/sys/class/net/{interface}/address"], check=True).stdout
    return str(text.strip())


# --- T1: from the underlay to the guests ------------------------------------------------------------------


def injected(vnis: dict[str, int]) -> Named:
    """VXLAN payloads to the p1 of a tenant on h1 (all have one MAC), as one who knows VNIs sends them."""
    out: Named = {}
    for name, vni in vnis.items():
        for to in (ME, "0a:f0:0a:00:00:0b", "0a:f6:00:00:00:11", "ff:ff:ff:ff:ff:ff"):
            for kind, packet in {
                "4": IP(src=YOU4, dst=ME4) / data(),
                "6": IPv6(src=YOU6, dst=ME6) / data(),
                "arp": ARP(hwsrc=YOU, psrc=YOU4, pdst=ME4),
            }.items():
                out[f"{name} {to} {kind}"] = vxlan(vni) / Ether(src=YOU, dst=to) / packet
    return out


def inject(cloud: Site, node: str, source: str, payloads: Named) -> dict[str, set[str]]:
    """Send VXLAN from a node of the underlay, under a source address, to h1; who received what."""
    sent = marked(payloads)
    vtep = cloud.host("h1").vtep

    def raw() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    with contextlib.ExitStack() as stack:
        captures = {g.name: stack.enter_context(g.capture()) for g in cloud.lab.workloads.values()}
        sender = stack.enter_context(cloud.lab.nodes[node].within(raw))
        for _, payload in sent.values():
            packet = IP(src=source, dst=vtep) / UDP(sport=50000, dport=4789) / Raw(payload)
            sender.sendto(bytes(packet), (vtep, 0))
            time.sleep(SEND_INTERVAL_S)
        settle(list(captures.values()))
    got = {name: carried([f.data for f in c.frames], sent) for name, c in captures.items()}
    return {name: names for name, names in got.items() if names}


def test_vxlan_from_a_stranger_on_the_underlay_is_not_delivered(cloud: Site) -> None:
    h1, before = cloud.host("h1"), entries(cloud.host("h1"))
    payloads = injected({"red": cloud.vni("red"), "blue": cloud.vni("blue"), "no VNI of ours": 4242})
    for node in ("ctl", "leaf2", "spine1"):
        refused = refused_vxlan(h1)
        assert inject(cloud, node, str(cloud.lab.underlay.loopback(node)), payloads) == {}
        assert refused_vxlan(h1) == refused + len(payloads)
    # Nobody has learned anything either.
    assert entries(h1) == before


def test_the_same_under_a_peers_address_would_be_delivered(cloud: Site) -> None:
    """The counter-proof: what was refused above was well-formed. And the assumption about the underlay."""
    payloads = injected({"red": cloud.vni("red")})
    got = inject(cloud, "ctl", cloud.host("h2").vtep, payloads)
    # (And what is answered quotes it, to the one it seemed to come from.)
    assert set(got) <= {"red-p1", "red-p2"}
    # Whoever can forge a peer's address can still not spread a frame.
    assert got["red-p1"]
    assert not [name for name in got["red-p1"] if "ff:ff:ff" in name]


def test_a_host_without_the_network_cannot_inject_into_it(cloud: Site) -> None:
    """h3 is h1's peer in red and blue, but not in this network: a stolen h3 must not reach it (T16)."""
    network = cloud.create_network("green", "lonely", "10.0.0.0/24")
    first = cloud.create_port(network, "p1", "h1", mac=ME, addresses=[ME4])
    second = cloud.create_port(network, "p2", "h2", mac=YOU, addresses=[YOU4])
    guests = [cloud.plug_as(first, "h1", "green-p1"), cloud.plug_as(second, "h2", "green-p2")]
    try:
        cloud.wait_active([first.name, second.name])
        payloads = injected({"green": cloud.vni("green", "lonely")})
        # The one who has it may, so the frames are right.
        assert "green-p1" in inject(cloud, "h2", cloud.host("h2").vtep, payloads)
        assert inject(cloud, "h3", cloud.host("h3").vtep, payloads) == {}
    finally:
        for guest, port in zip(guests, (first, second), strict=True):
            cloud.lab.unplug(guest)
            cloud.delete_port(port.name)
        cloud.delete_network(network)
