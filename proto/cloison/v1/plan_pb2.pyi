from cloison.v1 import address_group_pb2 as _address_group_pb2
from cloison.v1 import external_network_pb2 as _external_network_pb2
from cloison.v1 import floating_ip_pb2 as _floating_ip_pb2
from cloison.v1 import host_pb2 as _host_pb2
from cloison.v1 import network_pb2 as _network_pb2
from cloison.v1 import peering_pb2 as _peering_pb2
from cloison.v1 import port_pb2 as _port_pb2
from cloison.v1 import router_pb2 as _router_pb2
from cloison.v1 import security_group_pb2 as _security_group_pb2
from cloison.v1 import subnet_pb2 as _subnet_pb2
from cloison.v1 import tenant_pb2 as _tenant_pb2
from cloison.v1 import verify_pb2 as _verify_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Operation(_message.Message):
    __slots__ = ("create_tenant", "update_tenant", "delete_tenant", "create_network", "update_network", "delete_network", "create_subnet", "update_subnet", "delete_subnet", "create_port", "update_port", "delete_port", "create_host", "update_host", "delete_host", "create_security_group", "update_security_group", "delete_security_group", "create_address_group", "update_address_group", "delete_address_group", "add_security_group_rules", "remove_security_group_rules", "create_router", "update_router", "delete_router", "create_floating_ip", "update_floating_ip", "delete_floating_ip", "create_external_network", "update_external_network", "delete_external_network", "create_peering", "update_peering", "delete_peering")
    CREATE_TENANT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TENANT_FIELD_NUMBER: _ClassVar[int]
    DELETE_TENANT_FIELD_NUMBER: _ClassVar[int]
    CREATE_NETWORK_FIELD_NUMBER: _ClassVar[int]
    UPDATE_NETWORK_FIELD_NUMBER: _ClassVar[int]
    DELETE_NETWORK_FIELD_NUMBER: _ClassVar[int]
    CREATE_SUBNET_FIELD_NUMBER: _ClassVar[int]
    UPDATE_SUBNET_FIELD_NUMBER: _ClassVar[int]
    DELETE_SUBNET_FIELD_NUMBER: _ClassVar[int]
    CREATE_PORT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_PORT_FIELD_NUMBER: _ClassVar[int]
    DELETE_PORT_FIELD_NUMBER: _ClassVar[int]
    CREATE_HOST_FIELD_NUMBER: _ClassVar[int]
    UPDATE_HOST_FIELD_NUMBER: _ClassVar[int]
    DELETE_HOST_FIELD_NUMBER: _ClassVar[int]
    CREATE_SECURITY_GROUP_FIELD_NUMBER: _ClassVar[int]
    UPDATE_SECURITY_GROUP_FIELD_NUMBER: _ClassVar[int]
    DELETE_SECURITY_GROUP_FIELD_NUMBER: _ClassVar[int]
    CREATE_ADDRESS_GROUP_FIELD_NUMBER: _ClassVar[int]
    UPDATE_ADDRESS_GROUP_FIELD_NUMBER: _ClassVar[int]
    DELETE_ADDRESS_GROUP_FIELD_NUMBER: _ClassVar[int]
    ADD_SECURITY_GROUP_RULES_FIELD_NUMBER: _ClassVar[int]
    REMOVE_SECURITY_GROUP_RULES_FIELD_NUMBER: _ClassVar[int]
    CREATE_ROUTER_FIELD_NUMBER: _ClassVar[int]
    UPDATE_ROUTER_FIELD_NUMBER: _ClassVar[int]
    DELETE_ROUTER_FIELD_NUMBER: _ClassVar[int]
    CREATE_FLOATING_IP_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FLOATING_IP_FIELD_NUMBER: _ClassVar[int]
    DELETE_FLOATING_IP_FIELD_NUMBER: _ClassVar[int]
    CREATE_EXTERNAL_NETWORK_FIELD_NUMBER: _ClassVar[int]
    UPDATE_EXTERNAL_NETWORK_FIELD_NUMBER: _ClassVar[int]
    DELETE_EXTERNAL_NETWORK_FIELD_NUMBER: _ClassVar[int]
    CREATE_PEERING_FIELD_NUMBER: _ClassVar[int]
    UPDATE_PEERING_FIELD_NUMBER: _ClassVar[int]
    DELETE_PEERING_FIELD_NUMBER: _ClassVar[int]
    create_tenant: _tenant_pb2.CreateTenantRequest
    update_tenant: _tenant_pb2.UpdateTenantRequest
    delete_tenant: _tenant_pb2.DeleteTenantRequest
    create_network: _network_pb2.CreateNetworkRequest
    update_network: _network_pb2.UpdateNetworkRequest
    delete_network: _network_pb2.DeleteNetworkRequest
    create_subnet: _subnet_pb2.CreateSubnetRequest
    update_subnet: _subnet_pb2.UpdateSubnetRequest
    delete_subnet: _subnet_pb2.DeleteSubnetRequest
    create_port: _port_pb2.CreatePortRequest
    update_port: _port_pb2.UpdatePortRequest
    delete_port: _port_pb2.DeletePortRequest
    create_host: _host_pb2.CreateHostRequest
    update_host: _host_pb2.UpdateHostRequest
    delete_host: _host_pb2.DeleteHostRequest
    create_security_group: _security_group_pb2.CreateSecurityGroupRequest
    update_security_group: _security_group_pb2.UpdateSecurityGroupRequest
    delete_security_group: _security_group_pb2.DeleteSecurityGroupRequest
    create_address_group: _address_group_pb2.CreateAddressGroupRequest
    update_address_group: _address_group_pb2.UpdateAddressGroupRequest
    delete_address_group: _address_group_pb2.DeleteAddressGroupRequest
    add_security_group_rules: _security_group_pb2.AddSecurityGroupRulesRequest
    remove_security_group_rules: _security_group_pb2.RemoveSecurityGroupRulesRequest
    create_router: _router_pb2.CreateRouterRequest
    update_router: _router_pb2.UpdateRouterRequest
    delete_router: _router_pb2.DeleteRouterRequest
    create_floating_ip: _floating_ip_pb2.CreateFloatingIpRequest
    update_floating_ip: _floating_ip_pb2.UpdateFloatingIpRequest
    delete_floating_ip: _floating_ip_pb2.DeleteFloatingIpRequest
    create_external_network: _external_network_pb2.CreateExternalNetworkRequest
    update_external_network: _external_network_pb2.UpdateExternalNetworkRequest
    delete_external_network: _external_network_pb2.DeleteExternalNetworkRequest
    create_peering: _peering_pb2.CreatePeeringRequest
    update_peering: _peering_pb2.UpdatePeeringRequest
    delete_peering: _peering_pb2.DeletePeeringRequest
    def __init__(self, create_tenant: _Optional[_Union[_tenant_pb2.CreateTenantRequest, _Mapping]] = ..., update_tenant: _Optional[_Union[_tenant_pb2.UpdateTenantRequest, _Mapping]] = ..., delete_tenant: _Optional[_Union[_tenant_pb2.DeleteTenantRequest, _Mapping]] = ..., create_network: _Optional[_Union[_network_pb2.CreateNetworkRequest, _Mapping]] = ..., update_network: _Optional[_Union[_network_pb2.UpdateNetworkRequest, _Mapping]] = ..., delete_network: _Optional[_Union[_network_pb2.DeleteNetworkRequest, _Mapping]] = ..., create_subnet: _Optional[_Union[_subnet_pb2.CreateSubnetRequest, _Mapping]] = ..., update_subnet: _Optional[_Union[_subnet_pb2.UpdateSubnetRequest, _Mapping]] = ..., delete_subnet: _Optional[_Union[_subnet_pb2.DeleteSubnetRequest, _Mapping]] = ..., create_port: _Optional[_Union[_port_pb2.CreatePortRequest, _Mapping]] = ..., update_port: _Optional[_Union[_port_pb2.UpdatePortRequest, _Mapping]] = ..., delete_port: _Optional[_Union[_port_pb2.DeletePortRequest, _Mapping]] = ..., create_host: _Optional[_Union[_host_pb2.CreateHostRequest, _Mapping]] = ..., update_host: _Optional[_Union[_host_pb2.UpdateHostRequest, _Mapping]] = ..., delete_host: _Optional[_Union[_host_pb2.DeleteHostRequest, _Mapping]] = ..., create_security_group: _Optional[_Union[_security_group_pb2.CreateSecurityGroupRequest, _Mapping]] = ..., update_security_group: _Optional[_Union[_security_group_pb2.UpdateSecurityGroupRequest, _Mapping]] = ..., delete_security_group: _Optional[_Union[_security_group_pb2.DeleteSecurityGroupRequest, _Mapping]] = ..., create_address_group: _Optional[_Union[_address_group_pb2.CreateAddressGroupRequest, _Mapping]] = ..., update_address_group: _Optional[_Union[_address_group_pb2.UpdateAddressGroupRequest, _Mapping]] = ..., delete_address_group: _Optional[_Union[_address_group_pb2.DeleteAddressGroupRequest, _Mapping]] = ..., add_security_group_rules: _Optional[_Union[_security_group_pb2.AddSecurityGroupRulesRequest, _Mapping]] = ..., remove_security_group_rules: _Optional[_Union[_security_group_pb2.RemoveSecurityGroupRulesRequest, _Mapping]] = ..., create_router: _Optional[_Union[_router_pb2.CreateRouterRequest, _Mapping]] = ..., update_router: _Optional[_Union[_router_pb2.UpdateRouterRequest, _Mapping]] = ..., delete_router: _Optional[_Union[_router_pb2.DeleteRouterRequest, _Mapping]] = ..., create_floating_ip: _Optional[_Union[_floating_ip_pb2.CreateFloatingIpRequest, _Mapping]] = ..., update_floating_ip: _Optional[_Union[_floating_ip_pb2.UpdateFloatingIpRequest, _Mapping]] = ..., delete_floating_ip: _Optional[_Union[_floating_ip_pb2.DeleteFloatingIpRequest, _Mapping]] = ..., create_external_network: _Optional[_Union[_external_network_pb2.CreateExternalNetworkRequest, _Mapping]] = ..., update_external_network: _Optional[_Union[_external_network_pb2.UpdateExternalNetworkRequest, _Mapping]] = ..., delete_external_network: _Optional[_Union[_external_network_pb2.DeleteExternalNetworkRequest, _Mapping]] = ..., create_peering: _Optional[_Union[_peering_pb2.CreatePeeringRequest, _Mapping]] = ..., update_peering: _Optional[_Union[_peering_pb2.UpdatePeeringRequest, _Mapping]] = ..., delete_peering: _Optional[_Union[_peering_pb2.DeletePeeringRequest, _Mapping]] = ...) -> None: ...

