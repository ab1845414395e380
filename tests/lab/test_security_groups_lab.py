"""Security groups as a tenant uses them, with nc, ping and sockets between guests on one host and on two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.clients import echo_servers, open_ports, ping, tcp, udp
from tests.lab.policies import Policies, both, rule
from tests.lab.spine import Site, site
from topologies.wait import wait_until
from topologies.workload import Workload

CHANGE_S = 10.0
TCP_PORTS, UDP_PORTS = (22, 80, 81, 82, 5432), (4000, 9)
FAMILIES = (4, 6)


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir) as cloud:
        port = cloud.create_port("tenants/red/networks/web", "p4", "h1", mac="52:54:00:00:00:14",
                                 addresses=["10.0.0.14", "fd00:10::14"])  # fmt: skip
        cloud.adopt(port, cloud.lab.plug_port(port))
        cloud.wait_active()
        with (
            echo_servers(cloud.guests["red/p2"], TCP_PORTS, UDP_PORTS),
            echo_servers(cloud.guests["red/p4"], TCP_PORTS, UDP_PORTS),
            echo_servers(cloud.guests["red/p1"], (22,)),
        ):
            yield cloud


@pytest.fixture
def red(cloud: Site) -> Iterator[Policies]:
    """Red's groups; afterwards every port is in the group "default" again."""
    red = Policies(cloud, "red")
    yield red
    for short, port in cloud.ports.items():
        if short.startswith("red/"):
            red.put(port.name, ["default"])
    red.enforced()


@pytest.fixture(params=["p2", "p4"], ids=["on-two-hosts", "on-one-host"])
def server(request: pytest.FixtureRequest, cloud: Site) -> str:
    return f"red/{request.param}"


def soon(probe: Callable[[], bool], what: str) -> None:
    wait_until(probe, CHANGE_S, what)


def guests(cloud: Site, server: str) -> tuple[Workload, Workload]:
    return cloud.guests["red/p1"], cloud.guests[server]


def test_members_of_the_default_group_reach_each_other(cloud: Site, server: str) -> None:
    me, you = guests(cloud, server)
    for version in FAMILIES:
        assert ping(me, you, version)
        assert tcp(me, you, 22, version)
        assert udp(me, you, 9, version)


def test_admitted_passes_and_nothing_else(cloud: Site, red: Policies, server: str) -> None:
    me, you = guests(cloud, server)
    group = f"admits-{server[-2:]}"
    red.group(
        group,
        rule(protocol="tcp", ports=(80, 81)),
        rule(protocol="udp", ports=(4000, 4000)),
        rule(version=4, protocol="icmp", icmp=(8, 0)),
        rule(version=6, protocol="icmpv6", icmp=(128, 0)),
    )
    red.put(cloud.ports[server].name, [group])
    red.enforced()
    for version in FAMILIES:
        assert open_ports(me, you, TCP_PORTS, version) == {80, 81}
        assert {port for port in UDP_PORTS if udp(me, you, port, version)} == {4000}
        assert ping(me, you, version)
        # The group has no egress rule, and answers are all that may leave.
        assert not tcp(you, me, 22, version)
        assert not ping(you, me, version)


def test_a_rule_of_one_family_says_nothing_of_the_other(cloud: Site, red: Policies, server: str) -> None:
    me, you = guests(cloud, server)
    group = f"family-{server[-2:]}"
    red.group(
        group,
        rule(version=4, protocol="tcp", ports=(80, 80)),
        rule(version=6, protocol="tcp", ports=(81, 81)),
    )
    red.put(cloud.ports[server].name, [group])
    red.enforced()
    assert open_ports(me, you, TCP_PORTS, 4) == {80}
    assert open_ports(me, you, TCP_PORTS, 6) == {81}


def test_a_prefix_admits_those_in_it(cloud: Site, red: Policies, server: str) -> None:
    you, other = cloud.guests[server], cloud.guests["red/p3"]
    group = f"prefix-{server[-2:]}"
    red.group(
        group,
        rule(protocol="tcp", ports=(22, 22), prefix="10.0.0.12/31"),
        rule(protocol="tcp", ports=(22, 22), prefix="fd00:10::12/127"),
    )
    red.put(cloud.ports[server].name, [group])
    red.enforced()
    for version in FAMILIES:
        assert tcp(other, you, 22, version)
        assert not tcp(cloud.guests["red/p1"], you, 22, version)


