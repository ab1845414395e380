"""Gateways and floating IPs in plans: in which order, what is told, and what is left alone."""

from __future__ import annotations

from typing import Any

import grpc

from cloison.names import FloatingIpName, HostName, NetworkName, PortName
from cloison.v1 import floating_ip_pb2, network_pb2, plan_pb2, port_pb2, router_pb2, subnet_pb2, tenant_pb2
from tests.support.api import AS, Api
from tests.support.outside import (
    ACME,
    INET,
    R1,
    S4,
    TRANSIT,
    floating,
    gateway,
    router,
    update_external,
    update_floating,
    update_router,
)
from tests.support.plans import apply_request, both, of, refused, told
from tests.support.requests import NET, update_port

ADMIN = ((AS, "tenant/acme/admin"),)
P1, P2 = f"{NET}/ports/p1", f"{NET}/ports/p2"
F1, F2 = FloatingIpName("acme", "f1"), FloatingIpName("acme", "f2")


def wanted(
    *, prune: bool = True, ports: str = "p1 p2", out: bool = True, **stands: str
) -> plan_pb2.PlanRequest:
    """acme with network web and router r1; floating IPs by name, and the port that each stands for."""
    interfaces = [router_pb2.RouterInterface(subnet=S4)]
    made = router_pb2.Router(name=R1, interfaces=interfaces)
    if out:
        made.gateway.CopyFrom(gateway())
    tenant = plan_pb2.DesiredTenant(
        tenant=tenant_pb2.Tenant(name=ACME),
        prune=prune,
        networks=[network_pb2.Network(name=NET)],
        subnets=[
            subnet_pb2.Subnet(name=S4, cidr="10.0.0.0/24"),
            subnet_pb2.Subnet(name=f"{NET}/subnets/s6", cidr="2001:db8::/64"),
        ],
        ports=[port_pb2.Port(name=f"{NET}/ports/{port}") for port in ports.split()],
        routers=[made],
        floating_ips=[
            floating_ip_pb2.FloatingIp(
                name=f"{ACME}/floatingIps/{name}",
                external_network=INET,
                port=f"{NET}/ports/{port}" if port else "",
            )
            for name, port in stands.items()
        ],
    )
    return plan_pb2.PlanRequest(desired=[tenant])


def stands_for(api: Api) -> dict[str, str]:
    found = api.store.state.floating_ips.values()
    return {one.name.floating_ip: one.port.port if one.port else "" for one in found}


async def test_all_of_it_in_one_plan(outside: Api) -> None:
    await outside.ports.UpdatePort(update_port("requested_hosts", requested_hosts=["hosts/h1"]))
    request = wanted(f1="p1", f2="")
    plan = await outside.plans.Plan(request, metadata=ADMIN)
    names = [name for action, name in told(plan) if action == "CREATE"]
    assert {"cl-r1", "v4", "v6", "r1", "gw", "f1", "f2"} <= set(names)
    changes = {change.name: change for change in plan.changes}
    fields = {field.field: field.after for field in changes[R1].fields}
    assert fields["gateway"].startswith("inet 192.0.2.")
    # Who comes to talk with the port that leads out is told, and nothing chokes on it.
    assert any("ports/gw" in reach.target for reach in plan.becomes_reachable)
    before = outside.store.state.revision
    await outside.plans.Apply(apply_request(request, plan), metadata=ADMIN)
    assert outside.store.state.revision == before + 1
    assert stands_for(outside) == {"f1": "p1", "f2": ""}
    # What it is made of is in nobody's way: the same again changes nothing.
    again = await outside.plans.Plan(request, metadata=ADMIN)
    assert not again.changes
    assert NetworkName("acme", "cl-r1") in outside.store.state.networks


async def test_two_change_places(outside: Api) -> None:
    await both(outside, wanted(f1="p1", f2="p2"))
    addresses = {one.name: one.address for one in outside.store.state.floating_ips.values()}
    plan = await outside.plans.Plan(wanted(f1="p2", f2="p1"))
    assert sorted(told(plan)) == [("UPDATE", "f1"), ("UPDATE", "f2")]
    await outside.plans.Apply(apply_request(wanted(f1="p2", f2="p1"), plan))
    assert stands_for(outside) == {"f1": "p2", "f2": "p1"}
    assert {one.name: one.address for one in outside.store.state.floating_ips.values()} == addresses


async def test_a_port_goes_and_its_floating_ip_moves(outside: Api) -> None:
    await both(outside, wanted(f1="p1"))
    await both(outside, wanted(ports="p2", f1="p2"))
    assert stands_for(outside) == {"f1": "p2"}
    assert PortName.parse(P1) not in outside.store.state.ports


async def test_the_gateway_goes_with_what_went_by_it(outside: Api) -> None:
    await both(outside, wanted(f1="p1", f2="p2"))
    await both(outside, wanted(out=False, f1=""))
    state = outside.store.state
    assert stands_for(outside) == {"f1": ""}
    assert not [name for name in state.networks if name.network.startswith("cl-")]
    assert not state.router_edges
    await both(
        outside,
        plan_pb2.PlanRequest(
            desired=[plan_pb2.DesiredTenant(tenant=tenant_pb2.Tenant(name=ACME), prune=True)]
        ),
    )
    assert not state.floating_ips
    assert not state.networks


async def test_operations_of_single_methods_together(outside: Api) -> None:
    request = of(
        router("r1", S4, gateway=gateway(ip_addresses=["192.0.2.7"])),
        floating("f1", port=P1, ip_address="192.0.2.9"),
        update_floating("port", port=P2),
        floating("f2", port=P1),
    )
    await both(outside, request)
    assert stands_for(outside) == {"f1": "p2", "f2": "p1"}
    await both(
        outside, of(update_floating("port"), update_floating("port", name="f2"), update_router("gateway"))
    )
    assert not outside.store.state.router_edges


async def test_gateway_hosts_are_followed_in_the_same_transaction(outside: Api) -> None:
    await both(outside, of(router("r1", S4, gateway=gateway())))
    request = of(update_external("gateway_hosts", gateway_hosts=["hosts/g2"]))
    plan = await outside.plans.Plan(request)
    assert ("UPDATE", "gw") in told(plan)
    before = outside.store.state.revision
    await outside.plans.Apply(apply_request(request, plan))
    assert outside.store.state.revision == before + 1
    assert outside.store.state.ports[PortName.parse(f"{TRANSIT}/ports/gw")].requested_hosts == (
        HostName("g2"),
    )


async def test_an_address_that_another_took_meanwhile_moves_the_plan(outside: Api) -> None:
    request: Any = of(floating("f1"))
    plan = await outside.plans.Plan(request)
    [change] = plan.changes
    [address] = [field.after for field in change.fields if field.field == "ip_address"]
    await outside.floating_ips.CreateFloatingIp(floating("other", ip_address=address))
    moved = await refused(outside.plans.Apply(apply_request(request, plan)))
    assert moved.code is grpc.StatusCode.ABORTED
    assert F1 not in outside.store.state.floating_ips
    assert F2 not in outside.store.state.floating_ips