class DesiredTenant(_message.Message):
    __slots__ = ("tenant", "networks", "subnets", "ports", "prune", "security_groups", "address_groups", "routers", "floating_ips", "peerings")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    SUBNETS_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    SECURITY_GROUPS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_GROUPS_FIELD_NUMBER: _ClassVar[int]
    ROUTERS_FIELD_NUMBER: _ClassVar[int]
    FLOATING_IPS_FIELD_NUMBER: _ClassVar[int]
    PEERINGS_FIELD_NUMBER: _ClassVar[int]
    tenant: _tenant_pb2.Tenant
    networks: _containers.RepeatedCompositeFieldContainer[_network_pb2.Network]
    subnets: _containers.RepeatedCompositeFieldContainer[_subnet_pb2.Subnet]
    ports: _containers.RepeatedCompositeFieldContainer[_port_pb2.Port]
    prune: bool
    security_groups: _containers.RepeatedCompositeFieldContainer[_security_group_pb2.SecurityGroup]
    address_groups: _containers.RepeatedCompositeFieldContainer[_address_group_pb2.AddressGroup]
    routers: _containers.RepeatedCompositeFieldContainer[_router_pb2.Router]
    floating_ips: _containers.RepeatedCompositeFieldContainer[_floating_ip_pb2.FloatingIp]
    peerings: _containers.RepeatedCompositeFieldContainer[_peering_pb2.Peering]
    def __init__(self, tenant: _Optional[_Union[_tenant_pb2.Tenant, _Mapping]] = ..., networks: _Optional[_Iterable[_Union[_network_pb2.Network, _Mapping]]] = ..., subnets: _Optional[_Iterable[_Union[_subnet_pb2.Subnet, _Mapping]]] = ..., ports: _Optional[_Iterable[_Union[_port_pb2.Port, _Mapping]]] = ..., prune: _Optional[bool] = ..., security_groups: _Optional[_Iterable[_Union[_security_group_pb2.SecurityGroup, _Mapping]]] = ..., address_groups: _Optional[_Iterable[_Union[_address_group_pb2.AddressGroup, _Mapping]]] = ..., routers: _Optional[_Iterable[_Union[_router_pb2.Router, _Mapping]]] = ..., floating_ips: _Optional[_Iterable[_Union[_floating_ip_pb2.FloatingIp, _Mapping]]] = ..., peerings: _Optional[_Iterable[_Union[_peering_pb2.Peering, _Mapping]]] = ...) -> None: ...

