"""Plans of the local services: for each host, what to tell the guests plugged there, and the names of their
tenants' networks. Pure.

A plan is made of messages of the contract, as they are sent: equal messages are no change. What is told to a
host is worked out from the state alone; only what differs from what it was told before is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cloison.addresses import IpAddress
from cloison.model import FixedIp, Network, Port, Vni
from cloison.names import HostName, NetworkName, PortName, TenantName
from cloison.v1 import host_sync_pb2, subnet_pb2
from controller.reconcile.impact import OBJECTS_AT_ONCE, Impact
from controller.reconcile.told import Told, gateway
from controller.reconcile.views import HasPort, believe, live_binding, overlay_mtu
from controller.reconcile.zone_names import Addresses, ZoneNames, host_name
from controller.store.state import State
from controller.turns import Work, at_once, batches

# Who has no domain of its own gets one below this; ".internal" is reserved for private use (ICANN, 2024).
DOMAIN_SUFFIX = "cloison.internal"


@dataclass(slots=True)
class ZoneChange:
    """What changes in the names of one network."""

    network: NetworkName
    domain: str
    upserted: dict[str, Addresses] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)


@dataclass(slots=True)
class ServiceChange:
    """What changes in the plan of one host's services. Ports by number."""

    ports: dict[int, host_sync_pb2.ServicePort] = field(default_factory=dict)
    removed_ports: set[int] = field(default_factory=set)
    zones: dict[Vni, ZoneChange] = field(default_factory=dict)
    removed_zones: set[Vni] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.ports or self.removed_ports or self.zones or self.removed_zones)

    @property
    def is_urgent(self) -> bool:
        """Tell whether there is more than names that come."""
        names_go = any(zone.removed for zone in self.zones.values())
        return bool(self.ports or self.removed_ports or self.removed_zones or names_go)


class _Kept(NamedTuple):
    """What a host was told of a port."""

    host: HostName
    number: int
    message: bytes


