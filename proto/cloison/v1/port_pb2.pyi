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

class FixedIp(_message.Message):
    __slots__ = ("subnet", "ip_address")
    SUBNET_FIELD_NUMBER: _ClassVar[int]
    IP_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    subnet: str
    ip_address: str
    def __init__(self, subnet: _Optional[str] = ..., ip_address: _Optional[str] = ...) -> None: ...

class Port(_message.Message):
    __slots__ = ("name", "uid", "etag", "revision", "create_time", "update_time", "display_name", "labels", "mac_address", "fixed_ips", "requested_hosts", "disabled", "iface_id", "number", "state", "conditions", "host", "security_groups", "no_security_groups", "no_port_security", "allowed_address_pairs", "dns_name", "device_id", "project_id", "dhcp_options", "profile")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Port.State]
        DOWN: _ClassVar[Port.State]
        BUILDING: _ClassVar[Port.State]
        ACTIVE: _ClassVar[Port.State]
        ERROR: _ClassVar[Port.State]
    STATE_UNSPECIFIED: Port.State
    DOWN: Port.State
    BUILDING: Port.State
    ACTIVE: Port.State
    ERROR: Port.State
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
    MAC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    FIXED_IPS_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_HOSTS_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    IFACE_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    SECURITY_GROUPS_FIELD_NUMBER: _ClassVar[int]
    NO_SECURITY_GROUPS_FIELD_NUMBER: _ClassVar[int]
    NO_PORT_SECURITY_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_ADDRESS_PAIRS_FIELD_NUMBER: _ClassVar[int]
    DNS_NAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    DHCP_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    name: str
    uid: str
    etag: str
    revision: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    display_name: str
    labels: _containers.ScalarMap[str, str]
    mac_address: str
    fixed_ips: _containers.RepeatedCompositeFieldContainer[FixedIp]
    requested_hosts: _containers.RepeatedScalarFieldContainer[str]
    disabled: bool
    iface_id: str
    number: int
    state: Port.State
    conditions: _containers.RepeatedCompositeFieldContainer[_common_pb2.Condition]
    host: str
    security_groups: _containers.RepeatedScalarFieldContainer[str]
    no_security_groups: bool
    no_port_security: bool
    allowed_address_pairs: _containers.RepeatedCompositeFieldContainer[AddressPair]
    dns_name: str
    device_id: str
    project_id: str
    dhcp_options: DhcpOptions
    profile: int
    def __init__(self, name: _Optional[str] = ..., uid: _Optional[str] = ..., etag: _Optional[str] = ..., revision: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., display_name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., mac_address: _Optional[str] = ..., fixed_ips: _Optional[_Iterable[_Union[FixedIp, _Mapping]]] = ..., requested_hosts: _Optional[_Iterable[str]] = ..., disabled: _Optional[bool] = ..., iface_id: _Optional[str] = ..., number: _Optional[int] = ..., state: _Optional[_Union[Port.State, str]] = ..., conditions: _Optional[_Iterable[_Union[_common_pb2.Condition, _Mapping]]] = ..., host: _Optional[str] = ..., security_groups: _Optional[_Iterable[str]] = ..., no_security_groups: _Optional[bool] = ..., no_port_security: _Optional[bool] = ..., allowed_address_pairs: _Optional[_Iterable[_Union[AddressPair, _Mapping]]] = ..., dns_name: _Optional[str] = ..., device_id: _Optional[str] = ..., project_id: _Optional[str] = ..., dhcp_options: _Optional[_Union[DhcpOptions, _Mapping]] = ..., profile: _Optional[int] = ...) -> None: ...

class AddressPair(_message.Message):
    __slots__ = ("prefix", "mac_address")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    MAC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    mac_address: str
    def __init__(self, prefix: _Optional[str] = ..., mac_address: _Optional[str] = ...) -> None: ...

class DhcpOptions(_message.Message):
    __slots__ = ("next_server", "boot_file_bios", "boot_file_uefi", "boot_file_ipxe")
    NEXT_SERVER_FIELD_NUMBER: _ClassVar[int]
    BOOT_FILE_BIOS_FIELD_NUMBER: _ClassVar[int]
    BOOT_FILE_UEFI_FIELD_NUMBER: _ClassVar[int]
    BOOT_FILE_IPXE_FIELD_NUMBER: _ClassVar[int]
    next_server: str
    boot_file_bios: str
    boot_file_uefi: str
    boot_file_ipxe: str
    def __init__(self, next_server: _Optional[str] = ..., boot_file_bios: _Optional[str] = ..., boot_file_uefi: _Optional[str] = ..., boot_file_ipxe: _Optional[str] = ...) -> None: ...

class PortStatistics(_message.Message):
    __slots__ = ("name", "host", "received_from_guest", "admitted", "delivered", "drops")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FROM_GUEST_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    DROPS_FIELD_NUMBER: _ClassVar[int]
    name: str
    host: str
    received_from_guest: Count
    admitted: Count
    delivered: Count
    drops: _containers.RepeatedCompositeFieldContainer[DropCount]
    def __init__(self, name: _Optional[str] = ..., host: _Optional[str] = ..., received_from_guest: _Optional[_Union[Count, _Mapping]] = ..., admitted: _Optional[_Union[Count, _Mapping]] = ..., delivered: _Optional[_Union[Count, _Mapping]] = ..., drops: _Optional[_Iterable[_Union[DropCount, _Mapping]]] = ...) -> None: ...

class Count(_message.Message):
    __slots__ = ("packets", "bytes")
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    packets: int
    bytes: int
    def __init__(self, packets: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class DropCount(_message.Message):
    __slots__ = ("reason", "table", "count", "of_port")
    REASON_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    OF_PORT_FIELD_NUMBER: _ClassVar[int]
    reason: str
    table: str
    count: Count
    of_port: bool
    def __init__(self, reason: _Optional[str] = ..., table: _Optional[str] = ..., count: _Optional[_Union[Count, _Mapping]] = ..., of_port: _Optional[bool] = ...) -> None: ...

class GetPortStatisticsRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CreatePortRequest(_message.Message):
    __slots__ = ("parent", "port_id", "port", "request_id", "validate_only")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PORT_ID_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    port_id: str
    port: Port
    request_id: str
    validate_only: bool
    def __init__(self, parent: _Optional[str] = ..., port_id: _Optional[str] = ..., port: _Optional[_Union[Port, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class GetPortRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListPortsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPortsResponse(_message.Message):
    __slots__ = ("ports", "next_page_token")
    PORTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ports: _containers.RepeatedCompositeFieldContainer[Port]
    next_page_token: str
    def __init__(self, ports: _Optional[_Iterable[_Union[Port, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdatePortRequest(_message.Message):
    __slots__ = ("port", "update_mask", "validate_only")
    PORT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    port: Port
    update_mask: _field_mask_pb2.FieldMask
    validate_only: bool
    def __init__(self, port: _Optional[_Union[Port, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class DeletePortRequest(_message.Message):
    __slots__ = ("name", "etag", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...
