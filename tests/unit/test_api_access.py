"""Who may call what: every method of every service, for every kind of identity."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from cloison.v1 import network_pb2, port_pb2, tenant_pb2, watch_pb2
from controller.api import auth
from controller.api.server import SERVICES
from tests.support.api import AS, Api

SERVED = (*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")
OPERATOR, CONTROLLER = "operator/alice", "controller/c2"
ADMIN, VIEWER, OTHER = "tenant/acme/admin", "tenant/acme/viewer", "tenant/beta/admin"
HOST, ETCD, NOBODY = "host/h1", "etcd/e1", "nobody"
IDENTITIES = (OPERATOR, CONTROLLER, ADMIN, VIEWER, OTHER, HOST, ETCD, NOBODY)
assert health_pb2.DESCRIPTOR.name
assert reflection_pb2.DESCRIPTOR.name


def methods() -> Iterator[tuple[str, MethodDescriptor]]:
    pool = descriptor_pool.Default()
    for service in SERVED:
        for method in pool.FindServiceByName(service).methods:
            yield f"/{service}/{method.name}", method


def test_every_method_has_a_rule_and_every_rule_a_method() -> None:
    assert {name for name, _ in methods()} == set(auth.METHODS)


# The answer that the design gives, written down apart from the table in the code.
def allowed(method: str, identity: str) -> bool:
    service, _, verb = method.rpartition("/")
    service = service.rsplit(".", 1)[-1]
    if identity in (NOBODY, ETCD):
        return False
    if service == "HostSync" or identity == HOST:
        return service == "HostSync" and identity == HOST
    if identity == OPERATOR:
        return True
    reads = verb.startswith(("Get", "List", "Watch", "Wait", "Check", "ServerReflection", "Verify", "Trace"))
    if identity == CONTROLLER:
        return reads
    if service in ("Health", "ServerReflection"):
        return True
    if service in ("HostService", "PortBindingService") or verb in ("GetStatus", "Verify"):
        return False
    if service == "TenantService" and not reads:
        return False
    if service == "ExternalNetworkService":  # of those that are not shared with it a tenant learns nothing
        return verb in ("GetExternalNetwork", "ListExternalNetworks")
    if identity == OTHER:  # everything below names acme
        return verb == "ListTenants"
    return reads or identity == ADMIN


def acme_request(method: MethodDescriptor) -> Any:
    """A request that is about tenant acme, complete enough to reach its service."""
    request: Any = message_factory.GetMessageClass(method.input_type)()
    fields = method.input_type.fields_by_name
    names = {
        "Network": "networks/web",
        "Subnet": "networks/web/subnets/s",
        "Port": "networks/web/ports/p",
        "SecurityGroup": "securityGroups/g",
        "AddressGroup": "addressGroups/g",
        "Router": "routers/r",
        "FloatingIp": "floatingIps/f",
        "Peering": "peerings/p",
    }
    nouns = (
        "ExternalNetwork",
        "FloatingIp",
        "PortBinding",
        "SecurityGroup",
        "AddressGroup",
        "Router",
        "Peering",
        "Network",
        "Subnet",
        "Port",
    )
    noun = next((n for n in nouns if n in method.name), "")
    name = "tenants/acme/" + {**names, "PortBinding": "networks/web/ports/p/binding"}.get(noun, "")
    if noun == "ExternalNetwork":
        name = "externalNetworks/inet"
    if "parent" in fields:
        child_of_tenant = noun in (
            "Network",
            "SecurityGroup",
            "AddressGroup",
            "Router",
            "FloatingIp",
            "Peering",
        )
        child_of_tenant |= method.name == "Watch"
        request.parent = "tenants/acme" if child_of_tenant else "tenants/acme/networks/web"
    if "name" in fields:
        request.name = (
            name.rstrip("/") if noun or "Tenant" in method.name or "Wait" in method.name else "hosts/h1"
        )
    if method.name in ("Plan", "Apply"):
        planned = request.request if method.name == "Apply" else request
        planned.operations.add().delete_port.name = "tenants/acme/networks/web/ports/p"
    if method.name == "Commit":
        request.operations.add().delete_port.name = "tenants/acme/networks/web/ports/p"
    if method.name == "Trace":
        request.port = "tenants/acme/networks/web/ports/p"
    if method.name.startswith("Update") and noun:
        getattr(request, re.sub(r"(?<!^)(?=[A-Z])", "_", noun).lower()).name = name
    return request


@pytest.mark.parametrize(("method", "descriptor"), list(methods()), ids=[name for name, _ in methods()])
async def test_matrix(api: Api, method: str, descriptor: MethodDescriptor) -> None:
    codes = {identity: await call(api, method, descriptor, identity) for identity in IDENTITIES}
    wrong = {i: code for i, code in codes.items() if not _right(code, method, i)}
    assert wrong == {}


def _right(code: grpc.StatusCode, method: str, identity: str) -> bool:
    refused = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
    if identity == NOBODY:
        return code is grpc.StatusCode.UNAUTHENTICATED
    elif allowed(method, identity):
        return code not in (*refused, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    else:
        return code is grpc.StatusCode.PERMISSION_DENIED


async def call(api: Api, method: str, descriptor: MethodDescriptor, identity: str) -> grpc.StatusCode:
    """Make the call, and return its status code; OK as soon as a stream says something or is silent."""
    request, metadata = acme_request(descriptor).SerializeToString(), ((AS, identity),)
    response = message_factory.GetMessageClass(descriptor.output_type).FromString
    try:
        if not descriptor.server_streaming:
            await api.channel.unary_unary(method, response_deserializer=response)(request, metadata=metadata)
            return grpc.StatusCode.OK
        if descriptor.client_streaming:
            return await asyncio.to_thread(both_ways, api.address, method, request, metadata)
        stream = api.channel.unary_stream(method)(request, metadata=metadata)
        if await stream.read() is grpc.aio.EOF:
            return await stream.code()
        stream.cancel()
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def both_ways(address: str, method: str, request: bytes, metadata: Any) -> grpc.StatusCode:
    """As call, by a client in a thread: gRPC's for asyncio makes INTERNAL of any status that is there before
    it has sent all that a call begins with.
    """
    with grpc.insecure_channel(address) as channel:
        stream = channel.stream_stream(method)(iter([request]), metadata=metadata)
        try:
            next(stream)
        except StopIteration:
            pass
        except grpc.RpcError as error:
            found: grpc.StatusCode = error.code()
            return found
        stream.cancel()
    return grpc.StatusCode.OK


async def make_world(api: Api) -> None:
    for tenant in ("acme", "beta"):
        await api.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id=tenant))
        await api.networks.CreateNetwork(
            network_pb2.CreateNetworkRequest(parent=f"tenants/{tenant}", network_id="web")
        )
        await api.ports.CreatePort(
            port_pb2.CreatePortRequest(parent=f"tenants/{tenant}/networks/web", port_id="p")
        )


async def test_existence_is_not_told(api: Api) -> None:
    """Another tenant's network answers the same whether it is there or not, or its name is nonsense."""
    await make_world(api)
    answers = set()
    for name in ("tenants/beta/networks/web", "tenants/beta/networks/no", "tenants/none/networks/web", "x"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await api.networks.GetNetwork(network_pb2.GetNetworkRequest(name=name), metadata=((AS, ADMIN),))
        answers.add((caught.value.code(), caught.value.details()))
    assert len(answers) == 1
    assert next(iter(answers))[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_wildcards_show_what_is_ones_own(api: Api) -> None:
    await make_world(api)
    seen = await api.ports.ListPorts(
        port_pb2.ListPortsRequest(parent="tenants/-/networks/-"), metadata=((AS, VIEWER),)
    )
    assert [p.name for p in seen.ports] == ["tenants/acme/networks/web/ports/p"]
    tenants = await api.tenants.ListTenants(tenant_pb2.ListTenantsRequest(), metadata=((AS, VIEWER),))
    assert [t.name for t in tenants.tenants] == ["tenants/acme"]
    everything = await api.tenants.ListTenants(tenant_pb2.ListTenantsRequest())
    assert [t.name for t in everything.tenants] == ["tenants/acme", "tenants/beta"]


async def test_watch_shows_what_is_ones_own(api: Api) -> None:
    await make_world(api)
    stream = api.state.Watch(watch_pb2.WatchRequest(), metadata=((AS, VIEWER),))
    names = set()
    async for event in stream:
        if event.kind == watch_pb2.WatchEvent.SNAPSHOT_COMPLETE:
            break
        names.add(getattr(event, event.WhichOneof("resource")).name)
    assert names == {
        "tenants/acme",
        "tenants/acme/securityGroups/default",
        "tenants/acme/networks/web",
        "tenants/acme/networks/web/ports/p",
    }


@pytest.mark.parametrize("paths", [[], ["requested_hosts"]], ids=["set", "named"])
async def test_scheduling_is_for_operators(api: Api, paths: list[str]) -> None:
    await make_world(api)
    before = api.store.state.revision
    request = port_pb2.UpdatePortRequest(port=port_pb2.Port(name="tenants/acme/networks/web/ports/p"))
    request.update_mask.paths.extend(paths)
    if not paths:
        request.port.requested_hosts.append("hosts/h1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.ports.UpdatePort(request, metadata=((AS, ADMIN),))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    create = port_pb2.CreatePortRequest(parent="tenants/acme/networks/web", port_id="q")
    create.port.requested_hosts.append("hosts/h1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.ports.CreatePort(create, metadata=((AS, ADMIN),))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert api.store.state.revision == before


async def test_a_full_replacement_by_a_tenant_keeps_the_schedule(api: Api) -> None:
    await make_world(api)
    await api.channel.unary_unary("/cloison.v1.HostService/CreateHost")(b"\x0a\x02h1")
    name = "tenants/acme/networks/web/ports/p"
    await api.ports.UpdatePort(
        port_pb2.UpdatePortRequest(port=port_pb2.Port(name=name, requested_hosts=["hosts/h1"]))
    )
    own = await api.ports.GetPort(port_pb2.GetPortRequest(name=name), metadata=((AS, ADMIN),))
    assert list(own.requested_hosts) == []
    own.display_name = "changed"
    request = port_pb2.UpdatePortRequest(port=own)
    request.update_mask.paths.append("*")
    await api.ports.UpdatePort(request, metadata=((AS, ADMIN),))
    stored = await api.ports.GetPort(port_pb2.GetPortRequest(name=name))
    assert (stored.display_name, list(stored.requested_hosts)) == ("changed", ["hosts/h1"])


class Peer:
    """A call context as gRPC makes it for a peer with these URIs in its certificate."""

    def __init__(self, **auth_context: list[bytes]) -> None:
        self._auth_context = auth_context

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._auth_context


def test_identity_is_the_one_uri_of_ours() -> None:
    peer = Peer(peer_uri=[b"https://example.org", b"cloison://tenant/acme/admin"])
    assert str(auth.caller_by_certificate(peer).identity) == "tenant/acme/admin"


@pytest.mark.parametrize(
    "peer",
    [
        Peer(),
        Peer(peer_uri=[b"https://example.org"]),
        Peer(peer_uri=[b"cloison://operator/a", b"cloison://host/h1"]),
        Peer(peer_uri=[b"cloison://operator/a", b"CLOISON://host/h1"]),
        Peer(peer_uri=[b"cloison://root/a"]),
        Peer(peer_uri=[b"\xff\xfe"]),
        Peer(peer_dns=[b"cloison://operator/a"], x509_subject_alternative_name=[b"cloison://operator/a"]),
        Peer(x509_common_name=[b"cloison://operator/a"]),
    ],
)
def test_certificates_that_name_nobody(peer: Peer) -> None:
    with pytest.raises(auth.Unauthenticated):
        auth.caller_by_certificate(peer)
