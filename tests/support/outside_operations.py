"""Random operations on external networks, routers with their gateways, and floating IPs."""

from __future__ import annotations

from random import Random
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from cloison.names import ExternalNetworkName, FloatingIpName, RouterName
from cloison.v1 import external_network_pb2 as external_pb
from cloison.v1 import floating_ip_pb2 as floating_pb
from cloison.v1 import router_pb2 as pb
from controller.store import transit
from controller.store.state import State

CHOSEN = ("192.0.2.5", "192.0.2.6", "2001:db8:f::5")


class OutsideOperations:
    """Makes requests that have a fair chance on a state."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def _tenant(self, state: State) -> str:
        known = sorted(name.tenant for name in state.tenants)
        return self.random.choice(known) if known else "t0"

    def next_external(self, state: State) -> Any:
        """Return the request of a single method about an external network."""
        rng, name = self.random, ExternalNetworkName("inet")
        message = external_pb.ExternalNetwork(
            name=str(name),
            physical_network="physnet1",
            subnets=[external_pb.ExternalSubnet(cidr="192.0.2.0/28", gateway_ip="192.0.2.1")],
            shared_with=sorted(map(str, state.tenants)),
            gateway_hosts=map(str, rng.sample(sorted(state.hosts), min(2, len(state.hosts)))),
        )
        if rng.random() < 0.7:
            message.subnets.add(cidr="2001:db8:f::/64", gateway_ip=rng.choice(("fe80::1", "2001:db8:f::1")))
        if name not in state.external_networks:
            return external_pb.CreateExternalNetworkRequest(
                external_network_id=name.external_network, external_network=message
            )
        if rng.random() < 0.2:
            return external_pb.DeleteExternalNetworkRequest(name=str(name))
        paths = rng.sample(("gateway_hosts", "shared_with", "subnets", "mtu"), 2)
        return external_pb.UpdateExternalNetworkRequest(
            external_network=message, update_mask=FieldMask(paths=paths)
        )

    def next_router(self, state: State) -> Any:
        """Return the request of a single method about a router."""
        rng = self.random
        name = RouterName(self._tenant(state), rng.choice("rs"))
        message = pb.Router(name=str(name))
        own = (s for s in state.subnets.values() if s.name.tenant == name.tenant and s.gateway_ip is not None)
        subnets = sorted(str(s.name) for s in own if not transit.is_transit(s.name.parent))
        for subnet in rng.sample(subnets, min(len(subnets), rng.choice((0, 1, 1, 2)))):
            message.interfaces.add(subnet=subnet)
        if rng.random() < 0.7:
            message.gateway.external_network = "externalNetworks/inet"
            message.gateway.distributed_snat = rng.random() < 0.3
            if rng.random() < 0.3:
                message.gateway.ip_addresses.append(rng.choice(CHOSEN))
        if name not in state.routers:
            return pb.CreateRouterRequest(parent=str(name.parent), router_id=name.router, router=message)
        if rng.random() < 0.25:
            return pb.DeleteRouterRequest(name=str(name))
        paths = rng.choice((("gateway",), ("gateway",), ("interfaces",), ("gateway", "interfaces")))
        return pb.UpdateRouterRequest(router=message, update_mask=FieldMask(paths=paths))

    def next_floating(self, state: State) -> Any:
        """Return the request of a single method about a floating IP."""
        rng = self.random
        name = FloatingIpName(self._tenant(state), rng.choice("fgh"))
        joined = {i.subnet for r in state.routers_of(name.parent) if r.gateway for i in r.interfaces}
        guests = {
            str(p.name) for s in joined for p in state.ports_using(s) if not transit.is_transit(s.parent)
        }
        ports = sorted(guests) or sorted(str(port) for port in state.ports if port.tenant == name.tenant)
        message = floating_pb.FloatingIp(
            name=str(name),
            port=rng.choice(ports) if ports and rng.random() < 0.7 else "",
            distributed=rng.random() < 0.5,
        )
        if name not in state.floating_ips:
            message.external_network = "externalNetworks/inet"
            message.ip_address = rng.choice(("", "", *CHOSEN))
            return floating_pb.CreateFloatingIpRequest(
                parent=str(name.parent), floating_ip_id=name.floating_ip, floating_ip=message
            )
        if rng.random() < 0.3:
            return floating_pb.DeleteFloatingIpRequest(name=str(name))
        paths = rng.choice((("port",), ("port", "distributed"), ("distributed",)))
        return floating_pb.UpdateFloatingIpRequest(floating_ip=message, update_mask=FieldMask(paths=paths))
