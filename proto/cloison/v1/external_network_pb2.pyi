import datetime

from google.api import client_pb2 as _client_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExternalNetwork(_message.Message):
    __slots__ = ("name", "uid", "etag", "revision", "create_time", "update_time", "display_name", "labels", "physical_network", "vlan", "subnets", "shared_with", "gateway_hosts", "mtu")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PHYSICAL_NETWORK_FIELD_NUMBER: _ClassVar[int]
    VLAN_FIELD_NUMBER: _ClassVar[int]
    SUBNETS_FIELD_NUMBER: _ClassVar[int]
    SHARED_WITH_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_HOSTS_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    name: str
    uid: str
    etag: str
    revision: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    display_name: str
    labels: _containers.ScalarMap[str, str]
    physical_network: str
    vlan: int
    subnets: _containers.RepeatedCompositeFieldContainer[ExternalSubnet]
    shared_with: _containers.RepeatedScalarFieldContainer[str]
    gateway_hosts: _containers.RepeatedScalarFieldContainer[str]
    mtu: int
    def __init__(self, name: _Optional[str] = ..., uid: _Optional[str] = ..., etag: _Optional[str] = ..., revision: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., display_name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., physical_network: _Optional[str] = ..., vlan: _Optional[int] = ..., subnets: _Optional[_Iterable[_Union[ExternalSubnet, _Mapping]]] = ..., shared_with: _Optional[_Iterable[str]] = ..., gateway_hosts: _Optional[_Iterable[str]] = ..., mtu: _Optional[int] = ...) -> None: ...

class ExternalSubnet(_message.Message):
    __slots__ = ("cidr", "gateway_ip", "allocation_ranges")
    CIDR_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_IP_FIELD_NUMBER: _ClassVar[int]
    ALLOCATION_RANGES_FIELD_NUMBER: _ClassVar[int]
    cidr: str
    gateway_ip: str
    allocation_ranges: _containers.RepeatedCompositeFieldContainer[AllocationRange]
    def __init__(self, cidr: _Optional[str] = ..., gateway_ip: _Optional[str] = ..., allocation_ranges: _Optional[_Iterable[_Union[AllocationRange, _Mapping]]] = ...) -> None: ...

class AllocationRange(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: str
    last: str
    def __init__(self, first: _Optional[str] = ..., last: _Optional[str] = ...) -> None: ...

class CreateExternalNetworkRequest(_message.Message):
    __slots__ = ("external_network_id", "external_network", "request_id", "validate_only")
    EXTERNAL_NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_NETWORK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    external_network_id: str
    external_network: ExternalNetwork
    request_id: str
    validate_only: bool
    def __init__(self, external_network_id: _Optional[str] = ..., external_network: _Optional[_Union[ExternalNetwork, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class GetExternalNetworkRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListExternalNetworksRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListExternalNetworksResponse(_message.Message):
    __slots__ = ("external_networks", "next_page_token")
    EXTERNAL_NETWORKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    external_networks: _containers.RepeatedCompositeFieldContainer[ExternalNetwork]
    next_page_token: str
    def __init__(self, external_networks: _Optional[_Iterable[_Union[ExternalNetwork, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListExternalAddressesRequest(_message.Message):
    __slots__ = ("name", "page_size", "page_token")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    page_size: int
    page_token: str
    def __init__(self, name: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ExternalAddress(_message.Message):
    __slots__ = ("ip_address", "owner", "tenant", "released", "waiting_for")
    IP_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    ip_address: str
    owner: str
    tenant: str
    released: bool
    waiting_for: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ip_address: _Optional[str] = ..., owner: _Optional[str] = ..., tenant: _Optional[str] = ..., released: _Optional[bool] = ..., waiting_for: _Optional[_Iterable[str]] = ...) -> None: ...

class ListExternalAddressesResponse(_message.Message):
    __slots__ = ("addresses", "next_page_token")
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedCompositeFieldContainer[ExternalAddress]
    next_page_token: str
    def __init__(self, addresses: _Optional[_Iterable[_Union[ExternalAddress, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateExternalNetworkRequest(_message.Message):
    __slots__ = ("external_network", "update_mask", "validate_only")
    EXTERNAL_NETWORK_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    external_network: ExternalNetwork
    update_mask: _field_mask_pb2.FieldMask
    validate_only: bool
    def __init__(self, external_network: _Optional[_Union[ExternalNetwork, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class DeleteExternalNetworkRequest(_message.Message):
    __slots__ = ("name", "etag", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...
