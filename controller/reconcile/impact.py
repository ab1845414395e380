"""Which parts of which hosts a revision touches. Pure: the look-ups that make work follow the change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cloison.model import Host, Network, Port, PortBinding, Stored, Subnet, Tenant, TunnelPort
from cloison.names import HostName, NetworkName, PortName
from controller.store.changes import Change
from controller.store.state import State


@dataclass(slots=True)
class Impact:
    """Units to compile again. A host's unit is compiled from the new state; nothing is patched."""

    port_units: set[tuple[HostName, PortName]] = field(default_factory=set)
    network_units: set[tuple[HostName, NetworkName]] = field(default_factory=set)
    # Ports whose location may be another, and networks whose presence or MTU may be.
    moved: set[PortName] = field(default_factory=set)
    spans: set[NetworkName] = field(default_factory=set)

    @property
    def networks(self) -> set[NetworkName]:
        """Networks for which the tunnel plan of some host may change."""
        return self.spans | {port.parent for port in self.moved}


def impact_of(changes: Iterable[Change], state: State) -> Impact:
    """Return what the changes of one revision touch; state is the one after them."""
    impact = Impact()
    for change in changes:
        for value in (change.old, change.new):
            if value is not None:
                _add(impact, value, state)
        if change.old is None and isinstance(change.new, Tenant | Network):
            _came_late(impact, change.new, state)
    return impact


def _came_late(impact: Impact, new: Tenant | Network, state: State) -> None:
    """Something is there of which others were part already: its record could not be read until now."""
    networks = state.networks_of(new.name) if isinstance(new, Tenant) else (new,)
    for network in networks:
        _add(impact, network, state)
        for port in state.ports_of(network.name):
            _moved(impact, port.name, state)


def _add(impact: Impact, value: Stored, state: State) -> None:
    match value:
        case Port():
            for host in value.requested_hosts:
                impact.port_units.add((host, value.name))
            _moved(impact, value.name, state)
        case PortBinding():
            impact.port_units.add((value.host, value.port))
            impact.network_units.add((value.host, value.port.parent))
            _moved(impact, value.port, state)
        case Subnet():
            for host in state.bound_hosts(value.name.parent):
                impact.network_units.add((host, value.name.parent))
        case TunnelPort():
            network = state.network_by_vni(value.vni)
            if network is not None:
                impact.network_units.add((value.host, network.name))
        case Network():
            impact.spans.add(value.name)
            for host in state.bound_hosts(value.name):
                impact.network_units.add((host, value.name))
        case Host():
            _add_host(impact, value, state)
        case _:
            pass


def _moved(impact: Impact, port: PortName, state: State) -> None:
    impact.moved.add(port)
    impact.spans.add(port.parent)
    # Another of its bindings may have become the live one.
    for binding in state.bindings_of(port):
        impact.port_units.add((binding.host, port))
        impact.network_units.add((binding.host, port.parent))


def _add_host(impact: Impact, host: Host, state: State) -> None:
    """The VTEP or MTU may have changed: every port on it has another location."""
    for binding in state.bindings_on(host.name):
        impact.moved.add(binding.port)
        impact.spans.add(binding.port.parent)
