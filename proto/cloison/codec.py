"""The wire forms: models <-> messages of cloison.v1, and models <-> values in etcd. Pure.

A value in etcd is a `Record` that says itself what it is; it holds intent only: revision and etag are
etcd's to say, status is the reconciler's. Reading is strict: whatever is malformed raises InvalidIntent
that names the field, never half a model. What is *allowed* is decided in api/, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network
from sys import intern
from typing import Any, TypeVar, overload

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from cloison.addresses import IpAddress, IpNetwork, format_mac, parse_mac
from cloison.errors import InvalidIntent
from cloison.immutable import ImmutableMapping
from cloison.model import (
    OFPORT_MAX,
    PORT_NUMBER_MAX,
    TENANT_NUMBER_MAX,
    VNI_MAX,
    VNI_MIN,
    AllocationPool,
    FixedIp,
    Host,
    Meta,
    Network,
    Port,
    PortBinding,
    Reservation,
    Resource,
    Revision,
    Stored,
    Subnet,
    Tenant,
    TunnelPort,
    Vni,
)
from cloison.names import HostName, NetworkName, PortName, SubnetName, TenantName
from cloison.v1 import (
    host_pb2,
    network_pb2,
    port_binding_pb2,
    port_pb2,
    record_pb2,
    subnet_pb2,
    tenant_pb2,
)

ResourceMessage = tenant_pb2.Tenant | network_pb2.Network | subnet_pb2.Subnet | port_pb2.Port | host_pb2.Host
StatusMessage = ResourceMessage | port_binding_pb2.PortBinding

NANOS = 1_000_000_000
# Last nanosecond of the year 9999, where google.protobuf.Timestamp ends.
TIME_NS_MAX = 253_402_300_799 * NANOS + NANOS - 1

_NO_LABELS: ImmutableMapping[str, str] = ImmutableMapping()
# Names that very many ports share are parsed once and are one object: time and memory at 100,000 ports.
_subnet_name: Callable[[str, str], SubnetName] = lru_cache(maxsize=1 << 16)(SubnetName.parse)
_host_name: Callable[[str, str], HostName] = lru_cache(maxsize=1 << 14)(HostName.parse)

T = TypeVar("T")


def etag_of(revision: int) -> str:
    """Return the etag of an object that last changed at this revision (opaque to callers)."""
    return f"{revision:x}"


# -- parts -----------------------------------------------------------------------------------------


def _parse(parse: Callable[[str], T], text: str, field: str, expected: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidIntent.of(field, text, expected) from error


def _number(value: int, field: str, low: int, high: int) -> int:
    if not low <= value <= high:
        raise InvalidIntent.of(field, value, f"a number from {low} to {high}")
    return value


def _address(text: str, field: str) -> IpAddress:
    # An IPv6 zone ('fe80::1%eth0') means something on one machine only.
    if "%" in text:
        raise InvalidIntent.of(field, text, "an IPv4 or IPv6 address without a zone")
    parse: Callable[[str], IpAddress] = IPv6Address if ":" in text else IPv4Address
    return _parse(parse, text, field, "an IPv4 or IPv6 address")


def _network(text: str, field: str) -> IpNetwork:
    if "/" not in text or "%" in text:
        raise InvalidIntent.of(field, text, "a range such as 10.0.0.0/24 or 2001:db8::/64")
    return _parse(ip_network, text, field, "a range such as 10.0.0.0/24, with no host bits set")


def _time_to_proto(time_ns: int, into: Timestamp) -> None:
    if time_ns:
        into.seconds, into.nanos = divmod(time_ns, NANOS)


def _time_from_proto(time: Timestamp, field: str) -> int:
    return _number(time.seconds * NANOS + time.nanos, field, 0, TIME_NS_MAX)


def _labels(labels: Mapping[str, str]) -> ImmutableMapping[str, str]:
    return ImmutableMapping(labels) if labels else _NO_LABELS


def _meta_to_proto(name: object, meta: Meta, message: Any) -> None:
    message.name, message.uid, message.display_name = str(name), meta.uid, meta.display_name
    _time_to_proto(meta.create_time_ns, message.create_time)
    _time_to_proto(meta.update_time_ns, message.update_time)
    if meta.labels:
        message.labels.update(meta.labels)


def _meta_from_proto(message: Any, revision: int, record: record_pb2.Record | None = None) -> Meta:
    if not message.uid:
        raise InvalidIntent.of("uid", "", "a unique id")
    return Meta(
        uid=message.uid,
        revision=Revision(revision),
        create_time_ns=_time_from_proto(message.create_time, "create_time"),
        update_time_ns=_time_from_proto(message.update_time, "update_time"),
        display_name=message.display_name,
        labels=_labels(message.labels),
        request_id=record.request_id if record else "",
        request_digest=record.request_digest if record else b"",
    )


# -- one pair for each kind ------------------------------------------------------------------------


def _tenant_to_proto(tenant: Tenant) -> tenant_pb2.Tenant:
    message = tenant_pb2.Tenant(number=tenant.number)
    _meta_to_proto(tenant.name, tenant.meta, message)
    return message


def _tenant_from_proto(message: tenant_pb2.Tenant, meta: Meta) -> Tenant:
    return Tenant(
        name=TenantName.parse(message.name),
        meta=meta,
        number=_number(message.number, "number", 1, TENANT_NUMBER_MAX),
    )


def _network_to_proto(network: Network) -> network_pb2.Network:
    message = network_pb2.Network(vni=network.vni)
    _meta_to_proto(network.name, network.meta, message)
    return message


def _network_from_proto(message: network_pb2.Network, meta: Meta) -> Network:
    return Network(
        name=NetworkName.parse(message.name),
        meta=meta,
        vni=Vni(_number(message.vni, "vni", VNI_MIN, VNI_MAX)),
    )


def _subnet_to_proto(subnet: Subnet) -> subnet_pb2.Subnet:
    message = subnet_pb2.Subnet(cidr=str(subnet.cidr), no_gateway=subnet.gateway_ip is None)
    if subnet.gateway_ip is not None:
        message.gateway_ip = str(subnet.gateway_ip)
    for pool in subnet.allocation_pools:
        message.allocation_pools.add(start=str(pool.start), end=str(pool.end))
    _meta_to_proto(subnet.name, subnet.meta, message)
    return message


def _subnet_from_proto(message: subnet_pb2.Subnet, meta: Meta) -> Subnet:
    cidr = _network(message.cidr, "cidr")

    def same_family(text: str, field: str) -> IpAddress:
        address = _address(text, field)
        if address.version != cidr.version:
            raise InvalidIntent.of(field, text, f"an IPv{cidr.version} address, as {cidr} is")
        return address

    return Subnet(
        name=SubnetName.parse(message.name),
        meta=meta,
        cidr=cidr,
        gateway_ip=None if message.no_gateway else same_family(message.gateway_ip, "gateway_ip"),
        allocation_pools=tuple(
            AllocationPool(
                same_family(pool.start, f"allocation_pools[{i}].start"),
                same_family(pool.end, f"allocation_pools[{i}].end"),
            )
            for i, pool in enumerate(message.allocation_pools)
        ),
    )


def _port_to_proto(port: Port) -> port_pb2.Port:
    message = port_pb2.Port(
        number=port.number,
        mac_address=format_mac(port.mac),
        requested_hosts=[str(host) for host in port.requested_hosts],
        disabled=port.disabled,
        iface_id=port.iface_id,
    )
    for fixed_ip in port.fixed_ips:
        message.fixed_ips.add(subnet=str(fixed_ip.subnet), ip_address=str(fixed_ip.address))
    _meta_to_proto(port.name, port.meta, message)
    return message


def _port_from_proto(message: port_pb2.Port, meta: Meta) -> Port:
    name = PortName.parse(message.name)
    if not message.iface_id:
        raise InvalidIntent.of("iface_id", "", "what external_ids:iface-id of the interface holds")
    return Port(
        name=PortName(intern(name.tenant), intern(name.network), name.port),
        meta=meta,
        number=_number(message.number, "number", 1, PORT_NUMBER_MAX),
        mac=_parse(parse_mac, message.mac_address, "mac_address", "a MAC such as 52:54:00:12:34:56"),
        fixed_ips=tuple(
            FixedIp(
                _subnet_name(fixed_ip.subnet, f"fixed_ips[{i}].subnet"),
                _address(fixed_ip.ip_address, f"fixed_ips[{i}].ip_address"),
            )
            for i, fixed_ip in enumerate(message.fixed_ips)
        ),
        requested_hosts=tuple(_host_name(host, "requested_hosts") for host in message.requested_hosts),
        disabled=message.disabled,
        # Nearly always the uid: then both are one string.
        iface_id=meta.uid if message.iface_id == meta.uid else message.iface_id,
    )


def _host_to_proto(host: Host) -> host_pb2.Host:
    message = host_pb2.Host(
        vtep_address="" if host.vtep is None else str(host.vtep),
        datapath_id=f"{host.datapath_id:016x}" if host.datapath_id else "",
        underlay_mtu=host.underlay_mtu,
        agent_version=host.agent_version,
        datapath_type=host.datapath_type,
        agent_labels=dict(host.agent_labels),
    )
    _meta_to_proto(host.name, host.meta, message)
    return message


def _datapath_id(text: str) -> int:
    number = int(text, 16)
    if f"{number:016x}" != text:
        raise ValueError("not 16 hexadecimal digits")
    return number


def _host_from_proto(message: host_pb2.Host, meta: Meta) -> Host:
    datapath_id = 0
    if message.datapath_id:
        datapath_id = _parse(
            _datapath_id, message.datapath_id, "datapath_id", "16 hexadecimal digits in lower case"
        )
    return Host(
        name=HostName.parse(message.name),
        meta=meta,
        vtep=_address(message.vtep_address, "vtep_address") if message.vtep_address else None,
        datapath_id=datapath_id,
        underlay_mtu=message.underlay_mtu,
        agent_version=message.agent_version,
        datapath_type=message.datapath_type,
        agent_labels=_labels(message.agent_labels),
    )


def _binding_to_proto(binding: PortBinding) -> port_binding_pb2.PortBinding:
    return port_binding_pb2.PortBinding(
        name=binding.port.binding,
        port=str(binding.port),
        port_uid=binding.port_uid,
        host=str(binding.host),
        interface=binding.interface,
        ofport=binding.ofport,
    )


def _binding_from_proto(message: port_binding_pb2.PortBinding, revision: int) -> PortBinding:
    return PortBinding(
        port=PortName.parse(message.port, "port"),
        port_uid=message.port_uid,
        host=_host_name(message.host, "host"),
        interface=message.interface,
        ofport=_number(message.ofport, "ofport", 1, OFPORT_MAX),
        revision=Revision(revision),
    )


# -- resources of the API --------------------------------------------------------------------------

_TO_PROTO: dict[type, Callable[[Any], Any]] = {
    Tenant: _tenant_to_proto,
    Network: _network_to_proto,
    Subnet: _subnet_to_proto,
    Port: _port_to_proto,
    Host: _host_to_proto,
}
_FROM_PROTO: dict[type, Callable[[Any, Meta], Any]] = {
    tenant_pb2.Tenant: _tenant_from_proto,
    network_pb2.Network: _network_from_proto,
    subnet_pb2.Subnet: _subnet_from_proto,
    port_pb2.Port: _port_from_proto,
    host_pb2.Host: _host_from_proto,
}


@overload
def resource_to_proto(model: Tenant) -> tenant_pb2.Tenant: ...
@overload
def resource_to_proto(model: Network) -> network_pb2.Network: ...
@overload
def resource_to_proto(model: Subnet) -> subnet_pb2.Subnet: ...
@overload
def resource_to_proto(model: Port) -> port_pb2.Port: ...
@overload
def resource_to_proto(model: Host) -> host_pb2.Host: ...
@overload
def resource_to_proto(model: PortBinding) -> port_binding_pb2.PortBinding: ...


def resource_to_proto(model: Resource | PortBinding) -> StatusMessage:
    """Return the message of a model with revision and etag; status fields are left for the caller to fill."""
    if isinstance(model, PortBinding):
        binding = _binding_to_proto(model)
        binding.revision = model.revision
        return binding
    message: ResourceMessage = _TO_PROTO[type(model)](model)
    if model.meta.revision:
        message.revision, message.etag = model.meta.revision, etag_of(model.meta.revision)
    return message


@overload
def resource_from_proto(message: tenant_pb2.Tenant, revision: int) -> Tenant: ...
@overload
def resource_from_proto(message: network_pb2.Network, revision: int) -> Network: ...
@overload
def resource_from_proto(message: subnet_pb2.Subnet, revision: int) -> Subnet: ...
@overload
def resource_from_proto(message: port_pb2.Port, revision: int) -> Port: ...
@overload
def resource_from_proto(message: host_pb2.Host, revision: int) -> Host: ...
@overload
def resource_from_proto(message: port_binding_pb2.PortBinding, revision: int) -> PortBinding: ...


def resource_from_proto(message: StatusMessage, revision: int) -> Resource | PortBinding:
    """Return the model of a *complete* message (as a record or an answer of the API holds it).

    revision replaces the message's own; request_id is not part of a message and stays empty. Raises
    InvalidIntent, naming the field, for anything missing or malformed.
    """
    if isinstance(message, port_binding_pb2.PortBinding):
        return _binding_from_proto(message, revision)
    model: Resource = _FROM_PROTO[type(message)](message, _meta_from_proto(message, revision))
    return model


# -- records in etcd -------------------------------------------------------------------------------


def _reservation_to_proto(reservation: Reservation) -> record_pb2.ReservationRecord:
    return record_pb2.ReservationRecord(
        owner=reservation.owner,
        owner_uid=reservation.owner_uid,
        released=reservation.released,
        hosts=[str(host) for host in reservation.hosts],
    )


def _tunnel_port_to_proto(tunnel_port: TunnelPort) -> record_pb2.TunnelPortRecord:
    return record_pb2.TunnelPortRecord(
        host=str(tunnel_port.host), vni=tunnel_port.vni, ofport=tunnel_port.ofport
    )


_RECORD_FIELD: dict[type, tuple[str, Callable[[Any], Message]]] = {
    Tenant: ("tenant", _tenant_to_proto),
    Network: ("network", _network_to_proto),
    Subnet: ("subnet", _subnet_to_proto),
    Port: ("port", _port_to_proto),
    Host: ("host", _host_to_proto),
    PortBinding: ("port_binding", _binding_to_proto),
    TunnelPort: ("tunnel_port", _tunnel_port_to_proto),
    Reservation: ("reservation", _reservation_to_proto),
}


def record_to_bytes(stored: Stored) -> bytes:
    """Return the value in etcd of a stored object: the same bytes for the same intent, at any revision."""
    field, to_proto = _RECORD_FIELD[type(stored)]
    record = record_pb2.Record()
    getattr(record, field).CopyFrom(to_proto(stored))
    if isinstance(stored, Resource):
        record.request_id, record.request_digest = stored.meta.request_id, stored.meta.request_digest
    return record.SerializeToString(deterministic=True)


def record_from_bytes(key: str, data: bytes, mod_revision: int) -> Stored:
    """Return what a value in etcd says, at the revision at which etcd says it was written.

    key names it in errors, and is what a Reservation is reserved under ('vni/5001'); that an object lies
    under the key of its own name is for the store to check. Raises InvalidIntent for a record that is
    truncated, malformed or of a kind this version does not know.
    """
    try:
        record = record_pb2.Record.FromString(data)
    except DecodeError as error:
        raise InvalidIntent.of(key, data[:40].hex(), "a Record of cloison.v1") from error
    kind = record.WhichOneof("kind")
    if kind == "reservation":
        return _reservation_from_record(key, record.reservation, mod_revision)
    if kind == "port_binding":
        return _binding_from_proto(record.port_binding, mod_revision)
    if kind == "tunnel_port":
        return TunnelPort(
            host=_host_name(record.tunnel_port.host, "host"),
            vni=Vni(_number(record.tunnel_port.vni, "vni", VNI_MIN, VNI_MAX)),
            ofport=_number(record.tunnel_port.ofport, "ofport", 1, OFPORT_MAX),
            revision=Revision(mod_revision),
        )
    if kind is None or kind == "epoch":
        raise InvalidIntent.of(key, kind or data[:40].hex(), "a record of a kind that this version knows")
    message = getattr(record, kind)
    stored: Resource = _FROM_PROTO[type(message)](message, _meta_from_proto(message, mod_revision, record))
    return stored


def _reservation_from_record(
    key: str, message: record_pb2.ReservationRecord, mod_revision: int
) -> Reservation:
    if not message.owner:
        raise InvalidIntent.of(f"{key}: owner", "", "the resource name of the owner")
    return Reservation(
        key=key,
        owner=message.owner,
        owner_uid=message.owner_uid,
        released=message.released,
        hosts=tuple(_host_name(host, "hosts") for host in message.hosts),
        revision=Revision(mod_revision),
    )


def epoch_to_bytes(epoch: int, controller_id: str) -> bytes:
    """Return the value of the epoch key."""
    record = record_pb2.Record(epoch=record_pb2.EpochRecord(epoch=epoch, controller=controller_id))
    return record.SerializeToString(deterministic=True)


def epoch_from_bytes(data: bytes) -> tuple[int, str]:
    """Return (epoch, controller id) of the epoch key's value; raises InvalidIntent if it is none."""
    try:
        record = record_pb2.Record.FromString(data)
    except DecodeError as error:
        raise InvalidIntent.of("epoch", data[:40].hex(), "a Record of cloison.v1") from error
    if record.WhichOneof("kind") != "epoch":
        raise InvalidIntent.of("epoch", record.WhichOneof("kind"), "an EpochRecord")
    return record.epoch.epoch, record.epoch.controller
