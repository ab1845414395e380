"""The standard methods: what they store, give back and keep."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import uuid4

import grpc
import pytest

from cloison.addresses import MULTICAST_BIT, is_wire_mac, parse_mac
from cloison.v1 import network_pb2, port_pb2, subnet_pb2, tenant_pb2
from tests.support.api import Api
from tests.support.dual_stack import NET, addresses, change, dual_stack, ip, new_port, new_subnet, refused


@pytest.fixture
async def world(api: Api) -> Api:
    return await dual_stack(api)


async def test_a_port_gets_all_it_needs(world: Api) -> None:
    port = await new_port(world, "p1")
    four, six = addresses(port)
    assert ip_address(four) in ip_network("10.0.0.0/24")
    assert ip_address(six) in ip_network("2001:db8::/64")
    mac = parse_mac(port.mac_address)
    assert not mac & MULTICAST_BIT
    assert mac >> 40 & 2
    assert not is_wire_mac(mac)
    assert port.iface_id == port.uid
    assert port.number > 0
    assert port.state == port_pb2.Port.DOWN
    assert port.etag
    assert port == await world.ports.GetPort(port_pb2.GetPortRequest(name=port.name))


async def test_numbers_are_in_range(world: Api) -> None:
    tenant = await world.tenants.GetTenant(tenant_pb2.GetTenantRequest(name="tenants/acme"))
    network = await world.networks.GetNetwork(network_pb2.GetNetworkRequest(name=NET))
    assert 1 <= tenant.number < 1 << 20
    assert 4096 <= network.vni < 1 << 24


async def test_subnet_defaults(world: Api) -> None:
    s4 = await world.subnets.GetSubnet(subnet_pb2.GetSubnetRequest(name=f"{NET}/subnets/s4"))
    assert (s4.gateway_ip, [(p.start, p.end) for p in s4.allocation_pools]) == (
        "10.0.0.1",
        [("10.0.0.2", "10.0.0.254")],
    )
    middle = await new_subnet(world, "s5", cidr="10.1.0.0/29", gateway_ip="10.1.0.3")
    assert [(p.start, p.end) for p in middle.allocation_pools] == [
        ("10.1.0.1", "10.1.0.2"),
        ("10.1.0.4", "10.1.0.6"),
    ]
    none = await new_subnet(world, "s7", cidr="10.2.0.0/31", no_gateway=True)
    assert none.gateway_ip == ""
    assert [(p.start, p.end) for p in none.allocation_pools] == [("10.2.0.0", "10.2.0.1")]


async def test_output_only_fields_are_ignored(world: Api) -> None:
    port = await new_port(
        world, "p1", uid="mine", number=5, host="hosts/h1", state=port_pb2.Port.ACTIVE, name="tenants/x"
    )
    assert port.uid != "mine"
    assert port.name == f"{NET}/ports/p1"
    assert (port.host, port.state) == ("", port_pb2.Port.DOWN)
    changed = await change(world, port.name, "number", "display_name", number=7, display_name="web")
    assert (changed.number, changed.display_name) == (port.number, "web")


async def test_update_without_a_mask_takes_what_is_set(world: Api) -> None:
    port = await new_port(world, "p1", display_name="one", labels={"a": "1"})
    changed = await change(world, port.name, display_name="two")
    assert (changed.display_name, dict(changed.labels)) == ("two", {"a": "1"})
    assert changed.etag != port.etag
    assert changed.mac_address == port.mac_address
    assert changed.create_time == port.create_time
    assert changed.update_time.ToNanoseconds() > port.update_time.ToNanoseconds()


async def test_update_with_a_mask_empties_what_is_not_set(world: Api) -> None:
    port = await new_port(world, "p1", display_name="one", labels={"a": "1"}, disabled=True)
    changed = await change(world, port.name, "labels", "disabled")
    assert (changed.display_name, dict(changed.labels), changed.disabled) == ("one", {}, False)
    everything = await change(world, port.name, "*")
    assert everything.display_name == ""
    assert everything.mac_address == port.mac_address
    assert addresses(everything) == []


async def test_an_update_that_changes_nothing_stores_nothing(world: Api) -> None:
    port = await new_port(world, "p1", display_name="one")
    before = world.store.state.revision
    assert await world.ports.UpdatePort(port_pb2.UpdatePortRequest(port=port)) == port
    assert world.store.state.revision == before


async def test_the_right_etag_is_accepted(world: Api) -> None:
    port = await new_port(world, "p1")
    port = await change(world, port.name, display_name="two", etag=port.etag)
    await world.ports.DeletePort(port_pb2.DeletePortRequest(name=port.name, etag=f'"{port.etag}"'))


async def test_validate_only(world: Api) -> None:
    before = world.store.state.revision
    request = port_pb2.CreatePortRequest(parent=NET, port_id="p1", validate_only=True)
    made = await world.ports.CreatePort(request)
    assert len(made.fixed_ips) == 2
    assert made.etag == ""
    port = await new_port(world, "p1")
    stored = world.store.state.revision
    await world.ports.UpdatePort(
        port_pb2.UpdatePortRequest(port=port_pb2.Port(name=port.name, disabled=True), validate_only=True)
    )
    await world.ports.DeletePort(port_pb2.DeletePortRequest(name=port.name, validate_only=True))
    refusal = await refused(
        world.networks.DeleteNetwork(network_pb2.DeleteNetworkRequest(name=NET, validate_only=True))
    )
    assert refusal.reason == "REFERENCED"
    assert stored > before
    assert world.store.state.revision == stored


class TestRequestId:
    async def test_a_repeated_create_is_the_same_create(self, world: Api) -> None:
        request_id = str(uuid4())
        first = await new_port(world, "p1", request_id, display_name="x")
        before = world.store.state.revision
        assert await new_port(world, "p1", request_id, display_name="x") == first
        assert await new_port(world, "p1", request_id.upper(), display_name="x") == first
        assert world.store.state.revision == before

    async def test_two_at_once_are_one(self, world: Api) -> None:
        request_id = str(uuid4())
        ports = await asyncio.gather(*(new_port(world, "p1", request_id) for _ in range(5)))
        assert {p.uid for p in ports} == {ports[0].uid}

    async def test_another_request_with_the_same_id(self, world: Api) -> None:
        request_id = str(uuid4())
        await new_port(world, "p1", request_id, display_name="x")
        refusal = await refused(new_port(world, "p1", request_id, display_name="y"))
        assert "request_id" in refusal.fields

    async def test_another_id_is_another_request(self, world: Api) -> None:
        await new_port(world, "p1", str(uuid4()))
        refusal = await refused(new_port(world, "p1", str(uuid4())))
        assert refusal.code is grpc.StatusCode.ALREADY_EXISTS


class TestPages:
    async def all_names(self, api: Api, size: int, meanwhile: Any = None) -> list[str]:
        names: list[str] = []
        token = ""
        while True:
            page = await api.ports.ListPorts(
                port_pb2.ListPortsRequest(parent=NET, page_size=size, page_token=token)
            )
            assert len(page.ports) <= size
            names += [p.name.rsplit("/", 1)[1] for p in page.ports]
            token = page.next_page_token
            if not token:
                return names
            if meanwhile:
                await meanwhile()
                meanwhile = None

    @pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 1000])
    async def test_everything_once_in_order(self, world: Api, size: int) -> None:
        for name in ("b", "a-1", "a", "c", "a1", "bb"):
            await new_port(world, name)
        assert await self.all_names(world, size) == sorted(["b", "a-1", "a", "c", "a1", "bb"])

    async def test_changes_meanwhile(self, world: Api) -> None:
        for name in ("a", "c", "e", "g"):
            await new_port(world, name)

        async def meanwhile() -> None:
            await new_port(world, "b")
            await new_port(world, "f")
            await world.ports.DeletePort(port_pb2.DeletePortRequest(name=f"{NET}/ports/c"))
            await world.ports.DeletePort(port_pb2.DeletePortRequest(name=f"{NET}/ports/e"))

        assert await self.all_names(world, 2, meanwhile) == ["a", "c", "f", "g"]

    async def test_wildcards(self, world: Api) -> None:
        await world.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="beta"))
        for parent, network in (("acme", "db"), ("beta", "web")):
            await world.networks.CreateNetwork(
                network_pb2.CreateNetworkRequest(parent=f"tenants/{parent}", network_id=network)
            )

        async def names(parent: str) -> list[str]:
            answer = await world.networks.ListNetworks(network_pb2.ListNetworksRequest(parent=parent))
            return ["/".join(n.name.split("/")[1::2]) for n in answer.networks]

        assert await names("tenants/-") == ["acme/db", "acme/web", "beta/web"]
        assert await names("tenants/acme") == ["acme/db", "acme/web"]
        found = await world.ports.ListPorts(port_pb2.ListPortsRequest(parent="tenants/-/networks/web"))
        assert list(found.ports) == []


async def test_subnet_updates(world: Api) -> None:
    name = f"{NET}/subnets/s4"

    async def update(*paths: str, **fields: Any) -> subnet_pb2.Subnet:
        request = subnet_pb2.UpdateSubnetRequest(subnet=subnet_pb2.Subnet(name=name, **fields))
        request.update_mask.paths.extend(paths)
        return await world.subnets.UpdateSubnet(request)

    narrow = [subnet_pb2.AllocationPool(start="10.0.0.10", end="10.0.0.20")]
    changed = await update(gateway_ip="10.0.0.254", allocation_pools=narrow)
    assert (changed.gateway_ip, changed.no_gateway) == ("10.0.0.254", False)
    # The old gateway's address is free again, the new one's is not.
    assert addresses(await new_port(world, "p1", fixed_ips=[ip("10.0.0.1")])) == ["10.0.0.1"]
    refusal = await refused(new_port(world, "p2", fixed_ips=[ip("10.0.0.254")]))
    assert "gateway of" in refusal.fields["port.fixed_ips[0].ip_address"]
    none = await update(no_gateway=True)
    assert (none.gateway_ip, none.no_gateway) == ("", True)
    back = await update("gateway_ip", gateway_ip="10.0.0.2")
    assert (back.gateway_ip, back.no_gateway) == ("10.0.0.2", False)
    wide = await update("allocation_pools")
    assert [(p.start, p.end) for p in wide.allocation_pools] == [
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.3", "10.0.0.254"),
    ]
