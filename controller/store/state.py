"""The mirror of one revision of the store, with an index for each relation. Pure, in memory.

Every method costs what its result costs, never what the state costs. Readers must not change anything;
what is returned is a copy or a read-only view. Results that are tuples are in no particular order.
Between two awaits a reader sees one revision; across an await the state may have moved on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

from cloison.addresses import IpAddress, Mac, wire_mac
from cloison.model import (
    AddressGroup,
    Host,
    Network,
    PolicyProfile,
    Port,
    PortBinding,
    Reservation,
    Resource,
    Revision,
    Router,
    SecurityGroup,
    Stored,
    Subnet,
    Tenant,
    TunnelPort,
    Vni,
)
from cloison.names import (
    AddressGroupName,
    HostName,
    NetworkName,
    PortName,
    ResourceName,
    RouterName,
    SecurityGroupName,
    SubnetName,
    TenantName,
)
from controller.store.changes import Change, Event, RevisionChanges
from controller.store.indexes import Index, copied, link, link_few, only, tally
from controller.store.keys import BindingKey, ProfileKey, StoredKey, TunnelPortKey
from controller.store.layers import Layer, Layers
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
    }
)


class State:
    """All objects at `revision`, and who relates to whom."""

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
            ProfileKey: self._profile_records,
        }

    def fork(self) -> State:
        """Return a state on top of this one, to be changed without it; costs nothing, whatever there is.

        It is good for as long as this one does not change.
        """
        return self._derived(Layer, Layers, self._reservations.fork())

    def copy(self) -> State:
        """Return the same state, independent of this one; costs what there is (10 ms at 10,000 ports)."""
        return self._derived(dict, copied, self._reservations.copy())

    def _derived(self, flat: Any, nested: Any, reservations: Reservations) -> State:
        made = State()
        for name, value in vars(self).items():
            if name in _INDEXES:
                setattr(made, name, nested(value))
            elif isinstance(value, MutableMapping):
                setattr(made, name, flat(value))
        made._revision, made._reservations = self._revision, reservations
        made._tables = made._by_key_type()
        return made

    # -- everything there is -----------------------------------------------------------------------

    @property
    def revision(self) -> Revision:
        """The store's revision that this is the state of; 0 before the first list."""
        return self._revision

    @property
    def tenants(self) -> Mapping[TenantName, Tenant]:
        """All tenants."""
        return MappingProxyType(self._tenants)

    @property
    def networks(self) -> Mapping[NetworkName, Network]:
        """All networks."""
        return MappingProxyType(self._networks)

    @property
    def subnets(self) -> Mapping[SubnetName, Subnet]:
        """All subnets."""
        return MappingProxyType(self._subnets)

    @property
    def ports(self) -> Mapping[PortName, Port]:
        """All ports."""
        return MappingProxyType(self._ports)

    @property
    def hosts(self) -> Mapping[HostName, Host]:
        """All hosts."""
        return MappingProxyType(self._hosts)

    @property
    def bindings(self) -> Mapping[tuple[PortName, HostName], PortBinding]:
        """All bindings, those of stale or refused reports included: see `is_effective`."""
        return MappingProxyType(self._bindings)

    @property
    def tunnel_ports(self) -> Mapping[tuple[HostName, Vni], TunnelPort]:
        """All tunnel ports."""
        return MappingProxyType(self._tunnel_ports)

    @property
    def security_groups(self) -> Mapping[SecurityGroupName, SecurityGroup]:
        """All security groups."""
        return MappingProxyType(self._security_groups)

    @property
    def address_groups(self) -> Mapping[AddressGroupName, AddressGroup]:
        """All address groups."""
        return MappingProxyType(self._address_groups)

    @property
    def routers(self) -> Mapping[RouterName, Router]:
        """All routers."""
        return MappingProxyType(self._routers)

    @property
    def profile_keys(self) -> Iterable[ProfileKey]:
        """What all policy profiles are found under."""
        return self._profile_records.keys()

    @property
    def profiles(self) -> Mapping[int, PolicyProfile]:
        """All policy profiles by their number, which is one space for all tenants."""
        return MappingProxyType(self._profiles)

    @property
    def reservations(self) -> Reservations:
        """All identifiers that are not free; also finds free ones."""
        return self._reservations

    @property
    def objects(self) -> int:
        """How many objects of all kinds there are."""
        return len(self._reservations) + sum(len(table) for table in self._tables.values())

    def get(self, name: ResourceName) -> Resource | None:
        """Return the named resource, or None."""
        match name:
            case PortName():
                return self._ports.get(name)
            case NetworkName():
                return self._networks.get(name)
            case SubnetName():
                return self._subnets.get(name)
            case TenantName():
                return self._tenants.get(name)
            case HostName():
                return self._hosts.get(name)
            case SecurityGroupName():
                return self._security_groups.get(name)
            case AddressGroupName():
                return self._address_groups.get(name)
            case RouterName():
                return self._routers.get(name)

    # -- relations ---------------------------------------------------------------------------------

    def networks_of(self, tenant: TenantName) -> tuple[Network, ...]:
        """Return the networks of a tenant."""
        return tuple(self._networks_of.get(tenant, {}).values())

    def subnets_of(self, network: NetworkName) -> tuple[Subnet, ...]:
        """Return the subnets of a network."""
        return tuple(self._subnets_of.get(network, {}).values())

    def ports_of(self, network: NetworkName) -> tuple[Port, ...]:
        """Return the ports of a network."""
        return tuple(self._ports_of.get(network, {}).values())

    def ports_on(self, host: HostName) -> tuple[Port, ...]:
        """Return the ports that may be plugged on a host (it is in their requested_hosts)."""
        return tuple(self._ports_on.get(host, {}).values())

    def ports_using(self, subnet: SubnetName) -> tuple[Port, ...]:
        """Return the ports that have an address of a subnet."""
        return tuple(self._ports_using.get(subnet, {}).values())

    def network_of(self, port: Port | PortName) -> Network | None:
        """Return the network of a port, or None if it is not there (then the port may not be served)."""
        name = port.name if isinstance(port, Port) else port
        return self._networks.get(name.parent)

    def port_by_iface(self, iface_id: str) -> Port | None:
        """Return the port whose interface carries this external_ids:iface-id."""
        return only(self._port_by_iface.get(iface_id))

    def network_by_vni(self, vni: int) -> Network | None:
        """Return the network that has a VNI."""
        return only(self._network_by_vni.get(Vni(vni)))

    def host_by_datapath(self, datapath_id: int) -> Host | None:
        """Return the host whose br-int has a datapath id."""
        return only(self._host_by_datapath.get(datapath_id))

    def host_by_vtep(self, vtep: IpAddress) -> Host | None:
        """Return the host that has a tunnel address."""
        return only(self._host_by_vtep.get(vtep))

    def bindings_of(self, port: PortName) -> tuple[PortBinding, ...]:
        """Return every report of a port being plugged."""
        return self._bindings_of.get(port, ())

    def claimants(self, network: NetworkName, wire: Mac) -> tuple[PortBinding, ...]:
        """Return the bindings that claim an address with this wire MAC in a network: one, if all is well."""
        return self._claimants.get((network, wire), ())

    def bindings_on(self, host: HostName) -> tuple[PortBinding, ...]:
        """Return what a host has reported as plugged."""
        return tuple(self._bindings_on.get(host, {}).values())

    def tunnel_ports_on(self, host: HostName) -> tuple[TunnelPort, ...]:
        """Return the tunnel ports of a host."""
        return tuple(self._tunnel_ports_on.get(host, {}).values())

    def bound_hosts(self, network: NetworkName) -> frozenset[HostName]:
        """Return the hosts on which one of a network's ports is bound in effect."""
        return frozenset(self._span.get(network, ()))

    def bound_ports(self, network: NetworkName, host: HostName) -> int:
        """Return how many bindings in effect of a network's ports are on a host."""
        return self._span.get(network, {}).get(host, 0)

    def routed_with(self, network: NetworkName) -> frozenset[NetworkName]:
        """Return the networks that some router joins with a network, itself left out."""
        routers = self._routers_on.get(network, {}).values()
        return frozenset(other for router in routers for other in router.networks) - {network}

    def span(self, network: NetworkName) -> frozenset[HostName]:
        """Return the hosts that must carry a network: those with a port that can send into it, routed too."""
        here = self.bound_hosts(network)
        if network not in self._routers_on:
            return here
        return here.union(*(self._span.get(other, ()) for other in self.routed_with(network)))

    def tenant_hosts(self, tenant: TenantName) -> frozenset[HostName]:
        """Return the hosts on which some port of a tenant is bound in effect."""
        return frozenset(self._tenant_span.get(tenant, ()))

    def groups_of(self, tenant: TenantName) -> tuple[SecurityGroup, ...]:
        """Return the security groups of a tenant."""
        return tuple(self._groups_of.get(tenant, {}).values())

    def address_groups_of(self, tenant: TenantName) -> tuple[AddressGroup, ...]:
        """Return the address groups of a tenant."""
        return tuple(self._address_groups_of.get(tenant, {}).values())

    def routers_of(self, tenant: TenantName) -> tuple[Router, ...]:
        """Return the routers of a tenant."""
        return tuple(self._routers_of.get(tenant, {}).values())

    def routers_on(self, network: NetworkName) -> tuple[Router, ...]:
        """Return the routers with an interface in a network."""
        return tuple(self._routers_on.get(network, {}).values())

    def routers_using(self, subnet: SubnetName) -> tuple[Router, ...]:
        """Return the routers with an interface in a subnet."""
        return tuple(self._routers_using.get(subnet, {}).values())

    def profiles_of(self, tenant: TenantName) -> tuple[PolicyProfile, ...]:
        """Return the policy profiles of a tenant, those that no port has (any more) included."""
        return tuple(self._profiles_of.get(tenant, {}).values())

    def profile_for(self, tenant: TenantName, groups: Iterable[SecurityGroupName]) -> PolicyProfile | None:
        """Return the profile of just this set of security groups, None if there is none yet."""
        return only(self._profiles_by_set.get((tenant, frozenset(groups))))

    def profiles_with(self, group: SecurityGroupName) -> tuple[PolicyProfile, ...]:
        """Return the profiles of whose set a security group is."""
        return tuple(self._profiles_with.get(group, {}).values())

    def ports_with_profile(self, number: int) -> tuple[Port, ...]:
        """Return the ports that have a profile, one of the reserved ones for instance, of whatever tenant."""
        return tuple(self._ports_with_profile.get(number, {}).values())

    def has_ports_with_profile(self, number: int) -> bool:
        """Tell whether any port has a profile."""
        return number in self._ports_with_profile

    def ports_in(self, group: SecurityGroupName) -> tuple[Port, ...]:
        """Return the ports that are in a security group."""
        profiles = self._profiles_with.get(group, ())
        return tuple(port for number in profiles for port in self.ports_with_profile(number))

    def groups_naming(self, name: SecurityGroupName | AddressGroupName) -> tuple[SecurityGroup, ...]:
        """Return the security groups with a rule that names a group, itself for instance."""
        if isinstance(name, SecurityGroupName):
            return tuple(self._groups_naming.get(name, {}).values())
        return tuple(self._groups_naming_addresses.get(name, {}).values())

    def is_effective(self, binding: PortBinding) -> bool:
        """Tell whether a binding counts: that very port exists, is enabled and may be on that host."""
        port = self._ports.get(binding.port)
        return port is not None and _is_effective(port, binding)

    def children_of(self, name: TenantName | NetworkName) -> tuple[Resource, ...]:
        """Return what must be deleted before the named resource can be."""
        if isinstance(name, TenantName):
            groups: tuple[Resource, ...] = (*self.groups_of(name), *self.address_groups_of(name))
            return (*self.networks_of(name), *groups, *self.routers_of(name))
        return (*self.subnets_of(name), *self.ports_of(name))

    def referrers_of(self, name: SubnetName | HostName) -> tuple[Port | Router, ...]:
        """Return the ports and routers that keep a subnet or a host from being deleted."""
        if isinstance(name, SubnetName):
            return (*self.ports_using(name), *self.routers_using(name))
        return self.ports_on(name)

    # -- changing it: only the store does ----------------------------------------------------------

    def apply(self, revision: int, events: Iterable[Event], *, resync: bool = False) -> RevisionChanges:
        """Move to a revision, and return what that changed. Events that change nothing are left out."""
        changes = []
        for event in events:
            old = self.lookup(event.key)
            if old != event.new:
                self._set(event.key, old, event.new)
                changes.append(Change(old, event.new))
        self._reservations.settle()
        self._revision = Revision(revision)
        return RevisionChanges(self._revision, tuple(changes), resync)

    def load(self, stored: Stored, key: StoredKey) -> None:
        """Add one object while the first list arrives; nobody may be reading yet. End with apply()."""
        self._set(key, None, stored)

    def lookup(self, key: StoredKey) -> Stored | None:
        """Return whatever is found under a key of any kind, or None."""
        match key:
            case str():
                return self._reservations.get(key)
            case BindingKey():
                return self._bindings.get(key)
            case TunnelPortKey():
                return self._tunnel_ports.get(key)
            case ProfileKey():
                return self._profile_records.get(key)
            case _:
                return self.get(key)

    def _set(self, key: StoredKey, old: Stored | None, new: Stored | None) -> None:
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
            case PolicyProfile():
                self._link_profile(stored, sign)

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
        for wire in {wire_mac(address) for address in binding.claimed}:
            link_few(self._claimants, (binding.port.parent, wire), binding, sign)
        port = self._ports.get(binding.port)
        if port is not None:
            self._count(port, binding, sign)

    def _count(self, port: Port, binding: PortBinding, sign: int) -> None:
        if not _is_effective(port, binding):
            return
        tally(self._span, port.name.parent, binding.host, sign)
        tally(self._tenant_span, port.name.parent.parent, binding.host, sign)


def _is_effective(port: Port, binding: PortBinding) -> bool:
    return not port.disabled and binding.port_uid == port.meta.uid and binding.host in port.requested_hosts
