"""Bad intent is refused with field, value and what would be right, and nothing is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from cloison.v1 import host_pb2, network_pb2, port_pb2, subnet_pb2, tenant_pb2, watch_pb2
from tests.support.api import Api, refusal_of

NET = "tenants/acme/networks/web"
LONG = "a" * 300
UUID = "7c1b7f5e-5f0e-4d43-9a52-3d2d8a3a5b1c"


@pytest.fixture
async def world(api: Api) -> Api:
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
    return api


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


def call(service: str, method: str, request: Any) -> Callable[[Api], Awaitable[Any]]:
    return lambda api: getattr(getattr(api, service), method)(request)


def new_port(port_id: str = "p2", **fields: Any) -> Callable[[Api], Awaitable[Any]]:
    return call("ports", "CreatePort", port(port_id, **fields))


def new_subnet(**fields: Any) -> Callable[[Api], Awaitable[Any]]:
    return call("subnets", "CreateSubnet", subnet("s8", **fields))


def new_tenant(tenant_id: str = "beta", **fields: Any) -> Callable[[Api], Awaitable[Any]]:
    request = tenant_pb2.CreateTenantRequest(tenant_id=tenant_id, tenant=tenant_pb2.Tenant(**fields))
    return call("tenants", "CreateTenant", request)


# what, call, field, value as shown, part of what would be right
INVALID: list[tuple[str, Callable[[Api], Awaitable[Any]], str, str, str]] = [
    (
        "overlap",
        new_subnet(cidr="10.0.0.128/25"),
        "subnet.cidr",
        "10.0.0.128/25",
        "does not overlap 10.0.0.0/24",
    ),
    (
        "overlap, wider",
        new_subnet(cidr="10.0.0.0/16"),
        "subnet.cidr",
        "10.0.0.0/16",
        "does not overlap 10.0.0.0/24",
    ),
    ("overlap, v6", new_subnet(cidr="2001:db8::/48"), "subnet.cidr", "2001:db8::/48", "does not overlap"),
    (
        "host bits",
        new_subnet(cidr="10.1.0.1/24"),
        "subnet.cidr",
        "10.1.0.1/24",
        "no host bits set: 10.1.0.0/24",
    ),
    (
        "netmask",
        new_subnet(cidr="10.1.0.0/255.255.255.0"),
        "subnet.cidr",
        "10.1.0.0/255.255.255.0",
        "10.1.0.0/24",
    ),
    ("no cidr", new_subnet(), "subnet.cidr", "", "such as 10.0.0.0/24"),
    ("no length", new_subnet(cidr="10.1.0.0"), "subnet.cidr", "10.1.0.0", "such as 10.0.0.0/24"),
    ("all of IPv4", new_subnet(cidr="0.0.0.0/0"), "subnet.cidr", "0.0.0.0/0", "at least 8"),
    ("multicast range", new_subnet(cidr="224.1.0.0/16"), "subnet.cidr", "224.1.0.0/16", "multicast"),
    ("loopback range", new_subnet(cidr="127.0.0.0/8"), "subnet.cidr", "127.0.0.0/8", "loopback"),
    ("link-local range", new_subnet(cidr="fe80::/64"), "subnet.cidr", "fe80::/64", "link-local"),
    ("IPv4-mapped range", new_subnet(cidr="::ffff:0:0/96"), "subnet.cidr", "::ffff:0:0/96", "IPv4-mapped"),
    ("zone", new_subnet(cidr="2001:db8:9::%eth0/64"), "subnet.cidr", "2001:db8:9::%eth0/64", "such as"),
    (
        "gateway in pool",
        new_subnet(
            cidr="10.1.0.0/24", gateway_ip="10.1.0.7", allocation_pools=[pool("10.1.0.5", "10.1.0.9")]
        ),
        "subnet.gateway_ip",
        "10.1.0.7",
        "outside the allocation pools",
    ),
    (
        "default gateway in pool",
        new_subnet(cidr="10.1.0.0/24", allocation_pools=[pool("10.1.0.1", "10.1.0.9")]),
        "subnet.gateway_ip",
        "10.1.0.1",
        "outside the allocation pools",
    ),
    (
        "gateway outside",
        new_subnet(cidr="10.1.0.0/24", gateway_ip="10.2.0.1"),
        "subnet.gateway_ip",
        "10.2.0.1",
        "10.1.0.1 to 10.1.0.254",
    ),
    (
        "gateway is broadcast",
        new_subnet(cidr="10.1.0.0/24", gateway_ip="10.1.0.255"),
        "subnet.gateway_ip",
        "10.1.0.255",
        "10.1.0.1 to 10.1.0.254",
    ),
    (
        "gateway of other family",
        new_subnet(cidr="10.1.0.0/24", gateway_ip="2001:db8::1"),
        "subnet.gateway_ip",
        "2001:db8::1",
        "10.1.0.1 to 10.1.0.254",
    ),
    (
        "gateway and none",
        new_subnet(cidr="10.1.0.0/24", gateway_ip="10.1.0.1", no_gateway=True),
        "subnet.gateway_ip",
        "10.1.0.1",
        "no_gateway",
    ),
    (
        "pool backwards",
        new_subnet(cidr="10.1.0.0/24", allocation_pools=[pool("10.1.0.9", "10.1.0.5")]),
        "subnet.allocation_pools[0]",
        "10.1.0.9-10.1.0.5",
        "swap",
    ),
    (
        "pool outside",
        new_subnet(cidr="10.1.0.0/24", allocation_pools=[pool("10.1.0.9", "10.1.1.5")]),
        "subnet.allocation_pools[0].end",
        "10.1.1.5",
        "10.1.0.1 to 10.1.0.254",
    ),
    (
        "pools overlap",
        new_subnet(
            cidr="10.1.0.0/24", allocation_pools=[pool("10.1.0.5", "10.1.0.9"), pool("10.1.0.9", "10.1.0.12")]
        ),
        "subnet.allocation_pools[1]",
        "10.1.0.9-10.1.0.12",
        "apart from allocation_pools[0]",
    ),
    (
        "pool of nothing",
        new_subnet(cidr="10.1.0.0/24", allocation_pools=[pool("", "")]),
        "subnet.allocation_pools[0].start",
        "",
        "such as 10.0.0.5",
    ),
    (
        "33 pools",
        new_subnet(cidr="10.1.0.0/24", allocation_pools=[pool("10.1.0.5", "10.1.0.5")] * 33),
        "subnet.allocation_pools",
        "33 pools",
        "at most 32",
    ),
    (
        "address outside",
        new_port(fixed_ips=[ip("192.0.2.1")]),
        "port.fixed_ips[0].ip_address",
        "192.0.2.1",
        "s4 (10.0.0.0/24)",
    ),
    (
        "address of another subnet",
        new_port(fixed_ips=[ip("2001:db8:1::9", f"{NET}/subnets/s6")]),
        "port.fixed_ips[0].ip_address",
        "2001:db8:1::9",
        "2001:db8::1 to",
    ),
    (
        "address taken",
        new_port(fixed_ips=[ip("10.0.0.5")]),
        "port.fixed_ips[0].ip_address",
        "10.0.0.5",
        "ports/p1 has this one",
    ),
    (
        "v6 address taken",
        new_port(fixed_ips=[ip("2001:db8::5")]),
        "port.fixed_ips[0].ip_address",
        "2001:db8::5",
        "free, such as",
    ),
    (
        "gateway's address",
        new_port(fixed_ips=[ip("10.0.0.1")]),
        "port.fixed_ips[0].ip_address",
        "10.0.0.1",
        "gateway of",
    ),
    (
        "network address",
        new_port(fixed_ips=[ip("10.0.0.0")]),
        "port.fixed_ips[0].ip_address",
        "10.0.0.0",
        "10.0.0.1 to 10.0.0.254",
    ),
    (
        "broadcast address",
        new_port(fixed_ips=[ip("10.0.0.255")]),
        "port.fixed_ips[0].ip_address",
        "10.0.0.255",
        "10.0.0.1 to",
    ),
    (
        "anycast address",
        new_port(fixed_ips=[ip("2001:db8::")]),
        "port.fixed_ips[0].ip_address",
        "2001:db8::",
        "2001:db8::1 to",
    ),
    (
        "no address",
        new_port(fixed_ips=[ip("10.0.0.x")]),
        "port.fixed_ips[0].ip_address",
        "10.0.0.x",
        "such as 10.0.0.5",
    ),
    (
        "address with zone",
        new_port(fixed_ips=[ip("2001:db8::9%1")]),
        "port.fixed_ips[0].ip_address",
        "2001:db8::9%1",
        "such as",
    ),
    (
        "address with newline",
        new_port(fixed_ips=[ip("10.0.0.9\n")]),
        "port.fixed_ips[0].ip_address",
        "10.0.0.9\\n",
        "such as",
    ),
    (
        "same address twice",
        new_port(fixed_ips=[ip("10.0.0.9")] * 2),
        "port.fixed_ips[1].ip_address",
        "10.0.0.9",
        "once",
    ),
    (
        "empty address entry",
        new_port(fixed_ips=[ip()]),
        "port.fixed_ips[0]",
        "",
        "a subnet, an ip_address, or both",
    ),
    (
        "17 addresses",
        new_port(fixed_ips=[ip(f"10.0.0.{i}") for i in range(10, 27)]),
        "port.fixed_ips",
        "17 addresses",
        "at most 16",
    ),
    (
        "unknown subnet",
        new_port(fixed_ips=[ip("", f"{NET}/subnets/nope")]),
        "port.fixed_ips[0].subnet",
        f"{NET}/subnets/nope",
        "s4 (10.0.0.0/24)",
    ),
    (
        "subnet of another network",
        new_port(fixed_ips=[ip("", "tenants/acme/networks/db/subnets/s4")]),
        "port.fixed_ips[0].subnet",
        "tenants/acme/networks/db/subnets/s4",
        f"a subnet of {NET}",
    ),
    (
        "wire clash of addresses",
        new_port(fixed_ips=[ip("2001:db8:1::5")]),
        "port.fixed_ips[0].ip_address",
        "2001:db8:1::5",
        "low 32 bits of IPv6 addresses must differ",
    ),
    (
        "wire clash of an address with a link-local one",
        new_port(fixed_ips=[ip("2001:db8:1::fe00:1")]),
        "port.fixed_ips[0].ip_address",
        "2001:db8:1::fe00:1",
        "wire MAC",
    ),
    (
        "wire clash of link-local ones",
        new_port(mac_address="52:55:01:00:00:01"),
        "port.mac_address",
        "52:55:01:00:00:01",
        "wire MAC",
    ),
    (
        "multicast MAC",
        new_port(mac_address="01:00:5e:00:00:01"),
        "port.mac_address",
        "01:00:5e:00:00:01",
        "unicast",
    ),
    (
        "broadcast MAC",
        new_port(mac_address="ff:ff:ff:ff:ff:ff"),
        "port.mac_address",
        "ff:ff:ff:ff:ff:ff",
        "unicast",
    ),
    ("zero MAC", new_port(mac_address="00:00:00:00:00:00"), "port.mac_address", "00:00:00:00:00:00", "zero"),
    (
        "MAC taken",
        new_port(mac_address="52:54:00:00:00:01"),
        "port.mac_address",
        "52:54:00:00:00:01",
        "ports/p1 has it",
    ),
    (
        "wire MAC v4",
        new_port(mac_address="0a:f0:0a:00:00:05"),
        "port.mac_address",
        "0a:f0:0a:00:00:05",
        "wire MACs",
    ),
    (
        "wire MAC v6",
        new_port(mac_address="0a:f6:00:00:00:05"),
        "port.mac_address",
        "0a:f6:00:00:00:05",
        "wire MACs",
    ),
    (
        "no MAC",
        new_port(mac_address="525400000001"),
        "port.mac_address",
        "525400000001",
        "such as 52:54:00:12:34:56",
    ),
    (
        "unknown host",
        new_port(requested_hosts=["hosts/h9"]),
        "port.requested_hosts[0]",
        "hosts/h9",
        "hosts/h1",
    ),
    ("no host name", new_port(requested_hosts=["h1"]), "port.requested_hosts[0]", "h1", "hosts/{host}"),
    ("host twice", new_port(requested_hosts=["hosts/h1"] * 2), "port.requested_hosts[1]", "hosts/h1", "once"),
    (
        "17 hosts",
        new_port(requested_hosts=[f"hosts/h{i}" for i in range(17)]),
        "port.requested_hosts",
        "17 or more",
        "at most 16",
    ),
    ("iface-id taken", new_port(iface_id="vm-1"), "port.iface_id", "vm-1", "ports/p1 has it"),
    ("iface-id with newline", new_port(iface_id="vm\n1"), "port.iface_id", "vm\\n1", "1 to 128 characters"),
    ("bad port id", new_port("P2"), "port_id", "P2", "1 to 63 characters"),
    ("empty port id", new_port(""), "port_id", "", "1 to 63 characters"),
    ("port id of 300", new_port(LONG), "port_id", "aaa...", "1 to 63 characters"),
    ("id with slash", new_tenant("a/b"), "tenant_id", "a/b", "1 to 63 characters"),
    ("id with newline", new_tenant("ab\n"), "tenant_id", "ab\\n", "1 to 63 characters"),
    ("id with dots", new_tenant(".."), "tenant_id", "..", "1 to 63 characters"),
    ("display name of 300", new_tenant(display_name=LONG), "tenant.display_name", "aaa...", "at most 120"),
    (
        "display name with escape",
        new_tenant(display_name="\x1b[2J"),
        "tenant.display_name",
        "\\x1b[2J",
        "control",
    ),
    ("label key", new_tenant(labels={"No Key": "x"}), "tenant.labels (key)", "No Key", "1 to 63"),
    ("label value", new_tenant(labels={"k": "x" * 300}), "tenant.labels[k]", "xxx...", "at most 255"),
    (
        "65 labels",
        new_tenant(labels={f"k{i}": "" for i in range(65)}),
        "tenant.labels",
        "65 labels",
        "at most 64",
    ),
    (
        "request_id",
        call("ports", "CreatePort", port("p2", request_id="again")),
        "request_id",
        "again",
        "UUID",
    ),
    (
        "zero request_id",
        call("ports", "CreatePort", port("p2", request_id="00000000-0000-0000-0000-000000000000")),
        "request_id",
        "00000000-0000-0000-0000-000000000000",
        "UUID",
    ),
    (
        "bad parent",
        call("networks", "CreateNetwork", network("n", parent="tenants")),
        "parent",
        "tenants",
        "tenants/{tenant}",
    ),
    (
        "wildcard parent",
        call("networks", "CreateNetwork", network("n", parent="tenants/-")),
        "parent",
        "tenants/-",
        "tenants/{tenant}",
    ),
    (
        "bad name",
        call("ports", "GetPort", port_pb2.GetPortRequest(name="web")),
        "name",
        "web",
        "tenants/{tenant}/networks/{network}/ports/{port}",
    ),
    (
        "name of 9000",
        call("ports", "GetPort", port_pb2.GetPortRequest(name="tenants/" * 1125)),
        "name",
        "tenants/tenants/tenants",
        "ports/{port}",
    ),
    (
        "unknown mask",
        call("ports", "UpdatePort", update_port("colour")),
        "update_mask",
        "colour",
        "mac_address",
    ),
    (
        "mask into labels",
        call("ports", "UpdatePort", update_port("labels.a")),
        "update_mask",
        "labels.a",
        "labels as a whole",
    ),
    (
        "* with others",
        call("ports", "UpdatePort", update_port("*", "labels")),
        "update_mask",
        "*,labels",
        "* alone",
    ),
    (
        "changed iface_id",
        call("ports", "UpdatePort", update_port("iface_id", iface_id="b")),
        "port.iface_id",
        "b",
        "vm-1",
    ),
    (
        "changed iface_id, no mask",
        call("ports", "UpdatePort", update_port(iface_id="b")),
        "port.iface_id",
        "b",
        "vm-1",
    ),
    (
        "empty MAC",
        call("ports", "UpdatePort", update_port("mac_address")),
        "port.mac_address",
        "",
        "leave the field out",
    ),
    (
        "MAC to a wire MAC",
        call("ports", "UpdatePort", update_port(mac_address="0a:f0:00:00:00:01")),
        "port.mac_address",
        "0a:f0:00:00:00:01",
        "wire",
    ),
    (
        "changed cidr",
        call("subnets", "UpdateSubnet", update_subnet("cidr", cidr="10.9.0.0/24")),
        "subnet.cidr",
        "10.9.0.0/24",
        "10.0.0.0/24",
    ),
    (
        "gateway to a port's address",
        call(
            "subnets",
            "UpdateSubnet",
            update_subnet(gateway_ip="10.0.0.5", allocation_pools=[pool("10.0.0.9", "10.0.0.99")]),
        ),
        "subnet.gateway_ip",
        "10.0.0.5",
        "not taken",
    ),
    (
        "negative page size",
        call("tenants", "ListTenants", tenant_pb2.ListTenantsRequest(page_size=-1)),
        "page_size",
        "-1",
        "0 (meaning 100) or more",
    ),
    (
        "forged token",
        call("tenants", "ListTenants", tenant_pb2.ListTenantsRequest(page_token="AAAA")),
        "page_token",
        "AAAA",
        "next_page_token",
    ),
    (
        "token of 5000",
        call("tenants", "ListTenants", tenant_pb2.ListTenantsRequest(page_token=LONG * 17)),
        "page_token",
        "aaa...",
        "next_page_token",
    ),
    (
        "non-ASCII token",
        call("tenants", "ListTenants", tenant_pb2.ListTenantsRequest(page_token="é")),
        "page_token",
        "é",
        "next_page_token",
    ),
    (
        "bad list parent",
        call("ports", "ListPorts", port_pb2.ListPortsRequest(parent="tenants/acme")),
        "parent",
        "tenants/acme",
        "networks/{network}",
    ),
    (
        "empty list parent",
        call("ports", "ListPorts", port_pb2.ListPortsRequest()),
        "parent",
        "",
        "networks/{network}",
    ),
    (
        "watch parent",
        call("state", "WaitRealized", watch_pb2.WaitRealizedRequest(name="acme")),
        "name",
        "acme",
        "the name of a tenant, network",
    ),
    (
        "future revision",
        call("state", "WaitRealized", watch_pb2.WaitRealizedRequest(revision=10**9)),
        "revision",
        "1000000000",
        "at most",
    ),
]


@pytest.mark.parametrize(
    ("make_call", "field", "value", "expected"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID]
)
async def test_wrong_fields(
    world: Api, make_call: Callable[[Api], Awaitable[Any]], field: str, value: str, expected: str
) -> None:
    before = world.store.state.revision
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await make_call(world)
    refusal = refusal_of(caught.value)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT, refusal
    assert field in refusal.fields, refusal
    description = refusal.fields[field]
    shown, _, right = description.partition(" is wrong: ")
    assert value.removesuffix("...") in shown
    assert len(shown) <= 130
    assert expected in right
    assert field in refusal.message or len(refusal.fields) > 1
    assert world.store.state.revision == before


async def test_all_that_is_wrong_is_told_at_once(world: Api) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await new_port(
            "P2", mac_address="x", fixed_ips=[ip("y")], labels={"A": ""}, display_name="\n", iface_id="-"
        )(world)
    assert set(refusal_of(caught.value).fields) == {
        "port_id",
        "port.mac_address",
        "port.fixed_ips[0].ip_address",
        "port.labels (key)",
        "port.display_name",
        "port.iface_id",
    }


MISSING: list[tuple[str, Callable[[Api], Awaitable[Any]], str]] = [
    (
        "tenant of a network",
        call("networks", "CreateNetwork", network("n", parent="tenants/nope")),
        "tenants/nope",
    ),
    (
        "network of a port",
        call("ports", "CreatePort", port("p", parent="tenants/acme/networks/no")),
        "tenants/acme/networks/no",
    ),
    (
        "tenant of a port",
        call("ports", "CreatePort", port("p", parent="tenants/no/networks/web")),
        "tenants/no",
    ),
    (
        "network of a subnet",
        call("subnets", "CreateSubnet", subnet("s", parent="tenants/acme/networks/no", cidr="10.1.0.0/24")),
        "tenants/acme/networks/no",
    ),
    ("port", call("ports", "GetPort", port_pb2.GetPortRequest(name=f"{NET}/ports/no")), f"{NET}/ports/no"),
    (
        "port to delete",
        call("ports", "DeletePort", port_pb2.DeletePortRequest(name=f"{NET}/ports/no")),
        f"{NET}/ports/no",
    ),
    (
        "parent of a list",
        call("ports", "ListPorts", port_pb2.ListPortsRequest(parent="tenants/acme/networks/no")),
        "tenants/acme/networks/no",
    ),
    (
        "what to wait for",
        call("state", "WaitRealized", watch_pb2.WaitRealizedRequest(name="hosts/h9")),
        "hosts/h9",
    ),
]


@pytest.mark.parametrize(("make_call", "name"), [r[1:] for r in MISSING], ids=[r[0] for r in MISSING])
async def test_what_does_not_exist(world: Api, make_call: Callable[[Api], Awaitable[Any]], name: str) -> None:
    before = world.store.state.revision
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await make_call(world)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == f"{name} does not exist"
    assert world.store.state.revision == before


async def test_ids_are_given_once(world: Api) -> None:
    before = world.store.state.revision
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await new_port("p1")(world)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert f"{NET}/ports/p1" in str(caught.value.details())
    assert world.store.state.revision == before


@pytest.mark.parametrize(
    "make_call",
    [
        call("ports", "UpdatePort", update_port(disabled=True, etag="stale")),
        call("ports", "DeletePort", port_pb2.DeletePortRequest(name=f"{NET}/ports/p1", etag="stale")),
        call("subnets", "UpdateSubnet", update_subnet(display_name="x", etag="stale")),
    ],
    ids=["update", "delete", "subnet"],
)
async def test_stale_etag(world: Api, make_call: Callable[[Api], Awaitable[Any]]) -> None:
    before = world.store.state.revision
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await make_call(world)
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert "'stale'" in refusal.message
    assert "read it again" in refusal.message
    assert world.store.state.revision == before


async def test_five_megabytes(world: Api) -> None:
    before = world.store.state.revision
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await new_tenant(display_name="x" * 5_000_000)(world)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "5000" in str(caught.value.details())
    assert "4194304" in str(caught.value.details())
    assert world.store.state.revision == before
    # The connection goes on.
    await world.tenants.GetTenant(tenant_pb2.GetTenantRequest(name="tenants/acme"))


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"])
async def test_bytes_that_are_no_message(world: Api, raw: bytes) -> None:
    before = world.store.state.revision
    method = world.channel.unary_unary("/cloison.v1.TenantService/CreateTenant")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method(raw)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert world.store.state.revision == before


async def test_a_token_is_for_its_list(world: Api) -> None:
    for name in ("beta", "gamma"):
        await new_tenant(name)(world)
    page = await world.tenants.ListTenants(tenant_pb2.ListTenantsRequest(page_size=1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.networks.ListNetworks(
            network_pb2.ListNetworksRequest(parent="tenants/-", page_token=page.next_page_token)
        )
    assert refusal_of(caught.value).fields.keys() == {"page_token"}
    flipped = page.next_page_token[:-1] + ("A" if page.next_page_token[-1] != "A" else "B")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.tenants.ListTenants(tenant_pb2.ListTenantsRequest(page_token=flipped))
    assert refusal_of(caught.value).fields.keys() == {"page_token"}


async def test_internal_errors_tell_an_id_only(world: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr(world.tracker, "port_state", broken)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.ports.GetPort(port_pb2.GetPortRequest(name=f"{NET}/ports/p1"))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "internal error" in str(caught.value.details())
    assert "secret" not in str(caught.value)


async def test_iface_id_of_another_tenant_is_not_told(world: Api) -> None:
    await new_tenant("beta")(world)
    await world.networks.CreateNetwork(network("web", parent="tenants/beta"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.ports.CreatePort(port("p", parent="tenants/beta/networks/web", iface_id="vm-1"))
    assert "acme" not in str(caught.value.details())
    assert "port.iface_id" in refusal_of(caught.value).fields


async def test_errors_fit_into_trailers(world: Api) -> None:
    """A delete refused for 200 referrers, each with the longest name there can be."""
    net = f"tenants/acme/networks/{'n' * 63}"
    await world.networks.CreateNetwork(network("n" * 63))
    await world.subnets.CreateSubnet(subnet("s", parent=net, cidr="10.3.0.0/16"))
    for i in range(200):
        await world.ports.CreatePort(port(f"p{i:062d}", parent=net))
    for delete in (
        call("subnets", "DeleteSubnet", subnet_pb2.DeleteSubnetRequest(name=f"{net}/subnets/s")),
        call("networks", "DeleteNetwork", network_pb2.DeleteNetworkRequest(name=net)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await delete(world)
        refusal = refusal_of(caught.value)
        assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
        assert refusal.reason == "REFERENCED"
        assert f"{net}/ports/p{0:062d}" in refusal.subjects
        assert "more" in refusal.message
    wrong = new_port("p2", fixed_ips=[ip("x" * 200)] * 16, labels={f"K{'x' * 200}{i}": "" for i in range(64)})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wrong(world)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal_of(caught.value).fields
