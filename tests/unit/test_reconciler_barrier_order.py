"""A receipt that a removal needs is asked for when the removal is in the switch, whatever else happens."""

from __future__ import annotations

from controller.reconcile.tunnels import NetworkChange, PlanChange
from tests.support.hosts import eventually
from tests.support.reconciling import VNI, controller, port_flows_of, settled, with_slow


async def test_a_barrier_for_older_changes_does_not_stand_for_a_bundle_on_its_way() -> None:
    async with controller() as made:
        slow, h1 = await with_slow(made)
        await h1.connect("if1")
        port = await made.create_port(1, "h1")
        await made.active(port)
        await settled(made)
        actor = made.reconciler.hosts[h1.name]
        slow.may_apply.clear()
        before = made.store.state.revision
        await made.change(port, disabled=True)
        await eventually(lambda: actor.flows_progress.outstanding, "the removal is on its way")
        await eventually(lambda: slow.asked, "and in the hands of the switch")
        h1.barriers.clear()
        # Of a revision from before it: its receipt says nothing of the bundle.
        actor.change(before, {}, PlanChange(networks={VNI: NetworkChange(1450)}))
        await eventually(lambda: h1.barriers, "asked for")
        slow.may_apply.set()
        await eventually(lambda: not port_flows_of(h1, 1), "removed")
        await settled(made)
        assert [b.revalidate for b in h1.barriers if b.revision > before] == [True]
