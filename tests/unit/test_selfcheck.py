"""What is kept of hosts' flows is compared with a compilation from nothing, and put right if it differs."""

from __future__ import annotations

import pytest

from cloison.model import Direction, SecurityGroupRule
from cloison.names import TenantName
from controller.flows import Flow
from controller.reconcile import selfcheck
from controller.reconcile.flowset import Unit
from controller.verify.holding import HostChange
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import H1, NETWORK, Controller, controller, pair, port_flows_of, settled

OUT = SecurityGroupRule(id="out", number=1, direction=Direction.EGRESS)


def tamper(made: Controller, unit: Unit) -> tuple[Flow, ...]:
    """Lose what a defect would lose, as if the change had never been worked out; return what was there."""
    flows = made.reconciler.hosts[H1].flows
    before = flows.flows_of(unit)
    assert before
    flows.set_units({unit: before[1:]})
    made.reconciler._gate.withheld(H1, before[:1])
    return before


async def test_there_is_nothing_to_repair_after_changes() -> None:
    async with controller() as made:
        _, _, port, _ = await pair(made)
        await made.change(port, disabled=True)
        await made.change(port, disabled=False)
        await settled(made)
        assert made.reconciler.self_check.check_everything() == 0
        assert made.reconciler.self_check.compared > 5


@pytest.mark.parametrize("kind", ["port", "network", "policy", "host", "static"])
async def test_what_is_lost_is_found_and_put_back(kind: str) -> None:
    async with controller() as made:
        h1, _, port, _ = await pair(made)
        group = await made.create_group("ga", OUT)
        await made.create_profile(16, group)
        await settled(made)
        units: dict[str, Unit] = {
            "port": ("port", port), "network": ("network", NETWORK), "policy": ("policy", TenantName("acme")),
            "host": ("host", H1), "static": ("static",),
        }  # fmt: skip
        flows = made.reconciler.hosts[H1].flows
        before = tamper(made, units[kind])
        assert made.reconciler.self_check.check_everything() == 1
        assert set(flows.flows_of(units[kind])) == set(before)
        await eventually(lambda: {f.key for f in before} <= h1.switch.flows.keys(), "sent")
        assert made.reconciler.self_check.check_everything() == 0
        assert made.reconciler.tracker.gate_figures().repaired == 1


async def test_what_is_there_and_should_not_be_goes() -> None:
    async with controller() as made:
        h1, _, port, _ = await pair(made)
        await settled(made)
        kept = made.reconciler.hosts[H1].flows.flows_of(("port", port))
        await made.change(port, disabled=True)
        await settled(made)
        made.reconciler.hosts[H1].flows.set_units({("port", port): kept})
        made.reconciler._gate._verifier.check(None, {H1: HostChange(added=kept)})
        assert made.reconciler.self_check.check_everything() == 1
        assert made.reconciler.hosts[H1].flows.flows_of(("port", port)) == ()
        await eventually(lambda: not port_flows_of(h1, 1), "taken away again")


async def test_it_runs_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "ROUND_INTERVAL_S", 0.01)
    async with controller() as made:
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect()
        await eventually(lambda: made.reconciler.self_check.compared >= 1, "compared")


def test_it_takes_no_more_of_a_core_than_its_share_and_no_less_time_for_a_round_than_it_need() -> None:
    # Much to do: the share decides. Little to do: the round, however often it rests in it.
    assert selfcheck.pause_s(0.001, 5, 1_000_000) == pytest.approx(0.001 / selfcheck.SHARE_OF_CORE)
    few = [selfcheck.pause_s(0.001, 5, 1_000) for _ in range(0, 1_000, 5)]
    assert sum(few) == pytest.approx(selfcheck.ROUND_S)
    # Units that went meanwhile do not make it wait for ever.
    assert selfcheck.pause_s(0.001, 5, 0) == pytest.approx(selfcheck.ROUND_S)
