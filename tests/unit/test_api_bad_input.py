"""Bad intent is refused with field, value and what would be right, and nothing is stored."""

from __future__ import annotations

import grpc
import pytest

from cloison.v1 import network_pb2, port_pb2, subnet_pb2, tenant_pb2, watch_pb2
from tests.support.api import Api, refusal_of
from tests.support.requests import (
    LONG,
    NET,
    Call,
    Case,
    assert_refused,
    call,
    ip,
    make_world,
    network,
    new_port,
    new_tenant,
    port,
    subnet,
    update_port,
    update_subnet,
)

CASES: list[Case] = [
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


@pytest.fixture
async def world(api: Api) -> Api:
    await make_world(api)
    return api


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
async def test_wrong_fields(world: Api, case: Case) -> None:
    await assert_refused(world, case)


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


MISSING: list[tuple[str, Call, str]] = [
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
async def test_what_does_not_exist(world: Api, make_call: Call, name: str) -> None:
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
async def test_stale_etag(world: Api, make_call: Call) -> None:
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