class ServicePlans:
    """The plans of all hosts' services, followed revision by revision."""

    def __init__(self, has_port: HasPort = believe) -> None:
        """has_port: nobody is served at an interface that its bridge does not have under the number bound."""
        self._has_port = has_port
        # As bytes: a message in memory takes ten times as much.
        self._ports: dict[PortName, _Kept] = {}
        self._on_host: dict[HostName, dict[int, bytes]] = {}
        self._mtu: dict[NetworkName, int] = {}
        self._zones: dict[NetworkName, ZoneNames] = {}
        self._zones_of: dict[TenantName, set[NetworkName]] = {}
        self._tenant_hosts: dict[TenantName, frozenset[HostName]] = {}

    def update(self, state: State, impact: Impact) -> dict[HostName, ServiceChange]:
        """As updating, at once."""
        return at_once(self.updating(state, impact))

    def updating(self, state: State, impact: Impact) -> Work[dict[HostName, ServiceChange]]:
        """Follow one revision, in pieces; return what changes on which host."""
        changes: dict[HostName, ServiceChange] = {}
        told = Told(state)
        for name in self._touched_ports(state, impact):
            self._update_port(state, told, name, changes)
            yield
        named: dict[TenantName, dict[NetworkName, set[PortName]]] = {}
        for network in impact.services:
            named.setdefault(network.parent, {}).setdefault(network, set())
        for port in impact.served:
            named.setdefault(port.parent.parent, {}).setdefault(port.parent, set()).add(port)
        for tenant in named.keys() | impact.policies | {tenant for _, tenant in impact.policy_units}:
            self._update_tenant(state, tenant, named.get(tenant, {}), changes)
            yield
        return {host: change for host, change in changes.items() if change}

    def load(self, state: State) -> Work[None]:
        """Begin with a state, in pieces; it may not change before the end."""
        told = Told(state)
        for name, network in state.networks.items():
            self._mtu[name] = guest_mtu(state, network)
            for ports in batches(state.ports_of(name), OBJECTS_AT_ONCE):
                for port in ports:
                    self._update_port(state, told, port.name, {})
                yield
        for tenant in state.tenants:
            self._update_tenant(state, tenant, {}, {})
            for network in state.networks_of(tenant):
                self._update_tenant(state, tenant, {network.name: set()}, {})
                yield

    def snapshot(self, host: HostName) -> ServiceChange:
        """Return the whole plan of a host's services, as the change from nothing."""
        here = self._on_host.get(host, {})
        plan = ServiceChange(
            ports={number: host_sync_pb2.ServicePort.FromString(kept) for number, kept in here.items()}
        )
        for tenant, hosts in self._tenant_hosts.items():
            if host in hosts:
                for name, vni in self._vnis_of(tenant).items():
                    plan.zones[vni] = self._whole_zone(name)
        return plan

    # --- ports --------------------------------------------------------------------------------------

    def _touched_ports(self, state: State, impact: Impact) -> set[PortName]:
        """A port itself, and all of a network whose MTU or whose own record or subnets are others."""
        ports = set(impact.served)
        for name in impact.networks | impact.services:
            network = state.networks.get(name)
            mtu = guest_mtu(state, network) if network else 0
            if mtu != self._mtu.get(name, 0) or name in impact.services:
                ports.update(port.name for port in state.ports_of(name))
            if network is None:
                self._mtu.pop(name, None)
            else:
                self._mtu[name] = mtu
        return ports

    def _update_port(
        self, state: State, told: Told, name: PortName, changes: dict[HostName, ServiceChange]
    ) -> None:
        before, made = self._ports.pop(name, None), self._service_port(state, told, name)
        after = None
        if made is not None:
            after = self._ports[name] = _Kept(made[0], made[1].number, _kept(made[1]))
        if before == after:
            return
        if before is not None:
            del self._on_host[before.host][before.number]
            if after is None or after[:2] != before[:2]:
                changes.setdefault(before.host, ServiceChange()).removed_ports.add(before.number)
        if made is not None and after is not None:
            self._on_host.setdefault(after.host, {})[after.number] = after.message
            changes.setdefault(after.host, ServiceChange()).ports[after.number] = made[1]

    def _service_port(
        self, state: State, told: Told, name: PortName
    ) -> tuple[HostName, host_sync_pb2.ServicePort] | None:
        port, network = state.ports.get(name), state.networks.get(name.parent)
        binding = live_binding(state, port) if port else None
        if port is None or network is None or name.parent.parent not in state.tenants or binding is None:
            return None
        if not self._has_port(binding.host, binding.ofport, binding.interface):
            return None
        mtu = self._mtu.get(name.parent)
        if mtu is None:
            mtu = self._mtu[name.parent] = guest_mtu(state, network)
        return binding.host, service_port(state, told, port, network, binding.ofport, mtu)

    # --- names --------------------------------------------------------------------------------------

    def _update_tenant(
        self,
        state: State,
        tenant: TenantName,
        named: Mapping[NetworkName, set[PortName]],
        changes: dict[HostName, ServiceChange],
    ) -> None:
        """Follow the names of a tenant's networks, and on which hosts they are known."""
        before = self._tenant_hosts.pop(tenant, frozenset())
        after = state.tenant_hosts(tenant) if tenant in state.tenants else frozenset()
        if after:
            self._tenant_hosts[tenant] = after
        had = self._vnis_of(tenant)
        deltas = {name: self._update_zone(state, name, ports) for name, ports in named.items()}
        has = self._vnis_of(tenant)
        gone = set(had.values()) - set(has.values())
        for host in before:
            removed = gone if host in after else set(had.values())
            if removed:
                changes.setdefault(host, ServiceChange()).removed_zones |= removed
        news = {name: delta for name, delta in deltas.items() if delta is not None}
        come = {name for name in news if had.get(name) != has[name]}
        for host in after:
            for name in news if host in before else has:
                whole = host not in before or name in come
                change = self._whole_zone(name) if whole else news[name]
                changes.setdefault(host, ServiceChange()).zones[has[name]] = change

    def _vnis_of(self, tenant: TenantName) -> dict[NetworkName, Vni]:
        return {name: self._zones[name].vni for name in self._zones_of.get(tenant, ())}

    def _whole_zone(self, name: NetworkName) -> ZoneChange:
        zone = self._zones[name]
        return ZoneChange(name, zone.domain, dict(zone.addresses))

    def _update_zone(self, state: State, name: NetworkName, ports: set[PortName]) -> ZoneChange | None:
        """Follow one network's names; return what changed, None if nothing did or it is gone."""
        network = state.networks.get(name) if name.parent in state.tenants else None
        if network is None:
            self._zones.pop(name, None)
            self._zones_of.get(name.parent, set()).discard(name)
            if not self._zones_of.get(name.parent):
                self._zones_of.pop(name.parent, None)
            return None
        zone, domain = self._zones.get(name), domain_of(network)
        new = zone is None or zone.vni != network.vni
        if zone is None or new:
            zone = self._zones[name] = ZoneNames(network.vni, domain)
            self._zones_of.setdefault(name.parent, set()).add(name)
            ports = {port.name for port in state.ports_of(name)}
        renamed, zone.domain = zone.domain != domain, domain
        change = ZoneChange(name, domain)
        for touched in zone.follow(state, ports):
            if touched in zone.addresses:
                change.upserted[touched] = zone.addresses[touched]
            else:
                change.removed.add(touched)
        return change if new or renamed or change.upserted or change.removed else None


