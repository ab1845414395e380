"""The gate and security groups: a compiler that is wrong about rules lets nobody in whom no rule admits, and
what is withdrawn is withdrawn. The bugs are put into the compiler by hand, the rest is real.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cloison.model import Direction, SecurityGroupRule
from cloison.names import PortName, SecurityGroupName, TenantName
from cloison.v1 import port_pb2
from controller.compiler.view import PolicyView
from controller.flows import Flow
from controller.reconcile import policies as policies_module
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import H1, Controller, controller, settled, with_base
from tests.unit.test_reconciler_policy import policy_of, ports_in

ANY_OUT = SecurityGroupRule(id="out", number=1, direction=Direction.EGRESS)
SSH = SecurityGroupRule(id="ssh", number=2, direction=Direction.INGRESS, protocol=6, port_min=22, port_max=22)
WEB = replace(SSH, id="web", number=3, port_min=80, port_max=80)
GROUP = SecurityGroupName("acme", "ga")
UNIT = ("policy", TenantName("acme"))

PolicyBug = Callable[[tuple[Flow, ...]], tuple[Flow, ...]]


def without(flows: tuple[Flow, ...], *names: str) -> tuple[Flow, ...]:
    """The flows with some match fields forgotten, each key once."""
    made = (replace(f, match=tuple(t for t in f.match if t.field.name not in names)) for f in flows)
    return tuple({flow.key: flow for flow in made}.values())


def any_port(flows: tuple[Flow, ...]) -> tuple[Flow, ...]:
    """Rules that forget which ports they are about."""
    return without(flows, "ct_tp_dst")


def any_profile(flows: tuple[Flow, ...]) -> tuple[Flow, ...]:
    """Rules that forget whose they are."""
    return without(flows, "reg6", "reg7")


def no_rules(flows: tuple[Flow, ...]) -> tuple[Flow, ...]:
    """Rules that are not there."""
    return ()


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> list[PolicyBug]:
    """Bugs in what is compiled for every tenant's policy; empty at first."""
    bugs: list[PolicyBug] = []
    right = policies_module.policy_flows

    def policy_flows(view: PolicyView) -> tuple[Flow, ...]:
        flows = right(view)
        for bug in bugs:
            flows = bug(flows)
        return flows

    monkeypatch.setattr(policies_module, "policy_flows", policy_flows)
    return bugs


async def two_ports(made: Controller) -> tuple[MemoryHost, PortName]:
    """Two ports of one group on one host, who may reach each other by ssh."""
    await with_base(made)
    group = await made.create_group("ga", ANY_OUT, SSH)
    await made.create_profile(16, group)
    h1 = MemoryHost(made.reconciler, 1)
    await h1.connect("if1", "if2")
    ports = [await made.create_port(n, "h1", profile=16, security_groups=(GROUP,)) for n in (1, 2)]
    for port in ports:
        await made.active(port)
    await settled(made)
    return h1, ports[0]


@pytest.mark.parametrize("bug", [any_port, any_profile])
async def test_a_rule_that_lets_too_many_in_is_not_sent(compiler: list[PolicyBug], bug: PolicyBug) -> None:
    async with controller() as made:
        h1, port = await two_ports(made)
        before = policy_of(h1)
        compiler.append(bug)
        await made.change(GROUP, rules=(ANY_OUT, SSH, WEB))
        await eventually(lambda: made.status(port) == port_pb2.Port.ERROR, "refused")
        assert {reason for reason, _ in made.reasons(port)} == {"REFUSED_BY_GATE"}
        assert policy_of(h1) == before, "what is there lets in none too many, so it stays"
        compiler.clear()
        await made.change(GROUP, rules=(ANY_OUT, WEB, SSH))
        await made.active(port)
        await settled(made)
        assert ports_in(policy_of(h1)) == {22, 80}


async def test_a_withdrawal_is_not_held_up_by_a_wrong_rule(compiler: list[PolicyBug]) -> None:
    async with controller() as made:
        h1, port = await two_ports(made)
        assert ports_in(policy_of(h1)) == {22}
        compiler.append(any_port)
        await made.change(GROUP, rules=(ANY_OUT, WEB))
        await eventually(lambda: made.status(port) == port_pb2.Port.ERROR, "refused")
        await eventually(lambda: not policy_of(h1), "what is there lets too many in now: it goes")


async def test_rules_that_are_missing_harm_nobody_else(compiler: list[PolicyBug]) -> None:
    async with controller() as made:
        await with_base(made, "globex", 2)
        h1, port = await two_ports(made)
        compiler.append(no_rules)
        await made.change(GROUP, rules=(ANY_OUT, SSH, WEB))
        await eventually(lambda: made.reconciler.revision == made.store.state.revision, "followed")
        h1.plug("if11")
        other = await made.create_port(11, "h1", tenant="globex")
        await made.active(other)
        assert made.status(port) in (port_pb2.Port.ERROR, port_pb2.Port.ACTIVE)
        assert made.reconciler.hosts[H1].flows.flows_of(UNIT) == () or ports_in(policy_of(h1)) == {22}


async def test_a_group_that_changes_at_once_with_its_ports_is_judged_as_one() -> None:
    """No half of a change is ever judged, or sent: membership and rules of one moment belong together."""
    async with controller() as made:
        h1, port = await two_ports(made)
        other = await made.create_group("gb", WEB)
        await made.create_profile(17, other)
        await made.change(port, profile=17, security_groups=(other.name,))
        await settled(made)
        await made.active(port)
        assert ports_in(policy_of(h1)) == {22, 80}
        assert made.reconciler.tracker.gate_figures().refused == 0
