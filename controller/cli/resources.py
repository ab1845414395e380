"""What the command line knows of each resource: its place, its columns, and the options that set its fields.

All commands are made from these descriptions (commands.py); a new resource is a new entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from cloison.v1 import (
    host_pb2,
    host_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    port_binding_pb2,
    port_binding_pb2_grpc,
    port_pb2,
    port_pb2_grpc,
    subnet_pb2,
    subnet_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
)
from controller.cli.names import id_at, split_parent
from controller.cli.output import Column

# Sets a field of the message from the option's value; parent is the full name of the message's parent.
Apply = Callable[[Any, Any, str], None]


@dataclass(frozen=True)
class Field:
    """An option of create and update, and the field of the message that it sets."""

    flags: tuple[str, ...]
    field: str
    help: str
    apply: Apply
    multiple: bool = False
    is_flag: bool = False
    on_update: bool = True
    required: bool = False

    @property
    def parameter(self) -> str:
        """The name under which click passes the value."""
        return "opt_" + self.flags[0].split("/")[0].lstrip("-").replace("-", "_")


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


def _plain(field: str) -> Apply:
    def apply(message: Any, value: Any, parent: str) -> None:
        setattr(message, field, value)

    return apply


def _pools(message: Any, values: Sequence[str], parent: str) -> None:
    for value in values:
        start, dash, end = value.partition("-")
        if not dash:
            raise click.BadParameter(
                f"{value!r} is not FIRST-LAST, such as 10.0.0.10-10.0.0.99", param_hint="--pool"
            )
        message.allocation_pools.add(start=start.strip(), end=end.strip())


def _addresses(message: Any, values: Sequence[str], parent: str) -> None:
    for value in values:
        message.fixed_ips.add(ip_address=value)


def _subnets(message: Any, values: Sequence[str], parent: str) -> None:
    for value in values:
        message.fixed_ips.add(subnet=value if "/" in value else f"{parent}/subnets/{value}")


def _hosts(message: Any, values: Sequence[str], parent: str) -> None:
    message.requested_hosts.extend(v if v.startswith("hosts/") else f"hosts/{v}" for v in values)


DISPLAY_NAME = Field(("--display-name",), "display_name", "A name for people.", _plain("display_name"))

_SUBNET_FIELDS = (
    Field(
        ("--cidr",),
        "cidr",
        "The range: 10.0.0.0/24, 2001:db8::/64.",
        _plain("cidr"),
        on_update=False,
        required=True,
    ),
    Field(("--gateway",), "gateway_ip", "The gateway's address.  [default: the first]", _plain("gateway_ip")),
    Field(("--no-gateway",), "no_gateway", "Have no gateway.", _plain("no_gateway"), is_flag=True),
    Field(
        ("--pool",), "allocation_pools", "FIRST-LAST of what is given out; repeatable.", _pools, multiple=True
    ),
)
_PORT_FIELDS = (
    Field(("--mac",), "mac_address", "The MAC.  [default: one is chosen]", _plain("mac_address")),
    Field(
        ("--ip",), "fixed_ips", "An address; repeatable.  [default: one a family]", _addresses, multiple=True
    ),
    Field(("--subnet",), "fixed_ips", "Any address of this subnet; repeatable.", _subnets, multiple=True),
    Field(("--host",), "requested_hosts", "Where it may be plugged; repeatable.", _hosts, multiple=True),
    Field(
        ("--disabled/--enabled",), "disabled", "Neither sends nor receives.", _plain("disabled"), is_flag=True
    ),
    Field(
        ("--iface-id",),
        "iface_id",
        "What external_ids:iface-id holds.  [default: the uid]",
        _plain("iface_id"),
        on_update=False,
    ),
)


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
    (DISPLAY_NAME,),
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
    (DISPLAY_NAME, *_SUBNET_FIELDS),
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
        ("HOST", lambda m: m.host.removeprefix("hosts/") or "-"),
        ("REQUESTED", lambda m: " ".join(h.removeprefix("hosts/") for h in m.requested_hosts) or "-"),
    ),
    "Where workloads attach to networks.",
    (DISPLAY_NAME, *_PORT_FIELDS),
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
        ("STATE", lambda m: port_pb2.Port.State.Name(m.state)),
    ),
    "Where ports are plugged, as agents report it.",
    writable=False,
    field_name="port_binding",
    suffix="/binding",
)
ALL: Mapping[str, Resource] = {r.noun: r for r in (TENANT, NETWORK, SUBNET, PORT, HOST, BINDING)}
