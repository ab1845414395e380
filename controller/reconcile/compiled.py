"""What all hosts should hold, compiled from the state: flows unit by unit, and plans. Does no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from cloison.names import HostName, RouterName
from controller.reconcile.edges import EdgePlans
from controller.reconcile.host import HostActor
from controller.reconcile.impact import Impact, whole_in_pieces
from controller.reconcile.services import ServicePlans
from controller.reconcile.tunnels import PlanChange, TunnelPlans
from controller.reconcile.units import UnitFlows, Units
from controller.store.state import State
from controller.turns import Work


class Compiled:
    """Units and plans of every host, followed revision by revision."""

    def __init__(self, hosts: Mapping[HostName, HostActor]) -> None:
        """hosts: the actors there are, who know what their bridges call their ports."""
        self.units = Units(hosts)
        self.tunnels = TunnelPlans(self.units.has_port)
        self._services = ServicePlans(self.units.has_port)
        self._edges = EdgePlans()

    def updating(self, state: State, impact: Impact) -> Work[tuple[UnitFlows, dict[HostName, PlanChange]]]:
        """Follow one revision, in pieces; return the flows of what is touched, and how plans change.

        Adds to impact. The state may not change before the end, and plan_of says nothing until then.
        """
        # Plans first: they know which networks come to a host, or go.
        plans = yield from self.tunnels.updating(state, impact)
        units = yield from self.units.compiling(state, impact)
        services = yield from self._services.updating(state, impact)
        for host, change in services.items():
            plans.setdefault(host, PlanChange()).services = change
        for host, edges in self._edges.update(state, impact).items():
            plans.setdefault(host, PlanChange()).edges = edges
        return units, plans

    def load(self, state: State) -> Work[tuple[UnitFlows, set[RouterName]]]:
        """Begin with a state, in pieces; return the flows of all there is, and the routers with edges.

        The state may not change before the end. For the plans of hosts ask plan_of.
        """
        carried = yield from self.tunnels.load(state)
        yield from self._services.load(state)
        yield from self._edges.load(state)
        impact = yield from whole_in_pieces(state)
        impact.network_units |= carried
        units = yield from self.units.compiling(state, impact)
        return units, impact.edges

    def plan_of(self, host: HostName) -> PlanChange:
        """Return the whole plan of a host, as the change from nothing."""
        plan = self.tunnels.snapshot(host)
        plan.services = self._services.snapshot(host)
        plan.edges = self._edges.snapshot(host)
        return plan
