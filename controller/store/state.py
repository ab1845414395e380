"""The mirror of one revision of the store, with an index for each relation. Pure, in memory.

Every method costs what its result costs, never what the state costs. Readers must not change anything;
what is returned is a copy or a read-only view. Results that are tuples are in no particular order.
Between two awaits a reader sees one revision; across an await the state may have moved on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType

from cloison.addresses import IpAddress, Mac
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
    Resource,
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
    ResourceName,
    RouterName,
    SecurityGroupName,
    SubnetName,
    TenantName,
)
from controller.store.changes import Change, Event, RevisionChanges
from controller.store.indexes import copied, only
from controller.store.keys import BindingKey, EdgeKey, ProfileKey, StoredKey, TunnelPortKey
from controller.store.layers import Layer, Layers
from controller.store.peerings import peered_networks
from controller.store.reservations import Reservations
from controller.store.tables import Tables, is_effective


class State(Tables):
    """All objects at `revision`, and who relates to whom."""

    def fork(self) -> State:
        """Return a state on top of this one, to be changed without it; costs nothing, whatever there is.

        It is good for as long as this one does not change.
        """
        return self._derived(Layer, Layers, self._reservations.fork())

    def copy(self) -> State:
        """Return the same state, independent of this one; costs what there is (10 ms at 10,000 ports)."""
        return self._derived(dict, copied, self._reservations.copy())

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
    def external_networks(self) -> Mapping[ExternalNetworkName, ExternalNetwork]:
        """All external networks."""
        return MappingProxyType(self._external_networks)

    @property
    def floating_ips(self) -> Mapping[FloatingIpName, FloatingIp]:
        """All floating IPs."""
        return MappingProxyType(self._floating_ips)

    @property
    def router_edges(self) -> Mapping[EdgeKey, RouterEdge]:
        """All edges of routers."""
        return MappingProxyType(self._edges)

    @property
    def peerings(self) -> Mapping[PeeringName, Peering]:
        """All peerings, those that nobody answers included: see peerings.py."""
        return MappingProxyType(self._peerings)

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

    @property
    def stored_keys(self) -> Iterator[StoredKey]:
        """What everything there is is found under, of whatever kind."""
        return chain(chain.from_iterable(self._tables.values()), self._reservations)

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
            case ExternalNetworkName():
                return self._external_networks.get(name)
            case FloatingIpName():
                return self._floating_ips.get(name)
            case PeeringName():
                return self._peerings.get(name)

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

    def bindings_at(self, host: HostName, ofport: int) -> tuple[PortBinding, ...]:
        """Return what a host has reported as plugged under an OpenFlow port: one, if all is well."""
        return self._bindings_at.get((host, ofport), ())

    def tunnel_ports_at(self, host: HostName, ofport: int) -> tuple[TunnelPort, ...]:
        """Return the tunnel ports of a host that have an OpenFlow port: one, if all is well."""
        return self._tunnel_ports_at.get((host, ofport), ())

    def bound_hosts(self, network: NetworkName) -> frozenset[HostName]:
        """Return the hosts on which one of a network's ports is bound in effect."""
        return frozenset(self._span.get(network, ()))

    def bound_ports(self, network: NetworkName, host: HostName) -> int:
        """Return how many bindings in effect of a network's ports are on a host."""
        return self._span.get(network, {}).get(host, 0)

    def routed_with(self, network: NetworkName) -> frozenset[NetworkName]:
        """Return the networks that some router joins with a network, itself left out; peered ones too."""
        routers = self._routers_on.get(network, {}).values()
        own = {other for router in routers for other in router.networks} - {network}
        return frozenset(own.union(*(peered_networks(self, router, network) for router in routers)))

    def span(self, network: NetworkName) -> frozenset[HostName]:
        """Return the hosts that must carry a network: those with a port that can send into it, routed too."""
        here = self.bound_hosts(network)
        if network not in self._routers_on:
            return here
        return here.union(*(self._span.get(other, ()) for other in self.routed_with(network)))

    def is_present(self, network: NetworkName, host: HostName) -> bool:
        """Tell whether a host is in the span of a network."""
        if host in self._span.get(network, ()):
            return True
        return any(host in self._span.get(other, ()) for other in self.routed_with(network))

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

    def routers_out(self, network: ExternalNetworkName) -> tuple[Router, ...]:
        """Return the routers with their way out to an external network."""
        return tuple(self._routers_out.get(network, {}).values())

    def external_networks_of(self, tenant: TenantName) -> tuple[ExternalNetwork, ...]:
        """Return the external networks that a tenant may use."""
        return tuple(self._external_networks_of.get(tenant, {}).values())

    def floating_ips_of(self, tenant: TenantName) -> tuple[FloatingIp, ...]:
        """Return the floating IPs of a tenant."""
        return tuple(self._floating_ips_of.get(tenant, {}).values())

    def floating_ips_at(self, port: PortName) -> tuple[FloatingIp, ...]:
        """Return the floating IPs that stand for an address of a port."""
        return tuple(self._floating_ips_at.get(port, {}).values())

    def floating_ips_by(self, router: RouterName) -> tuple[FloatingIp, ...]:
        """Return the floating IPs that a router joins to their ports."""
        return tuple(self._floating_ips_by.get(router, {}).values())

    def floating_ips_in(self, network: ExternalNetworkName) -> tuple[FloatingIp, ...]:
        """Return the floating IPs of an external network, whosever they are."""
        return tuple(self._floating_ips_in.get(network, {}).values())

    def edges_of(self, router: RouterName) -> tuple[RouterEdge, ...]:
        """Return the edges of a router."""
        return tuple(self._edges_of.get(router, {}).values())

    def edges_on(self, host: HostName) -> tuple[RouterEdge, ...]:
        """Return the edges that are on one host alone, on this one."""
        return tuple(self._edges_on.get(host, {}).values())

    def edge_at(self, port: PortName) -> RouterEdge | None:
        """Return the edge that a port leads to."""
        return only(self._edges_at.get(port))

    def peerings_of(self, tenant: TenantName) -> tuple[Peering, ...]:
        """Return the peerings of a tenant."""
        return tuple(self._peerings_of.get(tenant, {}).values())

    def peerings_at(self, router: RouterName) -> tuple[Peering, ...]:
        """Return the peerings whose own router this is."""
        return tuple(self._peerings_at.get(router, {}).values())

    def peerings_towards(self, router: RouterName) -> tuple[Peering, ...]:
        """Return the peerings of others that name this router as their peer's."""
        return tuple(self._peerings_towards.get(router, {}).values())

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
        return port is not None and is_effective(port, binding)

    def children_of(self, name: TenantName | NetworkName) -> tuple[Resource, ...]:
        """Return what must be deleted before the named resource can be."""
        if isinstance(name, TenantName):
            groups: tuple[Resource, ...] = (*self.groups_of(name), *self.address_groups_of(name))
            routing: tuple[Resource, ...] = (*self.routers_of(name), *self.peerings_of(name))
            return (*self.networks_of(name), *groups, *routing, *self.floating_ips_of(name))
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
            case EdgeKey():
                return self._edges.get(key)
            case _:
                return self.get(key)
