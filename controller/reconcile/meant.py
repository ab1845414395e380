"""From the state to what the verifier holds the flows against. Pure.

Written for the proof alone: it shares the predicate of what is plugged (views.py) with the compiler's
views, and nothing else, so that an error in the one is not repeated in the other.
"""

from __future__ import annotations

from cloison.names import HostName, NetworkName, PortName
from controller.reconcile.impact import Impact
from controller.reconcile.views import HasPort, live_binding, vxlan_device
from controller.reconcile.views import believe as believe
from controller.store.state import State
from controller.verify.intent import HostIntent, Intent, IntentDelta, NetworkIntent, PortIntent


def intent_of(state: State, has_port: HasPort = believe) -> Intent:
    """Return everything that is meant at one revision."""
    networks = {name: network_intent(state, name, has_port) for name in state.networks}
    ports = {name: port_intent(state, name, has_port) for name in state.ports}
    return Intent(
        hosts={name: HostIntent(name=name, vtep=host.vtep) for name, host in state.hosts.items()},
        networks={name: network for name, network in networks.items() if network},
        ports={name: port for name, port in ports.items() if port},
    )


def intent_delta(
    state: State, impact: Impact, hosts: set[HostName], has_port: HasPort = believe
) -> IntentDelta:
    """Return the new value of everything that a revision touches."""
    ports = impact.moved | {port for _, port in impact.port_units}
    networks = impact.spans | {network for _, network in impact.network_units}
    return IntentDelta(
        hosts={name: host_intent(state, name) for name in hosts},
        networks={name: network_intent(state, name, has_port) for name in networks},
        ports={name: port_intent(state, name, has_port) for name in ports},
    )


def host_intent(state: State, name: HostName) -> HostIntent | None:
    """Return what is meant of a host, None if it is gone."""
    host = state.hosts.get(name)
    return HostIntent(name=name, vtep=host.vtep) if host else None


def network_intent(state: State, name: NetworkName, has_port: HasPort) -> NetworkIntent | None:
    """Return what is meant of a network, None if it is gone."""
    network = state.networks.get(name)
    if network is None or name.parent not in state.tenants:
        return None
    tunnels = {}
    for host in state.bound_hosts(name):
        tunnel = state.tunnel_ports.get((host, network.vni))
        if tunnel is not None and has_port(host, tunnel.ofport, vxlan_device(network.vni)):
            tunnels[host] = tunnel.ofport
    cidrs = tuple(subnet.cidr for subnet in state.subnets_of(name))
    return NetworkIntent(name=name, vni=network.vni, subnets=cidrs, tunnels=tunnels)


def port_intent(state: State, name: PortName, has_port: HasPort) -> PortIntent | None:
    """Return what is meant of a port, None if it is gone; without a host if it lives nowhere."""
    port = state.ports.get(name)
    if port is None or name.parent not in state.networks:
        return None
    binding = live_binding(state, port)
    if binding is not None and not has_port(binding.host, binding.ofport, binding.interface):
        binding = None
    return PortIntent(
        name=port.name,
        number=port.number,
        mac=port.mac,
        addresses=tuple(ip.address for ip in port.fixed_ips),
        host=binding.host if binding else None,
        ofport=binding.ofport if binding else 0,
    )
