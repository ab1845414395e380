from cloison.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AgentMessage(_message.Message):
    __slots__ = ("hello", "inventory", "ack", "drift", "inspection", "address_claim")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    INSPECTION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_CLAIM_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    inventory: Inventory
    ack: Ack
    drift: Drift
    inspection: Inspection
    address_claim: AddressClaim
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., inventory: _Optional[_Union[Inventory, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., drift: _Optional[_Union[Drift, _Mapping]] = ..., inspection: _Optional[_Union[Inspection, _Mapping]] = ..., address_claim: _Optional[_Union[AddressClaim, _Mapping]] = ...) -> None: ...

class ControllerMessage(_message.Message):
    __slots__ = ("welcome", "delta", "snapshot_complete", "verdicts", "barrier", "inspect", "then")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    BARRIER_FIELD_NUMBER: _ClassVar[int]
    INSPECT_FIELD_NUMBER: _ClassVar[int]
    THEN_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    delta: PlanDelta
    snapshot_complete: SnapshotComplete
    verdicts: InterfaceVerdicts
    barrier: Barrier
    inspect: Inspect
    then: Barrier
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., delta: _Optional[_Union[PlanDelta, _Mapping]] = ..., snapshot_complete: _Optional[_Union[SnapshotComplete, _Mapping]] = ..., verdicts: _Optional[_Union[InterfaceVerdicts, _Mapping]] = ..., barrier: _Optional[_Union[Barrier, _Mapping]] = ..., inspect: _Optional[_Union[Inspect, _Mapping]] = ..., then: _Optional[_Union[Barrier, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("host_id", "vtep_address", "datapath_id", "underlay_mtu", "agent_version", "datapath_type", "labels", "epoch", "revision", "physical_networks")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HOST_ID_FIELD_NUMBER: _ClassVar[int]
    VTEP_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DATAPATH_ID_FIELD_NUMBER: _ClassVar[int]
    UNDERLAY_MTU_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    DATAPATH_TYPE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PHYSICAL_NETWORKS_FIELD_NUMBER: _ClassVar[int]
    host_id: str
    vtep_address: str
    datapath_id: int
    underlay_mtu: int
    agent_version: str
    datapath_type: str
    labels: _containers.ScalarMap[str, str]
    epoch: int
    revision: int
    physical_networks: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, host_id: _Optional[str] = ..., vtep_address: _Optional[str] = ..., datapath_id: _Optional[int] = ..., underlay_mtu: _Optional[int] = ..., agent_version: _Optional[str] = ..., datapath_type: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., epoch: _Optional[int] = ..., revision: _Optional[int] = ..., physical_networks: _Optional[_Iterable[str]] = ...) -> None: ...

class Inventory(_message.Message):
    __slots__ = ("complete", "interfaces", "tunnel_ports", "removed_interfaces", "removed_tunnel_ports")
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    TUNNEL_PORTS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_INTERFACES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_TUNNEL_PORTS_FIELD_NUMBER: _ClassVar[int]
    complete: bool
    interfaces: _containers.RepeatedCompositeFieldContainer[Interface]
    tunnel_ports: _containers.RepeatedCompositeFieldContainer[TunnelPort]
    removed_interfaces: _containers.RepeatedScalarFieldContainer[str]
    removed_tunnel_ports: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, complete: _Optional[bool] = ..., interfaces: _Optional[_Iterable[_Union[Interface, _Mapping]]] = ..., tunnel_ports: _Optional[_Iterable[_Union[TunnelPort, _Mapping]]] = ..., removed_interfaces: _Optional[_Iterable[str]] = ..., removed_tunnel_ports: _Optional[_Iterable[int]] = ...) -> None: ...

class Interface(_message.Message):
    __slots__ = ("name", "iface_id", "ofport")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IFACE_ID_FIELD_NUMBER: _ClassVar[int]
    OFPORT_FIELD_NUMBER: _ClassVar[int]
    name: str
    iface_id: str
    ofport: int
    def __init__(self, name: _Optional[str] = ..., iface_id: _Optional[str] = ..., ofport: _Optional[int] = ...) -> None: ...

class TunnelPort(_message.Message):
    __slots__ = ("vni", "ofport")
    VNI_FIELD_NUMBER: _ClassVar[int]
    OFPORT_FIELD_NUMBER: _ClassVar[int]
    vni: int
    ofport: int
    def __init__(self, vni: _Optional[int] = ..., ofport: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("revision", "digest", "errors")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    digest: bytes
    errors: _containers.RepeatedCompositeFieldContainer[_common_pb2.Condition]
    def __init__(self, revision: _Optional[int] = ..., digest: _Optional[bytes] = ..., errors: _Optional[_Iterable[_Union[_common_pb2.Condition, _Mapping]]] = ...) -> None: ...

class AddressClaim(_message.Message):
    __slots__ = ("port_number", "address")
    PORT_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    port_number: int
    address: bytes
    def __init__(self, port_number: _Optional[int] = ..., address: _Optional[bytes] = ...) -> None: ...

class Drift(_message.Message):
    __slots__ = ("revision", "kind", "details", "repair_s")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    REPAIR_S_FIELD_NUMBER: _ClassVar[int]
    revision: int
    kind: str
    details: _containers.RepeatedScalarFieldContainer[str]
    repair_s: float
    def __init__(self, revision: _Optional[int] = ..., kind: _Optional[str] = ..., details: _Optional[_Iterable[str]] = ..., repair_s: _Optional[float] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("controller_id", "epoch", "openflow_target")
    CONTROLLER_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    OPENFLOW_TARGET_FIELD_NUMBER: _ClassVar[int]
    controller_id: str
    epoch: int
    openflow_target: str
    def __init__(self, controller_id: _Optional[str] = ..., epoch: _Optional[int] = ..., openflow_target: _Optional[str] = ...) -> None: ...

class PlanDelta(_message.Message):
    __slots__ = ("revision", "networks", "removed_vnis", "service_ports", "removed_service_ports", "zones", "removed_zones", "edges", "removed_edges")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_VNIS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_PORTS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_SERVICE_PORTS_FIELD_NUMBER: _ClassVar[int]
    ZONES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_ZONES_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_EDGES_FIELD_NUMBER: _ClassVar[int]
    revision: int
    networks: _containers.RepeatedCompositeFieldContainer[NetworkDelta]
    removed_vnis: _containers.RepeatedScalarFieldContainer[int]
    service_ports: _containers.RepeatedCompositeFieldContainer[ServicePort]
    removed_service_ports: _containers.RepeatedScalarFieldContainer[int]
    zones: _containers.RepeatedCompositeFieldContainer[ZoneDelta]
    removed_zones: _containers.RepeatedScalarFieldContainer[int]
    edges: _containers.RepeatedCompositeFieldContainer[Edge]
    removed_edges: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, revision: _Optional[int] = ..., networks: _Optional[_Iterable[_Union[NetworkDelta, _Mapping]]] = ..., removed_vnis: _Optional[_Iterable[int]] = ..., service_ports: _Optional[_Iterable[_Union[ServicePort, _Mapping]]] = ..., removed_service_ports: _Optional[_Iterable[int]] = ..., zones: _Optional[_Iterable[_Union[ZoneDelta, _Mapping]]] = ..., removed_zones: _Optional[_Iterable[int]] = ..., edges: _Optional[_Iterable[_Union[Edge, _Mapping]]] = ..., removed_edges: _Optional[_Iterable[int]] = ...) -> None: ...

class Edge(_message.Message):
    __slots__ = ("number", "iface_id", "router", "inside_mac", "inside", "inside_mtu", "router_mac", "router_addresses", "inside_prefixes", "physical_network", "vlan", "outside_mac", "outside_mtu", "outside", "outside_prefixes", "gateways", "snat", "routed_prefixes", "floating", "active")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    IFACE_ID_FIELD_NUMBER: _ClassVar[int]
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    INSIDE_MAC_FIELD_NUMBER: _ClassVar[int]
    INSIDE_FIELD_NUMBER: _ClassVar[int]
    INSIDE_MTU_FIELD_NUMBER: _ClassVar[int]
    ROUTER_MAC_FIELD_NUMBER: _ClassVar[int]
    ROUTER_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    INSIDE_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    PHYSICAL_NETWORK_FIELD_NUMBER: _ClassVar[int]
    VLAN_FIELD_NUMBER: _ClassVar[int]
    OUTSIDE_MAC_FIELD_NUMBER: _ClassVar[int]
    OUTSIDE_MTU_FIELD_NUMBER: _ClassVar[int]
    OUTSIDE_FIELD_NUMBER: _ClassVar[int]
    OUTSIDE_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    SNAT_FIELD_NUMBER: _ClassVar[int]
    ROUTED_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    FLOATING_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    number: int
    iface_id: str
    router: str
    inside_mac: int
    inside: _containers.RepeatedCompositeFieldContainer[EdgeAddress]
    inside_mtu: int
    router_mac: int
    router_addresses: _containers.RepeatedScalarFieldContainer[bytes]
    inside_prefixes: _containers.RepeatedCompositeFieldContainer[EdgePrefix]
    physical_network: str
    vlan: int
    outside_mac: int
    outside_mtu: int
    outside: _containers.RepeatedCompositeFieldContainer[EdgeAddress]
    outside_prefixes: _containers.RepeatedCompositeFieldContainer[EdgePrefix]
    gateways: _containers.RepeatedScalarFieldContainer[bytes]
    snat: _containers.RepeatedScalarFieldContainer[bytes]
    routed_prefixes: _containers.RepeatedCompositeFieldContainer[EdgePrefix]
    floating: _containers.RepeatedCompositeFieldContainer[FloatingAddress]
    active: bool
    def __init__(self, number: _Optional[int] = ..., iface_id: _Optional[str] = ..., router: _Optional[str] = ..., inside_mac: _Optional[int] = ..., inside: _Optional[_Iterable[_Union[EdgeAddress, _Mapping]]] = ..., inside_mtu: _Optional[int] = ..., router_mac: _Optional[int] = ..., router_addresses: _Optional[_Iterable[bytes]] = ..., inside_prefixes: _Optional[_Iterable[_Union[EdgePrefix, _Mapping]]] = ..., physical_network: _Optional[str] = ..., vlan: _Optional[int] = ..., outside_mac: _Optional[int] = ..., outside_mtu: _Optional[int] = ..., outside: _Optional[_Iterable[_Union[EdgeAddress, _Mapping]]] = ..., outside_prefixes: _Optional[_Iterable[_Union[EdgePrefix, _Mapping]]] = ..., gateways: _Optional[_Iterable[bytes]] = ..., snat: _Optional[_Iterable[bytes]] = ..., routed_prefixes: _Optional[_Iterable[_Union[EdgePrefix, _Mapping]]] = ..., floating: _Optional[_Iterable[_Union[FloatingAddress, _Mapping]]] = ..., active: _Optional[bool] = ...) -> None: ...

class EdgeAddress(_message.Message):
    __slots__ = ("address", "prefix_length")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    prefix_length: int
    def __init__(self, address: _Optional[bytes] = ..., prefix_length: _Optional[int] = ...) -> None: ...

class EdgePrefix(_message.Message):
    __slots__ = ("address", "prefix_length")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    prefix_length: int
    def __init__(self, address: _Optional[bytes] = ..., prefix_length: _Optional[int] = ...) -> None: ...

class FloatingAddress(_message.Message):
    __slots__ = ("address", "fixed")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    FIXED_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    fixed: bytes
    def __init__(self, address: _Optional[bytes] = ..., fixed: _Optional[bytes] = ...) -> None: ...

class ServicePort(_message.Message):
    __slots__ = ("number", "vni", "mac", "port", "addresses", "mtu", "hostname", "domain", "device_id", "project_id", "next_server", "boot_file_bios", "boot_file_uefi", "boot_file_ipxe", "ofport", "allowed_prefixes", "routers")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    VNI_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_SERVER_FIELD_NUMBER: _ClassVar[int]
    BOOT_FILE_BIOS_FIELD_NUMBER: _ClassVar[int]
    BOOT_FILE_UEFI_FIELD_NUMBER: _ClassVar[int]
    BOOT_FILE_IPXE_FIELD_NUMBER: _ClassVar[int]
    OFPORT_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    ROUTERS_FIELD_NUMBER: _ClassVar[int]
    number: int
    vni: int
    mac: int
    port: str
    addresses: _containers.RepeatedCompositeFieldContainer[ServiceAddress]
    mtu: int
    hostname: str
    domain: str
    device_id: str
    project_id: str
    next_server: str
    boot_file_bios: str
    boot_file_uefi: str
    boot_file_ipxe: str
    ofport: int
    allowed_prefixes: _containers.RepeatedScalarFieldContainer[str]
    routers: _containers.RepeatedCompositeFieldContainer[ServiceRouter]
    def __init__(self, number: _Optional[int] = ..., vni: _Optional[int] = ..., mac: _Optional[int] = ..., port: _Optional[str] = ..., addresses: _Optional[_Iterable[_Union[ServiceAddress, _Mapping]]] = ..., mtu: _Optional[int] = ..., hostname: _Optional[str] = ..., domain: _Optional[str] = ..., device_id: _Optional[str] = ..., project_id: _Optional[str] = ..., next_server: _Optional[str] = ..., boot_file_bios: _Optional[str] = ..., boot_file_uefi: _Optional[str] = ..., boot_file_ipxe: _Optional[str] = ..., ofport: _Optional[int] = ..., allowed_prefixes: _Optional[_Iterable[str]] = ..., routers: _Optional[_Iterable[_Union[ServiceRouter, _Mapping]]] = ...) -> None: ...

class ServiceRouter(_message.Message):
    __slots__ = ("mac", "here", "addresses", "vnis")
    MAC_FIELD_NUMBER: _ClassVar[int]
    HERE_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    VNIS_FIELD_NUMBER: _ClassVar[int]
    mac: int
    here: _containers.RepeatedScalarFieldContainer[bytes]
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    vnis: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, mac: _Optional[int] = ..., here: _Optional[_Iterable[bytes]] = ..., addresses: _Optional[_Iterable[bytes]] = ..., vnis: _Optional[_Iterable[int]] = ...) -> None: ...

class ServiceAddress(_message.Message):
    __slots__ = ("address", "prefix_length", "router", "dns_servers", "ntp_servers", "routes", "no_dhcp", "ipv6_mode")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    DNS_SERVERS_FIELD_NUMBER: _ClassVar[int]
    NTP_SERVERS_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    NO_DHCP_FIELD_NUMBER: _ClassVar[int]
    IPV6_MODE_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    prefix_length: int
    router: bytes
    dns_servers: _containers.RepeatedScalarFieldContainer[bytes]
    ntp_servers: _containers.RepeatedScalarFieldContainer[bytes]
    routes: _containers.RepeatedCompositeFieldContainer[ServiceRoute]
    no_dhcp: bool
    ipv6_mode: int
    def __init__(self, address: _Optional[bytes] = ..., prefix_length: _Optional[int] = ..., router: _Optional[bytes] = ..., dns_servers: _Optional[_Iterable[bytes]] = ..., ntp_servers: _Optional[_Iterable[bytes]] = ..., routes: _Optional[_Iterable[_Union[ServiceRoute, _Mapping]]] = ..., no_dhcp: _Optional[bool] = ..., ipv6_mode: _Optional[int] = ...) -> None: ...

class ServiceRoute(_message.Message):
    __slots__ = ("destination", "prefix_length", "next_hop")
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    PREFIX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    NEXT_HOP_FIELD_NUMBER: _ClassVar[int]
    destination: bytes
    prefix_length: int
    next_hop: bytes
    def __init__(self, destination: _Optional[bytes] = ..., prefix_length: _Optional[int] = ..., next_hop: _Optional[bytes] = ...) -> None: ...

class ZoneDelta(_message.Message):
    __slots__ = ("vni", "network", "domain", "upserted", "removed")
    VNI_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    UPSERTED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    vni: int
    network: str
    domain: str
    upserted: _containers.RepeatedCompositeFieldContainer[ZoneHost]
    removed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, vni: _Optional[int] = ..., network: _Optional[str] = ..., domain: _Optional[str] = ..., upserted: _Optional[_Iterable[_Union[ZoneHost, _Mapping]]] = ..., removed: _Optional[_Iterable[str]] = ...) -> None: ...

