"""What the command line knows of each resource: its place, its columns, and the options that set its fields.

All commands are made from these descriptions (commands.py); a new resource is a new entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloison.protocols import service_text
from cloison.v1 import (
    address_group_pb2,
    address_group_pb2_grpc,
    external_network_pb2,
    external_network_pb2_grpc,
    floating_ip_pb2,
    floating_ip_pb2_grpc,
    host_pb2,
    host_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    peering_pb2,
    peering_pb2_grpc,
    port_binding_pb2,
    port_binding_pb2_grpc,
    port_pb2,
    port_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
    security_group_pb2,
    security_group_pb2_grpc,
    subnet_pb2,
    subnet_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
)
from controller.cli.fields import (
    ADDRESS_GROUP_FIELDS,
    DISPLAY_NAME,
    NETWORK_FIELDS,
    PEERING_FIELDS,
    PORT_FIELDS,
    ROUTER_FIELDS,
    SUBNET_FIELDS,
    Field,
)
from controller.cli.fields_outside import EXTERNAL_NETWORK_FIELDS, FLOATING_IP_FIELDS
from controller.cli.names import id_at, split_parent
from controller.cli.output import Column


@dataclass(frozen=True)
class Resource:
    """One kind of resource. parents: nouns of the names above it; writable: has create, update, delete."""

    noun: str
    message: str
    module: Any
    stub: Callable[[Any], Any]
    parents: tuple[str, ...]
    columns: Sequence[Column]
    help: str
    fields: tuple[Field, ...] = ()
    writable: bool = True
    field_name: str = ""
    # Appended to the name of what is named on the command line (a binding is named by its port).
    suffix: str = ""

    @property
    def field(self) -> str:
        """Name of the resource's field in requests."""
        return self.field_name or self.noun

    @property
    def plural_field(self) -> str:
        """Name of the list's field in the answer."""
        return f"{self.field}s"


def _id(message: Any) -> str:
    return split_parent(message.name)[1]


def _part(noun: str) -> Callable[[Any], str]:
    return lambda message: id_at(message.name, noun)


def _labels(message: Any) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(message.labels.items()))


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _port_state(message: Any) -> str:
    state: str = port_pb2.Port.State.Name(message.state)
    return state if not message.disabled else f"{state} (disabled)"


def _in_network(subnet: str) -> str:
    """tenants/acme/networks/web/subnets/v4 -> web/v4"""
    return "/".join(subnet.split("/")[3::2])


def _gateway(message: Any) -> str:
    """inet 192.0.2.7 at g1"""
    gateway = message.gateway
    parts = [gateway.external_network.rpartition("/")[2], *gateway.ip_addresses]
    host = f" at {gateway.host.removeprefix('hosts/')}" if gateway.host else ""
    return f"{' '.join(parts)}{host}" if message.HasField("gateway") else "-"


def _groups(message: Any) -> str:
    if message.no_port_security:
        return "(no port security)"
    return " ".join(name.rpartition("/")[2] for name in message.security_groups) or "(none)"


def _services(message: Any) -> str:
    return " ".join(service_text(s.protocol, s.port_min, s.port_max) for s in message.services) or "-"


_TENANT: Column = ("TENANT", _part("tenant"))
_NETWORK: Column = ("NETWORK", _part("network"))

