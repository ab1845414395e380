"""Security groups and address groups: what is stored, who is in them, and what comes and goes with them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from cloison.model import PROFILE_NONE, PROFILE_OPEN, EtherType, Port, SecurityGroup
from cloison.names import HostName, PortName, SecurityGroupName, TenantName
from cloison.v1 import (
    address_group_pb2,
    network_pb2,
    port_pb2,
    security_group_pb2,
    subnet_pb2,
    tenant_pb2,
)
from controller.store import ids, profiles
from tests.support.api import AS, Api, refusal_of
from tests.support.groups import (
    ADDRESSES,
    DEFAULT,
    EGRESS,
    GROUPS,
    INGRESS,
    Rule,
    add,
    addresses,
    check_groups,
    delete_addresses,
    delete_group,
    egress,
    group,
    ingress,
    make_groups,
    remove,
    update_group,
)
from tests.support.plans import references
from tests.support.requests import NET, make_world, port, update_port

ACME = TenantName("acme")
ADMIN, VIEWER, OTHER = (((AS, f"tenant/{who}"),) for who in ("acme/admin", "acme/viewer", "beta/admin"))


@pytest.fixture
async def world(api: Api) -> AsyncIterator[Api]:
    await make_groups(api)
    yield api
    check_groups(api.store.state, references(api.store.etcd))


def state_group(api: Api, group_id: str, tenant: str = "acme") -> SecurityGroup:
    return api.store.state.security_groups[SecurityGroupName(tenant, group_id)]


def state_port(api: Api, port_id: str) -> Port:
    return api.store.state.ports[PortName("acme", "web", port_id)]


async def code_of(call: object) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


# -- groups ----------------------------------------------------------------------------------------


async def test_a_tenant_has_a_default_group_and_takes_it_along(api: Api) -> None:
    made = await api.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="acme"))
    found = await api.groups.GetSecurityGroup(security_group_pb2.GetSecurityGroupRequest(name=DEFAULT))
    assert found.revision == made.revision
    assert [(r.direction, r.remote_group, r.ether_type) for r in found.rules] == [
        (EGRESS, "", 0),
        (INGRESS, DEFAULT, 0),
    ]
    await api.groups.AddSecurityGroupRules(add("default", ingress("tcp", 22)))
    await api.tenants.DeleteTenant(tenant_pb2.DeleteTenantRequest(name="tenants/acme"))
    assert not api.store.state.security_groups
    assert not api.store.state.reservations
    assert not references(api.store.etcd)


async def test_a_tenant_with_groups_is_not_deleted(world: Api) -> None:
    await world.ports.DeletePort(port_pb2.DeletePortRequest(name=f"{NET}/ports/p1"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.tenants.DeleteTenant(tenant_pb2.DeleteTenantRequest(name="tenants/acme"))
    assert {f"{GROUPS}/web", f"{ADDRESSES}/office", NET} <= set(refusal_of(caught.value).subjects)
    assert DEFAULT not in refusal_of(caught.value).subjects


async def test_a_tenant_goes_though_an_idle_profile_was_left(api: Api) -> None:
    await make_world(api)
    await api.ports.DeletePort(port_pb2.DeletePortRequest(name=f"{NET}/ports/p1"))
    for subnet_id in ("s4", "s6", "s7"):
        await api.subnets.DeleteSubnet(subnet_pb2.DeleteSubnetRequest(name=f"{NET}/subnets/{subnet_id}"))
    await api.networks.DeleteNetwork(network_pb2.DeleteNetworkRequest(name=NET))
    assert api.store.state.profiles
    await api.tenants.DeleteTenant(tenant_pb2.DeleteTenantRequest(name="tenants/acme"))
    assert not api.store.state.profiles
    assert not references(api.store.etcd)


async def test_a_rule_is_made_definite(world: Api) -> None:
    made = await world.groups.CreateSecurityGroup(
        group(
            "g",
            ingress("ICMP", icmp_type=8, icmp_code=0),
            ingress("ipv6-icmp"),
            ingress(remote_prefix="2001:db8::7"),
            egress("132", description="phones", id="sip"),
        )
    )
    assert [(r.id, r.number) for r in made.rules] == [("rule-1", 1), ("rule-2", 2), ("rule-3", 3), ("sip", 4)]
    assert [r.protocol for r in made.rules] == ["icmp", "icmpv6", "", "sctp"]
    assert made.rules[2].remote_prefix == "2001:db8::7/128"
    families = [rule.ether_type for rule in state_group(world, "g").rules]
    assert families == [EtherType.IPV4, EtherType.IPV6, EtherType.IPV6, EtherType.ANY]


async def test_rules_keep_their_numbers(world: Api) -> None:
    """A number is what a rule's flows carry: who stays keeps it, and a new rule does not take an old one."""
    await world.groups.CreateSecurityGroup(
        group("g", ingress("tcp", 1), ingress("tcp", 2, id="two"), ingress("tcp", 3))
    )
    await world.groups.RemoveSecurityGroupRules(remove("g", "rule-1"))
    made = await world.groups.AddSecurityGroupRules(add("g", ingress("tcp", 4)))
    assert [(r.id, r.number, r.port_min) for r in made.rules] == [
        ("two", 2, 2),
        ("rule-3", 3, 3),
        ("rule-4", 4, 4),
    ]
    # Replaced as a whole, in another order, one said anew and one otherwise.
    made = await world.groups.UpdateSecurityGroup(
        update_group("g", ingress("tcp", 9), ingress("tcp", 3), ingress("tcp", (2, 5), id="two"))
    )
    assert [(r.id, r.number, r.port_max) for r in made.rules] == [
        ("two", 2, 5),
        ("rule-3", 3, 3),
        ("rule-5", 5, 9),
    ]
    before = world.store.state.revision
    same = await world.groups.UpdateSecurityGroup(update_group("g", *reversed(made.rules)))
    assert (same.revision, world.store.state.revision) == (made.revision, before)


