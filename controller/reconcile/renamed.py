"""What follows when a bridge gives its numbers to other interfaces than before. Pure.

A stored binding or tunnel port counts as long as the bridge itself calls that number so (HostActor.has_port).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cloison.names import HostName
from controller.reconcile.host import HostActor, Ports
from controller.reconcile.impact import Impact, add_everyone, add_next_hops
from controller.reconcile.views import vxlan_device
from controller.store.state import State


class Renamed(NamedTuple):
    """A host whose bridge names its ports otherwise. before: how it did; service: the services' port too."""

    actor: HostActor
    before: Ports
    service: bool

    def since(self, earlier: Renamed | None) -> Renamed:
        """Return this together with what was not worked out yet."""
        if earlier is None or earlier.actor is not self.actor:
            return self
        return Renamed(self.actor, earlier.before, self.service or earlier.service)


def add_renamed(impact: Impact, renamed: Renamed, state: State) -> None:
    """Add what relies on a number that stands for something else now."""
    host = renamed.actor.name
    is_other = _comparison(renamed)
    if renamed.service:
        impact.host_units.add(host)
    for binding in state.bindings_on(host):
        if is_other(binding.ofport, binding.interface):
            impact.port_units.add((host, binding.port))
            impact.moved.add(binding.port)
            impact.served.add(binding.port)
            add_everyone(impact, binding.port.parent, state)
    _add_devices(impact, host, is_other, state)
    add_next_hops(impact, state)


def _comparison(renamed: Renamed) -> Callable[[int, str], bool]:
    actor, before, _ = renamed

    def is_other(ofport: int, interface: str) -> bool:
        had = before is None or before.get(ofport) == interface
        return had != actor.has_port(ofport, interface)

    return is_other


def _add_devices(impact: Impact, host: HostName, is_other: Callable[[int, str], bool], state: State) -> None:
    for tunnel in state.tunnel_ports_on(host):
        network = state.network_by_vni(tunnel.vni)
        if network is not None and is_other(tunnel.ofport, vxlan_device(tunnel.vni)):
            impact.network_units.add((host, network.name))
