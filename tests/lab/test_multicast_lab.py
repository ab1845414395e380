"""What is for a group, or for all: to every port of a network with multicast, and nowhere in any other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from cloison.v1 import network_pb2
from tests.lab.observe import entries
from tests.lab.policies import Policies, rule
from tests.lab.spine import Site, site
from tests.lab.traffic import uplinks
from topologies import frames
from topologies.capture import settle
from topologies.client import CALL_S
from topologies.wait import wait_until
from topologies.workload import Workload

SETTLE_S = 20.0
MDNS_PORT = 5353
ALL = "ff:ff:ff:ff:ff:ff"
IGMP = 2
MLD_REPORT = 143
# By name: the address that is sent to, and the MAC under which guests see it.
TARGETS = {
    "mDNS of IPv4": ("224.0.0.251", "01:00:5e:00:00:fb"),
    "mDNS of IPv6": ("ff02::fb", "33:33:00:00:00:fb"),
    "another group": ("239.193.7.9", "01:00:5e:41:07:09"),
    "broadcast in the subnet": ("10.0.0.255", ALL),
    "broadcast to all": ("255.255.255.255", ALL),
}


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir) as cloud:
        port = cloud.create_port(
            "tenants/red/networks/web", "p4", "h1", addresses=["10.0.0.14", "fd00:10::14"]
        )
        cloud.adopt(port, cloud.lab.plug_port(port))
        cloud.wait_active()
        switch_multicast(cloud, "red", on=True)
        yield cloud


def switch_multicast(cloud: Site, tenant: str, *, on: bool) -> None:
    body = network_pb2.Network(name=f"tenants/{tenant}/networks/web", multicast=on)
    request = network_pb2.UpdateNetworkRequest(network=body, update_mask=FieldMask(paths=["multicast"]))
    cloud.client.networks.UpdateNetwork(request, timeout=CALL_S)
    Policies(cloud, tenant).enforced()


def call(guest: Workload, target: str, mark: bytes, to: str = "") -> bytes:
    """A datagram as the guest's kernel sends it to a group or to all."""
    version = 6 if ":" in target else 4
    mac = to or (ALL if target.endswith("255") else frames.multicast_mac(target))
    return frames.udp(guest.plug.mac, mac, guest.address(version), target, mark, MDNS_PORT)


def hearers(cloud: Site, source: Workload, sent: bytes, mark: bytes) -> dict[str, list[bytes]]:
    """Who receives a frame with this mark, and each copy as it was received."""
    captures = {short: guest.capture() for short, guest in cloud.guests.items()}
    try:
        source.send([sent])
        settle(list(captures.values()))
    finally:
        stopped = {short: capture.stop() for short, capture in captures.items()}
    heard = {short: [f.data for f in seen if mark in f.data] for short, seen in stopped.items()}
    return {short: copies for short, copies in heard.items() if copies}


def others(cloud: Site, short: str) -> set[str]:
    tenant = short.partition("/")[0]
    return {name for name in cloud.guests if name.startswith(f"{tenant}/") and name != short}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("short", ["red/p1", "red/p3"], ids=["two-on-its-host", "alone-on-its-host"])
def test_all_other_ports_of_the_network_get_it_once(cloud: Site, short: str, kind: str) -> None:
    source, (target, mac), mark = cloud.guests[short], TARGETS[kind], os.urandom(16)
    heard = hearers(cloud, source, call(source, target, mark), mark)
    assert heard.keys() == others(cloud, short)
    for copies in heard.values():
        assert len(copies) == 1
        assert copies[0][:6] == frames.mac_bytes(mac)
        version = 6 if ":" in target else 4
        assert copies[0][6:8] == bytes.fromhex("0af6" if version == 6 else "0af0"), "and from whose address"


@pytest.mark.parametrize("kind", TARGETS)
def test_it_dies_at_the_sender_where_there_is_no_multicast(cloud: Site, kind: str) -> None:
    source, mark = cloud.guests["blue/p1"], os.urandom(16)
    with uplinks(cloud.lab) as captures:
        assert hearers(cloud, source, call(source, TARGETS[kind][0], mark), mark) == {}
    assert not any(mark in f.data for capture in captures.values() for f in capture.frames)


def test_whom_the_address_means_is_not_for_the_mac_to_say(cloud: Site) -> None:
    source, peer, mark = cloud.guests["red/p1"], cloud.guests["red/p2"], os.urandom(16)
    sent = call(source, "224.0.0.251", mark, to=peer.plug.mac)
    assert hearers(cloud, source, sent, mark).keys() == others(cloud, "red/p1")
    for forged in ("0b:f0:00:00:00:01", "0a:f5:ac:10:00:01", "01:00:5e:00:00:fb", ALL):
        sent = frames.udp(source.plug.mac, forged, source.address(4), "192.0.2.7", mark)
        assert hearers(cloud, source, sent, mark) == {}, forged


