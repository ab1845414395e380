"""The nouns: one frozen value per stored object. Pure data; what is allowed is decided in api/, not here.

Revisions are etcd's: `revision` is the one at which the object last changed, 0 before it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from cloison.addresses import ROUTER_MAC, IpAddress, IpNetwork, Mac
from cloison.names import (
    AddressGroupName,
    ExternalNetworkName,
    FloatingIpName,
    HostName,
    NetworkName,
    PeeringName,
    PortName,
    RouterName,
    SecurityGroupName,
    SubnetName,
    TenantName,
)

Vni = NewType("Vni", int)
Revision = NewType("Revision", int)

VNI_MIN, VNI_MAX = 4096, 0xFFFFFF
TENANT_NUMBER_MAX = (1 << 20) - 1
PORT_NUMBER_MAX = (1 << 32) - 1
OFPORT_MAX = 0xFEFF
GROUP_NUMBER_MAX = (1 << 24) - 1
RULE_NUMBER_MAX = 4095
MTU_LIMIT_MIN, MTU_LIMIT_MAX = 1280, 65535
VLAN_MAX = 4094

# Profiles that are not of any set of groups: no port security and no policy; and in no group at all.
PROFILE_OPEN, PROFILE_NONE = 1, 2
PROFILE_FIRST, PROFILE_MAX = 16, (1 << 24) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What every resource has."""

    uid: str
    revision: Revision = Revision(0)
    create_time_ns: int = 0
    update_time_ns: int = 0
    display_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    request_id: str = ""
    request_digest: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Owner of an isolated address space."""

    name: TenantName
    meta: Meta
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A layer-2 segment of a tenant, one VNI."""

    name: NetworkName
    meta: Meta
    vni: Vni
    # Guests are told no larger MTU, in bytes; 0: what the underlay carries.
    mtu_limit: int = 0
    dns_domain: str = ""
    # Multicast and broadcast reach every port of the network.
    multicast: bool = False


@dataclass(frozen=True, slots=True)
class AllocationPool:
    """Addresses given out, both ends included."""

    start: IpAddress
    end: IpAddress


@dataclass(frozen=True, slots=True)
class Route:
    """A range that guests are told to reach by a next hop in their subnet."""

    destination: IpNetwork
    next_hop: IpAddress


class Ipv6Mode(StrEnum):
    """How guests get an IPv6 address of a subnet. UNSPECIFIED on an IPv4 subnet."""

    UNSPECIFIED = "IPV6_MODE_UNSPECIFIED"
    STATEFUL = "STATEFUL"
    STATELESS = "STATELESS"
    SLAAC = "SLAAC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A range of addresses of one family on one network."""

    name: SubnetName
    meta: Meta
    cidr: IpNetwork
    gateway_ip: IpAddress | None
    allocation_pools: tuple[AllocationPool, ...]
    dhcp: bool = True
    # Empty: the local resolver of the guest's own host.
    dns_servers: tuple[IpAddress, ...] = ()
    routes: tuple[Route, ...] = ()
    ntp_servers: tuple[IpAddress, ...] = ()
    ipv6_mode: Ipv6Mode = Ipv6Mode.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class FixedIp:
    """An address of a port, and the subnet it is from."""

    subnet: SubnetName
    address: IpAddress


@dataclass(frozen=True, slots=True)
class AddressPair:
    """Source addresses a port may use besides its own; mac None: with the port's own MAC."""

    prefix: IpNetwork
    mac: Mac | None = None


@dataclass(frozen=True, slots=True)
class DhcpOptions:
    """What a guest that starts from the network needs; all empty by default."""

    next_server: str = ""
    boot_file_bios: str = ""
    boot_file_uefi: str = ""
    boot_file_ipxe: str = ""


