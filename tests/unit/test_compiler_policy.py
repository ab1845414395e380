"""Policy: what a rule becomes, where it is direct and where conjunctive, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from cloison.model import AddressGroup, Direction, EtherType, Meta
from cloison.names import AddressGroupName
from controller.compiler import PolicyCost, PolicyView, policy_cost, policy_flows
from controller.compiler.describe import example_policy
from controller.compiler.pipeline import EGRESS, INGRESS, TABLE_NAMES
from controller.compiler.policy.ports import masked
from controller.flows import Conjunction, Flow
from controller.flows.text import flows_text
from tests.support.compiled import group_name, policy, rule
from tests.support.flow_interpreter import Tables

GOLDEN = Path(__file__).parents[1] / "golden" / "policy.flows"
IN, OUT = Direction.INGRESS, Direction.EGRESS
TCP, ICMP = 6, 1
NEW = 0x21


def matches(view: PolicyView, table: int = INGRESS.number) -> list[dict[str, tuple[int, int]]]:
    return [
        {t.field.name: (t.value, t.mask) for t in f.match} for f in policy_flows(view) if f.table == table
    ]


def clauses(flows: tuple[Flow, ...]) -> list[Flow]:
    return [f for f in flows if any(isinstance(a, Conjunction) for a in f.actions)]


def golden_policy() -> PolicyView:
    """A shop: web is reached from anywhere, the database from web only, both by ssh from the office."""
    office = AddressGroupName("acme", "office")
    ssh = rule(IN, 2, protocol=TCP, port_min=22, port_max=22, remote_address_group=office)
    return policy(
        {16: ["default", "web"], 17: ["default", "database"], 18: ["default"]},
        {
            "default": [rule(OUT), rule(IN, 2, remote_group=group_name("default"))],
            "web": [rule(IN, 1, protocol=TCP, port_min=80, port_max=80), ssh],
            "database": [
                rule(IN, 1, protocol=TCP, port_min=3306, port_max=3309, remote_group=group_name("web")),
                ssh,
                rule(OUT, 3, ether_type=EtherType.IPV6, protocol=58, icmp_type=128, icmp_code=0),
            ],
        },
        address_groups={
            office: AddressGroup(
                name=office,
                meta=Meta(uid=""),
                prefixes=(
                    ip_network("192.0.2.0/25"),
                    ip_network("192.0.2.128/25"),
                    ip_network("2001:db8:ffff::/48"),
                ),
            )
        },
    )


def test_golden() -> None:
    """A change of these flows is seen by who reviews it. Write the file anew: see the message."""
    text = flows_text(policy_flows(golden_policy()), TABLE_NAMES)
    again = "GOLDEN.write_text(flows_text(policy_flows(golden_policy()), TABLE_NAMES))"
    assert GOLDEN.read_text() == text, again


def test_every_field_of_a_connection_comes_with_its_prerequisites() -> None:
    """Open vSwitch silently leaves out a port matched without its protocol."""
    for flow in policy_flows(golden_policy()):
        terms = {t.field.name: t for t in flow.match}
        told = {name for name in terms if name.startswith("ct_") and name != "ct_state"}
        if told:
            assert terms["ct_state"].mask == 0x30
            assert terms["ct_state"].value == 0x20
            assert terms["eth_type"].value in (0x0800, 0x86DD)
        if {"ct_tp_src", "ct_tp_dst"} & told:
            assert terms["ct_nw_proto"].mask == 0xFF


def test_every_flow_is_bound_to_its_tenant() -> None:
    for flow in policy_flows(golden_policy()):
        assert {t.field.name for t in flow.match if t.value} & {"reg6", "reg7", "reg8"}


def test_one_of_everything_is_direct() -> None:
    """A flow for the port, and one for later fragments, which show no port."""
    view = policy(
        {16: ["a"]}, {"a": [rule(IN, protocol=TCP, port_min=22, port_max=22, ether_type=EtherType.IPV4)]}
    )
    assert clauses(policy_flows(view)) == []
    common = {
        "reg7": (16, 0xFFFFFFFF),
        "eth_type": (0x800, 0xFFFF),
        "ct_state": (0x20, 0x30),
        "ct_nw_proto": (6, 255),
    }
    assert matches(view) == [common | {"ct_tp_dst": (22, 0xFFFF)}, common | {"ip_frag": (2, 2)}]


def test_no_family_no_traffic_no_remote_is_one_flow_for_a_profile() -> None:
    view = policy({16: ["a"], 17: ["a"], 18: []}, {"a": [rule(OUT)]})
    assert matches(view, EGRESS.number) == [{"reg6": (16, 0xFFFFFFFF)}, {"reg6": (17, 0xFFFFFFFF)}]


def test_a_remote_group_grows_by_the_sum() -> None:
    numbers = range(16, 116)
    members = policy({n: ["a"] for n in numbers}, {"a": [rule(IN, remote_group=group_name("a"))]})
    assert policy_cost(members).flows <= 2 * len(numbers) + 1


def test_rules_share_what_they_match_alike() -> None:
    """A hundred rules of two groups for the same profiles: their profiles are matched once."""
    rules = [
        rule(
            IN,
            n,
            protocol=TCP,
            port_min=n,
            port_max=n,
            remote_group=group_name("b"),
            ether_type=EtherType.IPV4,
        )
        for n in range(1, 101)
    ]
    view = policy({16: ["a"], 17: ["a"], 18: ["b"], 19: ["b"]}, {"a": rules, "b": []})
    ports, admitting = 100 + 1, 100
    assert policy_cost(view) == PolicyCost(flows=2 + 2 + ports + admitting, masks=5, conjunctions=100)


@pytest.mark.parametrize(
    "told",
    [
        {"remote_group": group_name("gone")},
        {"remote_address_group": AddressGroupName("acme", "gone")},
        {"remote_prefix": ip_network("10.0.0.0/8"), "ether_type": EtherType.IPV6},
    ],
)
def test_who_is_not_there_is_not_let_in(told: dict[str, object]) -> None:
    assert policy_flows(policy({16: ["a"]}, {"a": [rule(IN, **told)]})) == ()


def test_a_rule_of_a_group_nobody_is_in_costs_nothing() -> None:
    assert policy_cost(policy({16: ["b"]}, {"a": [rule(IN), rule(OUT, 2)]})) == PolicyCost(0, 0, 0)


def test_another_rule_does_not_change_the_flows_of_the_first() -> None:
    """Numbers of conjunctions are of a rule and its group, and not of a place in a list."""
    first = rule(IN, 7, remote_group=group_name("a"))
    more = [rule(IN, 1, remote_group=group_name("b")), first]
    few = policy({16: ["a"], 17: ["a", "b"]}, {"a": [first], "b": []})
    many = replace(few, groups=policy({}, {"a": more, "b": [rule(OUT)]}).groups)
    kept = {f.key: f for f in policy_flows(many)}
    admits = [f for f in policy_flows(few) if not clauses((f,))]
    assert admits
    assert all(kept[f.key] == f for f in admits)


def test_two_tenants_with_the_same_numbers_do_not_meet() -> None:
    """Each has a rule of the same group and number for two profiles; ports of one, remote of the other."""
    remote = [rule(IN, protocol=TCP, port_min=22, port_max=22, remote_prefix=ip_network("10.0.0.0/25"))]
    other = [rule(IN, protocol=TCP, port_min=80, port_max=80, remote_prefix=ip_network("10.0.0.0/24"))]
    mine = policy({16: ["a"], 17: ["a"]}, {"a": remote}, tenant_number=1)
    theirs = policy({18: ["a"], 19: ["a"]}, {"a": other}, tenant_number=2)
    tables = Tables([*policy_flows(mine), *policy_flows(theirs)])
    seen = {"eth_type": 0x800, "ct_state": NEW, "ct_nw_proto": TCP, "ct_nw_src": 0x0A000005}
    for profile, tenant, port in ((16, 1, 22), (18, 2, 80)):
        for tried in (22, 80):
            packet = seen | {"reg7": profile, "reg8": tenant, "ct_tp_dst": tried}
            assert (tables.find(packet, INGRESS.number) is not None) == (tried == port)


def test_icmp_type_and_code_are_where_the_tracker_keeps_them() -> None:
    view = policy(
        {16: ["a"]}, {"a": [rule(IN, protocol=ICMP, icmp_type=8, icmp_code=0, ether_type=EtherType.IPV4)]}
    )
    terms = matches(view)[0]
    assert terms["ct_tp_src"] == (8, 0xFFFF)
    assert terms["ct_tp_dst"] == (0, 0xFFFF)


def test_addresses_of_a_group_are_put_together() -> None:
    """Two halves of a range are one match; everything is no match at all."""
    names = [AddressGroupName("acme", n) for n in ("halves", "all")]
    halves = ip_network("10.0.0.0/25"), ip_network("10.0.0.128/25")
    everything = ip_network("0.0.0.0/1"), ip_network("128.0.0.0/1")
    groups = {
        name: AddressGroup(name=name, meta=Meta(uid=""), prefixes=prefixes)
        for name, prefixes in zip(names, (halves, everything), strict=True)
    }
    rules = [rule(OUT, n, remote_address_group=name) for n, name in enumerate(names, 1)]
    found = matches(policy({16: ["a"]}, {"a": rules}, address_groups=groups), EGRESS.number)
    assert [m.get("ct_nw_dst") for m in found] == [(0x0A000000, 0xFFFFFF00), None]
    assert all(m["eth_type"] == (0x800, 0xFFFF) for m in found)


@pytest.mark.parametrize(
    ("low", "high", "pairs"),
    [
        (0, 65535, [(0, 0)]),
        (22, 22, [(22, 0xFFFF)]),
        (80, 81, [(80, 0xFFFE)]),
        (1024, 65535, [(1 << n, 0xFFFF & -(1 << n)) for n in range(10, 16)]),
        (1000, 1999, [(1000, 0xFFF8), (1008, 0xFFF0), (1024, 0xFE00), (1536, 0xFF00), (1792, 0xFF80),
                      (1920, 0xFFC0), (1984, 0xFFF0)]),
    ],
)  # fmt: skip
def test_ranges_as_masks(low: int, high: int, pairs: list[tuple[int, int]]) -> None:
    assert list(masked(low, high)) == pairs


def test_the_worst_range_and_no_range() -> None:
    assert len(masked(1, 65534)) == 30
    for low, high in ((2, 1), (-1, 3), (0, 65536)):
        with pytest.raises(ValueError, match="no range"):
            masked(low, high)


def test_a_range_of_ports_shows_in_the_masks_of_a_policy() -> None:
    wide = rule(IN, protocol=TCP, port_min=1, port_max=65534)
    many = policy_cost(policy({16: ["a"], 17: ["a"]}, {"a": [wide]}))
    assert many.masks > policy_cost(example_policy()).masks
    assert many.masks >= 15
