"""The nouns: one frozen value per stored object. Pure data; what is allowed is decided in api/, not here.

Revisions are etcd's: `revision` is the one at which the object last changed, 0 before it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType

from cloison.addresses import IpAddress, IpNetwork, Mac
from cloison.names import HostName, NetworkName, PortName, SubnetName, TenantName

Vni = NewType("Vni", int)
Revision = NewType("Revision", int)

VNI_MIN, VNI_MAX = 4096, 0xFFFFFF
TENANT_NUMBER_MAX = (1 << 20) - 1
PORT_NUMBER_MAX = (1 << 32) - 1
OFPORT_MAX = 0xFEFF


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


@dataclass(frozen=True, slots=True)
class AllocationPool:
    """Addresses given out, both ends included."""

    start: IpAddress
    end: IpAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A range of addresses of one family on one network."""

    name: SubnetName
    meta: Meta
    cidr: IpNetwork
    gateway_ip: IpAddress | None
    allocation_pools: tuple[AllocationPool, ...]


@dataclass(frozen=True, slots=True)
class FixedIp:
    """An address of a port, and the subnet it is from."""

    subnet: SubnetName
    address: IpAddress


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """A port plugged on a host, as that host's agent reported it."""

    port: PortName
    port_uid: str
    host: HostName
    interface: str
    ofport: int
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


Resource = Tenant | Network | Subnet | Port | Host
Stored = Resource | PortBinding | TunnelPort | Reservation
