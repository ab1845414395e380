import datetime

from cloison.v1 import address_group_pb2 as _address_group_pb2
from cloison.v1 import common_pb2 as _common_pb2
from cloison.v1 import external_network_pb2 as _external_network_pb2
from cloison.v1 import floating_ip_pb2 as _floating_ip_pb2
from cloison.v1 import host_pb2 as _host_pb2
from cloison.v1 import network_pb2 as _network_pb2
from cloison.v1 import peering_pb2 as _peering_pb2
from cloison.v1 import port_pb2 as _port_pb2
from cloison.v1 import port_binding_pb2 as _port_binding_pb2
from cloison.v1 import router_pb2 as _router_pb2
from cloison.v1 import security_group_pb2 as _security_group_pb2
from cloison.v1 import subnet_pb2 as _subnet_pb2
from cloison.v1 import tenant_pb2 as _tenant_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchRequest(_message.Message):
    __slots__ = ("parent", "start_revision")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    START_REVISION_FIELD_NUMBER: _ClassVar[int]
    parent: str
    start_revision: int
    def __init__(self, parent: _Optional[str] = ..., start_revision: _Optional[int] = ...) -> None: ...

class WatchEvent(_message.Message):
    __slots__ = ("kind", "revision", "tenant", "network", "subnet", "port", "port_binding", "host", "security_group", "address_group", "router", "external_network", "floating_ip", "peering")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[WatchEvent.Kind]
        UPSERT: _ClassVar[WatchEvent.Kind]
        DELETE: _ClassVar[WatchEvent.Kind]
        SNAPSHOT_COMPLETE: _ClassVar[WatchEvent.Kind]
        REVISION_COMPLETE: _ClassVar[WatchEvent.Kind]
    KIND_UNSPECIFIED: WatchEvent.Kind
    UPSERT: WatchEvent.Kind
    DELETE: WatchEvent.Kind
    SNAPSHOT_COMPLETE: WatchEvent.Kind
    REVISION_COMPLETE: WatchEvent.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    SUBNET_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PORT_BINDING_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    SECURITY_GROUP_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_GROUP_FIELD_NUMBER: _ClassVar[int]
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_NETWORK_FIELD_NUMBER: _ClassVar[int]
    FLOATING_IP_FIELD_NUMBER: _ClassVar[int]
    PEERING_FIELD_NUMBER: _ClassVar[int]
    kind: WatchEvent.Kind
    revision: int
    tenant: _tenant_pb2.Tenant
    network: _network_pb2.Network
    subnet: _subnet_pb2.Subnet
    port: _port_pb2.Port
    port_binding: _port_binding_pb2.PortBinding
    host: _host_pb2.Host
    security_group: _security_group_pb2.SecurityGroup
    address_group: _address_group_pb2.AddressGroup
    router: _router_pb2.Router
    external_network: _external_network_pb2.ExternalNetwork
    floating_ip: _floating_ip_pb2.FloatingIp
    peering: _peering_pb2.Peering
    def __init__(self, kind: _Optional[_Union[WatchEvent.Kind, str]] = ..., revision: _Optional[int] = ..., tenant: _Optional[_Union[_tenant_pb2.Tenant, _Mapping]] = ..., network: _Optional[_Union[_network_pb2.Network, _Mapping]] = ..., subnet: _Optional[_Union[_subnet_pb2.Subnet, _Mapping]] = ..., port: _Optional[_Union[_port_pb2.Port, _Mapping]] = ..., port_binding: _Optional[_Union[_port_binding_pb2.PortBinding, _Mapping]] = ..., host: _Optional[_Union[_host_pb2.Host, _Mapping]] = ..., security_group: _Optional[_Union[_security_group_pb2.SecurityGroup, _Mapping]] = ..., address_group: _Optional[_Union[_address_group_pb2.AddressGroup, _Mapping]] = ..., router: _Optional[_Union[_router_pb2.Router, _Mapping]] = ..., external_network: _Optional[_Union[_external_network_pb2.ExternalNetwork, _Mapping]] = ..., floating_ip: _Optional[_Union[_floating_ip_pb2.FloatingIp, _Mapping]] = ..., peering: _Optional[_Union[_peering_pb2.Peering, _Mapping]] = ...) -> None: ...

class WaitRealizedRequest(_message.Message):
    __slots__ = ("name", "revision", "timeout")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    revision: int
    timeout: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., revision: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WaitRealizedResponse(_message.Message):
    __slots__ = ("realized", "revision", "missing")
    REALIZED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    realized: bool
    revision: int
    missing: _containers.RepeatedCompositeFieldContainer[_common_pb2.Condition]
    def __init__(self, realized: _Optional[bool] = ..., revision: _Optional[int] = ..., missing: _Optional[_Iterable[_Union[_common_pb2.Condition, _Mapping]]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Status(_message.Message):
    __slots__ = ("controller", "version", "epoch", "revision", "realized_revision", "tenants", "networks", "ports", "ports_active", "hosts", "hosts_connected", "conditions", "gate", "gate_checked", "gate_refused", "units_compared", "units_repaired")
    CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REALIZED_REVISION_FIELD_NUMBER: _ClassVar[int]
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    PORTS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    HOSTS_CONNECTED_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    GATE_CHECKED_FIELD_NUMBER: _ClassVar[int]
    GATE_REFUSED_FIELD_NUMBER: _ClassVar[int]
    UNITS_COMPARED_FIELD_NUMBER: _ClassVar[int]
    UNITS_REPAIRED_FIELD_NUMBER: _ClassVar[int]
    controller: str
    version: str
    epoch: int
    revision: int
    realized_revision: int
    tenants: int
    networks: int
    ports: int
    ports_active: int
    hosts: int
    hosts_connected: int
    conditions: _containers.RepeatedCompositeFieldContainer[_common_pb2.Condition]
    gate: str
    gate_checked: int
    gate_refused: int
    units_compared: int
    units_repaired: int
    def __init__(self, controller: _Optional[str] = ..., version: _Optional[str] = ..., epoch: _Optional[int] = ..., revision: _Optional[int] = ..., realized_revision: _Optional[int] = ..., tenants: _Optional[int] = ..., networks: _Optional[int] = ..., ports: _Optional[int] = ..., ports_active: _Optional[int] = ..., hosts: _Optional[int] = ..., hosts_connected: _Optional[int] = ..., conditions: _Optional[_Iterable[_Union[_common_pb2.Condition, _Mapping]]] = ..., gate: _Optional[str] = ..., gate_checked: _Optional[int] = ..., gate_refused: _Optional[int] = ..., units_compared: _Optional[int] = ..., units_repaired: _Optional[int] = ...) -> None: ...
