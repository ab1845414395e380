"""Large packets between guests pass in fragments; neighbour discovery in fragments arrives nowhere.

What a receiver would make of it is not the question: not one frame may come to any guest or leave the host.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_RA,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    fragment6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from cloison.addresses import link_local, parse_mac
from tests.lab.spine import Site, site
from tests.lab.traffic import uplinks, wait_reaches
from topologies.capture import settle
from topologies.workload import Workload

MARK = b"FRG" + os.urandom(9)
LARGE_BYTES, FRAGMENT_BYTES = 3000, 1400


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir) as cloud:
        for version in (4, 6):
            wait_reaches(cloud.guests["red/p1"], cloud.guests["red/p2"], version)
        yield cloud


def test_every_bridge_shows_first_fragments(cloud: Site) -> None:
    for host in cloud.lab.hosts.values():
        assert "nx-match" in host.switch.ofctl("get-frags").stdout


@pytest.mark.parametrize("version", [4, 6])
def test_large_pings_pass_between_hosts(cloud: Site, version: int) -> None:
    source, target = cloud.guests["red/p1"], cloud.guests["red/p2"]
    assert cloud.ports["red/p1"].requested_hosts != cloud.ports["red/p2"].requested_hosts
    done = source.ping(target.address(version), count=5, size_bytes=LARGE_BYTES)
    assert (done.sent, done.received) == (5, 5)


def test_router_advertisements_in_fragments_arrive_nowhere(cloud: Site) -> None:
    source = cloud.guests["red/p1"]
    frames = advertisements(head(cloud, "red/p1", "red/p2"))
    heard = sent_and_heard(cloud, source, frames)
    assert heard == {name: set() for name in heard}


def test_the_same_way_carries_a_fragmented_echo(cloud: Site) -> None:
    """The counterpart: what is watched does hear fragments that may pass."""
    parts = in_fragments(head(cloud, "red/p1", "red/p2"), ICMPv6EchoRequest(id=9, data=MARK * 300))
    frames = {f"part {n}": part for n, part in enumerate(parts)}
    assert len(frames) > 2
    heard = sent_and_heard(cloud, cloud.guests["red/p1"], frames)
    assert heard.pop("red/p2") == heard.pop("underlay") == set(frames)
    assert not any(heard.values())


def head(cloud: Site, source: str, target: str) -> Packet:
    macs = [parse_mac(cloud.ports[name].mac_address) for name in (source, target)]
    own, to = (str(link_local(mac)) for mac in macs)
    ether = Ether(src=cloud.ports[source].mac_address, dst=cloud.ports[target].mac_address)
    return ether / IPv6(src=own, dst=to, hlim=255)


def in_fragments(head: Packet, payload: Packet) -> list[Packet]:
    """A packet as scapy cuts it, each part under the Ethernet header."""
    ip = head[IPv6]
    whole = IPv6(src=ip.src, dst=ip.dst, hlim=ip.hlim) / IPv6ExtHdrFragment(id=77) / payload
    return [Ether(src=head.src, dst=head.dst) / part for part in fragment6(whole, FRAGMENT_BYTES)]


def advertisements(head: Packet) -> dict[str, Packet]:
    """A router advertisement, cut in the ways that would hide it: first fragments."""
    word = ICMPv6ND_RA() / ICMPv6NDOptSrcLLAddr(lladdr=head.src)
    word /= ICMPv6NDOptPrefixInfo(prefix="2001:db8:bad::", prefixlen=64)
    first = IPv6ExtHdrFragment(m=1, id=7, nh=58)
    options = IPv6ExtHdrDestOpt(nh=58)
    cut = head.copy()
    cut.plen = 8
    cut_after_options = head.copy()
    cut_after_options.plen = 16
    parts = {
        "whole in the first fragment": head / first / word / Raw(MARK),
        "behind options": head / IPv6ExtHdrFragment(m=1, id=8, nh=60) / options / word / Raw(MARK),
        "nothing in the first fragment": cut / first / Raw(MARK),
        "only options in the first": cut_after_options
        / IPv6ExtHdrFragment(m=1, id=9, nh=60)
        / options
        / Raw(MARK),
        "options cut in the first": head
        / IPv6ExtHdrFragment(m=1, id=10, nh=60)
        / Raw(b"\x3a\x07" + bytes(6) + MARK),
    }
    return parts | {"first of a long one": in_fragments(head, word / Raw(MARK * 160))[0]}


def sent_and_heard(cloud: Site, source: Workload, frames: dict[str, Packet]) -> dict[str, set[str]]:
    """Send; by guest, and for the underlay, which of the frames were there."""
    raw = {name: bytes(packet) for name, packet in frames.items()}
    # Behind its MACs a frame arrives as it was sent.
    body = {name: data[12:] for name, data in raw.items()}
    guests = {name: guest for name, guest in cloud.guests.items() if guest is not source}
    with contextlib.ExitStack() as stack:
        captures = {name: stack.enter_context(guest.capture()) for name, guest in guests.items()}
        wire = stack.enter_context(uplinks(cloud.lab, ""))
        assert source.send(list(raw.values()), 0.002) == len(raw)
        settle(list(captures.values()))
    heard = {name: found(body, [f.data for f in c.frames]) for name, c in captures.items()}
    return heard | {"underlay": found(body, [f.data for c in wire.values() for f in c.frames])}


def found(bodies: dict[str, bytes], frames: list[bytes]) -> set[str]:
    return {name for name, body in bodies.items() if any(body in frame for frame in frames)}
