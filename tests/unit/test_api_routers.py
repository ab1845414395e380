"""Routers over the API: what is refused and why, what is stored and held, what keeps what from going."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from cloison.addresses import ROUTER_MAC, format_mac
from cloison.model import Router
from cloison.names import NetworkName, RouterName
from cloison.v1 import network_pb2, router_pb2, subnet_pb2, tenant_pb2
from controller.store import ids, keys
from tests.support.api import Api
from tests.support.plans import references, refused
from tests.support.requests import NET, Case, assert_refused, call, ip, make_world, network, port, subnet

DB = "tenants/acme/networks/db"
S4, S6, D4, D6 = f"{NET}/subnets/s4", f"{NET}/subnets/s6", f"{DB}/subnets/d4", f"{DB}/subnets/d6"
OTHER = "tenants/beta/networks/web/subnets/s4"
R1 = RouterName("acme", "r1")


def interface(subnet_name: str, address: str = "") -> router_pb2.RouterInterface:
    return router_pb2.RouterInterface(subnet=subnet_name, ip_address=address)


def via(destination: str, *hops: str) -> router_pb2.RouterRoute:
    return router_pb2.RouterRoute(destination=destination, next_hops=hops)


def router(router_id: str = "r1", *interfaces: router_pb2.RouterInterface, **fields: Any) -> Any:
    message = router_pb2.Router(interfaces=interfaces, **fields)
    return router_pb2.CreateRouterRequest(parent="tenants/acme", router_id=router_id, router=message)


def update(*paths: str, **fields: Any) -> router_pb2.UpdateRouterRequest:
    request = router_pb2.UpdateRouterRequest(router=router_pb2.Router(name=str(R1), **fields))
    request.update_mask.paths.extend(paths)
    return request


@pytest.fixture
async def world(api: Api) -> AsyncIterator[Api]:
    """Two networks of acme, and the same range in another tenant."""
    await make_world(api)
    await api.networks.CreateNetwork(network("db"))
    await api.subnets.CreateSubnet(subnet("d4", DB, cidr="10.1.0.0/24"))
    await api.subnets.CreateSubnet(subnet("d6", DB, cidr="2001:db8:9::/64", no_gateway=True))
    await api.subnets.CreateSubnet(subnet("d9", DB, cidr="10.0.0.0/16"))
    await api.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="beta"))
    await api.networks.CreateNetwork(network("web", "tenants/beta"))
    await api.subnets.CreateSubnet(subnet("s4", "tenants/beta/networks/web", cidr="10.7.0.0/24"))
    yield api
    routers = api.store.state.routers.values()
    wanted = {keys.reference_key(i.subnet, router.name) for router in routers for i in router.interfaces}
    assert {key for key in references(api.store.etcd) if "/routers/" in key} == wanted


def stored(api: Api) -> Router:
    return api.store.state.routers[R1]


def held_by(api: Api, router_name: RouterName = R1) -> set[str]:
    found = api.store.state.reservations.values()
    return {r.key for r in found if r.owner == str(router_name) and not r.released}


async def test_a_router_takes_the_gateways_of_its_subnets(world: Api) -> None:
    made = await world.routers.CreateRouter(
        router("r1", interface(D4), interface(S4), routes=[via("192.0.2.0/24", "10.1.0.9")])
    )
    assert made.mac_address == format_mac(ROUTER_MAC)
    assert [(i.subnet, i.ip_address) for i in made.interfaces] == [(D4, "10.1.0.1"), (S4, "10.0.0.1")]
    assert [(r.destination, list(r.next_hops)) for r in made.routes] == [("192.0.2.0/24", ["10.1.0.9"])]
    web, db = NetworkName("acme", "web"), NetworkName("acme", "db")
    assert held_by(world) == {ids.mac(web, ROUTER_MAC), ids.mac(db, ROUTER_MAC)}
    state = world.store.state
    assert state.routed_with(web) == {db}
    assert [r.name for r in state.routers_on(db)] == [R1]


async def test_an_address_of_its_own_is_reserved_and_given_back(world: Api) -> None:
    await world.routers.CreateRouter(router("r1", interface(D6, "2001:db8:9::7"), interface(D4, "10.1.0.7")))
    taken = {"ip/acme/db/2001:db8:9::7", "ip/acme/db/10.1.0.7"}
    assert taken <= held_by(world)
    refusal = await refused(world.ports.CreatePort(port("x", DB, fixed_ips=[ip("10.1.0.7")])))
    assert str(R1) in str(refusal)
    await world.routers.UpdateRouter(update("interfaces", interfaces=[interface(D4)]))
    assert held_by(world) == {"mac/acme/db/0af300000002"}
    await world.routers.DeleteRouter(router_pb2.DeleteRouterRequest(name=str(R1)))
    assert not held_by(world)
    await world.routers.CreateRouter(router("r1", interface(D4, "10.1.0.7")))


REFUSED: list[Case] = [
    (
        "overlapping subnets",
        call("routers", "CreateRouter", router("r1", interface(S4), interface(f"{DB}/subnets/d9"))),
        "router.interfaces[1].subnet",
        f"{DB}/subnets/d9",
        f"does not overlap 10.0.0.0/24 of {S4}",
    ),
    (
        "twice",
        call("routers", "CreateRouter", router("r1", interface(S4), interface(S4, "10.0.0.9"))),
        "router.interfaces[1].subnet",
        S4,
        "each subnet once",
    ),
    (
        "another tenant's subnet",
        call("routers", "CreateRouter", router("r1", interface(OTHER))),
        "router.interfaces[0].subnet",
        OTHER,
        "a subnet of tenants/acme",
    ),
    (
        "no such subnet",
        call("routers", "CreateRouter", router("r1", interface(f"{DB}/subnets/no"))),
        "router.interfaces[0].subnet",
        "no",
        "a subnet that exists",
    ),
    (
        "outside its subnet",
        call("routers", "CreateRouter", router("r1", interface(S4, "10.1.0.1"))),
        "router.interfaces[0].ip_address",
        "10.1.0.1",
        "10.0.0.1 to 10.0.0.254",
    ),
    (
        "a port's address",
        call("routers", "CreateRouter", router("r1", interface(S4, "10.0.0.5"))),
        "router.interfaces[0].ip_address",
        "10.0.0.5",
        f"{NET}/ports/p1 has it",
    ),
    (
        "no gateway, no address",
        call("routers", "CreateRouter", router("r1", interface(D6))),
        "router.interfaces[0].ip_address",
        "",
        "an address of 2001:db8:9::/64",
    ),
    (
        "a port's MAC",
        call("routers", "CreateRouter", router("r1", interface(S4), mac_address="52:54:00:00:00:01")),
        "router.mac_address",
        "52:54:00:00:00:01",
        f"{NET}/ports/p1 has this one",
    ),
    (
        "a wire MAC",
        call("routers", "CreateRouter", router("r1", mac_address="0a:f0:00:00:00:01")),
        "router.mac_address",
        "0a:f0:00:00:00:01",
        "wire MACs",
    ),
    (
        "next hop elsewhere",
        call("routers", "CreateRouter", router("r1", interface(S4), routes=[via("10.9.0.0/16", "10.1.0.9")])),
        "router.routes[0].next_hops[0]",
        "10.1.0.9",
        "in the subnet of one of its interfaces: 10.0.0.0/24",
    ),
    (
        "its own address as next hop",
        call("routers", "CreateRouter", router("r1", interface(S4), routes=[via("10.9.0.0/16", "10.0.0.1")])),
        "router.routes[0].next_hops[0]",
        "10.0.0.1",
        "the router's own",
    ),
    (
        "a next hop twice",
        call(
            "routers",
            "CreateRouter",
            router("r1", interface(S4), routes=[via("10.9.0.0/16", "10.0.0.5", "10.0.0.5")]),
        ),
        "router.routes[0].next_hops[1]",
        "10.0.0.5",
        "each next hop once",
    ),
    (
        "no next hop",
        call("routers", "CreateRouter", router("r1", interface(S4), routes=[via("10.9.0.0/16")])),
        "router.routes[0].next_hops",
        "",
        "1 to 8 next hops",
    ),
    (
        "too many next hops of all routes",
        call(
            "routers",
            "CreateRouter",
            router(
                "r1",
                interface(S4),
                routes=[via(f"10.9.{n}.0/24", *(f"10.0.0.{m}" for m in range(5, 13))) for n in range(5)],
            ),
        ),
        "router.routes",
        "40 next hops",
        "at most 32 next hops of routes that have several",
    ),
    (
        "too many next hops",
        call(
            "routers",
            "CreateRouter",
            router("r1", interface(S4), routes=[via("10.9.0.0/16", *(f"10.0.0.{n}" for n in range(5, 14)))]),
        ),
        "router.routes[0].next_hops",
        ", ".join(f"10.0.0.{n}" for n in range(5, 14)),
        "1 to 8 next hops",
    ),
    (
        "another family",
        call(
            "routers", "CreateRouter", router("r1", interface(S4), routes=[via("2001:db8::/32", "10.0.0.5")])
        ),
        "router.routes[0].next_hops[0]",
        "10.0.0.5",
        "an IPv6 address",
    ),
    (
        "its own subnet as destination",
        call("routers", "CreateRouter", router("r1", interface(S4), routes=[via("10.0.0.0/24", "10.0.0.5")])),
        "router.routes[0].destination",
        "10.0.0.0/24",
        "another range",
    ),
    (
        "groups as destination",
        call("routers", "CreateRouter", router("r1", interface(S4), routes=[via("224.0.0.0/4", "10.0.0.5")])),
        "router.routes[0].destination",
        "224.0.0.0/4",
        "multicast",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=[case[0] for case in REFUSED])
async def test_refused(world: Api, case: Case) -> None:
    await assert_refused(world, case)


async def test_two_routers_of_a_network(world: Api) -> None:
    await world.routers.CreateRouter(router("r1", interface(S4)))
    same = await refused(world.routers.CreateRouter(router("r2", interface(S4))))
    assert "another address of 10.0.0.0/24: tenants/acme/routers/r1 has this one" in str(same)
    clash = await refused(world.routers.CreateRouter(router("r2", interface(S4, "10.0.0.2"))))
    assert f"a MAC of its own in {NET}: {R1} has this one" in str(clash)
    await world.routers.CreateRouter(
        router("r2", interface(S4, "10.0.0.2"), interface(D4), mac_address="52:54:00:00:00:99")
    )
    taken = await refused(world.ports.CreatePort(port("x", mac_address="52:54:00:00:00:99")))
    assert "tenants/acme/routers/r2" in str(taken)


async def test_what_a_router_uses_stays(world: Api) -> None:
    await world.routers.CreateRouter(router("r1", interface(S4), interface(D4)))
    gone = await refused(world.subnets.DeleteSubnet(subnet_pb2.DeleteSubnetRequest(name=D4)))
    assert gone.code is grpc.StatusCode.FAILED_PRECONDITION
    assert str(R1) in str(gone)
    left = await refused(world.networks.DeleteNetwork(network_pb2.DeleteNetworkRequest(name=DB)))
    assert left.code is grpc.StatusCode.FAILED_PRECONDITION
    moved = subnet_pb2.UpdateSubnetRequest(subnet=subnet_pb2.Subnet(name=D4, gateway_ip="10.1.0.254"))
    moved.update_mask.paths.append("gateway_ip")
    moved.subnet.allocation_pools.add(start="10.1.0.9", end="10.1.0.99")
    moved.update_mask.paths.append("allocation_pools")
    assert str(R1) in str(await refused(world.subnets.UpdateSubnet(moved)))
    tenant = await refused(world.tenants.DeleteTenant(tenant_pb2.DeleteTenantRequest(name="tenants/acme")))
    assert str(R1) in str(tenant)
    await world.routers.DeleteRouter(router_pb2.DeleteRouterRequest(name=str(R1)))
    await world.subnets.UpdateSubnet(moved)
    await world.subnets.DeleteSubnet(subnet_pb2.DeleteSubnetRequest(name=D4))


async def test_an_update_changes_what_its_mask_names(world: Api) -> None:
    await world.routers.CreateRouter(router("r1", interface(S4), interface(D4)))
    routed = await world.routers.UpdateRouter(update("routes", routes=[via("0.0.0.0/0", "10.1.0.9")]))
    assert len(routed.interfaces) == 2
    lost = await refused(world.routers.UpdateRouter(update("interfaces", interfaces=[interface(S4)])))
    assert "router.routes[0].next_hops[0]" in lost.fields
    await world.routers.UpdateRouter(update("interfaces", "routes", interfaces=[interface(S4)]))
    assert stored(world).networks == (NetworkName("acme", "web"),)
    assert not stored(world).routes
    named = await world.routers.UpdateRouter(update("mac_address", mac_address="52:54:00:00:00:aa"))
    assert named.mac_address == "52:54:00:00:00:aa"
    assert held_by(world) == {"mac/acme/web/5254000000aa"}
