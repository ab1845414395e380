"""Which addresses a port gets, and that no two ports get one."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from cloison.names import NetworkName
from cloison.v1 import network_pb2, port_pb2, subnet_pb2
from tests.support.api import Api
from tests.support.dual_stack import NET, addresses, change, dual_stack, ip, new_port, new_subnet, refused


@pytest.fixture
async def world(api: Api) -> Api:
    return await dual_stack(api)


class TestAddresses:
    async def test_from_a_named_subnet(self, world: Api) -> None:
        port = await new_port(world, "p1", fixed_ips=[ip(subnet="s6")])
        assert [f.subnet for f in port.fixed_ips] == [f"{NET}/subnets/s6"]

    async def test_the_subnet_is_found_by_the_address(self, world: Api) -> None:
        port = await new_port(world, "p1", fixed_ips=[ip("10.0.0.77"), ip("2001:db8::77")])
        assert [f.subnet.rsplit("/", 1)[1] for f in port.fixed_ips] == ["s4", "s6"]

    async def test_one_may_choose_outside_the_pools(self, world: Api) -> None:
        await new_subnet(
            world,
            "s8",
            cidr="10.8.0.0/24",
            allocation_pools=[subnet_pb2.AllocationPool(start="10.8.0.100", end="10.8.0.100")],
        )
        assert addresses(await new_port(world, "p1", fixed_ips=[ip("10.8.0.7")])) == ["10.8.0.7"]
        assert addresses(await new_port(world, "p2", fixed_ips=[ip(subnet="s8")])) == ["10.8.0.100"]
        refusal = await refused(new_port(world, "p3", fixed_ips=[ip(subnet="s8")]))
        assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "s8" in refusal.message

    async def test_an_update_keeps_what_it_can(self, world: Api) -> None:
        port = await new_port(world, "p1")
        same = await change(world, port.name, "fixed_ips", fixed_ips=[ip(subnet="s4"), ip(subnet="s6")])
        assert addresses(same) == addresses(port)
        more = await change(world, port.name, "fixed_ips", fixed_ips=[ip(subnet="s4"), ip(subnet="s4")])
        assert addresses(more)[0] == addresses(port)[0]
        assert len(set(addresses(more))) == 2

    async def test_a_port_without_subnets_has_a_mac_only(self, world: Api) -> None:
        await world.networks.CreateNetwork(
            network_pb2.CreateNetworkRequest(parent="tenants/acme", network_id="l2")
        )
        port = await world.ports.CreatePort(
            port_pb2.CreatePortRequest(parent="tenants/acme/networks/l2", port_id="p")
        )
        assert list(port.fixed_ips) == []
        assert port.mac_address

    async def test_a_port_may_have_two_addresses_of_one_wire_mac(self, world: Api) -> None:
        """Both are its own, so a frame for either reaches the right port."""
        await new_subnet(world, "s7", cidr="2001:db8:7::/64")
        port = await new_port(world, "p1", fixed_ips=[ip("2001:db8::9"), ip("2001:db8:7::9")])
        assert addresses(port) == ["2001:db8::9", "2001:db8:7::9"]
        await world.ports.DeletePort(port_pb2.DeletePortRequest(name=port.name))
        assert not any("ports/p1" in r.owner for r in world.store.state.reservations.values())

    @pytest.mark.slow
    async def test_concurrent_creates_never_share(self, world: Api) -> None:
        await new_subnet(world, "s9", cidr="10.9.0.0/26")
        ports = await asyncio.gather(
            *(new_port(world, f"p{i}", fixed_ips=[ip(subnet="s9")]) for i in range(61))
        )
        assert len({a for p in ports for a in addresses(p)}) == 61
        refusal = await refused(new_port(world, "one-more", fixed_ips=[ip(subnet="s9")]))
        assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED

    async def test_one_of_many_gets_the_address(self, world: Api) -> None:
        outcomes = await asyncio.gather(
            *(new_port(world, f"p{i}", fixed_ips=[ip("10.0.0.9")]) for i in range(8)), return_exceptions=True
        )
        errors = [o for o in outcomes if isinstance(o, grpc.aio.AioRpcError)]
        assert len(errors) == 7
        assert {e.code() for e in errors} == {grpc.StatusCode.INVALID_ARGUMENT}

    async def test_one_of_overlapping_subnets_made_at_once(self, world: Api) -> None:
        cidrs = ("10.20.0.0/16", "10.20.1.0/24", "10.20.1.128/25", "10.0.0.0/8")
        outcomes = await asyncio.gather(
            *(new_subnet(world, f"o{i}", cidr=cidr) for i, cidr in enumerate(cidrs)), return_exceptions=True
        )
        made = [s.cidr for s in world.store.state.subnets_of(NetworkName("acme", "web"))]
        for one in made:
            assert not any(one != b and one.version == b.version and one.overlaps(b) for b in made)
        assert sum(isinstance(o, subnet_pb2.Subnet) for o in outcomes) >= 1