async def test_rules_may_name_their_own_group_and_each_other(world: Api) -> None:
    await world.groups.CreateSecurityGroup(group("a", ingress(remote_group=f"{GROUPS}/a")))
    await world.groups.CreateSecurityGroup(group("b", ingress(remote_group=f"{GROUPS}/a")))
    await world.groups.AddSecurityGroupRules(add("a", ingress("tcp", 5, remote_group=f"{GROUPS}/b")))
    check_groups(world.store.state, references(world.store.etcd))
    assert (
        await code_of(world.groups.DeleteSecurityGroup(delete_group("b")))
        is grpc.StatusCode.FAILED_PRECONDITION
    )
    await world.groups.RemoveSecurityGroupRules(remove("a", "rule-2"))
    await world.groups.DeleteSecurityGroup(delete_group("b"))
    await world.groups.DeleteSecurityGroup(delete_group("a"))


async def test_address_groups(world: Api) -> None:
    made = await world.addresses.CreateAddressGroup(addresses("x", "2001:db8::/32", "10.0.0.9", "0.0.0.0/0"))
    assert list(made.prefixes) == ["0.0.0.0/0", "10.0.0.9/32", "2001:db8::/32"]
    request = address_group_pb2.UpdateAddressGroupRequest(
        address_group=address_group_pb2.AddressGroup(name=made.name, display_name="x")
    )
    changed = await world.addresses.UpdateAddressGroup(request)
    assert (changed.display_name, changed.prefixes) == ("x", made.prefixes)
    listed = await world.addresses.ListAddressGroups(
        address_group_pb2.ListAddressGroupsRequest(parent="tenants/-"), metadata=VIEWER
    )
    assert [g.name for g in listed.address_groups] == [f"{ADDRESSES}/office", f"{ADDRESSES}/x"]
    await world.addresses.DeleteAddressGroup(delete_addresses("x"))
    # The rules that name the other one are in the way of its end, until they are gone.
    await world.groups.RemoveSecurityGroupRules(remove("web", "rule-2"))
    await world.addresses.DeleteAddressGroup(delete_addresses("office"))


async def test_who_may(world: Api) -> None:
    request = group("theirs", ingress("tcp", 22))
    await world.groups.CreateSecurityGroup(request, metadata=ADMIN)
    await world.groups.AddSecurityGroupRules(add("theirs", egress()), metadata=ADMIN)
    for who in (VIEWER, OTHER):
        for call in (
            world.groups.CreateSecurityGroup(group("more"), metadata=who),
            world.groups.AddSecurityGroupRules(add("theirs", egress("udp")), metadata=who),
            world.groups.RemoveSecurityGroupRules(remove("theirs", "rule-1"), metadata=who),
            world.addresses.DeleteAddressGroup(delete_addresses("office"), metadata=who),
        ):
            assert await code_of(call) is grpc.StatusCode.PERMISSION_DENIED
    listed = await world.groups.ListSecurityGroups(
        security_group_pb2.ListSecurityGroupsRequest(parent="tenants/-"), metadata=OTHER
    )
    assert not listed.security_groups


# -- ports in them ---------------------------------------------------------------------------------


