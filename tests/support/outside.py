"""Requests about the way out: external networks, gateways of routers, floating IPs; and a world of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from cloison.v1 import external_network_pb2 as external_pb
from cloison.v1 import floating_ip_pb2 as floating_pb
from cloison.v1 import host_pb2, router_pb2
from controller.store import ids, keys, transit
from controller.store.state import State
from tests.support.api import Api
from tests.support.requests import NET, ip, make_world, port

INET = "externalNetworks/inet"
ACME = "tenants/acme"
R1 = f"{ACME}/routers/r1"
S4, S6 = f"{NET}/subnets/s4", f"{NET}/subnets/s6"
TRANSIT = f"{ACME}/networks/cl-r1"


def external(name: str = "inet", **fields: Any) -> external_pb.CreateExternalNetworkRequest:
    """An external network of both families, on two gateway hosts, shared with acme, unless said otherwise."""
    message = {
        "physical_network": "physnet1",
        "subnets": [
            external_pb.ExternalSubnet(cidr="192.0.2.0/24", gateway_ip="192.0.2.1"),
            external_pb.ExternalSubnet(cidr="2001:db8:f::/64", gateway_ip="fe80::1"),
        ],
        "shared_with": [ACME],
        "gateway_hosts": ["hosts/g1", "hosts/g2"],
    }
    return external_pb.CreateExternalNetworkRequest(
        external_network_id=name, external_network=external_pb.ExternalNetwork(**(message | fields))
    )


def update_external(*paths: str, **fields: Any) -> external_pb.UpdateExternalNetworkRequest:
    message = external_pb.ExternalNetwork(name=INET, **fields)
    return external_pb.UpdateExternalNetworkRequest(
        external_network=message, update_mask=FieldMask(paths=paths)
    )


def gateway(network: str = INET, **fields: Any) -> router_pb2.RouterGateway:
    return router_pb2.RouterGateway(external_network=network, **fields)


def router(name: str = "r1", *subnets: str, parent: str = ACME, **fields: Any) -> Any:
    message = router_pb2.Router(
        interfaces=[router_pb2.RouterInterface(subnet=subnet) for subnet in subnets], **fields
    )
    return router_pb2.CreateRouterRequest(parent=parent, router_id=name, router=message)


def update_router(*paths: str, name: str = R1, **fields: Any) -> router_pb2.UpdateRouterRequest:
    message = router_pb2.Router(name=name, **fields)
    return router_pb2.UpdateRouterRequest(router=message, update_mask=FieldMask(paths=paths))


def floating(name: str = "f1", parent: str = ACME, **fields: Any) -> floating_pb.CreateFloatingIpRequest:
    message = floating_pb.FloatingIp(**({"external_network": INET} | fields))
    return floating_pb.CreateFloatingIpRequest(parent=parent, floating_ip_id=name, floating_ip=message)


def update_floating(*paths: str, name: str = "f1", **fields: Any) -> floating_pb.UpdateFloatingIpRequest:
    message = floating_pb.FloatingIp(name=f"{ACME}/floatingIps/{name}", **fields)
    return floating_pb.UpdateFloatingIpRequest(floating_ip=message, update_mask=FieldMask(paths=paths))


async def make_outside(api: Api) -> None:
    """Tenant acme with network web, ports p1 (10.0.0.5, 2001:db8::5) and p2 (10.0.0.6), hosts and inet."""
    await make_world(api)
    for name in ("g1", "g2"):
        await api.hosts.CreateHost(host_pb2.CreateHostRequest(host_id=name))
    await api.ports.CreatePort(port("p2", fixed_ips=[ip("10.0.0.6")]))
    await api.external_networks.CreateExternalNetwork(external())


def check_whole(state: State, refs: set[str]) -> None:
    """Every part of a way out has the others, and every address outside one owner, which is there."""
    owners: dict[str, set[str]] = {}
    for name, network in state.external_networks.items():
        gateways = (s.gateway for s in network.subnets if s.gateway is not None and s.gateway in s.cidr)
        owners[str(name)] = {ids.external(name, address) for address in gateways}
    for router_name, found in state.routers.items():
        if found.gateway is not None:
            there = found.gateway.external_network
            owners[str(router_name)] = {ids.external(there, a) for a in found.gateway.addresses}
            for key, edge in state.router_edges.items():
                if edge.router == router_name:
                    owners[str(key)] = {ids.external(there, a) for a in edge.addresses}
    for one in state.floating_ips.values():
        owners[str(one.name)] = {ids.external(one.external_network, one.address)}
    wanted = {(owner, key) for owner, taken in owners.items() for key in taken}
    held = {(r.owner, k) for k, r in state.reservations.items() if k.startswith("ext/") and not r.released}
    assert held == wanted
    for edge in state.router_edges.values():
        assert edge.port in state.ports
        assert state.routers[edge.router].gateway is not None
    for name in filter(transit.is_transit, state.networks):
        [joined] = state.routers_on(name)
        assert joined.gateway is not None
    refs = {key for key in refs if "/externalNetworks/" in key or "/floatingIps/" in key}
    assert refs == set(_references(state))


def _references(state: State) -> Iterator[str]:
    for name, network in state.external_networks.items():
        for referred in (*network.gateway_hosts, *network.shared_with):
            yield keys.reference_key(referred, name)
    for router_name, found in state.routers.items():
        if found.gateway is not None:
            yield keys.reference_key(found.gateway.external_network, router_name)
    for one in state.floating_ips.values():
        yield keys.reference_key(one.external_network, one.name)
        if one.port is not None and one.fixed is not None and one.router is not None:
            [subnet] = [f.subnet for f in state.ports[one.port].fixed_ips if f.address == one.fixed]
            assert subnet in {i.subnet for i in state.routers[one.router].interfaces}
            yield keys.reference_key(keys.address_of(one.port, one.fixed), one.name)
            yield keys.reference_key(keys.interface_of(one.router, subnet), one.name)
