"""Guests go out and are reached: source translation, floating IPs, hops and errors, and who stays apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from cloison.addresses import IpAddress
from tests.lab.clients import running
from tests.lab.spine import Site, site
from tests.lab.ways_out import (
    INSIDE,
    add_external,
    add_floating,
    add_router,
    change_gateway,
    drop_floating,
    enforced,
    fetched_bytes,
    gateway_host,
    let_in,
    move_floating,
    out,
    router,
    until,
)
from topologies.nodes import LabNode
from topologies.outside import DEFAULT
from topologies.wait import wait_until

TENANTS, FAMILIES = ("red", "blue"), (4, 6)


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir, outside=DEFAULT) as cloud:
        add_external(cloud, "h1", "h2")
        for tenant in TENANTS:
            let_in(cloud, tenant)
            add_router(cloud, tenant)
        for tenant in TENANTS:
            until(lambda t=tenant: bool(gateway_host(cloud, t)), f"the way out of {tenant}")
        enforced(cloud)
        yield cloud


def reached(outside: LabNode, address: str) -> bool:
    """Whether what is outside gets an answer."""
    return outside.run(["ping", "-n", "-c", "1", "-W", "1", address]).returncode == 0


def seen_from(cloud: Site, guest: str, version: int, port: int = 7000) -> IpAddress:
    """The source address under which what is outside sees a guest's TCP connection."""
    outside, far = cloud.lab.outside.node, cloud.lab.outside.far(version)
    family = "TCP4" if version == 4 else "TCP6"
    bind = far if version == 4 else f"[{far}]"
    shown = ["socat", f"{family}-LISTEN:{port},bind={bind},reuseaddr,fork", "SYSTEM:echo $SOCAT_PEERADDR"]
    with running(outside, shown):
        ready = lambda: f":{port}" in outside.run(["ss", "-Hltn"]).stdout  # noqa: E731
        wait_until(ready, 20, "the server outside")
        done = cloud.guests[guest].run(["nc", "-n", "-w", "9", "-d", far, str(port)])
    return ip_address(done.stdout.strip().strip("[]"))


def test_guests_of_both_tenants_go_out_in_both_families(cloud: Site) -> None:
    for tenant in TENANTS:
        for number in (1, 2, 3):
            for version in FAMILIES:
                guest = cloud.guests[f"{tenant}/p{number}"]
                until(lambda g=guest, v=version: out(cloud, g, v), f"{guest.name} out by IPv{version}", 20)


def test_each_router_has_an_address_of_its_own_outside(cloud: Site) -> None:
    seen = {}
    for tenant in TENANTS:
        for version in FAMILIES:
            seen[tenant, version] = seen_from(cloud, f"{tenant}/p3", version)
        own = {ip_address(a) for a in router(cloud, tenant).gateway.ip_addresses}
        assert own == {seen[tenant, version] for version in FAMILIES}
    assert len(set(seen.values())) == 4


def test_nobody_outside_reaches_a_guest_without_a_floating_ip(cloud: Site) -> None:
    outside = cloud.lab.outside
    (own,) = (a for a in router(cloud, "red").gateway.ip_addresses if ":" not in a)
    outside.route(["10.0.0.0/24"], own)
    assert not reached(outside.node, "10.0.0.11")
    outside.node.ip(["route del 10.0.0.0/24"])


def test_each_hop_on_the_way_is_seen(cloud: Site) -> None:
    """The router, then its edge, then what is outside."""
    guest = cloud.guests["red/p3"]
    for version, inside in ((4, "100.127.0.2"), (6, "fd00:c101:50::2")):
        hops = [
            guest.run(["ping", "-n", "-c", "1", "-W", "9", "-t", str(ttl), cloud.lab.outside.far(version)])
            for ttl in (1, 2, 3)
        ]
        assert f"From {INSIDE[version]}" in hops[0].stdout, hops[0].stdout
        assert f"From {inside}" in hops[1].stdout, hops[1].stdout
        assert "1 received" in hops[2].stdout, hops[2].stdout


def test_a_hundred_megabytes_come_through(cloud: Site) -> None:
    for version in FAMILIES:
        got = fetched_bytes(cloud.guests["red/p3"], cloud.lab.outside.url(version))
        assert got == DEFAULT.blob_bytes, version


@pytest.mark.parametrize("distributed", [False, True])
def test_a_floating_ip_works_in_both_directions(cloud: Site, distributed: bool) -> None:
    outside = cloud.lab.outside
    made = [add_floating(cloud, "red/p3", version, distributed=distributed) for version in FAMILIES]
    try:
        for version, floating in zip(FAMILIES, made, strict=True):
            until(lambda f=floating: reached(outside.node, f.ip_address), f"{floating.ip_address}", 10)
            own = ip_address(floating.ip_address)
            until(lambda v=version, o=own: seen_from(cloud, "red/p3", v) == o, "its source", 10)
        with running(cloud.guests["red/p3"], ["iperf3", "-s", "-p", "5300"]):
            listening = lambda: ":5300" in cloud.guests["red/p3"].run(["ss", "-Hltn"]).stdout  # noqa: E731
            wait_until(listening, 20, "iperf3")
            for floating in made:
                argv = ["iperf3", "-J", "-c", floating.ip_address, "-p", "5300", "-n", "20M"]
                report = json.loads(outside.node.run(argv, timeout_s=60).stdout)
                assert "error" not in report, report["error"]
    finally:
        for floating in made:
            drop_floating(cloud, floating.name)
    for floating in made:
        until(lambda f=floating: not reached(outside.node, f.ip_address), "it is gone", 10)