TENANT = Resource(
    "tenant",
    "Tenant",
    tenant_pb2,
    tenant_pb2_grpc.TenantServiceStub,
    (),
    (("TENANT", _id), ("DISPLAY NAME", lambda m: m.display_name), ("LABELS", _labels)),
    "Owners of isolated address spaces.",
    (DISPLAY_NAME,),
)
NETWORK = Resource(
    "network",
    "Network",
    network_pb2,
    network_pb2_grpc.NetworkServiceStub,
    ("tenant",),
    (
        _TENANT,
        ("NETWORK", _id),
        ("VNI", lambda m: m.vni),
        ("MTU", lambda m: m.mtu or "-"),
        ("HOSTS", lambda m: " ".join(h.removeprefix("hosts/") for h in m.hosts) or "-"),
        ("LABELS", _labels),
    ),
    "Layer-2 segments of tenants.",
    (DISPLAY_NAME, *NETWORK_FIELDS),
)
SUBNET = Resource(
    "subnet",
    "Subnet",
    subnet_pb2,
    subnet_pb2_grpc.SubnetServiceStub,
    ("tenant", "network"),
    (
        _TENANT,
        _NETWORK,
        ("SUBNET", _id),
        ("CIDR", lambda m: m.cidr),
        ("GATEWAY", lambda m: m.gateway_ip or "-"),
        ("POOLS", lambda m: " ".join(f"{p.start}-{p.end}" for p in m.allocation_pools)),
    ),
    "Address ranges of networks.",
    (DISPLAY_NAME, *SUBNET_FIELDS),
)
PORT = Resource(
    "port",
    "Port",
    port_pb2,
    port_pb2_grpc.PortServiceStub,
    ("tenant", "network"),
    (
        _TENANT,
        _NETWORK,
        ("PORT", _id),
        ("STATE", _port_state),
        ("MAC", lambda m: m.mac_address),
        ("ADDRESSES", lambda m: " ".join(f.ip_address for f in m.fixed_ips) or "-"),
        ("GROUPS", _groups),
        ("HOST", lambda m: m.host.removeprefix("hosts/") or "-"),
        ("REQUESTED", lambda m: " ".join(h.removeprefix("hosts/") for h in m.requested_hosts) or "-"),
    ),
    "Where workloads attach to networks.",
    (DISPLAY_NAME, *PORT_FIELDS),
)
HOST = Resource(
    "host",
    "Host",
    host_pb2,
    host_pb2_grpc.HostServiceStub,
    (),
    (
        ("HOST", _id),
        ("AGENT", lambda m: _yes(m.agent_connected)),
        ("SWITCH", lambda m: _yes(m.switch_connected)),
        ("VTEP", lambda m: m.vtep_address or "-"),
        ("REALIZED", lambda m: m.realized_revision),
        ("DRIFT", lambda m: m.drift_count),
        ("REFUSED", lambda m: len(m.refused_interfaces)),
        ("LABELS", _labels),
    ),
    "Hypervisors.",
    (DISPLAY_NAME,),
)
BINDING = Resource(
    "binding",
    "PortBinding",
    port_binding_pb2,
    port_binding_pb2_grpc.PortBindingServiceStub,
    ("tenant", "network"),
    (
        _TENANT,
        _NETWORK,
        ("PORT", _part("port")),
        ("HOST", lambda m: m.host.removeprefix("hosts/")),
        ("INTERFACE", lambda m: m.interface),
        ("OFPORT", lambda m: m.ofport),
        ("STANDBY", lambda m: " ".join(m.standby_hosts) or "-"),
        ("CLAIMED", lambda m: " ".join(m.claimed_addresses) or "-"),
        ("STATE", lambda m: port_pb2.Port.State.Name(m.state)),
    ),
    "Where ports are plugged, as agents report it.",
    writable=False,
    field_name="port_binding",
    suffix="/binding",
)
SECURITY_GROUP = Resource(
    "security-group",
    "SecurityGroup",
    security_group_pb2,
    security_group_pb2_grpc.SecurityGroupServiceStub,
    ("tenant",),
    (
        _TENANT,
        ("GROUP", _id),
        ("RULES", lambda m: len(m.rules)),
        ("DISPLAY NAME", lambda m: m.display_name),
        ("LABELS", _labels),
    ),
    "Who may open which connections from and to ports.",
    (DISPLAY_NAME,),
    field_name="security_group",
)
ADDRESS_GROUP = Resource(
    "address-group",
    "AddressGroup",
    address_group_pb2,
    address_group_pb2_grpc.AddressGroupServiceStub,
    ("tenant",),
    (
        _TENANT,
        ("GROUP", _id),
        ("PREFIXES", lambda m: " ".join(m.prefixes) or "-"),
        ("DISPLAY NAME", lambda m: m.display_name),
    ),
    "Ranges under one name, for rules of security groups.",
    (DISPLAY_NAME, *ADDRESS_GROUP_FIELDS),
    field_name="address_group",
)
ROUTER = Resource(
    "router",
    "Router",
    router_pb2,
    router_pb2_grpc.RouterServiceStub,
    ("tenant",),
    (
        _TENANT,
        ("ROUTER", _id),
        ("MAC", lambda m: m.mac_address),
        (
            "INTERFACES",
            lambda m: " ".join(f"{_in_network(i.subnet)},{i.ip_address}" for i in m.interfaces) or "-",
        ),
        ("ROUTES", lambda m: " ".join(f"{r.destination},{','.join(r.next_hops)}" for r in m.routes) or "-"),
        ("GATEWAY", _gateway),
    ),
    "What joins networks of a tenant.",
    (DISPLAY_NAME, *ROUTER_FIELDS),
)
PEERING = Resource(
    "peering",
    "Peering",
    peering_pb2,
    peering_pb2_grpc.PeeringServiceStub,
    ("tenant",),
    (
        _TENANT,
        ("PEERING", _id),
        ("STATE", lambda m: peering_pb2.Peering.State.Name(m.state)),
        ("ROUTER", lambda m: m.router.rpartition("/")[2]),
        ("PREFIXES", lambda m: " ".join(m.prefixes)),
        ("SERVICES", _services),
        ("PEER", lambda m: m.peer_router),
        ("PEER PREFIXES", lambda m: " ".join(m.peer_prefixes)),
        ("WHY", lambda m: " ".join(c.reason for c in m.conditions) or "-"),
    ),
    "Halves of agreements that join routers of two tenants.",
    (DISPLAY_NAME, *PEERING_FIELDS),
)
EXTERNAL_NETWORK = Resource(
    "external-network",
    "ExternalNetwork",
    external_network_pb2,
    external_network_pb2_grpc.ExternalNetworkServiceStub,
    (),
    (
        ("NETWORK", _id),
        ("PHYSICAL", lambda m: f"{m.physical_network}{f' vlan {m.vlan}' if m.vlan else ''}" or "-"),
        ("SUBNETS", lambda m: " ".join(s.cidr for s in m.subnets)),
        ("GATEWAY HOSTS", lambda m: " ".join(h.removeprefix("hosts/") for h in m.gateway_hosts) or "-"),
        ("SHARED WITH", lambda m: " ".join(t.removeprefix("tenants/") for t in m.shared_with) or "-"),
        ("MTU", lambda m: m.mtu),
    ),
    "Networks outside that routers go out to.",
    (DISPLAY_NAME, *EXTERNAL_NETWORK_FIELDS),
    field_name="external_network",
)
FLOATING_IP = Resource(
    "floating-ip",
    "FloatingIp",
    floating_ip_pb2,
    floating_ip_pb2_grpc.FloatingIpServiceStub,
    ("tenant",),
    (
        _TENANT,
        ("FLOATING IP", _id),
        ("ADDRESS", lambda m: m.ip_address),
        ("NETWORK", lambda m: m.external_network.rpartition("/")[2]),
        ("PORT", lambda m: _in_network(m.port) or "-"),
        ("FIXED", lambda m: m.fixed_ip or "-"),
        ("DISTRIBUTED", lambda m: _yes(m.distributed)),
        ("HOST", lambda m: m.host.removeprefix("hosts/") or "-"),
    ),
    "Addresses outside that stand for ports.",
    (DISPLAY_NAME, *FLOATING_IP_FIELDS),
    field_name="floating_ip",
)
ALL: Mapping[str, Resource] = {
    r.noun: r
    for r in (
        *(TENANT, NETWORK, SUBNET, PORT, ROUTER, PEERING, FLOATING_IP, SECURITY_GROUP, ADDRESS_GROUP),
        *(EXTERNAL_NETWORK, HOST, BINDING),
    )
}
