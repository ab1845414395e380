from cloison.v1 import address_group_pb2 as _address_group_pb2
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
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReservationRecord(_message.Message):
    __slots__ = ("owner", "owner_uid", "released", "hosts")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    OWNER_UID_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    owner: str
    owner_uid: str
    released: bool
    hosts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, owner: _Optional[str] = ..., owner_uid: _Optional[str] = ..., released: _Optional[bool] = ..., hosts: _Optional[_Iterable[str]] = ...) -> None: ...

class TunnelPortRecord(_message.Message):
    __slots__ = ("host", "vni", "ofport")
    HOST_FIELD_NUMBER: _ClassVar[int]
    VNI_FIELD_NUMBER: _ClassVar[int]
    OFPORT_FIELD_NUMBER: _ClassVar[int]
    host: str
    vni: int
    ofport: int
    def __init__(self, host: _Optional[str] = ..., vni: _Optional[int] = ..., ofport: _Optional[int] = ...) -> None: ...

class PolicyProfileRecord(_message.Message):
    __slots__ = ("tenant", "number", "groups")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    number: int
    groups: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tenant: _Optional[str] = ..., number: _Optional[int] = ..., groups: _Optional[_Iterable[str]] = ...) -> None: ...

class RouterEdgeRecord(_message.Message):
    __slots__ = ("router", "host", "port", "ip_addresses")
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    IP_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    router: str
    host: str
    port: str
    ip_addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, router: _Optional[str] = ..., host: _Optional[str] = ..., port: _Optional[str] = ..., ip_addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("tenant", "network", "subnet", "port", "host", "port_binding", "tunnel_port", "reservation", "epoch", "security_group", "address_group", "policy_profile", "router", "external_network", "floating_ip", "router_edge", "peering", "request_id", "request_digest")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    SUBNET_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_BINDING_FIELD_NUMBER: _ClassVar[int]
    TUNNEL_PORT_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SECURITY_GROUP_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_GROUP_FIELD_NUMBER: _ClassVar[int]
    POLICY_PROFILE_FIELD_NUMBER: _ClassVar[int]
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_NETWORK_FIELD_NUMBER: _ClassVar[int]
    FLOATING_IP_FIELD_NUMBER: _ClassVar[int]
    ROUTER_EDGE_FIELD_NUMBER: _ClassVar[int]
    PEERING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    tenant: _tenant_pb2.Tenant
    network: _network_pb2.Network
    subnet: _subnet_pb2.Subnet
    port: _port_pb2.Port
    host: _host_pb2.Host
    port_binding: _port_binding_pb2.PortBinding
    tunnel_port: TunnelPortRecord
    reservation: ReservationRecord
    epoch: EpochRecord
    security_group: _security_group_pb2.SecurityGroup
    address_group: _address_group_pb2.AddressGroup
    policy_profile: PolicyProfileRecord
    router: _router_pb2.Router
    external_network: _external_network_pb2.ExternalNetwork
    floating_ip: _floating_ip_pb2.FloatingIp
    router_edge: RouterEdgeRecord
    peering: _peering_pb2.Peering
    request_id: str
    request_digest: bytes
    def __init__(self, tenant: _Optional[_Union[_tenant_pb2.Tenant, _Mapping]] = ..., network: _Optional[_Union[_network_pb2.Network, _Mapping]] = ..., subnet: _Optional[_Union[_subnet_pb2.Subnet, _Mapping]] = ..., port: _Optional[_Union[_port_pb2.Port, _Mapping]] = ..., host: _Optional[_Union[_host_pb2.Host, _Mapping]] = ..., port_binding: _Optional[_Union[_port_binding_pb2.PortBinding, _Mapping]] = ..., tunnel_port: _Optional[_Union[TunnelPortRecord, _Mapping]] = ..., reservation: _Optional[_Union[ReservationRecord, _Mapping]] = ..., epoch: _Optional[_Union[EpochRecord, _Mapping]] = ..., security_group: _Optional[_Union[_security_group_pb2.SecurityGroup, _Mapping]] = ..., address_group: _Optional[_Union[_address_group_pb2.AddressGroup, _Mapping]] = ..., policy_profile: _Optional[_Union[PolicyProfileRecord, _Mapping]] = ..., router: _Optional[_Union[_router_pb2.Router, _Mapping]] = ..., external_network: _Optional[_Union[_external_network_pb2.ExternalNetwork, _Mapping]] = ..., floating_ip: _Optional[_Union[_floating_ip_pb2.FloatingIp, _Mapping]] = ..., router_edge: _Optional[_Union[RouterEdgeRecord, _Mapping]] = ..., peering: _Optional[_Union[_peering_pb2.Peering, _Mapping]] = ..., request_id: _Optional[str] = ..., request_digest: _Optional[bytes] = ...) -> None: ...

class EpochRecord(_message.Message):
    __slots__ = ("epoch", "controller")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    controller: str
    def __init__(self, epoch: _Optional[int] = ..., controller: _Optional[str] = ...) -> None: ...
