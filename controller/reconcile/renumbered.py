"""What relies on the numbers that a bridge gives its interfaces, when it gives others. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

from cloison.model import PortBinding, TunnelPort
from cloison.names import HostName
from controller.reconcile.host import HostActor
from controller.reconcile.impact import Impact, add_everyone, add_next_hops
from controller.reconcile.naming import Naming
from controller.reconcile.views import vxlan_device
from controller.store.state import State


class Renamings:
    """Bridges that name their ports otherwise than before, as long as nothing was made of that."""

    def __init__(self, hosts: Mapping[HostName, HostActor]) -> None:
        """hosts: the actors there are."""
        self._hosts = hosts
        self._before: list[tuple[HostActor, Naming]] = []

    def note(self, actor: HostActor, before: Naming) -> None:
        """A host's bridge does, since just now."""
        self._before.append((actor, before))

    def take(self, state: State) -> Impact:
        """Return what that touches, and count it as done."""
        renamed, self._before, impact = self._before, [], Impact()
        for actor, before in renamed:
            if self._hosts.get(actor.name) is actor:
                impact.add(renumbered(state, actor.name, before, actor.naming))
        return impact


def renumbered(state: State, host: HostName, before: Naming, now: Naming) -> Impact:
    """Return what is touched by a host's bridge naming its ports otherwise than before."""
    impact, numbers = Impact(), now.renamed(before)

    def is_other(ofport: int, interface: str) -> bool:
        return before.has(ofport, interface) != now.has(ofport, interface)

    if before.service_ofport != now.service_ofport:
        impact.host_units.add(host)
    bindings: Iterable[PortBinding] = state.bindings_on(host)
    tunnels: Iterable[TunnelPort] = state.tunnel_ports_on(host)
    if numbers is not None:
        bindings = chain.from_iterable(state.bindings_at(host, n) for n in numbers)
        tunnels = chain.from_iterable(state.tunnel_ports_at(host, n) for n in numbers)
    for binding in bindings:
        if is_other(binding.ofport, binding.interface):
            impact.port_units.add((host, binding.port))
            impact.moved.add(binding.port)
            impact.served.add(binding.port)
            add_everyone(impact, binding.port.parent, state)
    for tunnel in tunnels:
        network = state.network_by_vni(tunnel.vni)
        if network is not None and is_other(tunnel.ofport, vxlan_device(tunnel.vni)):
            impact.network_units.add((host, network.name))
    add_next_hops(impact, state)
    return impact
