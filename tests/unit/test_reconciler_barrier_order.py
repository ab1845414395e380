"""A receipt that a removal needs is asked for when the removal is in the switch, whatever else happens."""

from __future__ import annotations

from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import SlowSwitch, controller, port_flows_of, settled, with_base


async def test_a_barrier_for_older_changes_does_not_stand_for_a_bundle_on_its_way() -> None:
    async with controller() as made:
        await with_base(made)
        slow = SlowSwitch(1, "h1")
        slow.may_read.set()
        h1, h2 = MemoryHost(made.reconciler, 1, slow), MemoryHost(made.reconciler, 2)
        await h1.connect("if1", "if3")
        await h2.connect("if2")
        first, other = await made.create_port(1, "h1"), await made.create_port(2, "h2")
        await made.create_port(3, "h1")
        await made.active(first)
        await made.active(other)
        await settled(made)
        h1.mute = True
        slow.may_apply.clear()
        # Its agent owes a receipt, its switch has yet to take the removal; then comes a change for the agent alone.
        await made.change(other, disabled=True)
        await made.change(first, disabled=True)
        await eventually(lambda: made.reconciler.hosts[h1.name].flows_progress.outstanding, "on its way")
        await made.change(other, disabled=False)
        await settled_but_for_the_switch(h1)
        h1.barriers.clear()
        slow.may_apply.set()
        await eventually(lambda: not port_flows_of(h1, 1), "removed")
        await eventually(
            lambda: any(b.revalidate and b.flows_changed for b in h1.barriers), "asked for after it"
        )


async def settled_but_for_the_switch(host: MemoryHost) -> None:
    """All that was queued for the agent has come."""
    await eventually(lambda: host.session._queue.empty(), "nothing queued")
