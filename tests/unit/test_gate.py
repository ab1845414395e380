"""The gate: a compiler that is wrong cannot open a way between tenants, cannot hold up a revocation, and
disturbs nobody else. The bugs are put into the compiler by hand, the rest is real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from cloison.names import PortName
from cloison.v1 import port_pb2
from controller.compiler.view import NetworkView, PortView
from controller.flows import Flow
from controller.reconcile import gate
from controller.reconcile import units as module
from controller.reconcile.gate import GateMode
from tests.support.compiler_bugs import BUGS, Bug, any_network, any_source, with_bug
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import beyond_static, controller, port_flows_of, with_base


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Bug | None], None]:
    """Put a bug into what is compiled for the port of that number; None takes it out."""
    bugs: dict[int, Bug] = {}
    right = module.port_flows

    def port_flows(view: PortView) -> tuple[Flow, ...]:
        bug = bugs.get(view.port_number)
        flows = right(view)
        return with_bug(bug, flows) if bug else flows

    monkeypatch.setattr(module, "port_flows", port_flows)

    def set_bug(number: int, bug: Bug | None) -> None:
        if bug is None:
            bugs.pop(number)
        else:
            bugs[number] = bug

    return set_bug


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
async def test_a_wrong_flow_is_never_sent_and_its_port_says_why(
    compiler: Callable[[int, Bug | None], None], bug: Bug
) -> None:
    async with controller() as made:
        await with_base(made)
        await with_base(made, "globex", 2)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect("if1", "if2", "if3", "if11")
        good = await made.create_port(1, "h1")
        twin = await made.create_port(11, "h1", tenant="globex")
        await made.active(good)
        await made.active(twin)
        compiler(2, bug)
        watched = made.reconciler.tracker.status_changes()
        bad = await made.create_port(2, "h1")
        await eventually(lambda: made.status(bad) == port_pb2.Port.ERROR, "the gate refused")
        async with asyncio.timeout(5):
            # Who watches is sent the port as it is now (test_api_watch.py).
            while await anext(watched) != bad:
                pass
        watched.close()
        (condition,) = made.reconciler.tracker.port_state(made.store.state.ports[bad])[1]
        assert condition.reason == "REFUSED_BY_GATE"
        assert str(bad) in condition.message, "the objects are named"
        assert "table=" in condition.message, "the way of a packet is shown, flow by flow"
        assert not port_flows_of(h1, 2)
        assert made.reconciler.tracker.gate_figures().refused >= 1
        other = await made.create_port(3, "h1")
        await made.active(other)
        assert made.status(good) == port_pb2.Port.ACTIVE
        assert all(flow not in sent for sent in all_sent(h1) for flow in bugged(made, bad, bug))


@pytest.mark.parametrize("mode", [GateMode.WARN, GateMode.OFF])
async def test_a_gate_that_does_not_enforce_says_so_and_sends(
    compiler: Callable[[int, Bug | None], None], mode: GateMode
) -> None:
    with capture_logs() as logs:
        async with controller(gate=mode) as made:
            await with_base(made)
            h1 = MemoryHost(made.reconciler, 1)
            await h1.connect("if1")
            compiler(1, any_source)
            port = await made.create_port(1, "h1")
            await made.active(port)
            assert set(bugged(made, port, any_source)) <= set(port_flows_of(h1, 1))
            figures = made.reconciler.tracker.gate_figures()
            assert (figures.mode, figures.refused) == (mode.value, 0)
    said = [entry["event"] for entry in logs if entry["log_level"] in ("warning", "error")]
    assert any("DOES NOT ENFORCE" in event for event in said)
    assert any("would break isolation" in event for event in said) == (mode is GateMode.WARN)


async def test_what_cannot_be_proved_in_time_is_not_sent(
    compiler: Callable[[int, Bug | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "CHANGE_STEPS", 0)
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect("if1", "if2")
        good = await made.create_port(1, "h1")
        await made.active(good)
        compiler(2, any_source)
        bad = await made.create_port(2, "h1")
        await eventually(lambda: made.status(bad) == port_pb2.Port.ERROR, "the gate refused")
        (condition,) = made.reconciler.tracker.port_state(made.store.state.ports[bad])[1]
        assert condition.reason == "REFUSED_BY_GATE"
        assert condition.message.startswith("refused; explanation cut off; ")
        assert "could not be proved in time" in condition.message
        assert not port_flows_of(h1, 2)
        assert made.status(good) == port_pb2.Port.ACTIVE


def all_sent(host: MemoryHost) -> list[set[Flow]]:
    return [{*delta.add, *delta.modify} for delta in host.switch.deltas]


def bugged(made: object, name: PortName, bug: Bug) -> list[Flow]:
    """The flows that the bug alone would have made for the port."""
    state = made.store.state  # type: ignore[attr-defined]
    (binding,) = state.bindings_of(name)
    view = module.port_view(state, name, binding.host)
    assert view is not None
    from controller.compiler import port_flows

    right = set(port_flows(view))
    return [made_wrong for flow in right if (made_wrong := bug(flow)) and made_wrong not in right]


async def test_the_last_good_flows_stay_when_a_change_of_a_port_is_refused(
    compiler: Callable[[int, Bug | None], None],
) -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect("if1", "if2")
        port, other = await made.create_port(1, "h1"), await made.create_port(2, "h1")
        await made.active(port)
        await made.active(other)
        before = beyond_static(h1)
        compiler(1, any_source)
        await made.commit(lambda txn, state: txn.update(state.ports[port], relabelled(state.ports[port])))
        await eventually(lambda: made.status(port) == port_pb2.Port.ERROR, "refused")
        assert beyond_static(h1) >= {f for f in before if f.table == 0}
        compiler(1, None)
        await made.commit(lambda txn, state: txn.update(state.ports[port], relabelled(state.ports[port])))
        await made.active(port)


def relabelled(port: object) -> object:
    meta = port.meta  # type: ignore[attr-defined]
    return replace(port, meta=replace(meta, display_name=meta.display_name + "x"))  # type: ignore[type-var]


async def test_a_bug_cannot_hold_up_a_revocation(
    compiler: Callable[[int, Bug | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port goes while the compiler of its network is broken: its flows must go all the same."""
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect("if1", "if2")
        port, other = await made.create_port(1, "h1"), await made.create_port(2, "h1")
        await made.active(port)
        await made.active(other)
        right = module.network_flows

        def broken(view: NetworkView) -> tuple[Flow, ...]:
            return tuple(any_network(flow) for flow in right(view))

        monkeypatch.setattr(module, "network_flows", broken)
        await made.delete_port(port)
        await eventually(lambda: not port_flows_of(h1, 1), "the port's flows are gone")
