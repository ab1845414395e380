"""A network of two subnets and two hosts, and what tests of single methods ask of it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from cloison.v1 import host_pb2, network_pb2, port_pb2, subnet_pb2, tenant_pb2
from tests.support.api import Api, refusal_of

NET = "tenants/acme/networks/web"


async def dual_stack(api: Api) -> Api:
    """Make a tenant, a dual-stack network and two hosts."""
    await api.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="acme"))
    for host in ("h1", "h2"):
        await api.hosts.CreateHost(host_pb2.CreateHostRequest(host_id=host))
    await api.networks.CreateNetwork(
        network_pb2.CreateNetworkRequest(parent="tenants/acme", network_id="web")
    )
    await new_subnet(api, "s4", cidr="10.0.0.0/24")
    await new_subnet(api, "s6", cidr="2001:db8::/64")
    return api


async def new_subnet(api: Api, subnet_id: str, parent: str = NET, **fields: Any) -> subnet_pb2.Subnet:
    return await api.subnets.CreateSubnet(
        subnet_pb2.CreateSubnetRequest(parent=parent, subnet_id=subnet_id, subnet=subnet_pb2.Subnet(**fields))
    )


async def new_port(api: Api, port_id: str, request_id: str = "", **fields: Any) -> port_pb2.Port:
    request = port_pb2.CreatePortRequest(
        parent=NET, port_id=port_id, port=port_pb2.Port(**fields), request_id=request_id
    )
    return await api.ports.CreatePort(request)


async def change(api: Api, name: str, *paths: str, **fields: Any) -> port_pb2.Port:
    request = port_pb2.UpdatePortRequest(port=port_pb2.Port(name=name, **fields))
    request.update_mask.paths.extend(paths)
    return await api.ports.UpdatePort(request)


def ip(address: str = "", subnet: str = "") -> port_pb2.FixedIp:
    return port_pb2.FixedIp(ip_address=address, subnet=f"{NET}/subnets/{subnet}" if subnet else "")


def addresses(port: port_pb2.Port) -> list[str]:
    return [f.ip_address for f in port.fixed_ips]


async def refused(awaitable: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return refusal_of(caught.value)
