"""A tenant as it should be: what it takes to get there, in which order, and who may say so."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from cloison.names import PortName, TenantName
from cloison.v1 import network_pb2, plan_pb2, port_pb2, subnet_pb2, tenant_pb2
from tests.support.api import AS, Api
from tests.support.plans import apply_request, both, of, refused, told
from tests.support.requests import NET, make_world

ADMIN = ((AS, "tenant/acme/admin"),)


@pytest.fixture
async def world(api: Api) -> Api:
    await make_world(api)
    return api


def changing(port_id: str, **fields: Any) -> port_pb2.UpdatePortRequest:
    request = port_pb2.UpdatePortRequest(port=port_pb2.Port(name=f"{NET}/ports/{port_id}", **fields))
    request.update_mask.paths.extend(fields)
    return request


def desired(*, prune: bool = False, tenant: str = "acme", **parts: Any) -> plan_pb2.PlanRequest:
    wanted = plan_pb2.DesiredTenant(tenant=tenant_pb2.Tenant(name=f"tenants/{tenant}"), prune=prune, **parts)
    return plan_pb2.PlanRequest(desired=[wanted])


def web(prefix: str = NET) -> dict[str, Any]:
    return {
        "networks": [network_pb2.Network(name=prefix)],
        "subnets": [subnet_pb2.Subnet(name=f"{prefix}/subnets/v4", cidr="10.0.0.0/24")],
        "ports": [port_pb2.Port(name=f"{prefix}/ports/{i}") for i in ("a", "b")],
    }


async def test_from_nothing_to_something_and_nothing_more(api: Api) -> None:
    request = desired(**web())
    assert [name for _, name in told(await api.plans.Plan(request))] == [
        *("acme", "default", "web", "v4", "a", "b")
    ]
    await both(api, request)
    plan = await api.plans.Plan(request)
    assert not plan.changes
    revision = api.store.state.revision
    assert (await api.plans.Apply(apply_request(request, plan))).revision == revision
    assert api.store.state.revision == revision


async def test_what_is_not_listed_is_kept_or_pruned(world: Api) -> None:
    request = desired(**web(f"{NET[:-3]}db"))
    await both(world, request)
    assert PortName("acme", "web", "p1") in world.store.state.ports
    request.desired[0].prune = True
    plan = await world.plans.Plan(request)
    assert told(plan) == [
        *(("DELETE", name) for name in ("p1", "s4", "s6", "s7", "web")),
    ]
    await world.plans.Apply(apply_request(request, plan))
    assert {name.network for name in world.store.state.networks} == {"db"}
    assert TenantName("acme") in world.store.state.tenants


async def test_a_subnet_is_replaced_under_ports_that_stay(api: Api) -> None:
    """New subnet, ports moved into it, then the old one goes: in one change."""
    await both(api, desired(**web()))
    request = desired(
        prune=True,
        networks=[network_pb2.Network(name=NET)],
        subnets=[subnet_pb2.Subnet(name=f"{NET}/subnets/new", cidr="10.7.0.0/24")],
        ports=[
            port_pb2.Port(name=f"{NET}/ports/a", fixed_ips=[port_pb2.FixedIp(subnet=f"{NET}/subnets/new")])
        ],
    )
    await both(api, request)
    [subnet_left] = api.store.state.subnets.values()
    [port_left] = api.store.state.ports.values()
    assert subnet_left.name.subnet == "new"
    assert [fixed_ip.subnet.subnet for fixed_ip in port_left.fixed_ips] == ["new"]
    assert not (await api.plans.Plan(request)).changes


async def test_an_overlapping_subnet_takes_the_place_of_one_that_goes(api: Api) -> None:
    await both(api, desired(**web()))
    request = desired(
        prune=True,
        networks=[network_pb2.Network(name=NET)],
        subnets=[subnet_pb2.Subnet(name=f"{NET}/subnets/wide", cidr="10.0.0.0/16")],
    )
    await both(api, request)
    assert [s.name.subnet for s in api.store.state.subnets.values()] == ["wide"]


async def test_what_was_chosen_is_kept_and_the_rest_is_as_written(world: Api) -> None:
    await both(world, of(changing("p1", labels={"a": "b"}, requested_hosts=["hosts/h1"])))
    before = world.store.state.ports[PortName("acme", "web", "p1")]
    request = desired(ports=[port_pb2.Port(name=f"{NET}/ports/p1", disabled=True)])
    await both(world, request)
    after = world.store.state.ports[PortName("acme", "web", "p1")]
    assert (after.mac, after.fixed_ips, after.requested_hosts) == (
        before.mac,
        before.fixed_ips,
        before.requested_hosts,
    )
    assert (after.disabled, dict(after.meta.labels)) == (True, {})


async def test_desired_errors_say_where(world: Api) -> None:
    bad_mac = port_pb2.Port(name=f"{NET}/ports/x", mac_address="zz")
    other_cidr = subnet_pb2.Subnet(name=f"{NET}/subnets/s4", cidr="10.9.0.0/24")
    elsewhere, here = (network_pb2.Network(name=name) for name in ("tenants/blue/networks/x", NET))
    cases = [
        (desired(ports=[bad_mac]), "desired[0].ports[0].mac_address"),
        (desired(subnets=[other_cidr]), "desired[0].subnets[0].cidr"),
        (desired(networks=[elsewhere]), "desired[0].networks[0].name"),
        (desired(networks=[here, here]), "desired[0].networks[1].name"),
        (desired(tenant="B"), "desired[0].tenant.name"),
    ]
    for request, field in cases:
        refusal = await refused(world.plans.Plan(request))
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        assert list(refusal.fields) == [field]


async def test_a_tenant_admin_plans_its_own_tenant(world: Api) -> None:
    plan = await world.plans.Plan(desired(**web(f"{NET[:-3]}db")), metadata=ADMIN)
    assert len(plan.changes) == 4
    for request in (
        desired(tenant="blue"),
        plan_pb2.PlanRequest(
            desired=[
                plan_pb2.DesiredTenant(tenant=tenant_pb2.Tenant(name="tenants/acme", display_name="ours"))
            ]
        ),
        desired(ports=[port_pb2.Port(name=f"{NET}/ports/p1", requested_hosts=["hosts/h1"])]),
    ):
        refusal = await refused(world.plans.Plan(request, metadata=ADMIN))
        assert refusal.code is grpc.StatusCode.PERMISSION_DENIED


async def test_several_tenants_are_one_change(api: Api) -> None:
    request = plan_pb2.PlanRequest(
        desired=[
            *desired(**web()).desired,
            *desired(tenant="blue", **web("tenants/blue/networks/web")).desired,
        ]
    )
    revision = api.store.state.revision
    assert (await both(api, request)).revision == revision + 1
    assert len(api.store.state.ports) == 4
    twice = plan_pb2.PlanRequest(desired=[*desired().desired, *desired().desired])
    assert (await refused(api.plans.Plan(twice))).fields.keys() == {"desired[1].tenant.name"}