async def test_a_port_is_in_the_default_group_unless_it_says_otherwise(world: Api) -> None:
    default = await world.ports.CreatePort(port("a"))
    assert list(default.security_groups) == [DEFAULT]
    named = await world.ports.CreatePort(port("b", security_groups=[f"{GROUPS}/web", DEFAULT]))
    assert list(named.security_groups) == [DEFAULT, f"{GROUPS}/web"]
    nowhere = await world.ports.CreatePort(port("c", no_security_groups=True))
    assert (list(nowhere.security_groups), nowhere.profile) == ([], PROFILE_NONE)
    unchecked = await world.ports.CreatePort(port("d", no_port_security=True))
    assert (unchecked.no_port_security, unchecked.profile) == (True, PROFILE_OPEN)
    assert state_port(world, "a").profile == state_port(world, "p1").profile
    assert state_port(world, "a").profile not in (state_port(world, "b").profile, PROFILE_NONE, PROFILE_OPEN)


async def test_equal_sets_are_one_profile_in_any_order(world: Api) -> None:
    for name, order in (("a", 1), ("b", -1)):
        groups = [DEFAULT, f"{GROUPS}/web"][::order]
        await world.ports.CreatePort(port(name, security_groups=groups))
    found = state_port(world, "a").profile
    assert found == state_port(world, "b").profile
    assert {p.name.port for p in world.store.state.ports_with_profile(found)} == {"a", "b"}
    web = SecurityGroupName("acme", "web")
    assert world.store.state.profile_for(ACME, [web, SecurityGroupName("acme", "default")]).number == found
    assert {p.name.port for p in world.store.state.ports_in(web)} == {"a", "b"}


TWO = ["default", "web"]
WEB, NOBODY, OPEN = (
    {"security_groups": [f"{GROUPS}/web"]},
    {"no_security_groups": True},
    {"no_port_security": True},
)
BEFORE = {"in two": ({"security_groups": [DEFAULT, f"{GROUPS}/web"]}), "in none": NOBODY, "open": OPEN}
IN_TWO, IN_NONE, IS_OPEN = (TWO, False, False), ([], True, False), ([], False, True)
IN_WEB, IN_DEFAULT = (["web"], False, False), (["default"], False, False)
# From where, the mask, what is sent, what comes of it (None: refused).
CHANGES = [
    ("in two", ["security_groups"], WEB, IN_WEB),
    ("in none", ["security_groups"], WEB, IN_WEB),
    ("open", ["security_groups"], WEB, None),
    ("open", ["security_groups", "no_port_security"], WEB, IN_WEB),
    ("in two", ["security_groups"], {}, IN_DEFAULT),
    ("in none", ["security_groups"], {}, IN_DEFAULT),
    ("open", ["security_groups"], {}, IS_OPEN),
    ("in two", ["no_security_groups"], NOBODY, IN_NONE),
    ("open", ["no_security_groups"], NOBODY, IS_OPEN),
    ("open", ["no_security_groups", "no_port_security"], NOBODY, IN_NONE),
    ("in none", ["no_security_groups"], {}, IN_DEFAULT),
    ("in two", ["no_port_security"], OPEN, IS_OPEN),
    ("in none", ["no_port_security"], OPEN, IS_OPEN),
    ("in none", ["no_port_security"], {}, IN_NONE),
    ("open", ["no_port_security"], {}, IN_DEFAULT),
    *((before, ["display_name"], {"display_name": "x"}, after)
      for before, after in (("in two", IN_TWO), ("in none", IN_NONE), ("open", IS_OPEN))),
    *((before, ["*"], {"mac_address": "52:54:00:00:00:01"}, IN_DEFAULT) for before in BEFORE),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "paths", "fields", "after"),
    CHANGES,
    ids=[f"{c[0]}, {'+'.join(c[1])} {bool(c[2])}" for c in CHANGES],
)
async def test_changes_of_groups(
    world: Api, before: str, paths: list, fields: dict, after: tuple | None
) -> None:
    every = ("security_groups", "no_security_groups", "no_port_security")
    await world.ports.UpdatePort(update_port(*every, **BEFORE[before]))
    call = world.ports.UpdatePort(update_port(*paths, **fields))
    if after is None:
        assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT
    else:
        assert told(await call) == after


def told(found: port_pb2.Port) -> tuple[list[str], bool, bool]:
    groups = [name.rpartition("/")[2] for name in found.security_groups]
    return groups, found.no_security_groups, found.no_port_security


