import datetime

from cloison.v1 import common_pb2 as _common_pb2
from google.api import client_pb2 as _client_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Peering(_message.Message):
    __slots__ = ("name", "uid", "etag", "revision", "create_time", "update_time", "display_name", "labels", "router", "peer_router", "prefixes", "peer_prefixes", "services", "number", "state", "conditions", "reachable_prefixes", "reachable_services", "active_since")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Peering.State]
        PENDING: _ClassVar[Peering.State]
        ACTIVE: _ClassVar[Peering.State]
    STATE_UNSPECIFIED: Peering.State
    PENDING: Peering.State
    ACTIVE: Peering.State
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
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    PEER_ROUTER_FIELD_NUMBER: _ClassVar[int]
    PREFIXES_FIELD_NUMBER: _ClassVar[int]
    PEER_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_SERVICES_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_SINCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    uid: str
    etag: str
    revision: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    display_name: str
    labels: _containers.ScalarMap[str, str]
    router: str
    peer_router: str
    prefixes: _containers.RepeatedScalarFieldContainer[str]
    peer_prefixes: _containers.RepeatedScalarFieldContainer[str]
    services: _containers.RepeatedCompositeFieldContainer[AllowedService]
    number: int
    state: Peering.State
    conditions: _containers.RepeatedCompositeFieldContainer[_common_pb2.Condition]
    reachable_prefixes: _containers.RepeatedScalarFieldContainer[str]
    reachable_services: _containers.RepeatedCompositeFieldContainer[AllowedService]
    active_since: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., uid: _Optional[str] = ..., etag: _Optional[str] = ..., revision: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., display_name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., router: _Optional[str] = ..., peer_router: _Optional[str] = ..., prefixes: _Optional[_Iterable[str]] = ..., peer_prefixes: _Optional[_Iterable[str]] = ..., services: _Optional[_Iterable[_Union[AllowedService, _Mapping]]] = ..., number: _Optional[int] = ..., state: _Optional[_Union[Peering.State, str]] = ..., conditions: _Optional[_Iterable[_Union[_common_pb2.Condition, _Mapping]]] = ..., reachable_prefixes: _Optional[_Iterable[str]] = ..., reachable_services: _Optional[_Iterable[_Union[AllowedService, _Mapping]]] = ..., active_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AllowedService(_message.Message):
    __slots__ = ("protocol", "port_min", "port_max")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PORT_MIN_FIELD_NUMBER: _ClassVar[int]
    PORT_MAX_FIELD_NUMBER: _ClassVar[int]
    protocol: str
    port_min: int
    port_max: int
    def __init__(self, protocol: _Optional[str] = ..., port_min: _Optional[int] = ..., port_max: _Optional[int] = ...) -> None: ...

class CreatePeeringRequest(_message.Message):
    __slots__ = ("parent", "peering_id", "peering", "request_id", "validate_only")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PEERING_ID_FIELD_NUMBER: _ClassVar[int]
    PEERING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    peering_id: str
    peering: Peering
    request_id: str
    validate_only: bool
    def __init__(self, parent: _Optional[str] = ..., peering_id: _Optional[str] = ..., peering: _Optional[_Union[Peering, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class GetPeeringRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListPeeringsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPeeringsResponse(_message.Message):
    __slots__ = ("peerings", "next_page_token")
    PEERINGS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    peerings: _containers.RepeatedCompositeFieldContainer[Peering]
    next_page_token: str
    def __init__(self, peerings: _Optional[_Iterable[_Union[Peering, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdatePeeringRequest(_message.Message):
    __slots__ = ("peering", "update_mask", "validate_only")
    PEERING_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    peering: Peering
    update_mask: _field_mask_pb2.FieldMask
    validate_only: bool
    def __init__(self, peering: _Optional[_Union[Peering, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class DeletePeeringRequest(_message.Message):
    __slots__ = ("name", "etag", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...
