import datetime

from cloison.v1 import common_pb2 as _common_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VerifyRequest(_message.Message):
    __slots__ = ("live",)
    LIVE_FIELD_NUMBER: _ClassVar[int]
    live: bool
    def __init__(self, live: _Optional[bool] = ...) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("attestation", "payload", "signature", "certificate")
    ATTESTATION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    attestation: Attestation
    payload: bytes
    signature: bytes
    certificate: bytes
    def __init__(self, attestation: _Optional[_Union[Attestation, _Mapping]] = ..., payload: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., certificate: _Optional[bytes] = ...) -> None: ...

class Attestation(_message.Message):
    __slots__ = ("revision", "live", "create_time", "controller", "epoch", "holds", "invariants", "hosts", "violations", "tenants", "networks", "ports", "verify_s", "violations_total")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    INVARIANTS_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    VERIFY_S_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    revision: int
    live: bool
    create_time: _timestamp_pb2.Timestamp
    controller: str
    epoch: int
    holds: bool
    invariants: _containers.RepeatedScalarFieldContainer[str]
    hosts: _containers.RepeatedCompositeFieldContainer[HostAttestation]
    violations: _containers.RepeatedCompositeFieldContainer[Violation]
    tenants: int
    networks: int
    ports: int
    verify_s: float
    violations_total: int
    def __init__(self, revision: _Optional[int] = ..., live: _Optional[bool] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., controller: _Optional[str] = ..., epoch: _Optional[int] = ..., holds: _Optional[bool] = ..., invariants: _Optional[_Iterable[str]] = ..., hosts: _Optional[_Iterable[_Union[HostAttestation, _Mapping]]] = ..., violations: _Optional[_Iterable[_Union[Violation, _Mapping]]] = ..., tenants: _Optional[int] = ..., networks: _Optional[int] = ..., ports: _Optional[int] = ..., verify_s: _Optional[float] = ..., violations_total: _Optional[int] = ...) -> None: ...

class HostAttestation(_message.Message):
    __slots__ = ("host", "flows_digest", "flows", "fdb_digest", "fdb_entries", "matches_compiled", "unread")
    HOST_FIELD_NUMBER: _ClassVar[int]
    FLOWS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    FDB_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FDB_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MATCHES_COMPILED_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    host: str
    flows_digest: bytes
    flows: int
    fdb_digest: bytes
    fdb_entries: int
    matches_compiled: bool
    unread: _common_pb2.Condition
    def __init__(self, host: _Optional[str] = ..., flows_digest: _Optional[bytes] = ..., flows: _Optional[int] = ..., fdb_digest: _Optional[bytes] = ..., fdb_entries: _Optional[int] = ..., matches_compiled: _Optional[bool] = ..., unread: _Optional[_Union[_common_pb2.Condition, _Mapping]] = ...) -> None: ...

class Violation(_message.Message):
    __slots__ = ("kind", "message", "subjects", "host", "packet", "path")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SUBJECTS_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PACKET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    kind: str
    message: str
    subjects: _containers.RepeatedScalarFieldContainer[str]
    host: str
    packet: str
    path: _containers.RepeatedCompositeFieldContainer[TraceStep]
    def __init__(self, kind: _Optional[str] = ..., message: _Optional[str] = ..., subjects: _Optional[_Iterable[str]] = ..., host: _Optional[str] = ..., packet: _Optional[str] = ..., path: _Optional[_Iterable[_Union[TraceStep, _Mapping]]] = ...) -> None: ...

class TraceStep(_message.Message):
    __slots__ = ("host", "stage", "rule", "resource", "note")
    HOST_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    host: str
    stage: str
    rule: str
    resource: str
    note: str
    def __init__(self, host: _Optional[str] = ..., stage: _Optional[str] = ..., rule: _Optional[str] = ..., resource: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class TraceRequest(_message.Message):
    __slots__ = ("port", "packet", "to_port", "live")
    PORT_FIELD_NUMBER: _ClassVar[int]
    PACKET_FIELD_NUMBER: _ClassVar[int]
    TO_PORT_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    port: str
    packet: str
    to_port: str
    live: bool
    def __init__(self, port: _Optional[str] = ..., packet: _Optional[str] = ..., to_port: _Optional[str] = ..., live: _Optional[bool] = ...) -> None: ...

class TraceResponse(_message.Message):
    __slots__ = ("packet", "meant", "delivered", "drop_reason", "path", "agree", "switch_traces")
    class SwitchTracesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PACKET_FIELD_NUMBER: _ClassVar[int]
    MEANT_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    DROP_REASON_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    AGREE_FIELD_NUMBER: _ClassVar[int]
    SWITCH_TRACES_FIELD_NUMBER: _ClassVar[int]
    packet: str
    meant: _containers.RepeatedScalarFieldContainer[str]
    delivered: _containers.RepeatedScalarFieldContainer[str]
    drop_reason: str
    path: _containers.RepeatedCompositeFieldContainer[TraceStep]
    agree: bool
    switch_traces: _containers.ScalarMap[str, str]
    def __init__(self, packet: _Optional[str] = ..., meant: _Optional[_Iterable[str]] = ..., delivered: _Optional[_Iterable[str]] = ..., drop_reason: _Optional[str] = ..., path: _Optional[_Iterable[_Union[TraceStep, _Mapping]]] = ..., agree: _Optional[bool] = ..., switch_traces: _Optional[_Mapping[str, str]] = ...) -> None: ...
