"""The wire forms: models <-> messages of cloison.v1, and models <-> values in etcd. Pure.

A value in etcd is a `Record` that says itself what it is; it holds intent only: revision and etag are
etcd's to say, status is the reconciler's. Reading is strict: whatever is malformed raises InvalidIntent
that names the field, never half a model. What is *allowed* is decided in api/, not here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from google.protobuf.message import DecodeError, Message

from cloison.codec_exits import (
    edge_from_record,
    edge_to_record,
    external_network_from_proto,
    external_network_to_proto,
    floating_ip_from_proto,
    floating_ip_to_proto,
)
from cloison.codec_parts import (
    meta_from_proto,
    parse_number,
)
from cloison.codec_policy import (
    address_group_from_proto,
    address_group_to_proto,
    profile_from_record,
    profile_to_record,
    security_group_from_proto,
    security_group_to_proto,
)
from cloison.codec_resources import (
    binding_from_proto,
    binding_to_proto,
    host_from_proto,
    host_name,
    host_to_proto,
    network_from_proto,
    network_to_proto,
    port_from_proto,
    port_to_proto,
    subnet_from_proto,
    subnet_to_proto,
    tenant_from_proto,
    tenant_to_proto,
)
from cloison.codec_routing import (
    peering_from_proto,
    peering_to_proto,
    router_from_proto,
    router_to_proto,
)
from cloison.errors import InvalidIntent
from cloison.model import (
    OFPORT_MAX,
    VNI_MAX,
    VNI_MIN,
    AddressGroup,
    ExternalNetwork,
    FloatingIp,
    Host,
    Meta,
    Network,
    Peering,
    PolicyProfile,
    Port,
    PortBinding,
    Reservation,
    Resource,
    Revision,
    Router,
    RouterEdge,
    SecurityGroup,
    Stored,
    Subnet,
    Tenant,
    TunnelPort,
    Vni,
)
from cloison.v1 import (
    address_group_pb2,
    external_network_pb2,
    floating_ip_pb2,
    host_pb2,
    network_pb2,
    peering_pb2,
    port_binding_pb2,
    port_pb2,
    record_pb2,
    router_pb2,
    security_group_pb2,
    subnet_pb2,
    tenant_pb2,
)

ResourceMessage = (
    tenant_pb2.Tenant
    | network_pb2.Network
    | subnet_pb2.Subnet
    | port_pb2.Port
    | host_pb2.Host
    | security_group_pb2.SecurityGroup
    | address_group_pb2.AddressGroup
    | router_pb2.Router
    | external_network_pb2.ExternalNetwork
    | floating_ip_pb2.FloatingIp
    | peering_pb2.Peering
)
StatusMessage = ResourceMessage | port_binding_pb2.PortBinding


def etag_of(revision: int) -> str:
    """Return the etag of an object that last changed at this revision (opaque to callers)."""
    return f"{revision:x}"


# -- resources of the API --------------------------------------------------------------------------

_TO_PROTO: dict[type, Callable[[Any], Any]] = {
    Tenant: tenant_to_proto,
    Network: network_to_proto,
    Subnet: subnet_to_proto,
    Port: port_to_proto,
    Host: host_to_proto,
    SecurityGroup: security_group_to_proto,
    AddressGroup: address_group_to_proto,
    Router: router_to_proto,
    ExternalNetwork: external_network_to_proto,
    FloatingIp: floating_ip_to_proto,
    Peering: peering_to_proto,
}
_FROM_PROTO: dict[type, Callable[[Any, Meta], Any]] = {
    tenant_pb2.Tenant: tenant_from_proto,
    network_pb2.Network: network_from_proto,
    subnet_pb2.Subnet: subnet_from_proto,
    port_pb2.Port: port_from_proto,
    host_pb2.Host: host_from_proto,
    security_group_pb2.SecurityGroup: security_group_from_proto,
    address_group_pb2.AddressGroup: address_group_from_proto,
    router_pb2.Router: router_from_proto,
    external_network_pb2.ExternalNetwork: external_network_from_proto,
    floating_ip_pb2.FloatingIp: floating_ip_from_proto,
    peering_pb2.Peering: peering_from_proto,
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
def resource_to_proto(model: SecurityGroup) -> security_group_pb2.SecurityGroup: ...
@overload
def resource_to_proto(model: AddressGroup) -> address_group_pb2.AddressGroup: ...
@overload
def resource_to_proto(model: Router) -> router_pb2.Router: ...
@overload
def resource_to_proto(model: ExternalNetwork) -> external_network_pb2.ExternalNetwork: ...
@overload
def resource_to_proto(model: FloatingIp) -> floating_ip_pb2.FloatingIp: ...
@overload
def resource_to_proto(model: Peering) -> peering_pb2.Peering: ...
@overload
def resource_to_proto(model: PortBinding) -> port_binding_pb2.PortBinding: ...


def resource_to_proto(model: Resource | PortBinding) -> StatusMessage:
    """Return the message of a model with revision and etag; status fields are left for the caller to fill."""
    if isinstance(model, PortBinding):
        binding = binding_to_proto(model)
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
def resource_from_proto(message: security_group_pb2.SecurityGroup, revision: int) -> SecurityGroup: ...
@overload
def resource_from_proto(message: address_group_pb2.AddressGroup, revision: int) -> AddressGroup: ...
@overload
def resource_from_proto(message: router_pb2.Router, revision: int) -> Router: ...
@overload
def resource_from_proto(message: external_network_pb2.ExternalNetwork, revision: int) -> ExternalNetwork: ...
@overload
def resource_from_proto(message: floating_ip_pb2.FloatingIp, revision: int) -> FloatingIp: ...
@overload
def resource_from_proto(message: peering_pb2.Peering, revision: int) -> Peering: ...
@overload
def resource_from_proto(message: port_binding_pb2.PortBinding, revision: int) -> PortBinding: ...


def resource_from_proto(message: StatusMessage, revision: int) -> Resource | PortBinding:
    """Return the model of a *complete* message (as a record or an answer of the API holds it).

    revision replaces the message's own; request_id is not part of a message and stays empty. Raises
    InvalidIntent, naming the field, for anything missing or malformed.
    """
    if isinstance(message, port_binding_pb2.PortBinding):
        return binding_from_proto(message, revision)
    model: Resource = _FROM_PROTO[type(message)](message, meta_from_proto(message, revision))
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
    Tenant: ("tenant", tenant_to_proto),
    Network: ("network", network_to_proto),
    Subnet: ("subnet", subnet_to_proto),
    Port: ("port", port_to_proto),
    Host: ("host", host_to_proto),
    SecurityGroup: ("security_group", security_group_to_proto),
    AddressGroup: ("address_group", address_group_to_proto),
    Router: ("router", router_to_proto),
    ExternalNetwork: ("external_network", external_network_to_proto),
    FloatingIp: ("floating_ip", floating_ip_to_proto),
    RouterEdge: ("router_edge", edge_to_record),
    Peering: ("peering", peering_to_proto),
    PolicyProfile: ("policy_profile", profile_to_record),
    PortBinding: ("port_binding", binding_to_proto),
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
    if kind == "policy_profile":
        return profile_from_record(record.policy_profile, mod_revision)
    if kind == "router_edge":
        return edge_from_record(record.router_edge, mod_revision)
    if kind == "port_binding":
        return binding_from_proto(record.port_binding, mod_revision)
    if kind == "tunnel_port":
        return TunnelPort(
            host=host_name(record.tunnel_port.host, "host"),
            vni=Vni(parse_number(record.tunnel_port.vni, "vni", VNI_MIN, VNI_MAX)),
            ofport=parse_number(record.tunnel_port.ofport, "ofport", 1, OFPORT_MAX),
            revision=Revision(mod_revision),
        )
    if kind is None or kind == "epoch":
        raise InvalidIntent.of(key, kind or data[:40].hex(), "a record of a kind that this version knows")
    message = getattr(record, kind)
    stored: Resource = _FROM_PROTO[type(message)](message, meta_from_proto(message, mod_revision, record))
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
        hosts=tuple(host_name(host, "hosts") for host in message.hosts),
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
