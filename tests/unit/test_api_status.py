"""What is seen of what hosts reported, and by whom."""

from __future__ import annotations

import grpc
import pytest

from cloison.names import HostName, PortName
from cloison.v1 import host_pb2, network_pb2, port_binding_pb2, port_pb2
from controller.reconcile.tracker import Condition, HostStatus, RefusedInterface
from tests.support.api import Api
from tests.support.dual_stack import NET, dual_stack, new_port, refused


@pytest.fixture
async def world(api: Api) -> Api:
    return await dual_stack(api)


class TestStatus:
    async def test_a_bound_port(self, world: Api) -> None:
        port = await new_port(world, "p1", requested_hosts=["hosts/h1"])
        await world.bind(port.name, "hosts/h1", ofport=9)
        name = PortName.parse(port.name)
        world.tracker.ports[name] = (
            port_pb2.Port.BUILDING,
            (Condition("HOST_UNREACHABLE", "hosts/h2 is away", ("hosts/h2",)),),
            HostName("h1"),
        )
        shown = await world.ports.GetPort(port_pb2.GetPortRequest(name=port.name))
        assert (shown.state, shown.host) == (port_pb2.Port.BUILDING, "hosts/h1")
        assert [c.reason for c in shown.conditions] == ["HOST_UNREACHABLE"]
        binding = await world.bindings.GetPortBinding(
            port_binding_pb2.GetPortBindingRequest(name=f"{port.name}/binding")
        )
        assert (binding.host, binding.ofport, binding.state) == ("hosts/h1", 9, port_pb2.Port.BUILDING)
        listed = await world.bindings.ListPortBindings(
            port_binding_pb2.ListPortBindingsRequest(parent="tenants/-/networks/-")
        )
        assert list(listed.port_bindings) == [binding]
        network = await world.networks.GetNetwork(network_pb2.GetNetworkRequest(name=NET))
        assert list(network.hosts) == ["hosts/h1"]

    async def test_a_tenant_does_not_see_hosts(self, world: Api) -> None:
        port = await new_port(world, "p1", requested_hosts=["hosts/h1"])
        world.tracker.ports[PortName.parse(port.name)] = (
            port_pb2.Port.BUILDING,
            (Condition("HOST_UNREACHABLE", "hosts/h2 is away", ("hosts/h2",)),),
            HostName("h1"),
        )
        shown = await world.ports.GetPort(
            port_pb2.GetPortRequest(name=port.name), metadata=(("as-identity", "tenant/acme/viewer"),)
        )
        assert shown.state == port_pb2.Port.BUILDING
        assert "h1" not in str(shown)
        assert "h2" not in str(shown)

    async def test_a_host(self, world: Api) -> None:
        world.tracker.hosts[HostName("h1")] = HostStatus(
            agent_connected=True,
            realized_revision=4,
            drift_count=2,
            refused_interfaces=(RefusedInterface("tap1", "x", Condition("UNKNOWN_IFACE_ID", "no port")),),
        )
        host = await world.hosts.GetHost(host_pb2.GetHostRequest(name="hosts/h1"))
        assert (host.agent_connected, host.switch_connected, host.realized_revision) == (True, False, 4)
        assert [r.interface for r in host.refused_interfaces] == ["tap1"]

    async def test_unplugged_means_not_found(self, world: Api) -> None:
        port = await new_port(world, "p1")
        refusal = await refused(
            world.bindings.GetPortBinding(port_binding_pb2.GetPortBindingRequest(name=f"{port.name}/binding"))
        )
        assert refusal.code is grpc.StatusCode.NOT_FOUND
