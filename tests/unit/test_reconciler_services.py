"""Local services: what agents are told of the ports and names of their host, and how they are reached."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from cloison.model import AddressPair, DhcpOptions, FixedIp, Route
from cloison.names import HostName, SubnetName
from cloison.v1 import host_sync_pb2
from controller.flows import Flow, Output
from controller.reconcile.service_messages import NAMES_PER_MESSAGE, PORTS_PER_MESSAGE, service_messages
from controller.reconcile.services import ServiceChange, ZoneChange
from tests.support.hosts import SERVICE_OFPORT, MemoryHost, eventually
from tests.support.reconciling import (
    H1,
    NETWORK,
    VNI,
    controller,
    pair,
    settled,
    with_base,
)

SUBNET = SubnetName("acme", "web", "v4")


def told(host: MemoryHost, number: int) -> host_sync_pb2.ServicePort:
    return host.service_ports[number]


async def test_a_port_is_told_to_the_host_it_is_plugged_on() -> None:
    async with controller() as made:
        h1, h2, p1, _ = await pair(made)
        assert set(h1.service_ports) == {1}
        assert set(h2.service_ports) == {2}
        port = told(h1, 1)
        assert (port.number, port.vni, port.mac) == (1, VNI, 0x020000000001)
        assert port.port == str(p1)
        assert port.hostname == "p1"
        assert port.domain == "web.acme.cloison.internal"
        assert port.ofport == made.store.state.bindings_of(p1)[0].ofport
        assert port.mtu == 1450
        (address,) = port.addresses
        assert (address.address, address.prefix_length) == (bytes([10, 0, 0, 1]), 24)
        assert not address.router, "nobody answers at the gateway"
        assert not address.no_dhcp


async def test_what_a_subnet_or_a_port_says_reaches_the_guests_host() -> None:
    async with controller() as made:
        h1, h2, p1, _ = await pair(made)
        await made.change(
            SUBNET,
            dns_servers=(ip_address("192.0.2.53"),),
            ntp_servers=(ip_address("192.0.2.123"),),
            routes=(Route(ip_network("172.16.0.0/12"), ip_address("10.0.0.3")),),
        )
        await made.change(
            p1,
            dns_name="www",
            device_id="vm-1",
            allowed_address_pairs=(AddressPair(ip_network("10.0.0.64/26")),),
            dhcp_options=DhcpOptions(boot_file_uefi="boot.efi"),
        )
        await settled(made)
        address = told(h1, 1).addresses[0]
        assert list(address.dns_servers) == [bytes([192, 0, 2, 53])]
        assert list(address.ntp_servers) == [bytes([192, 0, 2, 123])]
        (route,) = address.routes
        assert (route.destination, route.prefix_length) == (bytes([172, 16, 0, 0]), 12)
        assert told(h2, 2).addresses[0].routes == address.routes
        assert (told(h1, 1).hostname, told(h1, 1).device_id) == ("www", "vm-1")
        assert list(told(h1, 1).allowed_prefixes) == ["10.0.0.64/26"]
        assert told(h1, 1).boot_file_uefi == "boot.efi"


async def test_the_mtu_is_what_every_host_of_the_network_can_carry() -> None:
    async with controller() as made:
        h1, h2, _, _ = await pair(made)
        await made.change(HostName("h2"), underlay_mtu=1400)
        await settled(made)
        assert (told(h1, 1).mtu, told(h2, 2).mtu) == (1350, 1350)
        await made.change(HostName("h1"), vtep=ip_address("2001:db8::1"), underlay_mtu=1400)
        await settled(made)
        assert told(h2, 2).mtu == 1330, "IPv6 takes 20 bytes more"
        await made.change(NETWORK, mtu_limit=1280)
        await settled(made)
        assert (told(h1, 1).mtu, told(h2, 2).mtu) == (1280, 1280)


async def test_names_are_known_where_their_tenant_is() -> None:
    async with controller() as made:
        await with_base(made, "globex", 2)
        h1, h2, p1, _ = await pair(made)
        h3 = MemoryHost(made.reconciler, 3)
        await h3.connect("if11")
        other = await made.create_port(11, "h3", tenant="globex")
        await made.active(other)
        both = {"p1": (bytes([10, 0, 0, 1]),), "p2": (bytes([10, 0, 0, 2]),)}
        assert h1.zones == h2.zones == {VNI: both}
        assert h3.zones == {VNI + 1: {"p11": (bytes([10, 0, 0, 1]),)}}, "no other tenant's"
        await made.create_port(4, "h9")
        await made.change(p1, dns_name="www")
        await settled(made)
        assert set(h2.zones[VNI]) == {"www", "p2", "p4"}, "a name needs no guest that runs"
        await made.delete_port(other)
        await eventually(lambda: not h3.zones, "the tenant has left the host")


async def test_two_ports_of_one_name_are_both_found() -> None:
    async with controller() as made:
        h1, _, p1, p2 = await pair(made)
        for name in (p1, p2):
            await made.change(name, dns_name="db")
        await settled(made)
        assert h1.zones[VNI] == {"db": (bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))}
        await made.change(p1, fixed_ips=(FixedIp(SUBNET, ip_address("10.0.0.7")),))
        await settled(made)
        assert h1.zones[VNI] == {"db": (bytes([10, 0, 0, 7]), bytes([10, 0, 0, 2]))}


async def test_a_port_that_moves_is_told_to_its_new_host_only() -> None:
    async with controller() as made:
        h1, h2, p1, _ = await pair(made)
        await made.change(p1, requested_hosts=(HostName("h2"),))
        h2.plug("if1")
        await made.active(p1)
        await settled(made)
        assert set(h1.service_ports) == set()
        assert set(h2.service_ports) == {1, 2}
        assert h1.zones == {}


async def test_an_agent_that_comes_back_is_told_everything_again() -> None:
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        h1.disconnect_agent()
        again = MemoryHost(made.reconciler, 1, h1.switch)
        again._ofport = 100
        await again.connect("if1")
        await made.active(p1)
        assert again.service_ports == h1.service_ports
        assert again.zones == h1.zones


def outputs(host: MemoryHost) -> set[int]:
    """The ports that some flow of the switch names as its output."""
    flows: list[Flow] = [installed.flow for installed in host.switch.flows.values()]
    return {action.port for flow in flows for action in flow.actions if isinstance(action, Output)}


async def test_the_services_are_where_the_switch_says_their_device_is() -> None:
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        assert outputs(h1) == {SERVICE_OFPORT}
        h1.switch.set_port(SERVICE_OFPORT, None)
        await eventually(lambda: not outputs(h1), "no flow leads to a number that may be anybody's")
        h1.switch.set_port(55, "cl-services")
        await eventually(lambda: outputs(h1) == {55}, "made anew under another number")
        made.reconciler.switch_gone(h1.switch.dpid)
        assert made.reconciler.service_ofport(H1) == 55, "kept while the switch is away"
        made.reconciler.switch_connected(h1.switch.dpid, h1.switch)
        await settled(made)
        assert outputs(h1) == {55}
        assert made.status(p1)


async def test_a_number_that_was_the_services_may_be_a_guests_when_the_switch_starts_anew() -> None:
    """The agent may say so first: until the switch is asked, two would have the number."""
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        (binding,) = made.store.state.bindings_of(p1)
        made.reconciler.switch_gone(h1.switch.dpid)
        said = host_sync_pb2.Interface(name="tap-if1", iface_id="if1", ofport=SERVICE_OFPORT)
        made.reconciler.inventory(h1.session, host_sync_pb2.Inventory(interfaces=[said]))
        await eventually(
            lambda: [b.ofport for b in made.store.state.bindings_of(p1)] == [SERVICE_OFPORT],
            "told by the agent",
        )
        await eventually(lambda: made.reconciler.revision == made.store.state.revision, "followed")
        assert made.reconciler.tracker.gate_figures().refused == 0
        h1.switch.set_port(SERVICE_OFPORT, binding.interface)
        h1.switch.set_port(binding.ofport, "cl-services")
        made.reconciler.switch_connected(h1.switch.dpid, h1.switch)
        await made.active(p1)
        assert outputs(h1) == {binding.ofport}, "where the services are now"
        assert made.reconciler.tracker.gate_figures().refused == 0


async def test_nobody_is_served_at_a_number_that_is_another_interfaces() -> None:
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        (binding,) = made.store.state.bindings_of(p1)
        h1.switch.set_port(binding.ofport, "tap-of-somebody-else")
        await eventually(lambda: not h1.service_ports, "not served")
        h1.switch.set_port(binding.ofport, binding.interface)
        await eventually(lambda: set(h1.service_ports) == {1}, "served again")


async def test_a_host_whose_overlay_is_not_known_has_no_way_out() -> None:
    async with controller() as made:
        h1, _, _, _ = await pair(made)
        unit = ("host", H1)
        assert made.reconciler.hosts[H1].flows.flows_of(unit)
        await made.change(H1, underlay_mtu=0)
        await settled(made)
        assert not made.reconciler.hosts[H1].flows.flows_of(unit)
        assert not outputs(h1)


def test_no_message_is_too_large() -> None:
    count = 3 * NAMES_PER_MESSAGE + 1
    names = {f"p{n}": (n.to_bytes(4),) for n in range(count)}
    ports = {n: host_sync_pb2.ServicePort(number=n) for n in range(1, 2 * PORTS_PER_MESSAGE + 2)}
    zones = {VNI: ZoneChange(NETWORK, "a.test", names, {"gone"})}
    change = ServiceChange(ports, {9999}, zones, {7})  # type: ignore[arg-type]
    messages = list(service_messages(12, change))
    assert all(message.revision == 12 and message.ByteSize() < 1 << 20 for message in messages)
    assert [p.number for m in messages for p in m.service_ports] == sorted(ports)
    assert {h.name for m in messages for z in m.zones for h in z.upserted} == set(names)
    assert [name for m in messages for z in m.zones for name in z.removed] == ["gone"]
    assert list(messages[0].removed_service_ports) == [9999]
    assert list(messages[0].removed_zones) == [7]
    assert all(z.domain == "a.test" for m in messages for z in m.zones)


def test_nothing_to_say_is_no_message() -> None:
    assert not list(service_messages(1, ServiceChange()))