def test_the_sender_needs_egress(cloud: Site, red: Policies, server: str) -> None:
    me, you = guests(cloud, server)
    group = f"egress-{server[-2:]}"
    red.group(group, *both("egress", protocol="tcp", ports=(80, 80)))
    red.put(cloud.ports["red/p1"].name, ["default", group])
    red.enforced()
    # "default" lets everything out: groups only add.
    assert tcp(me, you, 22)
    red.put(cloud.ports["red/p1"].name, [group])
    red.group(f"open-{server[-2:]}", rule())
    red.put(cloud.ports[server].name, [f"open-{server[-2:]}"])
    red.enforced()
    for version in FAMILIES:
        assert open_ports(me, you, TCP_PORTS, version) == {80}
        assert not udp(me, you, 9, version)


def test_membership_of_a_remote_group_counts_from_when_it_is_given_to_when_it_is_taken(
    cloud: Site, red: Policies, server: str
) -> None:
    me, you = guests(cloud, server)
    clients, servers = f"clients-{server[-2:]}", f"servers-{server[-2:]}"
    red.group(clients)
    red.group(servers, rule(protocol="tcp", ports=(5432, 5432), group=red.name(clients)))
    red.put(cloud.ports[server].name, [servers])
    red.enforced()
    name = cloud.ports["red/p1"].name
    for version in FAMILIES:
        assert not tcp(me, you, 5432, version)
    red.put(name, ["default", clients])
    for version in FAMILIES:
        soon(lambda version=version: tcp(me, you, 5432, version), "the new member gets in")
    assert not tcp(me, you, 22)
    red.put(name, ["default"])
    for version in FAMILIES:
        soon(lambda version=version: not tcp(me, you, 5432, version), "the former member stays out")


def test_an_address_group_counts_as_it_is_now(cloud: Site, red: Policies, server: str) -> None:
    me, you, other = *guests(cloud, server), cloud.guests["red/p3"]
    addresses, group = f"friends-{server[-2:]}", f"by-address-{server[-2:]}"
    red.addresses(addresses, "10.0.0.11/32", "fd00:10::11/128")
    red.group(group, rule(protocol="tcp", ports=(22, 22), addresses=red.addresses_name(addresses)))
    red.put(cloud.ports[server].name, [group])
    red.enforced()
    for version in FAMILIES:
        assert tcp(me, you, 22, version)
        assert not tcp(other, you, 22, version)
    red.change_addresses(addresses, "10.0.0.13/32", "fd00:10::13/128")
    for version in FAMILIES:
        soon(lambda version=version: tcp(other, you, 22, version), "the added one gets in")
        soon(lambda version=version: not tcp(me, you, 22, version), "the removed one stays out")


def test_a_port_without_groups_hears_and_says_nothing(cloud: Site, red: Policies, server: str) -> None:
    me, you = guests(cloud, server)
    name = cloud.ports[server].name
    cloud.update_port(name, security_groups=[], no_security_groups=True)
    red.enforced()
    try:
        for version in FAMILIES:
            assert not ping(me, you, version)
            assert not tcp(me, you, 22, version)
            assert not ping(you, me, version)
    finally:
        cloud.update_port(name, security_groups=[red.name("default")], no_security_groups=False)
        red.enforced()
    assert tcp(me, you, 22)


def test_a_tenants_groups_do_not_touch_the_other_tenant(cloud: Site, red: Policies) -> None:
    red.group("nothing-at-all")
    for short in ("red/p1", "red/p2", "red/p3"):
        red.put(cloud.ports[short].name, ["nothing-at-all"])
    red.enforced()
    assert not ping(cloud.guests["red/p1"], cloud.guests["red/p2"])
    assert ping(cloud.guests["blue/p1"], cloud.guests["blue/p2"])
