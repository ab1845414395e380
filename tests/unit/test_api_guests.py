"""What guests are given and told: addresses made of MACs, names, servers, owners; and their address pairs."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import grpc
import pytest

from cloison.addresses import link_local
from cloison.model import AddressPair, DhcpOptions, Ipv6Mode, Route, Subnet
from cloison.names import NetworkName, PortName, SubnetName
from cloison.v1 import network_pb2, port_pb2, subnet_pb2
from controller.api.allocate import eui64
from controller.store import ids
from tests.support.api import AS, Api, refusal_of
from tests.support.requests import (
    NET,
    ip,
    make_world,
    network,
    port,
    subnet,
    update_port,
)

ADMIN = ((AS, "tenant/acme/admin"),)
WEB = NetworkName("acme", "web")
MAC, MADE = "52:54:00:12:34:56", "5054:ff:fe12:3456"


def pairs(*prefixes: str, mac: str = "") -> dict:
    return {"allowed_address_pairs": [{"prefix": prefix, "mac_address": mac} for prefix in prefixes]}


def boot(**fields: str) -> dict:
    return {"dhcp_options": fields}


@pytest.fixture
async def world(api: Api) -> Api:
    await make_world(api)
    return api


# -- what is stored ------------------------------------------------------------------------------------


async def test_subnets_have_what_guests_are_told(world: Api) -> None:
    await world.subnets.CreateSubnet(
        subnet(
            "told",
            cidr="10.7.0.0/24",
            dns_servers=["9.9.9.9", "1.1.1.1"],
            ntp_servers=["10.7.0.9"],
            routes=[{"destination": "192.0.2.0/24", "next_hop": "10.7.0.8"}],
            no_dhcp=True,
        )
    )
    found = world.store.state.subnets[SubnetName("acme", "web", "told")]
    assert [str(s) for s in found.dns_servers] == ["9.9.9.9", "1.1.1.1"]
    assert (found.dhcp, found.ipv6_mode) == (False, Ipv6Mode.UNSPECIFIED)
    assert found.routes == (Route(ip_network("192.0.2.0/24"), ip_address("10.7.0.8")),)
    request = subnet_pb2.UpdateSubnetRequest(subnet=subnet_pb2.Subnet(name=str(found.name)))
    request.update_mask.paths.extend(["no_dhcp", "routes"])
    changed = await world.subnets.UpdateSubnet(request)
    assert (changed.no_dhcp, list(changed.routes), list(changed.ntp_servers)) == (False, [], ["10.7.0.9"])
    stateful = world.store.state.subnets[SubnetName("acme", "web", "s6")]
    assert (stateful.dhcp, stateful.ipv6_mode) == (True, Ipv6Mode.STATEFUL)


async def test_networks_have_a_domain_and_an_mtu(world: Api) -> None:
    made = await world.networks.CreateNetwork(network("db", mtu_limit=1400, multicast=True))
    assert (made.dns_domain, made.mtu_limit, made.multicast) == ("db.acme.cloison.internal", 1400, True)
    message = network_pb2.Network(name=made.name, dns_domain="db.example.org")
    changed = await world.networks.UpdateNetwork(network_pb2.UpdateNetworkRequest(network=message))
    assert (changed.dns_domain, changed.mtu_limit, changed.multicast) == ("db.example.org", 1400, True)
    request = network_pb2.UpdateNetworkRequest(network=network_pb2.Network(name=made.name))
    request.update_mask.paths.append("*")
    changed = await world.networks.UpdateNetwork(request)
    assert (changed.dns_domain, changed.mtu_limit, changed.multicast) == (
        "db.acme.cloison.internal",
        0,
        False,
    )


async def test_ports_are_known_by_their_ids_unless_they_say_otherwise(world: Api) -> None:
    plain = await world.ports.CreatePort(port("a"))
    assert (plain.dns_name, plain.device_id, plain.project_id) == ("a", plain.uid, "acme")
    named = await world.ports.CreatePort(
        port("b", dns_name="www", device_id="i-7", project_id="p-9", **boot(boot_file_ipxe="http://b/x?y"))
    )
    assert (named.dns_name, named.device_id, named.project_id) == ("www", "i-7", "p-9")
    stored = world.store.state.ports[PortName("acme", "web", "b")]
    assert stored.dhcp_options == DhcpOptions(boot_file_ipxe="http://b/x?y")
    request = port_pb2.UpdatePortRequest(port=port_pb2.Port(name=named.name))
    request.update_mask.paths.extend(["dns_name", "device_id", "project_id", "dhcp_options"])
    cleared = await world.ports.UpdatePort(request)
    assert (cleared.dns_name, cleared.device_id, cleared.project_id) == ("b", named.uid, "acme")
    assert not cleared.HasField("dhcp_options")


@pytest.mark.parametrize("field", ["device_id", "project_id"])
async def test_who_a_guest_is_only_operators_say(world: Api, field: str) -> None:
    """The metadata service believes it: a tenant could ask for the secrets of another's instance."""
    for sent in (
        world.ports.CreatePort(port("x", **{field: "other"}), metadata=ADMIN),
        world.ports.UpdatePort(update_port(field, **{field: "other"}), metadata=ADMIN),
        world.ports.UpdatePort(update_port("*", **{field: "other"}), metadata=ADMIN),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sent
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await world.ports.UpdatePort(update_port(field, **{field: "by-operator"}))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.ports.UpdatePort(update_port(field), metadata=ADMIN)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    request = update_port("*", mac_address="52:54:00:00:00:01", display_name="x", **{field: "by-operator"})
    assert getattr(await world.ports.UpdatePort(request, metadata=ADMIN), field) == "by-operator"


async def test_address_pairs(world: Api) -> None:
    made = await world.ports.CreatePort(
        port("vrrp", mac_address=MAC, allowed_address_pairs=[
            {"prefix": "10.0.0.200", "mac_address": "00:00:5e:00:01:07"},
            {"prefix": "10.0.0.201/32", "mac_address": MAC},
            {"prefix": "2001:db8::/64"},
            {"prefix": "fe80::7", "mac_address": "00:00:5e:00:02:07"},
        ])
    )  # fmt: skip
    assert [(p.prefix, p.mac_address) for p in made.allowed_address_pairs] == [
        ("10.0.0.200/32", "00:00:5e:00:01:07"),
        ("10.0.0.201/32", ""),
        ("2001:db8::/64", ""),
        ("fe80::7/128", "00:00:5e:00:02:07"),
    ]
    stored = world.store.state.ports[PortName("acme", "web", "vrrp")]
    assert stored.allowed_address_pairs[2] == AddressPair(ip_network("2001:db8::/64"), None)
    # They are no addresses of the port: two ports may list the same one, and a third may have it.
    await world.ports.CreatePort(port("other", **pairs("10.0.0.200", mac="00:00:5e:00:01:07")))
    await world.ports.CreatePort(port("third", fixed_ips=[ip("10.0.0.200")]))


# -- addresses made of MACs -------------------------------------------------------------------------------


@pytest.fixture(params=["SLAAC", "STATELESS"])
async def self_made(world: Api, request: pytest.FixtureRequest) -> Api:
    for name, number in (("x", 8), ("y", 9)):
        cidr = f"2001:db8:{number}::/64"
        await world.subnets.CreateSubnet(subnet(name, cidr=cidr, ipv6_mode=request.param))
    return world


def test_eui64() -> None:
    made = Subnet(
        name=SubnetName("a", "b", "c"),
        meta=None,  # type: ignore[arg-type]
        cidr=ip_network("2001:db8:8::/64"),
        gateway_ip=None,
        allocation_pools=(),
    )
    assert eui64(made, 0x525400123456) == ip_address(
        f"2001:db8:8::{MADE}".replace("::", ":0:", 1).replace("::", ":")
    )


async def test_a_guest_makes_its_address_of_its_mac(self_made: Api) -> None:
    subnets = [ip(subnet=f"{NET}/subnets/{name}") for name in "xy"]
    made = await self_made.ports.CreatePort(port("p", mac_address=MAC, fixed_ips=[*subnets, ip("10.0.0.9")]))
    assert [f.ip_address for f in made.fixed_ips] == [
        f"2001:db8:8:0:{MADE}",
        f"2001:db8:9:0:{MADE}",
        "10.0.0.9",
    ]
    # Its low 32 bits are those of its link-local address: one wire MAC, reserved once, gone with it.
    wire = ids.wire6(WEB, link_local(0x525400123456))
    assert self_made.store.state.reservations[wire].owner == made.name
    allocated = await self_made.ports.CreatePort(port("q", fixed_ips=subnets[:1]))
    own = ip_address(allocated.fixed_ips[0].ip_address)  # As text it may leave out zeros: one MAC of 256.
    assert own in ip_network("2001:db8:8::/64")
    assert int(own) >> 24 & 0xFFFF == 0xFFFE
    for name in ("p", "q"):
        await self_made.ports.DeletePort(port_pb2.DeletePortRequest(name=f"{NET}/ports/{name}"))
    assert wire not in self_made.store.state.reservations


async def test_its_address_follows_its_mac(self_made: Api) -> None:
    await self_made.ports.CreatePort(
        port("p", mac_address=MAC, fixed_ips=[ip(subnet=f"{NET}/subnets/x"), ip("2001:db8::77")])
    )
    request = port_pb2.UpdatePortRequest(
        port=port_pb2.Port(name=f"{NET}/ports/p", mac_address="52:54:00:00:00:99")
    )
    changed = await self_made.ports.UpdatePort(request)
    assert [f.ip_address for f in changed.fixed_ips] == ["2001:db8:8:0:5054:ff:fe00:99", "2001:db8::77"]
    request.port.mac_address = MAC
    request.port.fixed_ips.extend([ip(subnet=f"{NET}/subnets/x"), ip(subnet=f"{NET}/subnets/y")])
    changed = await self_made.ports.UpdatePort(request)
    assert [f.ip_address for f in changed.fixed_ips] == [f"2001:db8:8:0:{MADE}", f"2001:db8:9:0:{MADE}"]
    held = {key for key, r in self_made.store.state.reservations.items() if r.owner == changed.name}
    assert ids.ip(WEB, ip_address("2001:db8:8:0:5054:ff:fe00:99")) not in held


async def test_no_other_address_can_be_chosen_where_guests_make_theirs(self_made: Api) -> None:
    right = port("p", mac_address=MAC, fixed_ips=[ip(f"2001:db8:8:0:{MADE}")])
    wrong = port("q", mac_address="52:54:00:00:00:77", fixed_ips=[ip("2001:db8:8::5")])
    await self_made.ports.CreatePort(right)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await self_made.ports.CreatePort(wrong)
    [told] = refusal_of(caught.value).fields.items()
    assert told[0] == "port.fixed_ips[0].ip_address"
    assert "2001:db8:8:0:5054:ff:fe00:77" in told[1]


async def test_services_keep_their_addresses(world: Api) -> None:
    await world.subnets.CreateSubnet(
        subnet(
            "s8",
            cidr="fd00:ec2::250/126",
            allocation_pools=[{"start": "fd00:ec2::252", "end": "fd00:ec2::253"}],
        )
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.ports.CreatePort(port("a", fixed_ips=[ip("fd00:ec2::253")]))
    assert "local services" in refusal_of(caught.value).fields["port.fixed_ips[0].ip_address"]
    got = await world.ports.CreatePort(port("a", fixed_ips=[ip(subnet=f"{NET}/subnets/s8")]))
    assert got.fixed_ips[0].ip_address == "fd00:ec2::252"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.ports.CreatePort(port("b", fixed_ips=[ip(subnet=f"{NET}/subnets/s8")]))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_statistics_of_a_port(world: Api) -> None:
    name = f"{NET}/ports/p1"
    request = port_pb2.GetPortStatisticsRequest(name=name)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.ports.GetPortStatistics(request)
    assert refusal_of(caught.value).reason == "NOT_PLUGGED"
    await world.ports.UpdatePort(update_port("requested_hosts", requested_hosts=["hosts/h1"]))
    await world.bind(name, "hosts/h1")
    own, others = (
        port_pb2.DropCount(reason=reason, table="ADMISSION", of_port=of_port)
        for reason, of_port in (("SPOOFED", True), ("NOBODY_THERE", False))
    )
    world.statistics.answers[PortName.parse(name)] = port_pb2.PortStatistics(
        admitted=port_pb2.Count(packets=3, bytes=300), drops=[own, others]
    )
    seen = await world.ports.GetPortStatistics(request)
    assert (seen.name, seen.host, seen.admitted.packets, list(seen.drops)) == (
        name,
        "hosts/h1",
        3,
        [own, others],
    )
    seen = await world.ports.GetPortStatistics(request, metadata=ADMIN)
    assert (seen.host, list(seen.drops)) == ("", [own])