class PlanRequest(_message.Message):
    __slots__ = ("operations", "desired")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    desired: _containers.RepeatedCompositeFieldContainer[DesiredTenant]
    def __init__(self, operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., desired: _Optional[_Iterable[_Union[DesiredTenant, _Mapping]]] = ...) -> None: ...

class ChangePlan(_message.Message):
    __slots__ = ("digest", "seed", "base_revision", "changes", "hosts", "becomes_reachable", "stops_being_reachable", "violations", "notes")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BASE_REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    BECOMES_REACHABLE_FIELD_NUMBER: _ClassVar[int]
    STOPS_BEING_REACHABLE_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    seed: bytes
    base_revision: int
    changes: _containers.RepeatedCompositeFieldContainer[ObjectChange]
    hosts: _containers.RepeatedCompositeFieldContainer[HostImpact]
    becomes_reachable: _containers.RepeatedCompositeFieldContainer[Reach]
    stops_being_reachable: _containers.RepeatedCompositeFieldContainer[Reach]
    violations: _containers.RepeatedCompositeFieldContainer[_verify_pb2.Violation]
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, digest: _Optional[bytes] = ..., seed: _Optional[bytes] = ..., base_revision: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[ObjectChange, _Mapping]]] = ..., hosts: _Optional[_Iterable[_Union[HostImpact, _Mapping]]] = ..., becomes_reachable: _Optional[_Iterable[_Union[Reach, _Mapping]]] = ..., stops_being_reachable: _Optional[_Iterable[_Union[Reach, _Mapping]]] = ..., violations: _Optional[_Iterable[_Union[_verify_pb2.Violation, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class ObjectChange(_message.Message):
    __slots__ = ("action", "name", "fields")
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNSPECIFIED: _ClassVar[ObjectChange.Action]
        CREATE: _ClassVar[ObjectChange.Action]
        UPDATE: _ClassVar[ObjectChange.Action]
        DELETE: _ClassVar[ObjectChange.Action]
    ACTION_UNSPECIFIED: ObjectChange.Action
    CREATE: ObjectChange.Action
    UPDATE: ObjectChange.Action
    DELETE: ObjectChange.Action
    ACTION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    action: ObjectChange.Action
    name: str
    fields: _containers.RepeatedCompositeFieldContainer[FieldChange]
    def __init__(self, action: _Optional[_Union[ObjectChange.Action, str]] = ..., name: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[FieldChange, _Mapping]]] = ...) -> None: ...

class FieldChange(_message.Message):
    __slots__ = ("field", "before", "after")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    field: str
    before: str
    after: str
    def __init__(self, field: _Optional[str] = ..., before: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class HostImpact(_message.Message):
    __slots__ = ("host", "flows_added", "flows_modified", "flows_deleted", "fdb_added", "fdb_deleted")
    HOST_FIELD_NUMBER: _ClassVar[int]
    FLOWS_ADDED_FIELD_NUMBER: _ClassVar[int]
    FLOWS_MODIFIED_FIELD_NUMBER: _ClassVar[int]
    FLOWS_DELETED_FIELD_NUMBER: _ClassVar[int]
    FDB_ADDED_FIELD_NUMBER: _ClassVar[int]
    FDB_DELETED_FIELD_NUMBER: _ClassVar[int]
    host: str
    flows_added: int
    flows_modified: int
    flows_deleted: int
    fdb_added: int
    fdb_deleted: int
    def __init__(self, host: _Optional[str] = ..., flows_added: _Optional[int] = ..., flows_modified: _Optional[int] = ..., flows_deleted: _Optional[int] = ..., fdb_added: _Optional[int] = ..., fdb_deleted: _Optional[int] = ...) -> None: ...

class Reach(_message.Message):
    __slots__ = ("source", "target", "spaces", "condition")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SPACES_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    source: str
    target: str
    spaces: _containers.RepeatedScalarFieldContainer[str]
    condition: str
    def __init__(self, source: _Optional[str] = ..., target: _Optional[str] = ..., spaces: _Optional[_Iterable[str]] = ..., condition: _Optional[str] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("request", "digest", "seed", "base_revision")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BASE_REVISION_FIELD_NUMBER: _ClassVar[int]
    request: PlanRequest
    digest: bytes
    seed: bytes
    base_revision: int
    def __init__(self, request: _Optional[_Union[PlanRequest, _Mapping]] = ..., digest: _Optional[bytes] = ..., seed: _Optional[bytes] = ..., base_revision: _Optional[int] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("revision", "changes")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    revision: int
    changes: _containers.RepeatedCompositeFieldContainer[ObjectChange]
    def __init__(self, revision: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[ObjectChange, _Mapping]]] = ...) -> None: ...
