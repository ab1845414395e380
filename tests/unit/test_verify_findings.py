"""What the proof says first, and says at all, when much is wrong at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from cloison.model import Direction
from cloison.names import HostName, NetworkName, PortName, SecurityGroupName
from controller.flows import Ct, Flow, Output, SetField, match
from controller.verify import findings
from controller.verify import violation as kinds
from controller.verify.grammar import Refused
from controller.verify.intent import HostIntent, Intent, NetworkIntent, PortIntent
from controller.verify.isolation import verify_all
from controller.verify.path import HostState
from controller.verify.policed import Policed
from controller.verify.policy import PROFILE_FIRST, PolicyIntent, RuleIntent
from controller.verify.stages import CLAIMED_IP
from controller.verify.symbolic import Bridge
from controller.verify.world import World
from tests.support.worlds import compile_intent

H1, NETWORK, GROUP = HostName("h1"), NetworkName("t1", "n0"), SecurityGroupName("t1", "g0")
FORWARD, INGRESS = 20, 25


def crowd(ports: int, rules: tuple[RuleIntent, ...] | None = None) -> Intent:
    """So many ports of one network on one host, in one group, that lets everything through if not said."""
    everything = tuple(RuleIntent(direction=direction) for direction in Direction)
    policy = PolicyIntent(
        number=1, profiles={PROFILE_FIRST: (GROUP,)}, groups={GROUP: rules or everything}, address_groups={}
    )
    return Intent(
        hosts={H1: HostIntent(name=H1, vtep=IPv4Address("172.16.0.1"), service_ofport=200, mtu=1450)},
        networks={
            NETWORK: NetworkIntent(
                name=NETWORK, vni=4096, subnets=(IPv4Network("10.0.0.0/24"),), tunnels={H1: 100}
            )
        },
        ports={
            name: PortIntent(
                name=name, number=n, mac=0x020000000000 + n, addresses=(IPv4Address(f"10.0.0.{n}"),),
                host=H1, ofport=n, profile=PROFILE_FIRST,
            )
            for n in range(1, ports + 1)
            for name in [PortName("t1", "n0", f"p{n}")]
        },
        policies={"t1": policy},
    )  # fmt: skip


def changed(
    states: dict[HostName, HostState], change: Callable[[Flow], Flow | None]
) -> dict[HostName, HostState]:
    flows = tuple(new for flow in states[H1].flows if (new := change(flow)) is not None)
    return {H1: HostState(flows, states[H1].fdb, states[H1].devices)}


def named(flow: Flow, name: str) -> int | None:
    return next((term.value for term in flow.match if term.field.name == name), None)


def test_many_losses_do_not_hide_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gets anything, and the last one of all says that it is another."""
    monkeypatch.setattr(findings, "VIOLATIONS_MAX", 2)
    count = 5
    intent = crowd(count)

    def wrong(flow: Flow) -> Flow | None:
        if flow.table == FORWARD and named(flow, "eth_dst") not in (None, 0x020000000001, 0x0AF00A000001):
            return None
        if named(flow, "in_port") == count and named(flow, CLAIMED_IP) is not None:
            return replace(flow, match=tuple(t for t in flow.match if t.field.name != CLAIMED_IP))
        return flow

    found = verify_all(intent, changed(compile_intent(intent), wrong))
    assert found[0].kind == kinds.LEAK
    assert str(PortName("t1", "n0", f"p{count}")) in found[0].objects
    lost = [v.kind == kinds.BLACKHOLE for v in found]
    assert lost == sorted(lost)
    assert any(lost)
    assert len(found) == 2


def test_a_loss_of_one_sender_does_not_hide_its_leak() -> None:
    intent = crowd(3)

    def wrong(flow: Flow) -> Flow | None:
        if flow.table == FORWARD and named(flow, "eth_dst") in (0x020000000002, 0x0AF00A000002):
            return None
        if named(flow, "in_port") == 1 and named(flow, CLAIMED_IP) is not None:
            return replace(flow, match=tuple(t for t in flow.match if t.field.name != CLAIMED_IP))
        return flow

    found = verify_all(intent, changed(compile_intent(intent), wrong))
    first = next(v for v in found if str(PortName("t1", "n0", "p1")) in v.objects)
    assert first.kind == kinds.LEAK


