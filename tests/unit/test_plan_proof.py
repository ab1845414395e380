"""Verification of a plan's outcome: silent about what the compiler makes, loud if it went wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.api.planning import proof
from controller.api.planning.draft import draft
from controller.api.planning.proof import violations_of
from controller.compiler import PortView, port_flows
from controller.flows import Flow
from tests.support.api import AS, Api
from tests.support.compiler_bugs import BUGS
from tests.support.plans import SEED, Operations, both, of, random_request, random_world, refused
from tests.support.requests import NET, ip, make_world, port
from tests.unit.test_plan_desired import changing


@pytest.mark.parametrize("seed", range(30))
async def test_nothing_is_wrong(seed: int) -> None:
    operations = Operations(seed, outside=seed % 2 == 1)
    store = await random_world(operations, 80)
    made = draft(store.state, random_request(operations, store.state, 20), SEED, operator=True)
    assert violations_of(made) == []
    await store.stop()


@pytest.fixture
async def plugged(api: Api) -> Api:
    await make_world(api)
    for number in (5, 6):
        name = f"w{number}"
        await both(api, of(port(name, fixed_ips=[ip(f"10.0.0.1{number}")], requested_hosts=["hosts/h1"])))
        await api.bind(f"{NET}/ports/{name}", "hosts/h1", number)
    return api


# One network alone can't be delivered another's frames: that is the gate's to find, which sees all of them.
@pytest.mark.slow
@pytest.mark.parametrize("bug", [name for name in BUGS if name != "any_network"])
async def test_a_bug_is_found_beforehand(plugged: Api, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    """The compiler goes wrong for the port as it would be: shown by the plan, and refused."""
    request = of(changing("w5", mac_address="52:54:00:00:00:55"))
    broken: Callable[[Flow], Flow | None] = BUGS[bug]

    def wrong(view: PortView) -> tuple[Flow, ...]:
        flows = port_flows(view)
        if view.mac != 0x525400000055:
            return flows
        return tuple(made for flow in flows if (made := broken(flow)) is not None)

    monkeypatch.setattr(proof, "port_flows", wrong)
    plan = await plugged.plans.Plan(request)
    assert plan.violations, bug
    assert any(f"{NET}/ports/w5" in v.subjects or v.host == "hosts/h1" for v in plan.violations)
    refusal = await refused(both(plugged, request))
    assert refusal.reason == "VIOLATION"
    seen = await plugged.plans.Plan(request, metadata=((AS, "tenant/acme/admin"),))
    assert seen.violations
    assert "h1" not in str(seen)
    monkeypatch.undo()
    assert not (await plugged.plans.Plan(request)).violations
