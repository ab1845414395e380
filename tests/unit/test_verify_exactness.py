"""Small damage that few packets show: the proof sees it, and sees nothing where no packet shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

from cloison.model import Direction
from cloison.names import HostName, SecurityGroupName
from controller.flows import Flow, MatchTerm, match
from controller.verify import violation as kinds
from controller.verify.exact import Arrival, Judge, Trail
from controller.verify.frame import Frame
from controller.verify.intent import HostIntent, Intent
from controller.verify.isolation import verify_all
from controller.verify.packet import cube
from controller.verify.path import HostState
from controller.verify.policy import PROFILE_FIRST, RuleIntent
from controller.verify.semantics import Fate
from controller.verify.space import Region
from controller.verify.stages import ADDRESSING, SERVICE, SERVICES, SOURCE, TRACK
from controller.verify.violation import Violation
from controller.verify.world import World
from tests.support.worlds import compile_intent
from tests.unit.test_verify_findings import (
    FORWARD,
    GROUP,
    H1,
    INGRESS,
    changed,
    crowd,
    named,
    policed,
)

METADATA = 0xA9FEA9FE


def test_a_conjunction_that_leads_nowhere_spoils_another() -> None:
    """A packet of both may be taken for one of that which leads nowhere, and be lost."""
    rules = (
        RuleIntent(direction=Direction.EGRESS),
        RuleIntent(direction=Direction.INGRESS, remote_group=GROUP),
        RuleIntent(direction=Direction.INGRESS, remote_group=GROUP, protocol=6),
    )
    intent = crowd(2, rules)
    other = SecurityGroupName("t1", "g1")
    policy = intent.policies["t1"]
    profiles = {PROFILE_FIRST: (GROUP,), PROFILE_FIRST + 1: (GROUP, other)}
    intent = replace(intent, policies={"t1": replace(policy, profiles=profiles)})
    states = compile_intent(intent)
    openers = [f for f in states[next(iter(states))].flows if f.table == INGRESS and named(f, "conj_id")]
    assert len(openers) == 2

    def of_nobody(term: MatchTerm) -> MatchTerm:
        return term._replace(value=3) if term.field.name == "reg8" else term

    for opener in openers:
        moved = replace(opener, match=tuple(map(of_nobody, opener.match)))
        damaged = changed(states, lambda f, old=opener, new=moved: new if f is old else f)  # type: ignore[misc]
        assert policed(damaged, intent)


def passing_by(intent: Intent, table: int, goto: int, wanted: Callable[[Flow], bool]) -> list[Violation]:
    def wrong(flow: Flow) -> Flow:
        return replace(flow, goto=goto) if flow.table == table and wanted(flow) else flow

    return verify_all(intent, changed(compile_intent(intent), wrong))


def test_what_passes_by_its_meter_is_found_though_it_arrives() -> None:
    found = passing_by(crowd(2), SERVICES, SERVICE, lambda f: named(f, "arp_tpa") == METADATA)
    assert {v.kind for v in found} == {kinds.STAGE}
    assert all("meter" in v.message and v.packet is not None and v.path for v in found)
    assert {name for v in found for name in v.objects} == {str(name) for name in crowd(2).ports}


def test_what_passes_by_connection_tracking_is_found_though_it_arrives() -> None:
    found = passing_by(
        crowd(2), SERVICES, ADDRESSING, lambda f: f.goto == TRACK and named(f, "eth_type") == 0x0800
    )
    assert {v.kind for v in found} == {kinds.STAGE}
    assert all("connection" in v.message and v.packet is not None and v.path for v in found)


def test_a_broken_table_of_a_host_is_named_even_if_packets_are_only_lost() -> None:
    """With one of them: what else such a table does, to packets of others, is not known."""
    intent = crowd(2)
    found = verify_all(intent, changed(compile_intent(intent), lambda f: None if f.table == SOURCE else f))
    (stage,) = (v for v in found if v.kind == kinds.STAGE)
    assert "source MAC" in stage.message
    assert stage.packet is not None
    assert stage.path
    assert not {v.kind for v in found} & {kinds.LEAK, kinds.ALTERED}


def test_where_the_default_of_policy_stands_matters() -> None:
    """Every other flow of these tables admits, in whatever order; the default does no harm below them."""
    rules = (
        RuleIntent(direction=Direction.EGRESS),
        RuleIntent(direction=Direction.INGRESS, remote_group=GROUP, protocol=6),
    )
    intent = crowd(2, rules)
    states = compile_intent(intent)
    default = next(f for f in states[H1].flows if f.table == INGRESS and not f.priority)
    rule = next(f for f in states[H1].flows if f.table == INGRESS and named(f, "ct_nw_proto") == 6)
    for flow, priority, right in (
        (default, 1, True),
        (default, rule.priority, False),
        (default, rule.priority - 1, True),
        (default, rule.priority + 1, False),
        (default, 300, False),
        (default, 1000, False),
        (rule, 0, False),
        (rule, 7, True),
    ):
        moved = replace(flow, priority=priority)
        damaged = changed(states, lambda f, old=flow, new=moved: new if f is old else f)  # type: ignore[misc]
        assert (policed(damaged, intent) == ()) == right, (flow, priority)


def test_the_services_of_a_host_without_ports_harm_nobody() -> None:
    """They speak in networks that have ports there: of none, what becomes of their frames is no matter."""
    intent = crowd(2)
    alone = HostName("h2")
    host = HostIntent(name=alone, vtep=IPv4Address("172.16.0.2"), service_ofport=7, mtu=1450)
    intent = replace(intent, hosts={**intent.hosts, alone: host})
    states = compile_intent(intent)
    stray = Flow(table=0, priority=100, match=match(in_port=7, eth_type=0x0800, vlan_vid=0), goto=FORWARD)
    damaged = {**states, alone: HostState((*states[alone].flows, stray), {}, {})}
    assert verify_all(intent, damaged) == []
    here = replace(stray, match=match(in_port=200, eth_type=0x0800, vlan_vid=0))
    assert verify_all(intent, {**states, H1: replace(states[H1], flows=(*states[H1].flows, here))})


def test_where_no_packet_is_left_nothing_is_mistreated() -> None:
    """Parts may be empty (explore): who would get such packets is no fault, and no error."""
    world = World(crowd(2))
    sender, receiver = sorted((p for p in world.ports.values() if p.host is not None), key=lambda p: p.name)[
        :2
    ]
    assert sender.host is not None
    assert receiver.host is not None
    half = cube(ct_state=(0, 1)), cube(ct_state=(1, 1))
    nothing = Region(*cube(eth_type=0x0800), half)
    elsewhere = Arrival(sender.host, 250, Frame(nothing))
    wanted = Fate(receiver.host, receiver.ofport, receiver.mac)
    judge = Judge(world, {})
    assert not list(judge._mistreated(Trail(nothing, (elsewhere,), False), (wanted,), sender))
    something = nothing._replace(holes=half[:1])
    assert list(judge._mistreated(Trail(something, (elsewhere,), False), (wanted,), sender))
