from cloison.v1 import port_pb2 as _port_pb2
from google.api import client_pb2 as _client_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PortBinding(_message.Message):
    __slots__ = ("name", "revision", "port", "port_uid", "host", "interface", "ofport", "state", "claimed_addresses", "standby_hosts", "rank")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PORT_UID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    OFPORT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    STANDBY_HOSTS_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    name: str
    revision: int
    port: str
    port_uid: str
    host: str
    interface: str
    ofport: int
    state: _port_pb2.Port.State
    claimed_addresses: _containers.RepeatedScalarFieldContainer[str]
    standby_hosts: _containers.RepeatedScalarFieldContainer[str]
    rank: int
    def __init__(self, name: _Optional[str] = ..., revision: _Optional[int] = ..., port: _Optional[str] = ..., port_uid: _Optional[str] = ..., host: _Optional[str] = ..., interface: _Optional[str] = ..., ofport: _Optional[int] = ..., state: _Optional[_Union[_port_pb2.Port.State, str]] = ..., claimed_addresses: _Optional[_Iterable[str]] = ..., standby_hosts: _Optional[_Iterable[str]] = ..., rank: _Optional[int] = ...) -> None: ...

class GetPortBindingRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListPortBindingsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPortBindingsResponse(_message.Message):
    __slots__ = ("port_bindings", "next_page_token")
    PORT_BINDINGS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    port_bindings: _containers.RepeatedCompositeFieldContainer[PortBinding]
    next_page_token: str
    def __init__(self, port_bindings: _Optional[_Iterable[_Union[PortBinding, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