def test_the_underlay_carries_one_copy_for_each_other_host(cloud: Site) -> None:
    source, mark = cloud.guests["red/p1"], os.urandom(16)
    with uplinks(cloud.lab) as captures:
        heard = hearers(cloud, source, call(source, "224.0.0.251", mark), mark)
    assert heard.keys() == others(cloud, "red/p1")
    carried = [f.data for capture in captures.values() for f in capture.frames if mark in f.data]
    # Outer destinations: who is meant by each copy. It is seen where it leaves and where it comes in.
    targets = sorted({copy[30:34] for copy in carried})
    assert len(targets) == 2
    inner = {frame[:6] for copy in carried if (found := frames.vxlan(copy)) for frame in (found[1],)}
    assert inner == {b"\x0a\xf5" + target for target in targets}


def test_security_groups_judge_each_receiver_by_itself(cloud: Site) -> None:
    red = Policies(cloud, "red")
    red.group("mdns", rule(version=4, protocol="udp", ports=(MDNS_PORT, MDNS_PORT)))
    red.group("nothing")
    source = cloud.guests["red/p1"]
    try:
        red.put(cloud.ports["red/p2"].name, ["mdns"])
        red.put(cloud.ports["red/p4"].name, ["nothing"])
        red.enforced()
        for target, wanted in (("224.0.0.251", {"red/p2", "red/p3"}), ("ff02::fb", {"red/p3"})):
            mark = os.urandom(16)
            assert hearers(cloud, source, call(source, target, mark), mark).keys() == wanted, target
        mark = os.urandom(16)
        # It may send nothing either.
        silent = cloud.guests["red/p4"]
        assert hearers(cloud, silent, call(silent, "224.0.0.251", mark), mark) == {}
    finally:
        for short in ("red/p2", "red/p4"):
            red.put(cloud.ports[short].name, ["default"])
        red.enforced()


def test_who_listens_is_told_to_all_of_the_network(cloud: Site) -> None:
    source = cloud.guests["red/p1"]
    for target, protocol, head in (
        ("224.0.0.22", IGMP, bytes.fromhex("2200000000000001")),
        ("ff02::16", frames.ICMP6_PROTOCOL, bytes([MLD_REPORT])),
    ):
        mark = os.urandom(16)
        heard = hearers(cloud, source, listening(source, target, protocol, head, mark), mark)
        assert heard.keys() == others(cloud, "red/p1"), target
    plain, mark = cloud.guests["blue/p1"], os.urandom(16)
    sent = listening(plain, "ff02::16", frames.ICMP6_PROTOCOL, bytes([MLD_REPORT]), mark)
    assert hearers(cloud, plain, sent, mark) == {}


def listening(guest: Workload, target: str, protocol: int, head: bytes, mark: bytes) -> bytes:
    """A report of a listener; the mark is where the group records would be."""
    to = frames.multicast_mac(target)
    if protocol == IGMP:
        return frames.ip(guest.plug.mac, to, guest.address(4), target, IGMP, head + mark, hops=1)
    source = guest.address(6)
    body = frames.icmp(head[0], source, target, bytes(4) + mark)
    return frames.ip(guest.plug.mac, to, source, target, protocol, body, hops=1)


def test_switched_off_nothing_is_left_of_it(cloud: Site) -> None:
    red, source = {"red/p2", "red/p3", "red/p4"}, cloud.guests["red/p1"]
    switch_multicast(cloud, "red", on=False)
    try:
        mark = os.urandom(16)
        assert hearers(cloud, source, call(source, "224.0.0.251", mark), mark) == {}
        for host in cloud.lab.hosts.values():
            assert not [entry for entry in entries(host) if entry[1].startswith("0a:f5:")]
    finally:
        switch_multicast(cloud, "red", on=True)
    mark = os.urandom(16)
    assert hearers(cloud, source, call(source, "224.0.0.251", mark), mark).keys() == red


def test_a_port_that_comes_and_goes_hears_it_while_it_is_there(cloud: Site) -> None:
    source = cloud.guests["red/p1"]
    cloud.drop("red/p3")
    Policies(cloud, "red").enforced()
    wait_until(
        lambda: not [e for e in entries(cloud.host("h1")) if e[1] == host_mac(cloud, "h3")], SETTLE_S, "no h3"
    )
    mark = os.urandom(16)
    heard = hearers(cloud, source, call(source, "224.0.0.251", mark), mark)
    assert heard.keys() == {"red/p2", "red/p4"}
    port = cloud.create_port("tenants/red/networks/web", "p3", "h3", mac="52:54:00:00:00:13",
                             addresses=["10.0.0.13", "fd00:10::13"])  # fmt: skip
    cloud.adopt(port, cloud.lab.plug_port(port))
    cloud.wait_active()
    mark = os.urandom(16)
    heard = hearers(cloud, source, call(source, "224.0.0.251", mark), mark)
    assert heard.keys() == {"red/p2", "red/p3", "red/p4"}


def host_mac(cloud: Site, host: str) -> str:
    packed = bytes(map(int, cloud.host_status(host).vtep_address.split(".")))
    return "0a:f5:" + ":".join(f"{byte:02x}" for byte in packed)
