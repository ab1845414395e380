"""What a plan says of security groups: who can then open which connections, and what may not come between."""

from __future__ import annotations

from random import Random

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from cloison.errors import CloisonError
from cloison.names import HostName, NetworkName, PortName, TenantName
from cloison.v1 import host_pb2, network_pb2, plan_pb2, port_pb2, security_group_pb2, tenant_pb2
from controller.api.planning.draft import draft
from controller.api.planning.operations import Circumstances, carry_out, steps_of
from controller.store.hypothesis import Hypothesis
from controller.store.memory import MemoryStore
from controller.store.state import State
from controller.store.txn import Limits
from tests.support.api import AS, Api
from tests.support.effort import examples
from tests.support.group_operations import GroupOperations
from tests.support.groups import (
    DEFAULT,
    GROUPS,
    add,
    addresses,
    delete_group,
    egress,
    group,
    ingress,
    remove,
    update_group,
)
from tests.support.plans import SEED, alone, apply_request, both, of, refused, told
from tests.support.reach import assert_reach
from tests.support.requests import NET, ip, make_world, port, subnet, update_port

ADMIN = ((AS, "tenant/acme/admin"),)
MULTICAST = FieldMask(paths=["multicast"])
A, B = f"{NET}/ports/a", f"{NET}/ports/b"


@pytest.fixture
async def world(api: Api) -> Api:
    await make_world(api)
    for name, address in (("a", "10.0.0.11"), ("b", "10.0.0.12")):
        await api.ports.CreatePort(port(name, fixed_ips=[ip(address)], requested_hosts=["hosts/h1"]))
    return api


def passing(reaches: list[plan_pb2.Reach]) -> set[tuple[str, str, str]]:
    """From where to where, and what, by address; without what goes by MAC to routers."""
    return {
        (reach.source[-1], reach.target[-1], words.partition(", ")[2])
        for reach in reaches
        for words in reach.spaces
        if " -> " in words
    }


async def test_a_rule_that_comes_and_goes(world: Api) -> None:
    await world.groups.CreateSecurityGroup(group("web"))
    await world.ports.UpdatePort(moving("b", "web"))
    plan = await world.plans.Plan(of(add("web", ingress("tcp", (80, 81)))))
    assert passing(plan.becomes_reachable) == {("a", "b", "tcp ports 80-81")}
    assert not passing(plan.stops_being_reachable)
    assert {reach.condition for reach in plan.becomes_reachable} == {"once plugged"}
    await both(world, of(add("web", ingress("tcp", (80, 81)))))
    plan = await world.plans.Plan(
        of(update_group("web", ingress("tcp", (81, 82)), ingress("icmp", icmp_type=8)))
    )
    assert passing(plan.becomes_reachable) == {("a", "b", "tcp port 82"), ("a", "b", "icmp type 8")}
    assert passing(plan.stops_being_reachable) == {("a", "b", "tcp port 80")}
    plan = await world.plans.Plan(of(remove("web", "rule-1")))
    assert passing(plan.stops_being_reachable) == {("a", "b", "tcp ports 80-81")}
    [change] = plan.changes
    assert [(f.field, f.before) for f in change.fields] == [("rules", "rule-1: ingress tcp ports 80-81")]


def moving(name: str, *groups: str) -> port_pb2.UpdatePortRequest:
    message = port_pb2.Port(name=f"{NET}/ports/{name}", security_groups=[f"{GROUPS}/{g}" for g in groups])
    return port_pb2.UpdatePortRequest(port=message)


