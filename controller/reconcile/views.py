"""From the state to what one host carries: views for the compiler, locations for the tunnel plan. Pure.

Fail closed: a port is seen only when everything about it fits (plugged.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

from cloison.addresses import IpAddress, Mac, host_mac, link_local, wire_mac
from cloison.model import PROFILE_FIRST, PROFILE_NONE, Host, Network, Port, SecurityGroup
from cloison.names import HostName, NetworkName, PortName, TenantName
from controller.compiler import Everyone, HostUnitView, NetworkView, PolicyView, PortView
from controller.reconcile.claims import claimed_by, reached_by_mac
from controller.reconcile.exits import exit_views
from controller.reconcile.peerings import peer_groups
from controller.reconcile.plugged import HasPort as HasPort
from controller.reconcile.plugged import believe as believe
from controller.reconcile.plugged import is_plugged, seen_binding
from controller.reconcile.plugged import live_binding as live_binding
from controller.reconcile.routers import router_views
from controller.store.state import State

# Outer Ethernet, IP, UDP and VXLAN headers (RFC 7348, section 5) count against the underlay's MTU,
# the inner Ethernet header too: 14 + 20 + 8 + 8, or 40 instead of 20 for IPv6.
OVERHEAD4 = 50
OVERHEAD6 = 70


def vxlan_device(vni: int) -> str:
    """Name of a network's VXLAN device, on every host."""
    return f"vx{vni:06x}"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a port is: its host's VTEP, and every destination MAC under which frames reach it."""

    host: HostName
    vtep: IpAddress
    macs: frozenset[Mac]


def port_view(state: State, name: PortName, host: HostName, has_port: HasPort = believe) -> PortView | None:
    """Return what the compiler must know of a port on a host; None if it is not plugged there.

    has_port: no way out leads to an interface that its bridge does not have.
    """
    port, binding = state.ports.get(name), state.bindings.get((name, host))
    network = state.networks.get(name.parent)
    tenant = state.tenants.get(name.parent.parent)
    if port is None or binding is None or network is None or tenant is None or not is_plugged(port, binding):
        return None
    lives = live_binding(state, port) is binding
    return PortView(
        tenant_number=tenant.number,
        port_number=port.number,
        vni=network.vni,
        ofport=binding.ofport,
        mac=port.mac,
        addresses=tuple(sorted((f.address for f in port.fixed_ips), key=lambda a: (a.version, int(a)))),
        profile=_profile(state, port),
        allowed_address_pairs=port.allowed_address_pairs,
        claimed=claimed_by(state, port, binding) if lives else (),
        standby=not lives,
        exits=exit_views(state, port, host, has_port) if lives else (),
    )


def _profile(state: State, port: Port) -> int:
    """Return the profile of a port; nothing is allowed to one whose profile is not there."""
    if port.profile < PROFILE_FIRST:
        return port.profile
    known = state.profiles.get(port.profile)
    return port.profile if known is not None and known.tenant == port.name.parent.parent else PROFILE_NONE


# OpenFlow port, policy profile and number of the ports of a network, by host.
Plugged = Mapping[HostName, Sequence[tuple[int, int, int]]]


def plugged_ports(state: State, name: NetworkName, has_port: HasPort = believe) -> Plugged:
    """Return the live ports of a network, where the bridge has what is bound."""
    found: dict[HostName, list[tuple[int, int, int]]] = {}
    for port in state.ports_of(name):
        binding = seen_binding(state, port, has_port)
        if binding is not None:
            found.setdefault(binding.host, []).append((binding.ofport, _profile(state, port), port.number))
    return found