NO_DHCP_OPTIONS = DhcpOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """Where a workload attaches to a network."""

    name: PortName
    meta: Meta
    number: int
    mac: Mac
    fixed_ips: tuple[FixedIp, ...]
    requested_hosts: tuple[HostName, ...]
    disabled: bool
    iface_id: str
    # Sorted. Empty with profile PROFILE_NONE (in no group) or PROFILE_OPEN (no port security).
    security_groups: tuple[SecurityGroupName, ...] = ()
    # Number of the set of its groups (PolicyProfile), or one of the reserved ones.
    profile: int = PROFILE_NONE
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    dns_name: str = ""
    device_id: str = ""
    project_id: str = ""
    dhcp_options: DhcpOptions = NO_DHCP_OPTIONS

    @property
    def port_security(self) -> bool:
        """Tell whether what it sends is checked and its groups apply."""
        return self.profile != PROFILE_OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A hypervisor; the reported part is empty until its agent has registered."""

    name: HostName
    meta: Meta
    vtep: IpAddress | None = None
    datapath_id: int = 0
    underlay_mtu: int = 0
    agent_version: str = ""
    datapath_type: str = ""
    agent_labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    # Those that it maps to a bridge, sorted.
    physical_networks: tuple[str, ...] = ()


class Direction(StrEnum):
    """Who opens the connections that a rule admits: others (INGRESS), or ports of the group (EGRESS)."""

    INGRESS = "INGRESS"
    EGRESS = "EGRESS"


class EtherType(StrEnum):
    """Family of a rule."""

    ANY = "ETHER_TYPE_UNSPECIFIED"
    IPV4 = "IPV4"
    IPV6 = "IPV6"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroupRule:
    """Admits connections. None: any. At most one of the three remotes is set; with none, anyone."""

    id: str
    number: int
    direction: Direction
    ether_type: EtherType = EtherType.ANY
    protocol: int | None = None
    port_min: int | None = None
    port_max: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    remote_prefix: IpNetwork | None = None
    remote_group: SecurityGroupName | None = None
    remote_address_group: AddressGroupName | None = None
    description: str = ""

    def __hash__(self) -> int:
        """Of what tells rules apart: enums and descriptions seldom do, and take longer than the rest."""
        start = int(self.remote_prefix.network_address) if self.remote_prefix is not None else None
        others = self.remote_group, self.remote_address_group, start
        return hash((self.id, self.number, self.protocol, self.port_min, self.port_max, others))


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroup:
    """Who may open which connections from and to the ports that are in it."""

    name: SecurityGroupName
    meta: Meta
    number: int
    rules: tuple[SecurityGroupRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGroup:
    """Ranges under one name, for rules."""

    name: AddressGroupName
    meta: Meta
    prefixes: tuple[IpNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class RouterInterface:
    """Where a router is connected: a subnet, and its address there."""

    subnet: SubnetName
    address: IpAddress


@dataclass(frozen=True, slots=True)
class RouterRoute:
    """A range that a router reaches by next hops, each in a subnet of one of its interfaces."""

    destination: IpNetwork
    next_hops: tuple[IpAddress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterGateway:
    """A router's way out. addresses: its own there, at most one of each family."""

    external_network: ExternalNetworkName
    addresses: tuple[IpAddress, ...] = ()
    snat: bool = True
    distributed_snat: bool = False
    # Sorted; what of the inside is not translated.
    routed_prefixes: tuple[IpNetwork, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """Joins networks of a tenant: guests reach it under one MAC on every host."""

    name: RouterName
    meta: Meta
    mac: Mac = ROUTER_MAC
    # Sorted by subnet.
    interfaces: tuple[RouterInterface, ...] = ()
    # Sorted by destination, each once.
    routes: tuple[RouterRoute, ...] = ()
    gateway: RouterGateway | None = None

    @property
    def networks(self) -> tuple[NetworkName, ...]:
        """The networks it joins, each once."""
        return tuple(dict.fromkeys(interface.subnet.parent for interface in self.interfaces))


@dataclass(frozen=True, slots=True)
class AllowedService:
    """Connections of one kind; protocol None: of any. port_min and port_max: both or neither."""

    protocol: int | None = None
    port_min: int | None = None
    port_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peering:
    """One tenant's half of an agreement that joins its router with one of another tenant.

    number: of the space of policy profiles; under it packets of the other side are known on the own side.
    """

    name: PeeringName
    meta: Meta
    router: RouterName
    peer_router: RouterName
    number: int
    # What of the own side takes part, and what the other side may list. Sorted, none overlapping another.
    prefixes: tuple[IpNetwork, ...] = ()
    peer_prefixes: tuple[IpNetwork, ...] = ()
    # What the other side may open. Sorted, each once.
    services: tuple[AllowedService, ...] = ()


@dataclass(frozen=True, slots=True)
class ExternalSubnet:
    """A range of an external network. ranges: what addresses are taken from, as (first, last)."""

    cidr: IpNetwork
    gateway: IpAddress | None = None
    ranges: tuple[tuple[IpAddress, IpAddress], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalNetwork:
    """A physical network that routers have a way out to. gateway_hosts: the preferred first."""

    name: ExternalNetworkName
    meta: Meta
    physical_network: str
    vlan: int = 0
    # IPv4 first; at most one of each family.
    subnets: tuple[ExternalSubnet, ...] = ()
    # Sorted.
    shared_with: tuple[TenantName, ...] = ()
    gateway_hosts: tuple[HostName, ...] = ()
    mtu: int = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatingIp:
    """An address outside that stands for one of a port; port, fixed and router are None while for none."""

    name: FloatingIpName
    meta: Meta
    external_network: ExternalNetworkName
    address: IpAddress
    port: PortName | None = None
    fixed: IpAddress | None = None
    router: RouterName | None = None
    distributed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterEdge:
    """A way out that a router has: by a port of its transit network, in the place where that lives.

    host: the one host that it is on; None for the one of the gateway hosts, living on one. addresses:
    outside, of that host alone (distributed SNAT).
    """

    router: RouterName
    host: HostName | None
    port: PortName
    addresses: tuple[IpAddress, ...] = ()
    revision: Revision = Revision(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyProfile:
    """A distinct set of security groups that ports of a tenant have; groups are sorted, never empty."""

    tenant: TenantName
    number: int
    groups: tuple[SecurityGroupName, ...]
    revision: Revision = Revision(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """A port plugged on a host, as that host's agent reported it."""

    port: PortName
    port_uid: str
    host: HostName
    interface: str
    ofport: int
    # Of its allowed address pairs, those that its guest was the last to announce. Sorted.
    claimed: tuple[IpAddress, ...] = ()
    # Of several places where it is plugged, it lives where this is highest.
    rank: int = 0
    revision: Revision = Revision(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelPort:
    """The OpenFlow port of a network's VXLAN device on a host."""

    host: HostName
    vni: Vni
    ofport: int
    revision: Revision = Revision(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """An allocated identifier: who has it, or (released) which hosts must confirm before anyone may have it.

    key is the part of the store's key after the reservation prefix, e.g. 'vni/5001'.
    """

    key: str
    owner: str
    owner_uid: str
    released: bool = False
    hosts: tuple[HostName, ...] = ()
    revision: Revision = Revision(0)


Resource = (
    Tenant
    | Network
    | Subnet
    | Port
    | Host
    | SecurityGroup
    | AddressGroup
    | Router
    | Peering
    | ExternalNetwork
    | FloatingIp
)
Stored = Resource | PortBinding | TunnelPort | Reservation | PolicyProfile | RouterEdge