def test_a_floating_ip_moves_and_its_traffic_with_it(cloud: Site) -> None:
    node = cloud.lab.outside.node
    floating = add_floating(cloud, "blue/p1")
    address = floating.ip_address
    until(lambda: reached(node, address), address, 10)

    def whose() -> set[str]:
        """The guests that hear a ping to the floating IP."""
        before = {n: _received(cloud, f"blue/p{n}") for n in (1, 3)}
        reached(node, address)
        return {f"p{n}" for n, count in before.items() if _received(cloud, f"blue/p{n}") > count}

    assert whose() == {"p1"}
    move_floating(cloud, floating.name, "blue/p3")
    until(lambda: whose() == {"p3"}, "p3 answers", 10)
    until(lambda: reached(node, address), address, 10)
    drop_floating(cloud, floating.name)


def _received(cloud: Site, guest: str) -> int:
    """How many echo requests a guest has been sent."""
    text = cloud.guests[guest].run(["cat", "/proc/net/snmp"]).stdout.splitlines()
    names, values = (line.split() for line in text if line.startswith("Icmp:"))
    return int(values[names.index("InEchos")])


@pytest.mark.parametrize("distributed", [False, True])
def test_two_floating_ips_reach_each_other_by_their_addresses_outside(cloud: Site, distributed: bool) -> None:
    """Of one tenant, and of two."""
    peers = ("red/p1", "red/p3", "blue/p1")
    made = {short: add_floating(cloud, short, distributed=distributed) for short in peers}
    try:
        for source in peers:
            for target, floating in made.items():
                if source != target:
                    guest = cloud.guests[source]
                    check = lambda g=guest, f=floating: g.ping(f.ip_address, timeout_s=1).ok  # noqa: E731
                    until(check, f"{source} to {target}", 10)
    finally:
        for floating in made.values():
            drop_floating(cloud, floating.name)


def test_tenants_do_not_meet_inside(cloud: Site) -> None:
    """With the same addresses and the same router layout: a guest reaches its own tenant's namesake only."""
    for version in FAMILIES:
        before = {t: _received(cloud, f"{t}/p1") for t in TENANTS} if version == 4 else {}
        assert cloud.guests["red/p3"].ping(cloud.guests["red/p1"].address(version), timeout_s=1).ok
        if version == 4:
            assert _received(cloud, "red/p1") > before["red"]
            assert _received(cloud, "blue/p1") == before["blue"]


def test_a_guest_learns_the_path_mtu(cloud: Site) -> None:
    """Behind the first router outside less fits: it says how much, and TCP goes on with that."""
    guest, node = cloud.guests["red/p3"], cloud.lab.outside.node
    node.ip(["link set lo mtu 1300"])
    try:
        for version in FAMILIES:
            far = cloud.lab.outside.far(version)
            fits = ["ping", "-n", "-c", "1", "-W", "9", "-M", "do", "-s", "1200", far]
            assert guest.run(fits).returncode == 0, version
    finally:
        node.ip(["link set lo mtu 65536"])


def test_with_distributed_translation_each_host_goes_out_under_an_address_of_its_own(cloud: Site) -> None:
    own = {ip_address(a) for a in router(cloud, "blue").gateway.ip_addresses}
    change_gateway(cloud, "blue", distributed_snat=True)
    try:
        for version in FAMILIES:
            until(lambda v=version: seen_from(cloud, "blue/p3", v) not in own, "an address of h3's", 10)
            until(lambda v=version: seen_from(cloud, "blue/p1", v) not in own, "an address of h1's", 10)
            assert seen_from(cloud, "blue/p1", version) != seen_from(cloud, "blue/p3", version)
    finally:
        change_gateway(cloud, "blue", distributed_snat=False)
    for version in FAMILIES:
        until(lambda v=version: seen_from(cloud, "blue/p3", v) in own, "the router's again", 10)


def test_a_floating_ip_of_the_gateway_hosts_works_with_distributed_translation(cloud: Site) -> None:
    """What its guest answers must leave by them, whatever else goes out by the guest's own host."""
    made = {short: add_floating(cloud, short) for short in ("blue/p1", "blue/p2", "blue/p3")}
    try:
        change_gateway(cloud, "blue", distributed_snat=True)
        for short, floating in made.items():
            node, address = cloud.lab.outside.node, floating.ip_address
            until(lambda n=node, a=address: reached(n, a), f"{short} from outside", 10)
            assert seen_from(cloud, short, 4) == ip_address(address)
    finally:
        change_gateway(cloud, "blue", distributed_snat=False)
        for floating in made.values():
            drop_floating(cloud, floating.name)
        enforced(cloud)


def test_the_proof_holds_and_nothing_was_refused(cloud: Site) -> None:
    assert not [line for line in cloud.log("", "controller").splitlines() if "GATE" in line]
