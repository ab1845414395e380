from cloison.v1 import address_group_pb2 as _address_group_pb2
from cloison.v1 import external_network_pb2 as _external_network_pb2
from cloison.v1 import floating_ip_pb2 as _floating_ip_pb2
from cloison.v1 import host_pb2 as _host_pb2
from cloison.v1 import network_pb2 as _network_pb2
from cloison.v1 import peering_pb2 as _peering_pb2
from cloison.v1 import plan_pb2 as _plan_pb2
from cloison.v1 import port_pb2 as _port_pb2
from cloison.v1 import router_pb2 as _router_pb2
from cloison.v1 import security_group_pb2 as _security_group_pb2
from cloison.v1 import subnet_pb2 as _subnet_pb2
from cloison.v1 import tenant_pb2 as _tenant_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CommitRequest(_message.Message):
    __slots__ = ("operations", "request_id", "validate_only")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[_plan_pb2.Operation]
    request_id: str
    validate_only: bool
    def __init__(self, operations: _Optional[_Iterable[_Union[_plan_pb2.Operation, _Mapping]]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class CommitResponse(_message.Message):
    __slots__ = ("revision", "results")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    results: _containers.RepeatedCompositeFieldContainer[OperationResult]
    def __init__(self, revision: _Optional[int] = ..., results: _Optional[_Iterable[_Union[OperationResult, _Mapping]]] = ...) -> None: ...

class OperationResult(_message.Message):
    __slots__ = ("tenant", "network", "subnet", "port", "host", "security_group", "address_group", "router", "floating_ip", "external_network", "peering")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    SUBNET_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    SECURITY_GROUP_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_GROUP_FIELD_NUMBER: _ClassVar[int]
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    FLOATING_IP_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_NETWORK_FIELD_NUMBER: _ClassVar[int]
    PEERING_FIELD_NUMBER: _ClassVar[int]
    tenant: _tenant_pb2.Tenant
    network: _network_pb2.Network
    subnet: _subnet_pb2.Subnet
    port: _port_pb2.Port
    host: _host_pb2.Host
    security_group: _security_group_pb2.SecurityGroup
    address_group: _address_group_pb2.AddressGroup
    router: _router_pb2.Router
    floating_ip: _floating_ip_pb2.FloatingIp
    external_network: _external_network_pb2.ExternalNetwork
    peering: _peering_pb2.Peering
    def __init__(self, tenant: _Optional[_Union[_tenant_pb2.Tenant, _Mapping]] = ..., network: _Optional[_Union[_network_pb2.Network, _Mapping]] = ..., subnet: _Optional[_Union[_subnet_pb2.Subnet, _Mapping]] = ..., port: _Optional[_Union[_port_pb2.Port, _Mapping]] = ..., host: _Optional[_Union[_host_pb2.Host, _Mapping]] = ..., security_group: _Optional[_Union[_security_group_pb2.SecurityGroup, _Mapping]] = ..., address_group: _Optional[_Union[_address_group_pb2.AddressGroup, _Mapping]] = ..., router: _Optional[_Union[_router_pb2.Router, _Mapping]] = ..., floating_ip: _Optional[_Union[_floating_ip_pb2.FloatingIp, _Mapping]] = ..., external_network: _Optional[_Union[_external_network_pb2.ExternalNetwork, _Mapping]] = ..., peering: _Optional[_Union[_peering_pb2.Peering, _Mapping]] = ...) -> None: ...