async def test_a_network_that_gets_multicast(world: Api) -> None:
    """Groups and broadcasts are heard by its ports, as far as their security groups admit them."""
    await world.groups.CreateSecurityGroup(group("mdns", ingress("udp", 5353)))
    await world.ports.UpdatePort(moving("b", "mdns"))
    message = network_pb2.Network(name=NET, multicast=True)
    switched = network_pb2.UpdateNetworkRequest(network=message, update_mask=MULTICAST)
    plan = await world.plans.Plan(of(switched))
    words = {(r.source[-1], r.target[-1], text) for r in plan.becomes_reachable for text in r.spaces}
    from_a = {text for source, target, text in words if (source, target) == ("a", "b")}
    assert from_a == {
        f"IPv4 10.0.0.11 -> {all_}, udp port 5353"
        for all_ in ("multicast groups", "10.0.0.255 (broadcast)", "255.255.255.255 (broadcast)")
    }
    assert not passing(plan.stops_being_reachable)
    await both(world, of(switched))
    switched.network.multicast = False
    plan = await world.plans.Plan(of(switched))
    assert {
        (r.source[-1], r.target[-1], text) for r in plan.stops_being_reachable for text in r.spaces
    } == words


async def test_a_plan_relies_on_whether_its_networks_have_multicast(world: Api) -> None:
    request = of(port("c", fixed_ips=[ip("10.0.0.13")], requested_hosts=["hosts/h1"]))
    plan = await world.plans.Plan(request)
    message = network_pb2.Network(name=NET, multicast=True)
    await world.networks.UpdateNetwork(
        network_pb2.UpdateNetworkRequest(network=message, update_mask=MULTICAST)
    )
    refusal = await refused(world.plans.Apply(apply_request(request, plan)))
    assert refusal.code is grpc.StatusCode.ABORTED


async def test_a_port_that_changes_groups(world: Api) -> None:
    """The default group lets its own ports in: who leaves it hears and reaches its members no more."""
    plan = await world.plans.Plan(of(group("shy"), moving("a", "shy")))
    every = "any protocol"
    assert passing(plan.stops_being_reachable) == {("a", "b", every), ("b", "a", every)}
    plan = await world.plans.Plan(of(group("loud", egress("udp", 53)), moving("a", "loud", "default")))
    assert not passing(plan.stops_being_reachable)
    request = of(moving("a"))
    request.operations[0].update_port.update_mask.paths.append("no_security_groups")
    request.operations[0].update_port.port.no_security_groups = True
    assert passing((await world.plans.Plan(request)).stops_being_reachable) == {
        ("a", "b", every),
        ("b", "a", every),
    }


async def test_a_port_without_port_security(world: Api) -> None:
    await world.ports.UpdatePort(update_port("requested_hosts", requested_hosts=["hosts/h1"]))
    opened = update_port("no_port_security", no_port_security=True)
    opened.port.name = A
    plan = await world.plans.Plan(of(opened))
    gained = {(r.source[-2:], r.target[-2:], words) for r in plan.becomes_reachable for words in r.spaces}
    # It may now pose as anybody; what it reaches still depends on the groups of those it sends to.
    assert ("p1", "/a", "IPv4 10.0.0.5 -> 10.0.0.11, any protocol") not in gained
    assert not any("any address -> 10.0.0.12" in words for _, _, words in gained)


async def test_an_address_group_that_grows(world: Api) -> None:
    office = "tenants/acme/addressGroups/office"
    await both(
        world,
        of(
            addresses("office"),
            group("web", ingress("tcp", 22, remote_address_group=office)),
            moving("b", "web"),
        ),
    )
    request = plan_pb2.PlanRequest()
    request.operations.add().update_address_group.address_group.name = office
    request.operations[0].update_address_group.address_group.prefixes.append("10.0.0.8/29")
    plan = await world.plans.Plan(request)
    assert passing(plan.becomes_reachable) == {("a", "b", "tcp port 22")}
    assert told(plan) == [("UPDATE", "office")]


async def test_what_came_between_is_noticed(world: Api) -> None:
    """A plan says who can reach whom: a group that changed meanwhile makes it another plan."""
    await world.groups.CreateSecurityGroup(group("web", ingress("tcp", 80)))
    request = of(moving("b", "web"))
    plan = await world.plans.Plan(request)
    await world.groups.AddSecurityGroupRules(add("web", ingress("tcp", 443)))
    refusal = await refused(world.plans.Apply(apply_request(request, plan)))
    assert refusal.reason == "PLAN_MOVED"
    assert f"{GROUPS}/web was changed" in refusal.message
    await both(world, request)


