"""The gate follows any history of correct changes: it refuses nothing, and what it has checked bit by bit
holds as a whole.
"""

from __future__ import annotations

import pytest

from cloison.model import Host
from cloison.names import HostName
from controller.compiler import static_flows
from controller.reconcile.flowset import FlowSet
from controller.reconcile.gate import Gate, GateMode
from controller.reconcile.impact import impact_of
from controller.reconcile.meant import delta_in_pieces, intent_of
from controller.reconcile.tunnels import TunnelPlans
from controller.reconcile.units import STATIC_UNIT, Units
from controller.store.changes import RevisionChanges
from controller.store.state import State
from controller.turns import at_once
from controller.verify.intent import IntentDelta
from tests.support.intents import World


class Gated:
    """The reconciler's arithmetic with its gate, without sessions."""

    def __init__(self) -> None:
        self.gate = Gate(GateMode.ENFORCE)
        self.units, self.plans = Units({}), TunnelPlans()
        self.flows: dict[HostName, FlowSet] = {}

    def follow(self, revision: RevisionChanges, state: State) -> None:
        hosts = {c.stored.name for c in revision.changes if isinstance(c.stored, Host)}
        for host in hosts - self.flows.keys():
            self._begin(host)
        impact = impact_of(revision.changes, state)
        plans = self.plans.update(state, impact)
        units = self.units.compile(state, impact)
        delta = at_once(delta_in_pieces(state, impact, hosts))
        verdict = at_once(self.gate.examining(delta, units, plans, self.flows, revision.revision))
        assert verdict.refused == (), "\n".join(map(str, verdict.refused[:2]))
        for host, compiled in units.items():
            assert self.flows[host].set_units(compiled) == []

    def _begin(self, host: HostName) -> None:
        flows = self.flows[host] = FlowSet()
        static = {host: {STATIC_UNIT: static_flows()}}
        assert at_once(self.gate.examining(IntentDelta(), static, {}, self.flows, 0)).refused == ()
        flows.set_units(static[host])


@pytest.mark.parametrize("seed", range(12))
def test_correct_changes_are_let_through_and_hold(seed: int) -> None:
    world, gated = World(seed), Gated()
    for revision in world.history(60):
        gated.follow(revision, world.state)
    verifier = gated.gate._verifier
    assert verifier.settled
    assert verifier.check_everything() == []
    assert verifier.world.networks == intent_of(world.state).networks
