"""External networks over the API: what is refused and why, who sees what, what keeps what from going."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from cloison.names import ExternalNetworkName
from cloison.v1 import external_network_pb2 as pb
from cloison.v1 import host_pb2, router_pb2, tenant_pb2
from tests.support.api import AS, Api
from tests.support.outside import (
    ACME,
    INET,
    R1,
    S4,
    check_whole,
    external,
    floating,
    gateway,
    make_outside,
    router,
    update_external,
    update_router,
)
from tests.support.plans import references, refused
from tests.support.requests import Case, assert_refused, call

OUTSIDE = ExternalNetworkName("inet")
TENANT, BETA = ((AS, "tenant/acme/viewer"),), ((AS, "tenant/beta/admin"),)
GET = pb.GetExternalNetworkRequest(name=INET)
DELETE = pb.DeleteExternalNetworkRequest(name=INET)


@pytest.fixture
async def outside(api: Api) -> AsyncIterator[Api]:
    await make_outside(api)
    await api.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="beta"))
    yield api
    check_whole(api.store.state, references(api.store.etcd))


async def test_defaults_and_what_is_reserved(outside: Api) -> None:
    made = await outside.external_networks.GetExternalNetwork(GET)
    assert (made.mtu, made.vlan, made.physical_network) == (1500, 0, "physnet1")
    assert [s.cidr for s in made.subnets] == ["192.0.2.0/24", "2001:db8:f::/64"]
    held = {k for k, r in outside.store.state.reservations.items() if r.owner == INET}
    assert held == {"segment/physnet1/0", "ext/inet/192.0.2.1"}


def new(**fields: Any) -> Any:
    return call("external_networks", "CreateExternalNetwork", external("two", **({"vlan": 7} | fields)))


def subnet(cidr: str, gateway_ip: str = "", *ranges: tuple[str, str]) -> pb.ExternalSubnet:
    made = pb.ExternalSubnet(cidr=cidr, gateway_ip=gateway_ip)
    for first, last in ranges:
        made.allocation_ranges.add(first=first, last=last)
    return made


F = "external_network"
REFUSED: list[Case] = [
    ("no wire", new(physical_network=""), f"{F}.physical_network", "", "--bridge-mappings"),
    ("a colon", new(physical_network="a:b"), f"{F}.physical_network", "a:b", "A-Z"),
    ("VLAN", new(vlan=4095), f"{F}.vlan", "4095", "1 to 4094"),
    ("taken", new(vlan=0), f"{F}.vlan", "0", f"{INET} is this one"),
    ("MTU", new(mtu=1000), f"{F}.mtu", "1000", "1280 to 65535"),
    ("no subnet", new(subnets=[]), f"{F}.subnets", "no subnets", "a subnet of IPv4"),
    (
        "twice IPv4",
        new(subnets=[subnet("192.0.2.0/24"), subnet("198.51.100.0/24")]),
        f"{F}.subnets[1].cidr",
        "198.51.100.0/24",
        "192.0.2.0/24 is IPv4 too",
    ),
    (
        "host bits",
        new(subnets=[subnet("192.0.2.1/24")]),
        f"{F}.subnets[0].cidr",
        "192.0.2.1/24",
        "192.0.2.0/24",
    ),
    ("one address", new(subnets=[subnet("192.0.2.1/32")]), f"{F}.subnets[0].cidr", "/32", "two addresses"),
    ("loopback", new(subnets=[subnet("127.0.0.0/8")]), f"{F}.subnets[0].cidr", "127.0.0.0/8", "loopback"),
    (
        "gateway elsewhere",
        new(subnets=[subnet("192.0.2.0/24", "198.51.100.1")]),
        f"{F}.subnets[0].gateway_ip",
        "198.51.100.1",
        "192.0.2.1 to 192.0.2.254",
    ),
    (
        "a range outside",
        new(subnets=[subnet("192.0.2.0/24", "", ("192.0.2.9", "192.0.3.9"))]),
        f"{F}.subnets[0].allocation_ranges[0].last",
        "192.0.3.9",
        "192.0.2.1 to 192.0.2.254",
    ),
    (
        "a range backwards",
        new(subnets=[subnet("192.0.2.0/24", "", ("192.0.2.9", "192.0.2.8"))]),
        f"{F}.subnets[0].allocation_ranges[0]",
        "192.0.2.9-192.0.2.8",
        "swap the two",
    ),
    (
        "ranges that meet",
        new(subnets=[subnet("192.0.2.0/24", "", ("192.0.2.8", "192.0.2.20"), ("192.0.2.20", "192.0.2.30"))]),
        f"{F}.subnets[0].allocation_ranges[1]",
        "192.0.2.20-192.0.2.30",
        "apart from 192.0.2.8-192.0.2.20",
    ),
    ("no such tenant", new(shared_with=["tenants/no"]), f"{F}.shared_with[0]", "tenants/no", "that exists"),
    ("tenant twice", new(shared_with=[ACME, ACME]), f"{F}.shared_with[1]", ACME, "each tenant once"),
    ("no such host", new(gateway_hosts=["hosts/no"]), f"{F}.gateway_hosts[0]", "hosts/no", "hosts/g1"),
    (
        "host twice",
        new(gateway_hosts=["hosts/g1"] * 2),
        f"{F}.gateway_hosts[1]",
        "hosts/g1",
        "each host once",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=[case[0] for case in REFUSED])
async def test_a_wrong_external_network_is_refused_and_stores_nothing(outside: Api, case: Case) -> None:
    await assert_refused(outside, case)


async def test_a_tenant_sees_what_is_shared_with_it_and_not_the_operators_side(outside: Api) -> None:
    seen = await outside.external_networks.GetExternalNetwork(GET, metadata=TENANT)
    assert [s.cidr for s in seen.subnets] == ["192.0.2.0/24", "2001:db8:f::/64"]
    hidden = (seen.physical_network, seen.vlan, list(seen.shared_with), list(seen.gateway_hosts))
    assert hidden == ("", 0, [], [])
    listing = pb.ListExternalNetworksRequest()
    shown = await outside.external_networks.ListExternalNetworks(listing, metadata=TENANT)
    assert [n.name for n in shown.external_networks] == [INET]
    assert not (
        await outside.external_networks.ListExternalNetworks(listing, metadata=BETA)
    ).external_networks
    not_shared = await refused(outside.external_networks.GetExternalNetwork(GET, metadata=BETA))
    absent = await refused(
        outside.external_networks.GetExternalNetwork(
            pb.GetExternalNetworkRequest(name="externalNetworks/none"), metadata=BETA
        )
    )
    assert not_shared.code is absent.code is grpc.StatusCode.NOT_FOUND


async def test_it_stays_while_somebody_uses_it(outside: Api) -> None:
    await outside.routers.CreateRouter(router("r1", S4, gateway=gateway()))
    await outside.floating_ips.CreateFloatingIp(floating())
    for pending in (
        outside.external_networks.DeleteExternalNetwork(DELETE),
        outside.external_networks.UpdateExternalNetwork(update_external("shared_with", shared_with=[])),
        outside.external_networks.UpdateExternalNetwork(update_external("vlan", vlan=7)),
        outside.external_networks.UpdateExternalNetwork(
            update_external("subnets", subnets=[subnet("198.51.100.0/24")])
        ),
    ):
        refusal = await refused(pending)
        assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
        assert {R1, f"{ACME}/floatingIps/f1"} <= set(refusal.subjects)
    # What does not hurt them may change: the gateway outside, the ranges, the MTU, other tenants.
    changed = await outside.external_networks.UpdateExternalNetwork(
        update_external(
            "subnets",
            "mtu",
            "shared_with",
            subnets=[
                subnet("192.0.2.0/24", "192.0.2.254", ("192.0.2.100", "192.0.2.110")),
                subnet("2001:db8:f::/64", "2001:db8:f::1"),
            ],
            mtu=9000,
            shared_with=[ACME, "tenants/beta"],
        )
    )
    assert changed.mtu == 9000
    held = {k for k, r in outside.store.state.reservations.items() if r.owner == INET}
    assert held == {"segment/physnet1/0", "ext/inet/192.0.2.254", "ext/inet/2001:db8:f::1"}
    made = await outside.floating_ips.CreateFloatingIp(floating("f2"))
    assert 100 <= int(made.ip_address.rpartition(".")[2]) <= 110


async def test_a_subnet_in_which_nobody_has_an_address_goes(outside: Api) -> None:
    only = subnet("192.0.2.0/24", "192.0.2.1")
    changed = await outside.external_networks.UpdateExternalNetwork(
        update_external("subnets", subnets=[only])
    )
    assert [s.cidr for s in changed.subnets] == ["192.0.2.0/24"]
    other = subnet("198.51.100.0/24", "198.51.100.1")
    await outside.external_networks.UpdateExternalNetwork(update_external("subnets", subnets=[other]))
    held = {k for k, r in outside.store.state.reservations.items() if r.owner == INET and not r.released}
    assert held == {"segment/physnet1/0", "ext/inet/198.51.100.1"}


async def test_a_gateway_is_not_put_on_an_address_that_is_taken(outside: Api) -> None:
    await outside.floating_ips.CreateFloatingIp(floating(ip_address="192.0.2.254"))
    both = [subnet("192.0.2.0/24", "192.0.2.254"), subnet("2001:db8:f::/64")]
    request = update_external("subnets", subnets=both)
    refusal = await refused(outside.external_networks.UpdateExternalNetwork(request))
    assert f"{ACME}/floatingIps/f1 has it" in refusal.message


async def test_it_goes_with_all_it_held(outside: Api) -> None:
    await outside.external_networks.DeleteExternalNetwork(DELETE)
    assert not [r for r in outside.store.state.reservations.values() if r.owner == INET]
    await outside.hosts.DeleteHost(host_pb2.DeleteHostRequest(name="hosts/g1"))
    await outside.external_networks.CreateExternalNetwork(external(gateway_hosts=[]))


async def test_its_hosts_and_tenants_stay(outside: Api) -> None:
    refusal = await refused(outside.hosts.DeleteHost(host_pb2.DeleteHostRequest(name="hosts/g1")))
    assert (refusal.code, refusal.subjects) == (grpc.StatusCode.FAILED_PRECONDITION, (INET,))
    await outside.external_networks.UpdateExternalNetwork(
        update_external("shared_with", shared_with=["tenants/beta"])
    )
    gone = tenant_pb2.DeleteTenantRequest(name="tenants/beta")
    refusal = await refused(outside.tenants.DeleteTenant(gone))
    assert (refusal.code, refusal.subjects) == (grpc.StatusCode.FAILED_PRECONDITION, (INET,))


async def test_who_has_which_address_is_listed_page_by_page(outside: Api) -> None:
    own = ["192.0.2.7", "2001:db8:f::7"]
    await outside.routers.CreateRouter(router("r1", S4, gateway=gateway(ip_addresses=own)))
    await outside.floating_ips.CreateFloatingIp(floating(ip_address="192.0.2.200"))
    await outside.routers.UpdateRouter(update_router("gateway"))
    found, token = [], ""
    while True:
        request = pb.ListExternalAddressesRequest(name=INET, page_size=2, page_token=token)
        answer = await outside.external_networks.ListExternalAddresses(request)
        found += answer.addresses
        token = answer.next_page_token
        if not token:
            break
    assert [(a.ip_address, a.owner, a.tenant, a.released) for a in found] == [
        ("192.0.2.1", INET, "", False),
        ("192.0.2.7", R1, ACME, True),
        ("192.0.2.200", f"{ACME}/floatingIps/f1", ACME, False),
        ("2001:db8:f::7", R1, ACME, True),
    ]
    assert list(found[1].waiting_for) == ["hosts/g1", "hosts/g2"]
    await outside.routers.DeleteRouter(router_pb2.DeleteRouterRequest(name=R1))


async def test_a_dry_run_changes_nothing(outside: Api) -> None:
    before = outside.store.state.revision
    request = update_external("gateway_hosts", gateway_hosts=["hosts/h1"])
    request.validate_only = True
    shown = await outside.external_networks.UpdateExternalNetwork(request)
    assert list(shown.gateway_hosts) == ["hosts/h1"]
    assert outside.store.state.revision == before
