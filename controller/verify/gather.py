"""From the controller's state to the intent the proof judges by. Pure; the state is read, never kept.

It is written from the meaning of the objects, not from what the compiler is given: a port is plugged where
the first of its requested hosts has a binding that was made for this very port, unless it is disabled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from cloison.model import Host, Network, Port, PortBinding, Stored, Subnet, TunnelPort, Vni
from cloison.names import HostName, NetworkName, PortName
from controller.verify.intent import HostIntent, Intent, IntentDelta, NetworkIntent, PortIntent


class Stated(Protocol):
    """The part of the controller's state that the proof reads."""

    @property
    def networks(self) -> Mapping[NetworkName, Network]:
        """All networks."""

    @property
    def ports(self) -> Mapping[PortName, Port]:
        """All ports."""

    @property
    def hosts(self) -> Mapping[HostName, Host]:
        """All hosts."""

    @property
    def bindings(self) -> Mapping[tuple[PortName, HostName], PortBinding]:
        """All port bindings."""

    @property
    def tunnel_ports(self) -> Mapping[tuple[HostName, Vni], TunnelPort]:
        """The OpenFlow ports of VXLAN devices."""

    def subnets_of(self, name: NetworkName) -> Iterable[Subnet]:
        """Subnets of a network."""

    def network_by_vni(self, vni: Vni) -> Network | None:
        """The network of a VNI."""


def port_intent(state: Stated, name: PortName) -> PortIntent | None:
    """Return what is wanted of a port, None if there is none of that name."""
    port = state.ports.get(name)
    if port is None:
        return None
    binding = None if port.disabled else _binding(state, port)
    return PortIntent(
        name=name,
        number=port.number,
        mac=port.mac,
        addresses=tuple(fixed.address for fixed in port.fixed_ips),
        host=binding.host if binding is not None else None,
        ofport=binding.ofport if binding is not None else 0,
    )


def _binding(state: Stated, port: Port) -> PortBinding | None:
    for host in port.requested_hosts:
        binding = state.bindings.get((port.name, host))
        if binding is not None and binding.port_uid == port.meta.uid and binding.ofport > 0:
            return binding
    return None


def network_intent(state: Stated, name: NetworkName, hosts: Iterable[HostName]) -> NetworkIntent | None:
    """Return what is wanted of a network, None if there is none of that name; hosts: where it may have a device."""
    network = state.networks.get(name)
    if network is None:
        return None
    found = ((host, state.tunnel_ports.get((host, network.vni))) for host in hosts)
    return NetworkIntent(
        name=name,
        vni=network.vni,
        subnets=tuple(sorted((s.cidr for s in state.subnets_of(name)), key=str)),
        tunnels={host: tunnel.ofport for host, tunnel in found if tunnel is not None and tunnel.ofport > 0},
    )


def host_intent(state: Stated, name: HostName) -> HostIntent | None:
    """Return what is known of a host, None if there is none of that name."""
    host = state.hosts.get(name)
    return HostIntent(name=name, vtep=host.vtep) if host is not None else None


def intent_of(state: Stated) -> Intent:
    """Return the whole intent."""
    ports = {name: port_intent(state, name) for name in state.ports}
    at: dict[int, list[HostName]] = {}
    for host, vni in state.tunnel_ports:
        at.setdefault(vni, []).append(host)
    networks = {n: network_intent(state, n, at.get(network.vni, ())) for n, network in state.networks.items()}
    hosts = {name: host_intent(state, name) for name in state.hosts}
    return Intent(
        hosts={n: h for n, h in hosts.items() if h is not None},
        networks={n: w for n, w in networks.items() if w is not None},
        ports={n: p for n, p in ports.items() if p is not None},
    )


def intent_delta(changed: Iterable[Stored], state: Stated) -> IntentDelta:
    """Return what the intent becomes where some stored objects (old and new values) changed; state is after them.

    A network is read with a device on any host: in proportion to the number of hosts, not of objects.
    """
    hosts: dict[HostName, HostIntent | None] = {}
    networks: dict[NetworkName, NetworkIntent | None] = {}
    ports: dict[PortName, PortIntent | None] = {}
    for value in changed:
        match value:
            case Port():
                ports[value.name] = port_intent(state, value.name)
            case PortBinding():
                ports[value.port] = port_intent(state, value.port)
            case Network():
                networks[value.name] = network_intent(state, value.name, state.hosts)
            case Subnet():
                networks[value.name.parent] = network_intent(state, value.name.parent, state.hosts)
            case TunnelPort():
                network = state.network_by_vni(value.vni)
                if network is not None:
                    networks[network.name] = network_intent(state, network.name, state.hosts)
            case Host():
                hosts[value.name] = host_intent(state, value.name)
            case _:
                pass
    return IntentDelta(hosts=hosts, networks=networks, ports=ports)
