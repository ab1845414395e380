"""What stands in the way of a deletion, and when others may have what the deleted held."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from cloison.model import TunnelPort, Vni
from cloison.names import HostName, PortName
from cloison.v1 import host_pb2, network_pb2, port_pb2, subnet_pb2, tenant_pb2
from controller.reconcile.tracker import HostStatus
from controller.store.txn import Txn
from tests.support.api import Api
from tests.support.dual_stack import NET, addresses, change, dual_stack, ip, new_port, refused


@pytest.fixture
async def world(api: Api) -> Api:
    return await dual_stack(api)


class TestDeletes:
    async def test_children_are_in_the_way(self, world: Api) -> None:
        port = await new_port(world, "p1", requested_hosts=["hosts/h1"])
        for awaitable, subjects in (
            (world.tenants.DeleteTenant(tenant_pb2.DeleteTenantRequest(name="tenants/acme")), (NET,)),
            (
                world.networks.DeleteNetwork(network_pb2.DeleteNetworkRequest(name=NET)),
                (port.name, f"{NET}/subnets/s4", f"{NET}/subnets/s6"),
            ),
            (
                world.subnets.DeleteSubnet(subnet_pb2.DeleteSubnetRequest(name=f"{NET}/subnets/s4")),
                (port.name,),
            ),
            (world.hosts.DeleteHost(host_pb2.DeleteHostRequest(name="hosts/h1")), (port.name,)),
        ):
            refusal = await refused(awaitable)
            assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
            assert refusal.subjects == subjects

    async def test_a_connected_host_stays(self, world: Api) -> None:
        world.tracker.hosts[HostName("h1")] = HostStatus(agent_connected=True)
        refusal = await refused(world.hosts.DeleteHost(host_pb2.DeleteHostRequest(name="hosts/h1")))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "AGENT_CONNECTED")

    async def test_nothing_is_left(self, world: Api) -> None:
        await new_port(world, "p1", requested_hosts=["hosts/h1"])
        await world.ports.DeletePort(port_pb2.DeletePortRequest(name=f"{NET}/ports/p1"))
        for subnet in ("s4", "s6"):
            await world.subnets.DeleteSubnet(subnet_pb2.DeleteSubnetRequest(name=f"{NET}/subnets/{subnet}"))
        await world.networks.DeleteNetwork(network_pb2.DeleteNetworkRequest(name=NET))
        await world.tenants.DeleteTenant(tenant_pb2.DeleteTenantRequest(name="tenants/acme"))
        for host in ("h1", "h2"):
            await world.hosts.DeleteHost(host_pb2.DeleteHostRequest(name=f"hosts/{host}"))
        state = world.store.state
        assert not any((state.tenants, state.networks, state.subnets, state.ports, state.hosts))
        assert list(state.reservations) == []

    async def test_deleted_means_not_found(self, world: Api) -> None:
        port = await new_port(world, "p1")
        await world.ports.DeletePort(port_pb2.DeletePortRequest(name=port.name))
        refusal = await refused(world.ports.DeletePort(port_pb2.DeletePortRequest(name=port.name)))
        assert refusal.code is grpc.StatusCode.NOT_FOUND


class TestRelease:
    """What a port or network held is nobody's until every host that may know it has confirmed."""

    async def bound_port(self, api: Api) -> port_pb2.Port:
        port = await new_port(
            api, "p1", requested_hosts=["hosts/h1"], fixed_ips=[ip("10.0.0.9"), ip("2001:db8::9")]
        )
        await api.bind(port.name, "hosts/h1")
        return port

    async def test_a_bound_port_is_waited_for(self, world: Api) -> None:
        port = await self.bound_port(world)
        await world.ports.DeletePort(port_pb2.DeletePortRequest(name=port.name))
        assert world.store.state.bindings_of(PortName.parse(port.name)) == ()
        for wanted in (
            {"fixed_ips": [ip("10.0.0.9")]},
            {"mac_address": port.mac_address},
            {"fixed_ips": [ip("2001:db8::9")]},
        ):
            refusal = await refused(new_port(world, "p2", **wanted))
            assert refusal.code is grpc.StatusCode.UNAVAILABLE
            assert refusal.retry_delay_s
            assert "hosts/h1" in refusal.message
        # The iface-id is in no flow: the workload may be plugged again at once.
        again = await new_port(world, "p1", iface_id=port.iface_id)
        assert not set(addresses(again)) & set(addresses(port))

    async def test_the_span_is_waited_for(self, world: Api) -> None:
        await self.bound_port(world)
        other = await new_port(world, "p2", requested_hosts=["hosts/h2"])
        await world.ports.DeletePort(port_pb2.DeletePortRequest(name=other.name))
        released = {r.hosts for r in world.store.state.reservations.released()}
        assert released == {(HostName("h1"),)}

    async def test_an_address_given_up_by_an_update(self, world: Api) -> None:
        port = await self.bound_port(world)
        await change(world, port.name, "fixed_ips", fixed_ips=[ip("10.0.0.10")])
        refusal = await refused(new_port(world, "p2", fixed_ips=[ip("10.0.0.9")]))
        assert refusal.code is grpc.StatusCode.UNAVAILABLE
        refusal = await refused(change(world, port.name, "fixed_ips", fixed_ips=[ip("10.0.0.9")]))
        assert refusal.code is grpc.StatusCode.UNAVAILABLE

    async def test_a_mac_that_keeps_its_low_half(self, world: Api) -> None:
        """The wire MAC of the link-local address stays the port's: nothing is released and taken at once."""
        port = await new_port(world, "p1", mac_address="52:54:00:00:00:01")
        changed = await change(world, port.name, mac_address="56:54:00:00:00:01")
        assert changed.mac_address == "56:54:00:00:00:01"

    async def test_a_vni_waits_for_the_device(self, world: Api) -> None:
        port = await self.bound_port(world)
        network = await world.networks.GetNetwork(network_pb2.GetNetworkRequest(name=NET))
        await self.report_tunnel(world, network.vni)
        await world.ports.DeletePort(port_pb2.DeletePortRequest(name=port.name))
        for subnet in ("s4", "s6"):
            await world.subnets.DeleteSubnet(subnet_pb2.DeleteSubnetRequest(name=f"{NET}/subnets/{subnet}"))
        await world.networks.DeleteNetwork(network_pb2.DeleteNetworkRequest(name=NET))
        reservation = world.store.state.reservations[f"vni/{network.vni}"]
        assert (reservation.released, reservation.hosts) == (True, (HostName("h2"),))

    async def report_tunnel(self, api: Api, vni: int) -> None:
        def build(_: Any) -> tuple[Txn, None]:
            txn = Txn()
            txn.create(TunnelPort(host=HostName("h2"), vni=Vni(vni), ofport=3))
            return txn, None

        await api.store.transact(build)

    async def test_without_a_host_it_is_free_at_once(self, world: Api) -> None:
        port = await new_port(world, "p1", fixed_ips=[ip("10.0.0.9")])
        await world.ports.DeletePort(port_pb2.DeletePortRequest(name=port.name))
        assert addresses(await new_port(world, "p1", fixed_ips=[ip("10.0.0.9")])) == ["10.0.0.9"]