async def test_names_of_two_kinds_that_are_equal(api: Api) -> None:
    """A network `default` and the group `default`, a tenant and a host of one name, in one plan."""
    request = of(
        tenant_pb2.CreateTenantRequest(tenant_id="acme"),
        host_pb2.CreateHostRequest(host_id="acme"),
        network_pb2.CreateNetworkRequest(parent="tenants/acme", network_id="default"),
        addresses("default"),
    )
    plan = await api.plans.Plan(request)
    assert sorted(change.name for change in plan.changes) == [
        "hosts/acme",
        "tenants/acme",
        "tenants/acme/addressGroups/default",
        "tenants/acme/networks/default",
        "tenants/acme/securityGroups/default",
    ]
    assert len((await api.plans.Apply(apply_request(request, plan))).changes) == 5
    assert HostName("acme") in api.store.state.hosts
    assert NetworkName("acme", "default") in api.store.state.networks
    gone = of(network_pb2.DeleteNetworkRequest(name="tenants/acme/networks/default"))
    gone.operations.add().delete_address_group.name = "tenants/acme/addressGroups/default"
    gone.operations.add().delete_tenant.name = "tenants/acme"
    await both(api, gone)
    assert TenantName("acme") not in api.store.state.tenants
    assert not api.store.state.security_groups


async def test_two_ports_with_one_new_set_in_one_plan(world: Api) -> None:
    made = of(group("web"), *(port(f"n{i}", security_groups=[f"{GROUPS}/web"]) for i in range(3)))
    await both(world, made)
    ports = [world.store.state.ports[PortName("acme", "web", f"n{i}")] for i in range(3)]
    assert len({p.profile for p in ports}) == 1
    gone = of(*(port_pb2.DeletePortRequest(name=str(p.name)) for p in ports), delete_group("web"))
    await both(world, gone)
    assert ports[0].profile not in world.store.state.profiles


async def test_a_tenant_plans_its_own_groups(world: Api) -> None:
    assert (await world.plans.Plan(of(add("default", ingress("tcp", 22))), metadata=ADMIN)).changes
    for request in (
        of(group("x", parent="tenants/beta")),
        of(delete_group("default", tenant="beta")),
        of(security_group_pb2.RemoveSecurityGroupRulesRequest(name="tenants/beta/securityGroups/default")),
    ):
        refusal = await refused(world.plans.Plan(request, metadata=ADMIN))
        assert refusal.code is grpc.StatusCode.PERMISSION_DENIED


# -- a tenant as it should be -----------------------------------------------------------------------------


def desired(*, prune: bool = False, **parts: object) -> plan_pb2.PlanRequest:
    wanted = plan_pb2.DesiredTenant(tenant=tenant_pb2.Tenant(name="tenants/acme"), prune=prune, **parts)
    return plan_pb2.PlanRequest(desired=[wanted])


def wanted_group(name: str, *rules: security_group_pb2.SecurityGroupRule) -> security_group_pb2.SecurityGroup:
    return security_group_pb2.SecurityGroup(name=f"{GROUPS}/{name}", rules=rules)


async def test_groups_that_name_each_other_come_and_go(api: Api) -> None:
    circle = [
        wanted_group("one", ingress("tcp", 1, remote_group=f"{GROUPS}/two")),
        wanted_group("two", ingress("tcp", 2, remote_group=f"{GROUPS}/one"), egress()),
        wanted_group("default", ingress("udp", 53)),
    ]
    request = desired(
        security_groups=circle,
        networks=[network_pb2.Network(name=NET)],
        ports=[port_pb2.Port(name=f"{NET}/ports/p", security_groups=[f"{GROUPS}/two"])],
    )
    await both(api, request)
    assert not (await api.plans.Plan(request)).changes
    assert [len(g.rules) for g in sorted(api.store.state.security_groups.values(), key=lambda g: g.name)] == [
        1,
        1,
        2,
    ]
    # The same rules in another order are no change.
    request.desired[0].security_groups[1].rules.reverse()
    assert not (await api.plans.Plan(request)).changes
    await both(api, desired(prune=True))
    assert [name.group for name in api.store.state.security_groups] == ["default"]
    assert len(api.store.state.security_groups[next(iter(api.store.state.security_groups))].rules) == 1


