"""Which part of the state a round looks at: the cost of a change follows the change, not the plan."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.plan.model import HostPlan
from cloison.addresses import Mac
from cloison.model import Vni
from cloison.v1 import host_sync_pb2 as pb


@dataclass(slots=True)
class Scope:
    """Networks as a whole (device and all entries), single MACs, the firewall, edges; or everything."""

    everything: bool = False
    firewall: bool = False
    networks: set[Vni] = field(default_factory=set)
    macs: dict[Vni, set[Mac]] = field(default_factory=dict)
    edges: set[int] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.everything or self.firewall or self.networks or self.macs or self.edges)

    def covers_edge(self, number: int) -> bool:
        """Tell whether an edge lies in this scope."""
        return self.everything or number in self.edges

    def covers(self, vni: Vni, mac: Mac | None = None) -> bool:
        """Tell whether the device of vni (mac is None) or one entry of it lies in this scope."""
        if self.everything or vni in self.networks:
            return True
        return mac is not None and mac in self.macs.get(vni, ())

    def merge(self, other: Scope) -> None:
        """Widen this scope by the other one."""
        self.everything = self.everything or other.everything
        self.firewall = self.firewall or other.firewall
        self.networks |= other.networks
        self.edges |= other.edges
        for vni, macs in other.macs.items():
            self.macs.setdefault(vni, set()).update(macs)


def scope_of(delta: pb.PlanDelta, before: HostPlan) -> Scope:
    """Return what a delta touches when it is applied to before."""
    scope = Scope(firewall=bool(delta.removed_vnis))
    scope.networks.update(Vni(vni) for vni in delta.removed_vnis)
    scope.edges.update(delta.removed_edges, (edge.number for edge in delta.edges))
    for change in delta.networks:
        vni = Vni(change.vni)
        known = before.networks.get(vni)
        if known is None or (change.mtu and change.mtu != known.mtu):
            scope.networks.add(vni)
        macs = scope.macs.setdefault(vni, set())
        macs.update(Mac(mac) for mac in change.removed_macs)
        macs.update(Mac(entry.mac) for entry in change.upserted)
        scope.firewall = True
    return scope


def changed(before: HostPlan, after: HostPlan) -> Scope:
    """Return the scope in which two plans differ."""
    scope = Scope(firewall=before.peers != after.peers)
    for vni in before.networks.keys() | after.networks.keys():
        old, new = before.networks.get(vni), after.networks.get(vni)
        if old is new:
            continue
        if old is None or new is None or old.mtu != new.mtu:
            scope.networks.add(vni)
            continue
        differing = dict(old.fdb.items() ^ new.fdb.items())
        if differing:
            scope.macs[vni] = set(differing)
    scope.edges = {
        number
        for number in before.edges.keys() | after.edges.keys()
        if before.edges.get(number) != after.edges.get(number)
    }
    return scope
