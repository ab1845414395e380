"""The mirror of one revision of the store, with an index for each relation. Pure, in memory.

Every method costs what its result costs, never what the state costs. Readers must not change anything;
what is returned is a copy or a read-only view. Results that are tuples are in no particular order.
Between two awaits a reader sees one revision; across an await the state may have moved on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, TypeVar

from cloison.addresses import IpAddress
from cloison.model import (
    Host,
    Network,
    Port,
    PortBinding,
    Reservation,
    Resource,
    Revision,
    Stored,
    Subnet,
    Tenant,
    TunnelPort,
    Vni,
)
from cloison.names import HostName, NetworkName, PortName, ResourceName, SubnetName, TenantName
from controller.store.changes import Change, Event, RevisionChanges
from controller.store.keys import BindingKey, StoredKey, TunnelPortKey
from controller.store.layers import Layer, Layers
from controller.store.reservations import Reservations

K = TypeVar("K")
M = TypeVar("M")
V = TypeVar("V")


Index = MutableMapping[K, MutableMapping[M, V]]
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
    }
)


def _deep(index: Index[K, M, V]) -> dict[K, dict[M, V]]:
    return {key: dict(members) for key, members in index.items()}


def _add(index: Index[K, M, V], key: K, member: M, value: V) -> None:
    index.setdefault(key, {})[member] = value


def _discard(index: Index[K, M, V], key: K, member: M) -> None:
    members = index.get(key)
    if members is not None:
        members.pop(member, None)
        if not members:
            del index[key]


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
        self._reservations = Reservations()
        self._networks_of: Index[TenantName, NetworkName, Network] = {}
        self._subnets_of: Index[NetworkName, SubnetName, Subnet] = {}
        self._ports_of: Index[NetworkName, PortName, Port] = {}
        self._ports_on: Index[HostName, PortName, Port] = {}
        self._ports_using: Index[SubnetName, PortName, Port] = {}
        self._bindings_of: MutableMapping[PortName, tuple[PortBinding, ...]] = {}
        self._bindings_on: Index[HostName, PortName, PortBinding] = {}
        self._tunnel_ports_on: Index[HostName, Vni, TunnelPort] = {}
        self._port_by_iface: MutableMapping[str, tuple[Port, ...]] = {}
        self._network_by_vni: MutableMapping[Vni, tuple[Network, ...]] = {}
        self._host_by_datapath: MutableMapping[int, tuple[Host, ...]] = {}
        self._host_by_vtep: MutableMapping[IpAddress, tuple[Host, ...]] = {}
        # How many bound ports make a host part of a network's span.
        self._span: Index[NetworkName, HostName, int] = {}
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
        }

    def fork(self) -> State:
        """Return a state on top of this one, to be changed without it; costs nothing, whatever there is.

        It is good for as long as this one does not change.
        """
        return self._derived(Layer, Layers, self._reservations.fork())

    def copy(self) -> State:
        """Return the same state, independent of this one; costs what there is (10 ms at 10,000 ports)."""
        return self._derived(dict, _deep, self._reservations.copy())

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
        return _only(self._port_by_iface.get(iface_id))

    def network_by_vni(self, vni: int) -> Network | None:
        """Return the network that has a VNI."""
        return _only(self._network_by_vni.get(Vni(vni)))

    def host_by_datapath(self, datapath_id: int) -> Host | None:
        """Return the host whose br-int has a datapath id."""
        return _only(self._host_by_datapath.get(datapath_id))

    def host_by_vtep(self, vtep: IpAddress) -> Host | None:
        """Return the host that has a tunnel address."""
        return _only(self._host_by_vtep.get(vtep))

    def bindings_of(self, port: PortName) -> tuple[PortBinding, ...]:
        """Return every report of a port being plugged."""
        return self._bindings_of.get(port, ())

    def bindings_on(self, host: HostName) -> tuple[PortBinding, ...]:
        """Return what a host has reported as plugged."""
        return tuple(self._bindings_on.get(host, {}).values())

    def tunnel_ports_on(self, host: HostName) -> tuple[TunnelPort, ...]:
        """Return the tunnel ports of a host."""
        return tuple(self._tunnel_ports_on.get(host, {}).values())

    def bound_hosts(self, network: NetworkName) -> frozenset[HostName]:
        """Return the span of a network: the hosts on which one of its ports is bound in effect."""
        return frozenset(self._span.get(network, ()))

    def is_effective(self, binding: PortBinding) -> bool:
        """Tell whether a binding counts: that very port exists, is enabled and may be on that host."""
        port = self._ports.get(binding.port)
        return port is not None and _is_effective(port, binding)

    def children_of(self, name: TenantName | NetworkName) -> tuple[Resource, ...]:
        """Return what must be deleted before the named resource can be."""
        if isinstance(name, TenantName):
            return self.networks_of(name)
        return (*self.subnets_of(name), *self.ports_of(name))

    def referrers_of(self, name: SubnetName | HostName) -> tuple[Port, ...]:
        """Return the ports that keep a subnet or a host from being deleted."""
        return self.ports_using(name) if isinstance(name, SubnetName) else self.ports_on(name)

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
                _link(self._tunnel_ports_on, stored.host, stored.vni, stored, sign)
            case Subnet():
                _link(self._subnets_of, stored.name.parent, stored.name, stored, sign)
            case Network():
                _link(self._networks_of, stored.name.parent, stored.name, stored, sign)
                _link_few(self._network_by_vni, stored.vni, stored, sign)
            case Host():
                if stored.datapath_id:
                    _link_few(self._host_by_datapath, stored.datapath_id, stored, sign)
                if stored.vtep is not None:
                    _link_few(self._host_by_vtep, stored.vtep, stored, sign)

    def _link_port(self, port: Port, sign: int) -> None:
        _link(self._ports_of, port.name.parent, port.name, port, sign)
        _link_few(self._port_by_iface, port.iface_id, port, sign)
        for host in port.requested_hosts:
            _link(self._ports_on, host, port.name, port, sign)
        for fixed_ip in port.fixed_ips:
            _link(self._ports_using, fixed_ip.subnet, port.name, port, sign)
        for binding in self._bindings_of.get(port.name, ()):
            self._count(port, binding, sign)

    def _link_binding(self, binding: PortBinding, sign: int) -> None:
        _link_few(self._bindings_of, binding.port, binding, sign)
        _link(self._bindings_on, binding.host, binding.port, binding, sign)
        port = self._ports.get(binding.port)
        if port is not None:
            self._count(port, binding, sign)

    def _count(self, port: Port, binding: PortBinding, sign: int) -> None:
        if not _is_effective(port, binding):
            return
        hosts = self._span.setdefault(port.name.parent, {})
        hosts[binding.host] = hosts.get(binding.host, 0) + sign
        if not hosts[binding.host]:
            _discard(self._span, port.name.parent, binding.host)


def _link(index: Index[K, M, V], key: K, member: M, value: V, sign: int) -> None:
    if sign > 0:
        _add(index, key, member, value)
    else:
        _discard(index, key, member)


def _is_effective(port: Port, binding: PortBinding) -> bool:
    return not port.disabled and binding.port_uid == port.meta.uid and binding.host in port.requested_hosts


def _link_few(index: MutableMapping[K, tuple[V, ...]], key: K, value: V, sign: int) -> None:
    """Like _link where there is nearly always one member: a tuple takes a fifth of a dict's memory."""
    rest = tuple(other for other in index.get(key, ()) if other != value)
    members = (*rest, value) if sign > 0 else rest
    if members:
        index[key] = members
    else:
        index.pop(key, None)


def _only(found: tuple[V, ...] | None) -> V | None:
    """Return the value if there is exactly one: an identifier that two have names neither (fail closed)."""
    return found[0] if found is not None and len(found) == 1 else None
