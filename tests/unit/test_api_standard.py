"""The standard methods: what they store, give back, keep and hand out again."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import uuid4

import grpc
import pytest

from cloison.addresses import MULTICAST_BIT, is_wire_mac, parse_mac
from cloison.names import HostName, NetworkName, PortName
from cloison.v1 import host_pb2, network_pb2, port_binding_pb2, port_pb2, subnet_pb2, tenant_pb2
from controller.reconcile.tracker import Condition, HostStatus, RefusedInterface
from controller.store.txn import Txn
from tests.support.api import Api, refusal_of

NET = "tenants/acme/networks/web"


@pytest.fixture
async def world(api: Api) -> Api:
    """A tenant, a dual-stack network and two hosts."""
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
        from cloison.model import TunnelPort, Vni

        def build(_: Any) -> tuple[Txn, None]:
            txn = Txn()
            txn.create(TunnelPort(host=HostName("h2"), vni=Vni(vni), ofport=3))
            return txn, None

        await api.store.transact(build)

    async def test_without_a_host_it_is_free_at_once(self, world: Api) -> None:
        port = await new_port(world, "p1", fixed_ips=[ip("10.0.0.9")])
        await world.ports.DeletePort(port_pb2.DeletePortRequest(name=port.name))
        assert addresses(await new_port(world, "p1", fixed_ips=[ip("10.0.0.9")])) == ["10.0.0.9"]


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
