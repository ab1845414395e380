"""Policy as compiled says what security groups mean: the same as a reference written without the compiler."""

from __future__ import annotations

from itertools import product

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.compiler import PolicyView, policy_cost, policy_flows, static_flows
from controller.compiler.pipeline import COMMIT, DIRECTION, EGRESS, INGRESS
from controller.compiler.policy.ports import masked
from controller.flows import Flow
from tests.support.effort import examples
from tests.support.flow_interpreter import Tables
from tests.support.policy_cases import connections, packet, policies
from tests.support.policy_reference import Connection, allowed

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def judging(*tenants: PolicyView) -> list[Flow]:
    """The flows of the tables that judge."""
    tables = {t.number for t in (DIRECTION, EGRESS, INGRESS)}
    made = [f for f in static_flows() if f.table in tables]
    return made + [f for tenant in tenants for f in policy_flows(tenant)]


@settings(SLOW, max_examples=examples(600))
@given(policies(), st.lists(connections(), min_size=1, max_size=30))
def test_what_is_compiled_is_what_is_meant(policy: PolicyView, tried: list[Connection]) -> None:
    tables = Tables(judging(policy))
    for connection, reply in product(tried, (False, True)):
        reached = tables.reached(packet(connection, reply=reply), DIRECTION.number)
        assert (COMMIT.number in reached) == allowed(policy, connection), connection


@settings(SLOW, max_examples=examples(300))
@given(policies(1), policies(2), st.lists(connections(), min_size=1, max_size=20))
def test_the_policies_of_two_tenants_do_not_meet(
    mine: PolicyView, other: PolicyView, tried: list[Connection]
) -> None:
    """Their groups have the same names and numbers; only profiles differ, which are unique."""
    moved = PolicyView(
        tenant_number=2,
        profiles={number ^ 0x1000: groups for number, groups in other.profiles.items()},
        groups=other.groups,
        address_groups=other.address_groups,
    )
    together = Tables(judging(mine, moved))
    for connection in tried:
        reached = together.reached(packet(connection, reply=False), DIRECTION.number)
        assert (COMMIT.number in reached) == allowed(mine, connection), connection


@settings(SLOW, max_examples=examples(300))
@given(policies())
def test_no_key_twice_and_the_cost_is_true(policy: PolicyView) -> None:
    flows = policy_flows(policy)
    assert len({f.key for f in flows}) == len(flows) == policy_cost(policy).flows
    masks = {(f.table, tuple((t.field, t.mask) for t in f.match)) for f in flows}
    assert len(masks) == policy_cost(policy).masks


@settings(SLOW, max_examples=examples(200))
@given(policies())
def test_the_order_in_which_things_came_does_not_matter(policy: PolicyView) -> None:
    backwards = PolicyView(
        tenant_number=policy.tenant_number,
        profiles=dict(reversed(policy.profiles.items())),
        groups=dict(reversed(policy.groups.items())),
        address_groups=dict(reversed(policy.address_groups.items())),
    )
    assert {f.key: f for f in policy_flows(backwards)} == {f.key: f for f in policy_flows(policy)}


@settings(max_examples=examples(2000))
@given(st.integers(0, 65535), st.integers(0, 65535), st.data())
def test_a_range_is_matched_exactly_and_by_no_more_pairs_than_needed(
    a: int, b: int, data: st.DataObject
) -> None:
    low, high = sorted((a, b))
    pairs = masked(low, high)
    edges = [max(low - 1, 0), low, high, min(high + 1, 65535)]
    for port in [*edges, *data.draw(st.lists(st.integers(0, 65535), min_size=5))]:
        assert sum(port & mask == value for value, mask in pairs) == (low <= port <= high)
    assert len(pairs) == fewest(low, high)


def fewest(low: int, high: int, bits: int = 16) -> int:
    """The number of aligned blocks that make up low..high: a block that is whole, or those of its halves."""
    last = (1 << bits) - 1
    if low > high:
        return 0
    if (low, high) == (0, last):
        return 1
    half = 1 << (bits - 1)
    below = fewest(low, min(high, half - 1), bits - 1) if low < half else 0
    above = fewest(max(low, half) - half, high - half, bits - 1) if high >= half else 0
    return below + above