def network_view(
    state: State,
    name: NetworkName,
    host: HostName,
    plugged: Callable[[], Plugged] | None = None,
    has_port: HasPort = believe,
) -> NetworkView | None:
    """Return what the compiler must know of a network on a host; None if it is not present there.

    plugged: gives its ports, if they are known already or not every one is to be believed; has_port: which of
    its routers' next hops are.
    """
    network = state.networks.get(name)
    tenant = state.tenants.get(name.parent)
    if network is None or tenant is None or not state.is_present(name, host):
        return None
    tunnel = state.tunnel_ports.get((host, network.vni))
    subnets = sorted(
        (s.cidr for s in state.subnets_of(name)), key=lambda c: (c.version, int(c.network_address))
    )
    return NetworkView(
        tenant_number=tenant.number,
        vni=network.vni,
        subnets=tuple(subnets),
        tunnel_ofport=tunnel.ofport if tunnel else None,
        routers=router_views(state, name, has_port) if state.bound_ports(name, host) else (),
        everyone=_everyone(state, host, plugged() if plugged else plugged_ports(state, name))
        if network.multicast and state.bound_ports(name, host)
        else None,
    )


def _everyone(state: State, host: HostName, plugged: Plugged) -> Everyone:
    macs: dict[HostName, int] = {}
    for name in plugged:
        there = state.hosts.get(name)
        if there is not None and there.vtep is not None:
            macs[name] = host_mac(there.vtep)
    return Everyone(
        ports=tuple(sorted(plugged.get(host, ()))),
        own_mac=macs.get(host),
        other_macs=tuple(sorted(mac for name, mac in macs.items() if name != host)),
    )


def policy_view(state: State, name: TenantName, host: HostName) -> PolicyView | None:
    """Return what the compiler must know of a tenant's policy; None on a host that has no port of it."""
    tenant = state.tenants.get(name)
    if tenant is None or host not in state.tenant_hosts(name):
        return None
    peers = peer_groups(state, name)
    return PolicyView(
        tenant_number=tenant.number,
        profiles={profile.number: profile.groups for profile in state.profiles_of(name)}
        | {number: (group.name,) for number, group in peers.items()},
        groups={group.name: group for group in (*used_groups(state, name), *peers.values())},
        address_groups={group.name: group for group in state.address_groups_of(name)},
    )


def used_groups(state: State, name: TenantName) -> list[SecurityGroup]:
    """Return the security groups of a tenant that some profile has: no other one makes any flow."""
    used = {group for profile in state.profiles_of(name) for group in profile.groups}
    return [group for group in state.groups_of(name) if group.name in used]


def host_unit_view(state: State, name: HostName, service_ofport: int | None) -> HostUnitView | None:
    """Return what the compiler must know of a host itself; None while the overlay cannot be used from it."""
    host = state.hosts.get(name)
    mtu = host_mtu(host) if host is not None else 0
    return HostUnitView(service_ofport=service_ofport, mtu=mtu) if mtu else None


def location(state: State, name: PortName) -> Location | None:
    """Return where a port is, None if it lives nowhere or its host has no VTEP yet."""
    port = state.ports.get(name)
    binding = live_binding(state, port) if port else None
    host = state.hosts.get(binding.host) if binding else None
    if port is None or binding is None or host is None or host.vtep is None:
        return None
    addresses: list[IpAddress] = [f.address for f in port.fixed_ips]
    if any(isinstance(a, IPv6Address) for a in addresses):
        addresses.append(link_local(port.mac))
    addresses += claimed_by(state, port, binding)
    real = [port.mac] if reached_by_mac(port) else []
    return Location(binding.host, host.vtep, frozenset([*real, *map(wire_mac, addresses)]))


def overlay_mtu(state: State, network: Network) -> int:
    """Return the MTU of a network in bytes, 0 while it is present nowhere."""
    least, hosts = 0, state.hosts
    for name in state.span(network.name):  # a network may be on very many
        host = hosts.get(name)
        size = host_mtu(host) if host is not None else 0
        if size and (size < least or not least):
            least = size
    return least


def host_mtu(host: Host) -> int:
    """Return what fits into the overlay from a host, in bytes; 0 if that is not known yet."""
    if host.vtep is None or not host.underlay_mtu:
        return 0
    return host.underlay_mtu - (OVERHEAD6 if isinstance(host.vtep, IPv6Address) else OVERHEAD4)
