"""From the state to what the verifier holds the flows against. Pure.

Written for the proof alone: it shares the predicate of what is plugged (views.py) with the compiler's
views, and nothing else, so that an error in the one is not repeated in the other.
"""

from __future__ import annotations

from cloison.model import Network, Port
from cloison.names import HostName, NetworkName, PortName
from controller.reconcile.impact import Impact
from controller.reconcile.views import live_binding
from controller.store.state import State
from controller.verify.intent import HostIntent, Intent, IntentDelta, NetworkIntent, PortIntent


def intent_of(state: State) -> Intent:
    """Return everything that is meant at one revision."""
    networks = {name: network_intent(state, name) for name in state.networks}
    ports = {name: port_intent(state, name) for name in state.ports}
    return Intent(
        hosts={name: HostIntent(name=name, vtep=host.vtep) for name, host in state.hosts.items()},
        networks={name: network for name, network in networks.items() if network},
        ports={name: port for name, port in ports.items() if port},
    )


def intent_delta(state: State, impact: Impact, hosts: set[HostName]) -> IntentDelta:
    """Return the new value of everything that a revision touches."""
    ports = impact.moved | {port for _, port in impact.port_units}
    networks = impact.spans | {network for _, network in impact.network_units}
    return IntentDelta(
        hosts={name: host_intent(state, name) for name in hosts},
        networks={name: network_intent(state, name) for name in networks},
        ports={name: port_intent(state, name) for name in ports},
    )


def host_intent(state: State, name: HostName) -> HostIntent | None:
    """Return what is meant of a host, None if it is gone."""
    host = state.hosts.get(name)
    return HostIntent(name=name, vtep=host.vtep) if host else None


def network_intent(state: State, name: NetworkName) -> NetworkIntent | None:
    """Return what is meant of a network, None if it is gone."""
    network = state.networks.get(name)
    return _network(state, network) if network and name.parent in state.tenants else None


def _network(state: State, network: Network) -> NetworkIntent:
    tunnels = {}
    for host in state.bound_hosts(network.name):
        tunnel = state.tunnel_ports.get((host, network.vni))
        if tunnel is not None:
            tunnels[host] = tunnel.ofport
    return NetworkIntent(
        name=network.name,
        vni=network.vni,
        subnets=tuple(subnet.cidr for subnet in state.subnets_of(network.name)),
        tunnels=tunnels,
    )


def port_intent(state: State, name: PortName) -> PortIntent | None:
    """Return what is meant of a port, None if it is gone; without a host if it lives nowhere."""
    port = state.ports.get(name)
    return _port(state, port) if port and name.parent in state.networks else None


def _port(state: State, port: Port) -> PortIntent:
    binding = live_binding(state, port)
    return PortIntent(
        name=port.name,
        number=port.number,
        mac=port.mac,
        addresses=tuple(ip.address for ip in port.fixed_ips),
        host=binding.host if binding else None,
        ofport=binding.ofport if binding else 0,
    )