class ZoneHost(_message.Message):
    __slots__ = ("name", "addresses")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    name: str
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, name: _Optional[str] = ..., addresses: _Optional[_Iterable[bytes]] = ...) -> None: ...

class NetworkDelta(_message.Message):
    __slots__ = ("vni", "mtu", "upserted", "removed_macs", "senders")
    VNI_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    UPSERTED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_MACS_FIELD_NUMBER: _ClassVar[int]
    SENDERS_FIELD_NUMBER: _ClassVar[int]
    vni: int
    mtu: int
    upserted: _containers.RepeatedCompositeFieldContainer[FdbEntry]
    removed_macs: _containers.RepeatedScalarFieldContainer[int]
    senders: Vteps
    def __init__(self, vni: _Optional[int] = ..., mtu: _Optional[int] = ..., upserted: _Optional[_Iterable[_Union[FdbEntry, _Mapping]]] = ..., removed_macs: _Optional[_Iterable[int]] = ..., senders: _Optional[_Union[Vteps, _Mapping]] = ...) -> None: ...

class Vteps(_message.Message):
    __slots__ = ("addresses",)
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, addresses: _Optional[_Iterable[bytes]] = ...) -> None: ...

class FdbEntry(_message.Message):
    __slots__ = ("mac", "vtep")
    MAC_FIELD_NUMBER: _ClassVar[int]
    VTEP_FIELD_NUMBER: _ClassVar[int]
    mac: int
    vtep: bytes
    def __init__(self, mac: _Optional[int] = ..., vtep: _Optional[bytes] = ...) -> None: ...

