"""The tables of a state and the indexes between them: one writer keeps all of them together. Pure.

What is asked of them is in state.py.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Self

from cloison.addresses import IpAddress, Mac, wire_mac
from cloison.model import (
    AddressGroup,
    ExternalNetwork,
    FloatingIp,
    Host,
    Network,
    Peering,
    PolicyProfile,
    Port,
    PortBinding,
    Reservation,
    Revision,
    Router,
    RouterEdge,
    SecurityGroup,
    Stored,
    Subnet,
    Tenant,
    TunnelPort,
    Vni,
)
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
from controller.store.indexes import Index, link, link_few, tally
from controller.store.keys import BindingKey, EdgeKey, ProfileKey, StoredKey, TunnelPortKey
from controller.store.reservations import Reservations

_INDEXES = frozenset(
    {
        "_networks_of",
        "_subnets_of",
        "_ports_of",
        "_ports_on",
        "_ports_using",
        "_bindings_on",
        "_tunnel_ports_on",
        "_span",
        "_tenant_span",
        "_groups_of",
        "_address_groups_of",
        "_profiles_of",
        "_ports_with_profile",
        "_profiles_with",
        "_groups_naming",
        "_groups_naming_addresses",
        "_routers_of",
        "_routers_using",
        "_routers_on",
        "_routers_out",
        "_external_networks_of",
        "_floating_ips_of",
        "_floating_ips_at",
        "_floating_ips_by",
        "_floating_ips_in",
        "_edges_of",
        "_edges_on",
        "_peerings_of",
        "_peerings_at",
        "_peerings_towards",
    }
)
# All else is a table.
_NO_TABLES = frozenset({"_revision", "_reservations", "_tables"})


class Tables:
    """Objects by their keys, and by whom they relate to. Only `State` is made of it."""

    def __init__(self) -> None:
        self._revision = Revision(0)
        self._tenants: MutableMapping[TenantName, Tenant] = {}
        self._networks: MutableMapping[NetworkName, Network] = {}
        self._subnets: MutableMapping[SubnetName, Subnet] = {}
        self._ports: MutableMapping[PortName, Port] = {}
        self._hosts: MutableMapping[HostName, Host] = {}
        self._bindings: MutableMapping[tuple[PortName, HostName], PortBinding] = {}
        self._tunnel_ports: MutableMapping[tuple[HostName, Vni], TunnelPort] = {}
        self._security_groups: MutableMapping[SecurityGroupName, SecurityGroup] = {}
        self._address_groups: MutableMapping[AddressGroupName, AddressGroup] = {}
        self._routers: MutableMapping[RouterName, Router] = {}
        self._peerings: MutableMapping[PeeringName, Peering] = {}
        self._profile_records: MutableMapping[ProfileKey, PolicyProfile] = {}
        self._reservations = Reservations()
        self._networks_of: Index[TenantName, NetworkName, Network] = {}
        self._subnets_of: Index[NetworkName, SubnetName, Subnet] = {}
        self._ports_of: Index[NetworkName, PortName, Port] = {}
        self._ports_on: Index[HostName, PortName, Port] = {}
        self._ports_using: Index[SubnetName, PortName, Port] = {}
        self._bindings_of: MutableMapping[PortName, tuple[PortBinding, ...]] = {}
        self._bindings_on: Index[HostName, PortName, PortBinding] = {}
        # By network and wire MAC: who last announced an address with it.
        self._claimants: MutableMapping[tuple[NetworkName, Mac], tuple[PortBinding, ...]] = {}
        self._tunnel_ports_on: Index[HostName, Vni, TunnelPort] = {}
        # By host and OpenFlow port: what is said to be plugged there.
        self._bindings_at: MutableMapping[tuple[HostName, int], tuple[PortBinding, ...]] = {}
        self._tunnel_ports_at: MutableMapping[tuple[HostName, int], tuple[TunnelPort, ...]] = {}
        self._port_by_iface: MutableMapping[str, tuple[Port, ...]] = {}
        self._network_by_vni: MutableMapping[Vni, tuple[Network, ...]] = {}
        self._host_by_datapath: MutableMapping[int, tuple[Host, ...]] = {}
        self._host_by_vtep: MutableMapping[IpAddress, tuple[Host, ...]] = {}
        # How many bound ports make a host part of a network's span.
        self._span: Index[NetworkName, HostName, int] = {}
        self._tenant_span: Index[TenantName, HostName, int] = {}
        self._groups_of: Index[TenantName, SecurityGroupName, SecurityGroup] = {}
        self._address_groups_of: Index[TenantName, AddressGroupName, AddressGroup] = {}
        self._profiles_of: Index[TenantName, int, PolicyProfile] = {}
        self._profiles: MutableMapping[int, PolicyProfile] = {}
        self._profiles_by_set: MutableMapping[
            tuple[TenantName, frozenset[SecurityGroupName]], tuple[PolicyProfile, ...]
        ] = {}
        self._ports_with_profile: Index[int, PortName, Port] = {}
        self._profiles_with: Index[SecurityGroupName, int, PolicyProfile] = {}
        self._groups_naming: Index[SecurityGroupName, SecurityGroupName, SecurityGroup] = {}
        self._groups_naming_addresses: Index[AddressGroupName, SecurityGroupName, SecurityGroup] = {}
        self._routers_of: Index[TenantName, RouterName, Router] = {}
        self._routers_using: Index[SubnetName, RouterName, Router] = {}
        self._routers_on: Index[NetworkName, RouterName, Router] = {}
        self._external_networks: MutableMapping[ExternalNetworkName, ExternalNetwork] = {}
        self._floating_ips: MutableMapping[FloatingIpName, FloatingIp] = {}
        self._edges: MutableMapping[EdgeKey, RouterEdge] = {}
        # Who may use it; who goes out by it.
        self._external_networks_of: Index[TenantName, ExternalNetworkName, ExternalNetwork] = {}
        self._routers_out: Index[ExternalNetworkName, RouterName, Router] = {}
        # By whose they are, the port that they stand for, the router they go by, and where they are from.
        self._floating_ips_of: Index[TenantName, FloatingIpName, FloatingIp] = {}
        self._floating_ips_at: Index[PortName, FloatingIpName, FloatingIp] = {}
        self._floating_ips_by: Index[RouterName, FloatingIpName, FloatingIp] = {}
        self._floating_ips_in: Index[ExternalNetworkName, FloatingIpName, FloatingIp] = {}
        self._edges_of: Index[RouterName, EdgeKey, RouterEdge] = {}
        self._edges_on: Index[HostName, EdgeKey, RouterEdge] = {}
        self._edges_at: MutableMapping[PortName, tuple[RouterEdge, ...]] = {}
        self._peerings_of: Index[TenantName, PeeringName, Peering] = {}
        # By their own router, and by the one they name.
        self._peerings_at: Index[RouterName, PeeringName, Peering] = {}
        self._peerings_towards: Index[RouterName, PeeringName, Peering] = {}
        self._tables = self._by_key_type()

    def _by_key_type(self) -> dict[type, MutableMapping[Any, Any]]:
        """Return one table per type of key; that they fit together is what _set relies on."""
        return {
            PortName: self._ports,
            BindingKey: self._bindings,
            TunnelPortKey: self._tunnel_ports,
            SubnetName: self._subnets,
            NetworkName: self._networks,
            TenantName: self._tenants,
            HostName: self._hosts,
            SecurityGroupName: self._security_groups,
            AddressGroupName: self._address_groups,
            RouterName: self._routers,
            PeeringName: self._peerings,
            ProfileKey: self._profile_records,
            ExternalNetworkName: self._external_networks,
            FloatingIpName: self._floating_ips,
            EdgeKey: self._edges,
        }

    def _derived(self, flat: Any, nested: Any, reservations: Reservations) -> Self:
        """Return the same, in tables of other kinds: flat makes those, nested the indexes."""
        made = object.__new__(type(self))
        known = vars(made)
        for name, value in vars(self).items():
            if name in _INDEXES:
                known[name] = nested(value)
            elif name not in _NO_TABLES:
                known[name] = flat(value)
        made._revision, made._reservations = self._revision, reservations
        made._tables = made._by_key_type()
        return made

    def _set(self, key: StoredKey, old: Stored | None, new: Stored | None) -> None:
        """Put new in the place of old (None: there is none), in its table and in every index."""
        if isinstance(key, str):
            if isinstance(new, Reservation):
                self._reservations.put(new)
            else:
                self._reservations.remove(key)
            return
        if old is not None:
            self._link(old, -1)
            del self._tables[type(key)][key]
        if new is not None:
            self._tables[type(key)][key] = new
            self._link(new, +1)

    def _link(self, stored: Stored, sign: int) -> None:
        match stored:
            case Port():
                self._link_port(stored, sign)
            case PortBinding():
                self._link_binding(stored, sign)
            case TunnelPort():
                link(self._tunnel_ports_on, stored.host, stored.vni, stored, sign)
                link_few(self._tunnel_ports_at, (stored.host, stored.ofport), stored, sign)
            case Subnet():
                link(self._subnets_of, stored.name.parent, stored.name, stored, sign)
            case Network():
                link(self._networks_of, stored.name.parent, stored.name, stored, sign)
                link_few(self._network_by_vni, stored.vni, stored, sign)
            case Host():
                if stored.datapath_id:
                    link_few(self._host_by_datapath, stored.datapath_id, stored, sign)
                if stored.vtep is not None:
                    link_few(self._host_by_vtep, stored.vtep, stored, sign)
            case SecurityGroup():
                self._link_group(stored, sign)
            case AddressGroup():
                link(self._address_groups_of, stored.name.parent, stored.name, stored, sign)
            case Router():
                self._link_router(stored, sign)
            case Peering():
                link(self._peerings_of, stored.name.parent, stored.name, stored, sign)
                link(self._peerings_at, stored.router, stored.name, stored, sign)
                link(self._peerings_towards, stored.peer_router, stored.name, stored, sign)
            case PolicyProfile():
                self._link_profile(stored, sign)
            case ExternalNetwork() | FloatingIp() | RouterEdge():
                self._link_exit(stored, sign)

    def _link_group(self, group: SecurityGroup, sign: int) -> None:
        link(self._groups_of, group.name.parent, group.name, group, sign)
        for rule in group.rules:
            if rule.remote_group is not None:
                link(self._groups_naming, rule.remote_group, group.name, group, sign)
            if rule.remote_address_group is not None:
                link(self._groups_naming_addresses, rule.remote_address_group, group.name, group, sign)

    def _link_router(self, router: Router, sign: int) -> None:
        link(self._routers_of, router.name.parent, router.name, router, sign)
        for interface in router.interfaces:
            link(self._routers_using, interface.subnet, router.name, router, sign)
        for network in router.networks:
            link(self._routers_on, network, router.name, router, sign)
        if router.gateway is not None:
            link(self._routers_out, router.gateway.external_network, router.name, router, sign)

    def _link_exit(self, stored: ExternalNetwork | FloatingIp | RouterEdge, sign: int) -> None:
        match stored:
            case ExternalNetwork():
                for tenant in stored.shared_with:
                    link(self._external_networks_of, tenant, stored.name, stored, sign)
            case FloatingIp():
                link(self._floating_ips_of, stored.name.parent, stored.name, stored, sign)
                link(self._floating_ips_in, stored.external_network, stored.name, stored, sign)
                if stored.port is not None:
                    link(self._floating_ips_at, stored.port, stored.name, stored, sign)
                if stored.router is not None:
                    link(self._floating_ips_by, stored.router, stored.name, stored, sign)
            case RouterEdge():
                key = EdgeKey(stored.router, stored.host)
                link(self._edges_of, stored.router, key, stored, sign)
                link_few(self._edges_at, stored.port, stored, sign)
                if stored.host is not None:
                    link(self._edges_on, stored.host, key, stored, sign)

    def _link_profile(self, profile: PolicyProfile, sign: int) -> None:
        link(self._profiles_of, profile.tenant, profile.number, profile, sign)
        link_few(self._profiles_by_set, (profile.tenant, frozenset(profile.groups)), profile, sign)
        for group in profile.groups:
            link(self._profiles_with, group, profile.number, profile, sign)
        if sign > 0:
            self._profiles[profile.number] = profile
        elif self._profiles.get(profile.number) == profile:
            del self._profiles[profile.number]

    def _link_port(self, port: Port, sign: int) -> None:
        link(self._ports_of, port.name.parent, port.name, port, sign)
        link_few(self._port_by_iface, port.iface_id, port, sign)
        link(self._ports_with_profile, port.profile, port.name, port, sign)
        for host in port.requested_hosts:
            link(self._ports_on, host, port.name, port, sign)
        for fixed_ip in port.fixed_ips:
            link(self._ports_using, fixed_ip.subnet, port.name, port, sign)
        for binding in self._bindings_of.get(port.name, ()):
            self._count(port, binding, sign)

    def _link_binding(self, binding: PortBinding, sign: int) -> None:
        link_few(self._bindings_of, binding.port, binding, sign)
        link(self._bindings_on, binding.host, binding.port, binding, sign)
        link_few(self._bindings_at, (binding.host, binding.ofport), binding, sign)
        for wire in {wire_mac(address) for address in binding.claimed}:
            link_few(self._claimants, (binding.port.parent, wire), binding, sign)
        port = self._ports.get(binding.port)
        if port is not None:
            self._count(port, binding, sign)

    def _count(self, port: Port, binding: PortBinding, sign: int) -> None:
        if not is_effective(port, binding):
            return
        tally(self._span, port.name.parent, binding.host, sign)
        tally(self._tenant_span, port.name.parent.parent, binding.host, sign)


def is_effective(port: Port, binding: PortBinding) -> bool:
    """Tell whether a binding of that port counts: it is of this port, enabled, and where it may be."""
    return not port.disabled and binding.port_uid == port.meta.uid and binding.host in port.requested_hosts