def _kept(message: host_sync_pb2.ServicePort) -> bytes:
    """Return a message as bytes: for equal messages the same."""
    return message.SerializeToString(deterministic=True)


def guest_mtu(state: State, network: Network) -> int:
    """Return the MTU that guests of a network are told, in bytes; 0 while it is present nowhere."""
    mtu = overlay_mtu(state, network)
    return min(mtu, network.mtu_limit) if network.mtu_limit else mtu


def domain_of(network: Network) -> str:
    """Return the domain of a network's names."""
    name = network.name
    return network.dns_domain or f"{name.network}.{name.tenant}.{DOMAIN_SUFFIX}"


def service_port(
    state: State, told: Told, port: Port, network: Network, ofport: int, mtu: int
) -> host_sync_pb2.ServicePort:
    """Return what the local services must know of a port that is plugged under this number."""
    boot = port.dhcp_options
    return host_sync_pb2.ServicePort(
        number=port.number,
        vni=network.vni,
        mac=port.mac,
        port=str(port.name),
        addresses=[_address(state, told, ip) for ip in port.fixed_ips],
        mtu=mtu,
        hostname=host_name(port),
        domain=domain_of(network),
        device_id=port.device_id,
        project_id=port.project_id,
        next_server=boot.next_server,
        boot_file_bios=boot.boot_file_bios,
        boot_file_uefi=boot.boot_file_uefi,
        boot_file_ipxe=boot.boot_file_ipxe,
        ofport=ofport,
        allowed_prefixes=[str(pair.prefix) for pair in port.allowed_address_pairs],
        routers=told.routers(network.name),
    )


def _address(state: State, told: Told, fixed_ip: FixedIp) -> host_sync_pb2.ServiceAddress:
    """An address of a port with what its subnet says; nothing is served if that is not there."""
    address, subnet = fixed_ip.address, state.subnets.get(fixed_ip.subnet)
    if subnet is None:
        return host_sync_pb2.ServiceAddress(
            address=_packed(address), prefix_length=address.max_prefixlen, no_dhcp=True
        )
    router = gateway(state, subnet)
    return host_sync_pb2.ServiceAddress(
        address=_packed(address),
        prefix_length=subnet.cidr.prefixlen,
        router=b"" if router is None else _packed(router),
        dns_servers=map(_packed, subnet.dns_servers),
        ntp_servers=map(_packed, subnet.ntp_servers),
        routes=[
            host_sync_pb2.ServiceRoute(
                destination=_packed(route.destination.network_address),
                prefix_length=route.destination.prefixlen,
                next_hop=_packed(route.next_hop),
            )
            for route in told.routes(subnet, address)
        ],
        no_dhcp=not subnet.dhcp,
        ipv6_mode=subnet_pb2.Ipv6Mode.Value(subnet.ipv6_mode),
    )


def _packed(address: IpAddress) -> bytes:
    """The address as it travels: 4 bytes or 16."""
    return address.packed