async def test_only_operators_open_a_port(world: Api) -> None:
    denied = grpc.StatusCode.PERMISSION_DENIED
    request = port("x", no_port_security=True)
    assert await code_of(world.ports.CreatePort(request, metadata=ADMIN)) is denied
    opening = update_port("no_port_security", no_port_security=True)
    assert await code_of(world.ports.UpdatePort(opening, metadata=ADMIN)) is denied
    await world.ports.UpdatePort(opening)
    closing = update_port("no_port_security")
    assert await code_of(world.ports.UpdatePort(closing, metadata=ADMIN)) is denied
    # Everything that is theirs: what is the operators' stays.
    request = update_port("*", mac_address="52:54:00:00:00:01", display_name="x")
    changed = await world.ports.UpdatePort(request, metadata=ADMIN)
    assert (changed.no_port_security, changed.display_name) == (True, "x")


# -- profiles come and go --------------------------------------------------------------------------


async def collect(api: Api, number: int) -> None:
    await api.store.transact(lambda state: (profiles.collect(state, number), None))


async def test_an_idle_profile_is_collected_and_one_in_use_is_not(world: Api) -> None:
    await world.ports.CreatePort(port("a", security_groups=[f"{GROUPS}/web"]))
    number = state_port(world, "a").profile
    await collect(world, number)
    assert number in world.store.state.profiles
    await world.ports.DeletePort(port_pb2.DeletePortRequest(name=f"{NET}/ports/a"))
    assert [p.number for p in profiles.idle(world.store.state)] == [number]
    await collect(world, number)
    assert number not in world.store.state.profiles
    await collect(world, number)
    # The set may come back; it gets a number that no host can know.
    await world.ports.CreatePort(port("b", security_groups=[f"{GROUPS}/web"]))
    assert state_port(world, "b").security_groups == (SecurityGroupName("acme", "web"),)


async def test_a_number_waits_for_the_hosts_that_may_know_it(world: Api) -> None:
    await world.ports.CreatePort(port("a", security_groups=[f"{GROUPS}/web"], requested_hosts=["hosts/h1"]))
    await world.bind(f"{NET}/ports/a", "hosts/h1")
    assert world.store.state.tenant_hosts(ACME) == {HostName("h1")}
    number = state_port(world, "a").profile
    await world.ports.UpdatePort(
        port_pb2.UpdatePortRequest(port=port_pb2.Port(name=f"{NET}/ports/a", security_groups=[DEFAULT]))
    )
    await collect(world, number)
    waiting = world.store.state.reservations[ids.profile_number(number)]
    assert (waiting.released, waiting.hosts) == (True, (HostName("h1"),))
    # So does that of a group; and what a host was told of a port that has just left is not forgotten.
    deleted = state_group(world, "web").number
    await world.ports.DeletePort(port_pb2.DeletePortRequest(name=f"{NET}/ports/a"))
    assert not world.store.state.tenant_hosts(ACME)
    await world.groups.DeleteSecurityGroup(delete_group("web"))
    assert world.store.state.reservations[ids.group_number(deleted)].hosts == (HostName("h1"),)


async def test_a_group_takes_its_idle_profiles_along(world: Api) -> None:
    for name, groups in (("a", ["web"]), ("b", ["web", "default"])):
        await world.ports.CreatePort(port(name, security_groups=[f"{GROUPS}/{g}" for g in groups]))
    numbers = {state_port(world, name).profile for name in "ab"}
    for name in "ab":
        await world.ports.DeletePort(port_pb2.DeletePortRequest(name=f"{NET}/ports/{name}"))
    assert numbers <= world.store.state.profiles.keys()
    await world.groups.DeleteSecurityGroup(delete_group("web"))
    assert not numbers & world.store.state.profiles.keys()


async def test_ports_that_leave_are_noticed(world: Api) -> None:
    await world.ports.CreatePort(port("a", security_groups=[f"{GROUPS}/web"]))
    number = state_port(world, "a").profile
    before = world.store.state.revision
    await world.ports.UpdatePort(update_port("display_name", display_name="x"))
    await world.ports.DeletePort(port_pb2.DeletePortRequest(name=f"{NET}/ports/a"))
    stayed, went = world.store.changes_since(before)
    assert list(profiles.left(stayed.changes)) == []
    assert list(profiles.left(went.changes)) == [number]


async def test_a_rule_reads_back_as_it_was_sent(world: Api) -> None:
    sent = Rule(
        id="all",
        direction=INGRESS,
        ether_type=1,
        protocol="icmp",
        icmp_type=0,
        icmp_code=0,
        remote_prefix="192.0.2.0/24",
        description="answers, though nobody asked",
    )
    made = await world.groups.CreateSecurityGroup(group("g", sent))
    sent.number = 1
    assert list(made.rules) == [sent]