class SnapshotComplete(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class Barrier(_message.Message):
    __slots__ = ("revision", "revalidate", "flows_changed")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REVALIDATE_FIELD_NUMBER: _ClassVar[int]
    FLOWS_CHANGED_FIELD_NUMBER: _ClassVar[int]
    revision: int
    revalidate: bool
    flows_changed: bool
    def __init__(self, revision: _Optional[int] = ..., revalidate: _Optional[bool] = ..., flows_changed: _Optional[bool] = ...) -> None: ...

class InterfaceVerdicts(_message.Message):
    __slots__ = ("verdicts",)
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    verdicts: _containers.RepeatedCompositeFieldContainer[InterfaceVerdict]
    def __init__(self, verdicts: _Optional[_Iterable[_Union[InterfaceVerdict, _Mapping]]] = ...) -> None: ...

class InterfaceVerdict(_message.Message):
    __slots__ = ("interface", "iface_id", "bound", "condition")
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    IFACE_ID_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    interface: str
    iface_id: str
    bound: bool
    condition: _common_pb2.Condition
    def __init__(self, interface: _Optional[str] = ..., iface_id: _Optional[str] = ..., bound: _Optional[bool] = ..., condition: _Optional[_Union[_common_pb2.Condition, _Mapping]] = ...) -> None: ...

class Inspect(_message.Message):
    __slots__ = ("id", "kernel", "ofproto_trace")
    ID_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    OFPROTO_TRACE_FIELD_NUMBER: _ClassVar[int]
    id: int
    kernel: bool
    ofproto_trace: str
    def __init__(self, id: _Optional[int] = ..., kernel: _Optional[bool] = ..., ofproto_trace: _Optional[str] = ...) -> None: ...

class Inspection(_message.Message):
    __slots__ = ("id", "networks", "vtep", "ofproto_trace", "partial", "error", "tunnel_ports", "oddities")
    ID_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    VTEP_FIELD_NUMBER: _ClassVar[int]
    OFPROTO_TRACE_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TUNNEL_PORTS_FIELD_NUMBER: _ClassVar[int]
    ODDITIES_FIELD_NUMBER: _ClassVar[int]
    id: int
    networks: _containers.RepeatedCompositeFieldContainer[NetworkDelta]
    vtep: bytes
    ofproto_trace: str
    partial: bool
    error: _common_pb2.Condition
    tunnel_ports: _containers.RepeatedCompositeFieldContainer[TunnelPort]
    oddities: _containers.RepeatedCompositeFieldContainer[_common_pb2.Condition]
    def __init__(self, id: _Optional[int] = ..., networks: _Optional[_Iterable[_Union[NetworkDelta, _Mapping]]] = ..., vtep: _Optional[bytes] = ..., ofproto_trace: _Optional[str] = ..., partial: _Optional[bool] = ..., error: _Optional[_Union[_common_pb2.Condition, _Mapping]] = ..., tunnel_ports: _Optional[_Iterable[_Union[TunnelPort, _Mapping]]] = ..., oddities: _Optional[_Iterable[_Union[_common_pb2.Condition, _Mapping]]] = ...) -> None: ...