def test_what_is_not_defined_does_not_hide_a_leak() -> None:
    """Two flows of one priority, for packets to one port; and one more copy of what is for another."""
    intent = crowd(3)
    states = compile_intent(intent)
    rival = Flow(
        table=FORWARD, priority=110, actions=(Output(3),),
        match=next(f.match for f in states[H1].flows if named(f, "eth_dst") == 0x0AF00A000002),
    )  # fmt: skip
    twin = next(f for f in states[H1].flows if named(f, "eth_dst") == 0x0AF00A000002)
    narrower = replace(rival, priority=twin.priority, match=twin.match[:-1])

    def wrong(flow: Flow) -> Flow | None:
        if flow.table == FORWARD and named(flow, "eth_dst") == 0x0AF00A000001:
            return replace(flow, actions=(Output(3), *flow.actions))
        return flow

    damaged = changed(states, wrong)
    damaged = {H1: HostState((*damaged[H1].flows, narrower), damaged[H1].fdb, damaged[H1].devices)}
    found = {v.kind for v in verify_all(intent, damaged)}
    assert found & {kinds.LEAK, kinds.ALTERED, kinds.UNDEFINED}
    assert kinds.SELF_CHECK not in found


def test_what_policy_drops_anyway_is_no_harm() -> None:
    """Its source MAC would stay as it is; a packet that shows it must be one that is let through."""
    tcp = RuleIntent(direction=Direction.INGRESS, protocol=6)
    intent = crowd(2, (RuleIntent(direction=Direction.EGRESS), tcp))
    damaged = changed(compile_intent(intent), lambda f: replace(f, actions=()) if f.table == 28 else f)
    found = verify_all(intent, damaged)
    assert {v.kind for v in found} == {kinds.ALTERED}
    assert found[0].packet is not None
    assert found[0].packet.ct_nw_proto == 6


def test_what_services_send_is_followed_to_the_port() -> None:
    intent = crowd(1)

    def wrong(flow: Flow) -> Flow:
        actions = (replace(a, value=0x02) if isinstance(a, SetField) else a for a in flow.actions)
        return replace(flow, actions=tuple(actions)) if named(flow, "in_port") == 200 else flow

    found = verify_all(intent, changed(compile_intent(intent), wrong))
    assert [v.kind for v in found] == [kinds.ALTERED]
    assert "the local services" in found[0].message
    # Nobody is there who could get it.
    nobody = Intent(hosts=intent.hosts, networks=intent.networks, policies=intent.policies)
    assert verify_all(nobody, changed(compile_intent(intent), wrong))[0].kind != kinds.ALTERED


def policed(states: dict[HostName, HostState], intent: Intent) -> tuple[object, ...]:
    return Policed().wrong(Bridge(states[H1].flows), World(intent), "t1")


def test_policy_of_another_form_is_judged_by_what_it_does() -> None:
    """A flow that no compiler makes, and that changes nothing; then one that lets more through, or less."""
    rules = (
        RuleIntent(direction=Direction.EGRESS),
        RuleIntent(direction=Direction.INGRESS, protocol=6, port_min=80, port_max=80),
    )
    intent = crowd(2, rules)
    states = compile_intent(intent)
    rule = next(f for f in states[H1].flows if f.table == INGRESS and named(f, "ct_tp_dst") == 80)
    for extra, right in (
        (replace(rule, priority=rule.priority + 1, match=rule.match), True),
        (replace(rule, priority=1, goto=None, match=rule.match), True),
        (replace(rule, priority=rule.priority + 1, goto=None), False),
        (replace(rule, priority=5, match=tuple(t for t in rule.match if t.field.name != "ct_tp_dst")), False),
        (replace(rule, priority=5, match=()), False),
        # Of ports without groups, which every tenant may have.
        (Flow(table=INGRESS, priority=250, match=match(reg7=2), actions=(), goto=26), False),
    ):
        damaged = {H1: HostState((*states[H1].flows, extra), states[H1].fdb, states[H1].devices)}
        assert (policed(damaged, intent) == ()) == right, extra
    assert not any(isinstance(wrong, Refused) for wrong in policed(states, intent))


def test_connections_are_asked_for_in_the_right_zone_only() -> None:
    intent = crowd(2)

    def wrong(flow: Flow) -> Flow:
        actions = (replace(a, zone=7) if isinstance(a, Ct) else a for a in flow.actions)
        return replace(flow, actions=tuple(actions))

    found = verify_all(intent, changed(compile_intent(intent), wrong))
    assert {v.kind for v in found} >= {kinds.FORBIDDEN_FLOW}


def test_a_loss_does_not_hide_a_missing_meter() -> None:
    intent = crowd(2)

    def wrong(flow: Flow) -> Flow | None:
        if flow.table == FORWARD and named(flow, "eth_dst") in (0x020000000002, 0x0AF00A000002):
            return None
        return replace(flow, meter=None) if flow.meter == 1 else flow

    found = verify_all(intent, changed(compile_intent(intent), wrong))
    assert (kinds.STAGE, "meter") in {(v.kind, "meter" if "meter" in v.message else "") for v in found}
    gone = verify_all(intent, changed(compile_intent(intent), lambda f: None if f.meter == 1 else f))
    assert {v.kind for v in gone} == {kinds.BLACKHOLE}
