"""Short forms of requests about one small world: tenant acme, network web."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from cloison.v1 import host_pb2, network_pb2, port_pb2, subnet_pb2, tenant_pb2
from tests.support.api import Api, refusal_of

NET = "tenants/acme/networks/web"
LONG = "a" * 300
Call = Callable[[Api], Awaitable[Any]]
# What is wrong, the call, the field, its value as shown, part of what would be right.
Case = tuple[str, Call, str, str, str]


async def make_world(api: Api) -> None:
    """A tenant with a dual-stack network, two ports, and a host."""
    await api.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="acme"))
    await api.hosts.CreateHost(host_pb2.CreateHostRequest(host_id="h1"))
    await api.networks.CreateNetwork(
        network_pb2.CreateNetworkRequest(parent="tenants/acme", network_id="web")
    )
    await api.subnets.CreateSubnet(subnet("s4", cidr="10.0.0.0/24"))
    await api.subnets.CreateSubnet(subnet("s6", cidr="2001:db8::/64"))
    await api.subnets.CreateSubnet(subnet("s7", cidr="2001:db8:1::/64"))
    await api.ports.CreatePort(
        port(
            "p1",
            mac_address="52:54:00:00:00:01",
            fixed_ips=[ip("10.0.0.5"), ip("2001:db8::5")],
            iface_id="vm-1",
        )
    )


def ip(address: str = "", subnet: str = "") -> port_pb2.FixedIp:
    return port_pb2.FixedIp(ip_address=address, subnet=subnet)


def port(port_id: str, parent: str = NET, request_id: str = "", **fields: Any) -> port_pb2.CreatePortRequest:
    return port_pb2.CreatePortRequest(
        parent=parent, port_id=port_id, port=port_pb2.Port(**fields), request_id=request_id
    )


def subnet(subnet_id: str, parent: str = NET, **fields: Any) -> subnet_pb2.CreateSubnetRequest:
    return subnet_pb2.CreateSubnetRequest(
        parent=parent, subnet_id=subnet_id, subnet=subnet_pb2.Subnet(**fields)
    )


def network(network_id: str, parent: str = "tenants/acme", **fields: Any) -> network_pb2.CreateNetworkRequest:
    return network_pb2.CreateNetworkRequest(
        parent=parent, network_id=network_id, network=network_pb2.Network(**fields)
    )


def update_port(*paths: str, **fields: Any) -> port_pb2.UpdatePortRequest:
    request = port_pb2.UpdatePortRequest(port=port_pb2.Port(name=f"{NET}/ports/p1", **fields))
    request.update_mask.paths.extend(paths)
    return request


def update_subnet(*paths: str, **fields: Any) -> subnet_pb2.UpdateSubnetRequest:
    request = subnet_pb2.UpdateSubnetRequest(subnet=subnet_pb2.Subnet(name=f"{NET}/subnets/s4", **fields))
    request.update_mask.paths.extend(paths)
    return request


def pool(start: str, end: str) -> subnet_pb2.AllocationPool:
    return subnet_pb2.AllocationPool(start=start, end=end)


def call(service: str, method: str, request: Any) -> Call:
    return lambda api: getattr(getattr(api, service), method)(request)


def new_port(port_id: str = "p2", **fields: Any) -> Call:
    return call("ports", "CreatePort", port(port_id, **fields))


def new_subnet(**fields: Any) -> Call:
    return call("subnets", "CreateSubnet", subnet("s8", **fields))


def new_tenant(tenant_id: str = "beta", **fields: Any) -> Call:
    request = tenant_pb2.CreateTenantRequest(tenant_id=tenant_id, tenant=tenant_pb2.Tenant(**fields))
    return call("tenants", "CreateTenant", request)


async def assert_refused(api: Api, case: Case) -> None:
    """The case is refused with field, value and what would be right, and nothing is stored."""
    _, _, field, value, expected = case
    before = api.store.state.revision
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await case[1](api)
    refusal = refusal_of(caught.value)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT, refusal
    assert field in refusal.fields, refusal
    description = refusal.fields[field]
    shown, _, right = description.partition(" is wrong: ")
    assert value.removesuffix("...") in shown
    assert len(shown) <= 130
    assert expected in right
    assert field in refusal.message or len(refusal.fields) > 1
    assert api.store.state.revision == before
