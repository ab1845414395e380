"""Floating IPs over the API: made, moved and given back, each in one transaction; and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import pytest

from cloison.model import Host
from cloison.names import FloatingIpName, HostName, PortName, RouterName
from cloison.v1 import floating_ip_pb2, port_pb2, tenant_pb2
from controller.api.intents import edges
from controller.api.intents.common import Stamp
from controller.store.txn import Txn
from tests.support.api import AS, Api
from tests.support.outside import (
    ACME,
    INET,
    R1,
    S4,
    S6,
    TRANSIT,
    check_whole,
    external,
    floating,
    gateway,
    make_outside,
    router,
    update_external,
    update_floating,
)
from tests.support.plans import references, refused
from tests.support.requests import NET, Case, assert_refused, call, ip, port, update_port

F1 = FloatingIpName("acme", "f1")
P1, P2 = f"{NET}/ports/p1", f"{NET}/ports/p2"
TENANT = ((AS, "tenant/acme/admin"),)
BETA = ((AS, "tenant/beta/admin"),)


@pytest.fixture
async def outside(api: Api) -> AsyncIterator[Api]:
    """See make_outside, with router r1 on the subnets of web."""
    await make_outside(api)
    await api.routers.CreateRouter(
        router("r1", S4, S6, gateway=gateway(ip_addresses=["192.0.2.2", "2001:db8:f::2"]))
    )
    yield api
    check_whole(api.store.state, references(api.store.etcd))


def delete(name: str = "f1") -> floating_ip_pb2.DeleteFloatingIpRequest:
    return floating_ip_pb2.DeleteFloatingIpRequest(name=f"{ACME}/floatingIps/{name}")


async def test_one_that_stands_for_a_port_at_once(outside: Api) -> None:
    before = outside.store.state.revision
    made = await outside.floating_ips.CreateFloatingIp(floating(port=P1), metadata=TENANT)
    assert outside.store.state.revision == before + 1
    assert (made.port, made.fixed_ip, made.router) == (P1, "10.0.0.5", R1)
    assert made.ip_version == 4
    assert made.ip_address.startswith("192.0.2.")
    state = outside.store.state
    assert [f.name for f in state.floating_ips_at(PortName.parse(P1))] == [F1]
    assert [f.name for f in state.floating_ips_by(RouterName("acme", "r1"))] == [F1]


async def test_one_of_ipv6_stands_for_an_ipv6_address(outside: Api) -> None:
    made = await outside.floating_ips.CreateFloatingIp(floating(ip_version=6, port=P1))
    assert (made.fixed_ip, made.ip_version) == ("2001:db8::5", 6)
    refusal = await refused(outside.floating_ips.CreateFloatingIp(floating("f2", ip_version=6, port=P2)))
    assert "IPv6 address" in refusal.message or "no floating IP" in refusal.message


async def test_it_moves_in_one_transaction(outside: Api) -> None:
    made = await outside.floating_ips.CreateFloatingIp(floating(port=P1))
    before = outside.store.state.revision
    moved = await outside.floating_ips.UpdateFloatingIp(update_floating("port", port=P2))
    assert outside.store.state.revision == before + 1
    assert (moved.ip_address, moved.port, moved.fixed_ip) == (made.ip_address, P2, "10.0.0.6")
    # What it stood for is another's to have.
    await outside.floating_ips.CreateFloatingIp(floating("f2", port=P1))


async def test_it_is_kept_while_it_stands_for_nothing(outside: Api) -> None:
    made = await outside.floating_ips.CreateFloatingIp(floating(port=P1, ip_address="192.0.2.9"))
    assert made.ip_address == "192.0.2.9"
    free = await outside.floating_ips.UpdateFloatingIp(update_floating("port"))
    assert (free.port, free.fixed_ip, free.router, free.ip_address) == ("", "", "", "192.0.2.9")
    assert [c.reason for c in free.conditions] == ["NOT_ASSOCIATED"]
    await outside.ports.DeletePort(port_pb2.DeletePortRequest(name=P1))
    again = await outside.floating_ips.UpdateFloatingIp(
        update_floating("port", "fixed_ip", port=P2, fixed_ip="10.0.0.6")
    )
    assert again.fixed_ip == "10.0.0.6"


async def test_the_same_again_changes_nothing(outside: Api) -> None:
    made = await outside.floating_ips.CreateFloatingIp(floating(port=P1))
    again = await outside.floating_ips.UpdateFloatingIp(update_floating("port", port=P1))
    assert again.revision == made.revision
    marked = await outside.floating_ips.UpdateFloatingIp(update_floating("distributed", distributed=True))
    assert (marked.distributed, marked.port) == (True, P1)


async def test_its_address_waits_for_every_host_that_may_answer_for_it(outside: Api) -> None:
    maps = HostName("h1")

    def build(state: Any) -> Any:
        old: Host = state.hosts[maps]
        txn = Txn()
        txn.update(old, replace(old, physical_networks=("physnet1",)))
        return txn, None

    await outside.store.transact(build)
    made = await outside.floating_ips.CreateFloatingIp(floating(port=P1))
    await outside.floating_ips.DeleteFloatingIp(delete())
    found = outside.store.state.reservations[f"ext/inet/{made.ip_address}"]
    assert found.released
    assert set(found.hosts) == {HostName("g1"), HostName("g2"), maps}
    refusal = await refused(outside.floating_ips.CreateFloatingIp(floating("f2", ip_address=made.ip_address)))
    assert refusal.code is grpc.StatusCode.UNAVAILABLE


async def test_what_it_stands_for_stays(outside: Api) -> None:
    await outside.floating_ips.CreateFloatingIp(floating(port=P1))
    refusal = await refused(outside.ports.DeletePort(port_pb2.DeletePortRequest(name=P1)))
    assert str(F1) in refusal.message
    refusal = await refused(outside.ports.UpdatePort(update_port("fixed_ips", fixed_ips=[ip("10.0.0.77")])))
    assert str(F1) in refusal.message
    # Another of its addresses may go.
    await outside.ports.UpdatePort(update_port("fixed_ips", fixed_ips=[ip("10.0.0.5"), ip("10.0.0.77")]))


async def test_where_it_is_answered_for(outside: Api) -> None:
    await outside.floating_ips.CreateFloatingIp(floating(port=P1))
    asked = floating_ip_pb2.GetFloatingIpRequest(name=str(F1))
    nowhere = await outside.floating_ips.GetFloatingIp(asked)
    assert [c.reason for c in nowhere.conditions] == ["NO_GATEWAY"]
    await outside.bind(f"{TRANSIT}/ports/gw", "hosts/g2")
    there = await outside.floating_ips.GetFloatingIp(asked)
    assert (there.host, list(there.conditions)) == ("hosts/g2", [])
    tenants = await outside.floating_ips.GetFloatingIp(asked, metadata=TENANT)
    assert not tenants.host
    # On the port's own host, once there is a way out and it may be used.
    await outside.ports.UpdatePort(update_port("requested_hosts", requested_hosts=["hosts/h1"]))
    await outside.bind(P1, "hosts/h1", 7)
    router_name, host = RouterName("acme", "r1"), HostName("h1")
    stamp = Stamp(1, "00000000-0000-4000-8000-000000000001")
    await outside.store.transact(lambda state: (edges.edge_txn(state, router_name, host, stamp), None))
    await outside.bind(f"{TRANSIT}/ports/gw-h1", "hosts/h1", 8)
    assert (await outside.floating_ips.GetFloatingIp(asked)).host == "hosts/g2"
    await outside.floating_ips.UpdateFloatingIp(update_floating("distributed", distributed=True))
    assert (await outside.floating_ips.GetFloatingIp(asked)).host == "hosts/h1"


def new(**fields: Any) -> Any:
    return call("floating_ips", "CreateFloatingIp", floating("f9", **fields))


REFUSED: list[Case] = [
    (
        "not shared",
        new(external_network="externalNetworks/dark"),
        "floating_ip.external_network",
        "externalNetworks/dark",
        f"shared with {ACME}: {INET}",
    ),
    ("elsewhere", new(ip_address="10.0.0.9"), "floating_ip.ip_address", "10.0.0.9", "192.0.2.0/24"),
    ("no address", new(ip_address="x"), "floating_ip.ip_address", "x", "an IPv4 or IPv6 address"),
    ("broadcast", new(ip_address="192.0.2.255"), "floating_ip.ip_address", "192.0.2.255", "192.0.2.254"),
    ("taken", new(ip_address="192.0.2.9"), "floating_ip.ip_address", "192.0.2.9", f"{ACME}/floatingIps/f1"),
    ("no such family", new(ip_version=5), "floating_ip.ip_version", "5", "4 or 6"),
    (
        "two families",
        new(ip_version=6, ip_address="192.0.2.10"),
        "floating_ip.ip_version",
        "6",
        "the family of ip_address",
    ),
    ("no such port", new(port=f"{NET}/ports/no"), "floating_ip.port", "no", "a port that exists"),
    (
        "another's port",
        new(port="tenants/beta/networks/web/ports/p1"),
        "floating_ip.port",
        "tenants/beta",
        "a port of tenants/acme",
    ),
    ("the way out", new(port=f"{TRANSIT}/ports/gw"), "floating_ip.port", "gw", "a port of a guest"),
    (
        "not its address",
        new(port=P2, fixed_ip="10.0.0.9"),
        "floating_ip.fixed_ip",
        "10.0.0.9",
        "which has 10.0.0.6",
    ),
    ("an address of nothing", new(fixed_ip="10.0.0.9"), "floating_ip.fixed_ip", "10.0.0.9", "port is empty"),
    (
        "stood for already",
        new(port=P1),
        "floating_ip.fixed_ip",
        "10.0.0.5",
        f"{ACME}/floatingIps/f1 does for 10.0.0.5",
    ),
    (
        "not joined",
        new(port=f"{NET}/ports/p7"),
        "floating_ip.port",
        "p7",
        "none does",
    ),
    (
        "joined twice",
        new(port=P2),
        "floating_ip.port",
        "p2",
        "tenants/acme/routers/r1 and tenants/acme/routers/r2 do",
    ),
    (
        "another address",
        call("floating_ips", "UpdateFloatingIp", update_floating("ip_address", ip_address="192.0.2.10")),
        "floating_ip.ip_address",
        "192.0.2.10",
        "192.0.2.9",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=[case[0] for case in REFUSED])
async def test_a_wrong_floating_ip_is_refused_and_stores_nothing(outside: Api, case: Case) -> None:
    await outside.external_networks.CreateExternalNetwork(
        external("dark", physical_network="physnet2", shared_with=[])
    )
    await outside.floating_ips.CreateFloatingIp(floating(port=P1, ip_address="192.0.2.9"))
    await outside.ports.CreatePort(port("p7", fixed_ips=[ip(subnet=f"{NET}/subnets/s7")]))
    if case[0] == "not joined":
        case = (case[0], new(port=f"{NET}/ports/p7", ip_version=6), *case[2:])
    if case[0] == "joined twice":
        second = router("r2", gateway=gateway(ip_addresses=["192.0.2.3"]), mac_address="02:00:00:00:00:99")
        second.router.interfaces.add(subnet=S4, ip_address="10.0.0.99")
        await outside.routers.CreateRouter(second)
    await assert_refused(outside, case)


async def test_anothers_floating_ips_are_nobodys_business(outside: Api) -> None:
    await outside.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="beta"))
    await outside.external_networks.UpdateExternalNetwork(
        update_external("shared_with", shared_with=[ACME, "tenants/beta"])
    )
    await outside.floating_ips.CreateFloatingIp(floating(port=P1, ip_address="192.0.2.9"), metadata=TENANT)
    asked = floating("mine", parent="tenants/beta", ip_address="192.0.2.9")
    refusal = await refused(outside.floating_ips.CreateFloatingIp(asked, metadata=BETA))
    assert "somebody else has this one" in refusal.message
    assert "acme" not in refusal.message
    refusal = await refused(outside.floating_ips.DeleteFloatingIp(delete(), metadata=BETA))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    seen = await outside.floating_ips.ListFloatingIps(
        floating_ip_pb2.ListFloatingIpsRequest(parent="tenants/-"), metadata=BETA
    )
    assert not seen.floating_ips


async def test_a_repeated_request_makes_one(outside: Api) -> None:
    request = floating(port=P1)
    request.request_id = "7c1b7f5e-5f0e-4d43-9a52-3d2d8a3a5b1c"
    first = await outside.floating_ips.CreateFloatingIp(request)
    assert await outside.floating_ips.CreateFloatingIp(request) == first
    before = outside.store.state.revision
    dry = floating("f2", ip_address="192.0.2.9")
    dry.validate_only = True
    shown = await outside.floating_ips.CreateFloatingIp(dry)
    assert (shown.ip_address, outside.store.state.revision) == ("192.0.2.9", before)


async def test_a_tenant_with_floating_ips_is_not_deleted(outside: Api) -> None:
    await outside.floating_ips.CreateFloatingIp(floating())
    refusal = await refused(outside.tenants.DeleteTenant(tenant_pb2.DeleteTenantRequest(name=ACME)))
    assert str(F1) in refusal.subjects