async def test_a_ports_groups_are_as_written(world: Api) -> None:
    await world.groups.CreateSecurityGroup(group("web"))
    await world.ports.UpdatePort(moving("a", "web"))
    plan = await world.plans.Plan(desired(ports=[port_pb2.Port(name=A)]))
    [change] = plan.changes
    assert [(f.field, f.before, f.after) for f in change.fields] == [("security_groups", "web", "default")]


# -- held against single packets ----------------------------------------------------------------


async def dense_world() -> MemoryStore:
    """Six ports of one dual-stack network, in some groups, half of them plugged."""
    store = MemoryStore(limits=Limits(ops=20_000))
    await store.start()
    fixed = [["10.0.0.3", "2001:db8::3"], ["10.0.0.9"], ["2001:db8::7"], ["10.0.0.14", "10.0.0.5"]]
    requests = [
        tenant_pb2.CreateTenantRequest(tenant_id="acme"),
        host_pb2.CreateHostRequest(host_id="h1"),
        network_pb2.CreateNetworkRequest(parent="tenants/acme", network_id="web"),
        subnet("s4", cidr="10.0.0.0/24"),
        subnet("s6", cidr="2001:db8::/64"),
        group("g0", egress(), ingress("tcp", 22)),
        group("g1", egress("udp"), ingress(remote_group=DEFAULT)),
        *(
            port(f"p{i}", fixed_ips=[ip(a) for a in own], requested_hosts=["hosts/h1"])
            for i, own in enumerate(fixed)
        ),
    ]
    for request in requests:
        wanted = of(request)
        await alone(store, wanted, next(iter(steps_of(wanted.operations))))
    return store


def random_policy_request(state: State, seed: int) -> plan_pb2.PlanRequest:
    """A few operations on groups, and ports that change theirs."""
    rng, chosen = Random(seed), []
    groups, hypothesis = GroupOperations(rng), Hypothesis(state)
    for number in range(rng.randrange(1, 12)):
        kind = rng.random()
        if kind < 0.5:
            request = groups.next_group(hypothesis.after)
        elif kind < 0.6:
            request = groups.next_addresses(hypothesis.after)
        else:
            message = port_pb2.Port(name=f"{NET}/ports/p{rng.randrange(4)}")
            groups.fill_port(hypothesis.after, "acme", message)
            request = port_pb2.UpdatePortRequest(port=message)
            request.update_mask.paths.extend(["security_groups", "no_security_groups", "no_port_security"])
        [step] = steps_of(of(request).operations)
        try:
            given = Circumstances(SEED.stamp(b"", str(number), operator=True), ())
            hypothesis.carry_out(carry_out(hypothesis.after, step, given))
        except CloisonError:
            continue
        chosen.append(request)
    return of(*chosen)


async def test_reach_is_what_single_packets_say() -> None:
    store, seen = await dense_world(), 0
    for seed in range(examples(60)):
        request = random_policy_request(store.state, seed)
        made = draft(store.state, request, SEED, operator=True)
        seen += assert_reach(made)
        # From here on, with what this one did.
        if seed % 3 == 0:
            await store.transact(lambda state, made=made: (made.txn, None))
    assert seen > 50
    await store.stop()


async def test_policy_shows_in_the_flows_of_hosts(world: Api) -> None:
    await world.bind(A, "hosts/h1")
    plan = await world.plans.Plan(of(add("default", ingress("tcp", 22, remote_prefix="192.0.2.0/24"))))
    [impact] = plan.hosts
    assert (impact.host, impact.flows_added > 0, impact.fdb_added) == ("hosts/h1", True, 0)
    assert not plan.violations
