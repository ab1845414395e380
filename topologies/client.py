"""What a lab needs of the gRPC API: a connection from a context file, intent from a topology file.

A plain client with the generated stubs, as any user could write it; it must never know more than the API
says.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import yaml
from google.protobuf.duration_pb2 import Duration

from cloison.v1 import (
    address_group_pb2_grpc,
    batch_pb2_grpc,
    external_network_pb2_grpc,
    floating_ip_pb2_grpc,
    host_pb2,
    host_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    port_binding_pb2_grpc,
    port_pb2,
    port_pb2_grpc,
    router_pb2_grpc,
    security_group_pb2_grpc,
    subnet_pb2,
    subnet_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
    watch_pb2,
    watch_pb2_grpc,
)
from topologies.control import Tls, channel
from topologies.spec import NetworkSpec, PortSpec, Spec

CALL_S = 15.0
PAGE_MAX = 1000


class Client:
    """A connection to the controller with a stub per service; a context manager."""

    def __init__(self, endpoint: str, tls: Tls) -> None:
        """Connects when first used."""
        self._channel: grpc.Channel = channel(endpoint, tls)
        self.batches = batch_pb2_grpc.BatchServiceStub(self._channel)
        self.tenants = tenant_pb2_grpc.TenantServiceStub(self._channel)
        self.networks = network_pb2_grpc.NetworkServiceStub(self._channel)
        self.subnets = subnet_pb2_grpc.SubnetServiceStub(self._channel)
        self.bindings = port_binding_pb2_grpc.PortBindingServiceStub(self._channel)
        self.ports = port_pb2_grpc.PortServiceStub(self._channel)
        self.security_groups = security_group_pb2_grpc.SecurityGroupServiceStub(self._channel)
        self.address_groups = address_group_pb2_grpc.AddressGroupServiceStub(self._channel)
        self.routers = router_pb2_grpc.RouterServiceStub(self._channel)
        self.external_networks = external_network_pb2_grpc.ExternalNetworkServiceStub(self._channel)
        self.floating_ips = floating_ip_pb2_grpc.FloatingIpServiceStub(self._channel)
        self.hosts = host_pb2_grpc.HostServiceStub(self._channel)
        self.state = watch_pb2_grpc.StateServiceStub(self._channel)

    @classmethod
    def from_context(cls, path: Path) -> Client:
        """Connect as the current context of a context file says. Raises OSError, KeyError."""
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = config["contexts"][config["current"]]
        tls = Tls(Path(context["cert"]), Path(context["key"]), Path(context["ca"]))
        return cls(context["endpoint"], tls)

    def __enter__(self) -> Client:
        """The connection."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def connected_hosts(self) -> set[str]:
        """Ids of the hosts whose agent is connected. Raises grpc.RpcError."""
        hosts = self.hosts.ListHosts(host_pb2.ListHostsRequest(page_size=PAGE_MAX), timeout=CALL_S).hosts
        return {h.name.removeprefix("hosts/") for h in hosts if h.agent_connected}

    def apply(self, spec: Spec) -> list[port_pb2.Port]:
        """Create all tenants, networks, subnets and ports of a topology file; the ports made.

        Raises grpc.RpcError at the first refusal.
        """
        made: list[port_pb2.Port] = []
        for tenant in spec.tenants:
            self.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id=tenant.id), timeout=CALL_S)
            for network in tenant.networks:
                made += self._network(f"tenants/{tenant.id}", network)
        return made

    def delete(self, spec: Spec) -> None:
        """Delete what `apply` made, ports first; what is gone already is passed over. Raises
        grpc.RpcError.
        """
        for tenant in spec.tenants:
            for network in tenant.networks:
                name = f"tenants/{tenant.id}/networks/{network.id}"
                for port in network.ports:
                    request = port_pb2.DeletePortRequest(name=f"{name}/ports/{port.id}")
                    _unless_gone(self.ports.DeletePort, request)
                for subnet in network.subnets:
                    gone = subnet_pb2.DeleteSubnetRequest(name=f"{name}/subnets/{subnet.id}")
                    _unless_gone(self.subnets.DeleteSubnet, gone)
                _unless_gone(self.networks.DeleteNetwork, network_pb2.DeleteNetworkRequest(name=name))
            request_ = tenant_pb2.DeleteTenantRequest(name=f"tenants/{tenant.id}")
            _unless_gone(self.tenants.DeleteTenant, request_)

    def wait_realized(self, name: str = "", timeout_s: int = 30) -> watch_pb2.WaitRealizedResponse:
        """Wait until a resource, or everything, is enforced everywhere it must be. Raises grpc.RpcError."""
        request = watch_pb2.WaitRealizedRequest(name=name, timeout=Duration(seconds=timeout_s))
        answer: watch_pb2.WaitRealizedResponse = self.state.WaitRealized(request, timeout=timeout_s + CALL_S)
        return answer

    def port(self, name: str) -> port_pb2.Port:
        """A port by its resource name. Raises grpc.RpcError."""
        port: port_pb2.Port = self.ports.GetPort(port_pb2.GetPortRequest(name=name), timeout=CALL_S)
        return port

    def mtu(self, port: port_pb2.Port) -> int:
        """What a guest of the port may send, in bytes; 0 while unknown. Raises grpc.RpcError."""
        request = network_pb2.GetNetworkRequest(name=port.name.partition("/ports/")[0])
        return int(self.networks.GetNetwork(request, timeout=CALL_S).mtu)

    def addresses(self, port: port_pb2.Port) -> Iterator[str]:
        """The port's addresses with the prefix length of their subnets. Raises grpc.RpcError."""
        for fixed in port.fixed_ips:
            request = subnet_pb2.GetSubnetRequest(name=fixed.subnet)
            cidr = self.subnets.GetSubnet(request, timeout=CALL_S).cidr
            yield f"{fixed.ip_address}/{ip_network(cidr).prefixlen}"

    def _network(self, tenant: str, network: NetworkSpec) -> Iterator[port_pb2.Port]:
        create = network_pb2.CreateNetworkRequest(parent=tenant, network_id=network.id)
        self.networks.CreateNetwork(create, timeout=CALL_S)
        parent = f"{tenant}/networks/{network.id}"
        for subnet in network.subnets:
            body = subnet_pb2.Subnet(
                cidr=subnet.cidr, gateway_ip=subnet.gateway, no_gateway=not subnet.gateway
            )
            request = subnet_pb2.CreateSubnetRequest(parent=parent, subnet_id=subnet.id, subnet=body)
            self.subnets.CreateSubnet(request, timeout=CALL_S)
        for port in network.ports:
            yield self.create_port(parent, port)

    def create_port(self, parent: str, port: PortSpec) -> port_pb2.Port:
        """Create one port on a network, scheduled to its host. Raises grpc.RpcError."""
        body = port_pb2.Port(
            mac_address=port.mac,
            fixed_ips=[port_pb2.FixedIp(ip_address=a) for a in port.addresses],
            requested_hosts=[f"hosts/{port.host}"],
        )
        request = port_pb2.CreatePortRequest(parent=parent, port_id=port.id, port=body)
        made: port_pb2.Port = self.ports.CreatePort(request, timeout=CALL_S)
        return made


def _unless_gone(call: grpc.UnaryUnaryMultiCallable[Any, Any], request: object) -> None:
    try:
        call(request, timeout=CALL_S)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
