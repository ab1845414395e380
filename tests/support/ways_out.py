"""A router with a gateway, as the API would store it, in the world of tests.support.reconciling."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from cloison.addresses import IpAddress, Mac
from cloison.model import (
    PROFILE_OPEN,
    ExternalNetwork,
    ExternalSubnet,
    FixedIp,
    FloatingIp,
    Meta,
    Network,
    Port,
    Router,
    RouterEdge,
    RouterGateway,
    RouterInterface,
    Subnet,
    Vni,
)
from cloison.names import (
    ExternalNetworkName,
    FloatingIpName,
    HostName,
    NetworkName,
    PortName,
    RouterName,
    SubnetName,
)
from controller.store import ids
from controller.store.state import State
from controller.store.txn import Txn
from tests.support.reconciling import Controller

R1, INET = RouterName("acme", "r1"), ExternalNetworkName("inet")
TRANSIT, TRANSIT_VNI = NetworkName("acme", "cl-r1"), Vni(7001)
INSIDE, WEB = SubnetName("acme", "cl-r1", "v4"), SubnetName("acme", "web", "v4")
GATEWAY_NUMBER = 50
OUTSIDE = ExternalNetwork(
    name=INET,
    meta=Meta(uid="uid-inet"),
    physical_network="physnet1",
    subnets=(ExternalSubnet(ip_network("192.0.2.0/24"), ip_address("192.0.2.1")),),
    gateway_hosts=(HostName("h1"), HostName("h2")),
)
ROUTER = Router(
    name=R1,
    meta=Meta(uid="uid-r1"),
    interfaces=(
        RouterInterface(WEB, ip_address("10.0.0.254")),
        RouterInterface(INSIDE, ip_address("100.127.0.1")),
    ),
    gateway=RouterGateway(external_network=INET, addresses=(ip_address("192.0.2.10"),)),
)


def edge_port(host: HostName | None) -> PortName:
    return PortName(*TRANSIT, f"gw-{host.host}" if host else "gw")


def with_edge(txn: Txn, host: HostName | None, number: int, addresses: tuple[IpAddress, ...] = ()) -> None:
    """An edge, with its port: on the gateway hosts, or on one alone."""
    like = OUTSIDE.gateway_hosts if host is None else (host,)
    address = ip_address("100.127.0.2") + (0 if host is None else number)
    port = Port(
        name=edge_port(host),
        meta=Meta(uid=f"uid-edge-{number}"),
        number=number,
        mac=Mac(0x020000001000 + number),
        fixed_ips=(FixedIp(INSIDE, address),),
        requested_hosts=like,
        iface_id=f"edge{number}",
        profile=PROFILE_OPEN,
        disabled=False,
    )
    txn.create(port)
    txn.reserve(ids.ip(TRANSIT, address), port.name, port.meta.uid)
    txn.create(RouterEdge(router=R1, host=host, port=port.name, addresses=addresses))


async def with_gateway(made: Controller, **gateway: Any) -> None:
    """What the API stores when a router of web gets a gateway to inet."""
    subnet = Subnet(
        name=INSIDE,
        meta=Meta(uid="uid-inside"),
        cidr=ip_network("100.127.0.0/16"),
        gateway_ip=None,
        allocation_pools=(),
    )
    await made.commit(lambda txn, state: txn.create(OUTSIDE))
    network = Network(name=TRANSIT, meta=Meta(uid="uid-transit"), vni=TRANSIT_VNI)
    assert ROUTER.gateway is not None
    router = replace(ROUTER, gateway=replace(ROUTER.gateway, **gateway))

    await made.commit(lambda txn, state: txn.create(network))
    await made.commit(lambda txn, state: txn.create(subnet))
    await made.commit(lambda txn, state: txn.create(router))
    await made.commit(lambda txn, state: with_edge(txn, None, GATEWAY_NUMBER))


def floating_ip(name: str, address: str, port: PortName | None, fixed: str | None, **more: Any) -> FloatingIp:
    return FloatingIp(
        name=FloatingIpName("acme", name),
        meta=Meta(uid=f"uid-{name}"),
        external_network=INET,
        address=ip_address(address),
        port=port,
        fixed=ip_address(fixed) if fixed is not None else None,
        router=R1 if port is not None else None,
        **more,
    )


class Edges:
    """EdgeChanges as the API has them, with numbers of its own. addressed: edges of hosts get an address."""

    def __init__(self, *, addressed: bool = False) -> None:
        self.number, self.addressed = GATEWAY_NUMBER, addressed

    def make(self, state: State, router: RouterName, host: HostName) -> Txn:
        txn = Txn()
        if all(edge.host != host for edge in state.edges_of(router)):
            self.number += 1
            outside = ip_address("192.0.2.100") + self.number
            with_edge(txn, host, self.number, (outside,) if self.addressed else ())
        return txn

    def drop(self, state: State, edge: RouterEdge) -> Txn:
        txn = Txn()
        txn.delete(edge)
        txn.delete(state.ports[edge.port])
        for binding in state.bindings_of(edge.port):
            txn.delete(binding)
        return txn

    def follow(self, state: State, router: RouterName) -> Txn:
        txn, port = Txn(), state.ports[edge_port(None)]
        txn.update(port, replace(port, requested_hosts=state.external_networks[INET].gateway_hosts))
        return txn
