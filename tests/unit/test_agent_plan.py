"""The agent's pure half: plans, digests, operations. Whatever the path to a state, the end is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from agent.plan import (
    EMPTY_PLAN,
    Actual,
    FdbDigest,
    Firewall,
    HostPlan,
    Link,
    Operations,
    Scope,
    Vtep,
    changed,
    drifts,
    fdb_digest,
    full_deltas,
    operations,
    plan_faults,
    scope_of,
)
from cloison.addresses import Mac
from cloison.model import Vni
from cloison.v1 import host_sync_pb2 as pb

LOCAL = Vtep(bytes([10, 0, 0, 1]))
VNIS = st.sampled_from([0x1000, 0x1001, 0xABCDEF])
MACS = st.sampled_from([0x0AF00A000005, 0x0AF00A000006, 0x525400000001, 0x525400000002])
VTEPS = st.sampled_from([bytes([10, 0, 0, 2]), bytes([10, 0, 0, 3]), bytes([0x20, 1, *[0] * 13, 7])])
FDBS = st.dictionaries(MACS, VTEPS, max_size=4)
STATES = st.dictionaries(VNIS, st.tuples(st.sampled_from([1450, 1430]), FDBS), max_size=3)


def delta_between(before: dict, after: dict, revision: int) -> pb.PlanDelta:
    delta = pb.PlanDelta(revision=revision, removed_vnis=sorted(before.keys() - after.keys()))
    for vni, (mtu, fdb) in after.items():
        old = before.get(vni, (0, {}))[1]
        part = delta.networks.add(vni=vni, mtu=mtu, removed_macs=sorted(old.keys() - fdb.keys()))
        for mac, vtep in fdb.items():
            if old.get(mac) != vtep:
                part.upserted.add(mac=mac, vtep=vtep)
    return delta


def plan_of(state: dict, revision: int = 1) -> HostPlan:
    return EMPTY_PLAN.apply(delta_between({}, state, revision))


def walk(states: Iterable[dict]) -> list[pb.PlanDelta]:
    deltas, before = [], {}
    for revision, after in enumerate(states, 1):
        deltas.append(delta_between(before, after, revision))
        before = after
    return deltas


def content(plan: HostPlan) -> tuple[dict, dict]:
    networks = {v: (n.mtu, dict(n.fdb), dict(n.rejected)) for v, n in plan.networks.items()}
    assert plan.peers == frozenset(plan.peer_uses)
    assert plan.odd == {vni for vni, n in plan.networks.items() if n.fault or n.rejected}
    return networks, dict(plan.peer_uses)


def apply_all(deltas: Iterable[pb.PlanDelta]) -> HostPlan:
    plan = EMPTY_PLAN
    for delta in deltas:
        plan = plan.apply(delta)
    return plan


def carry_out(todo: Operations, actual: Actual) -> Actual:
    """A kernel that never refuses, on a mirror."""
    if todo.firewall is not None:
        actual.firewall = todo.firewall
    for vni, mac in todo.fdb_delete:
        actual.set_entry(vni, Mac(mac), None)
        actual.strays.get(vni, set()).discard(mac)
    made = [*todo.links_replace, *todo.links_create, *todo.links_update]
    for spec in made:
        fresh = spec not in todo.links_update
        known = actual.links.get(spec.vni)
        ifindex = known.ifindex if known and not fresh else spec.vni + (known.ifindex if known else 1)
        actual.set_link(spec.vni, Link(spec.vni, ifindex, spec.mtu, True, False, LOCAL, True))
    for put in todo.fdb_put:
        actual.set_entry(put.vni, put.mac, put.vtep)
    for vni in todo.links_delete:
        actual.set_link(vni, None)
    return actual


def all_of(plan: HostPlan, actual: Actual, scope: Scope | None = None) -> Operations:
    scope = scope or Scope(everything=True)
    return operations(plan, actual, scope, local=LOCAL, guarded=frozenset({"tap1"}))


@given(st.lists(STATES, min_size=1, max_size=5))
def test_the_end_does_not_depend_on_the_path(states: list[dict]) -> None:
    wanted = content(plan_of(states[-1]))
    assert content(apply_all(walk(states))) == wanted
    backwards = [*reversed(states), states[-1]]
    assert content(apply_all(walk(backwards))) == wanted
    with_empties = [step for state in states for step in ({}, state)]
    assert content(apply_all(walk(with_empties))) == wanted
    twice = [delta for delta in walk(states) for _ in range(2)]
    assert content(apply_all(twice)) == wanted
    squashed = [delta_between({}, states[0], 1), delta_between(states[0], states[-1], 2)]
    assert content(apply_all(squashed)) == wanted
    split = [part for delta in walk(states) for part in pieces(delta)]
    assert content(apply_all(split)) == wanted


def pieces(delta: pb.PlanDelta) -> list[pb.PlanDelta]:
    """The same change, one entry to a message."""
    parts = [pb.PlanDelta(revision=delta.revision, removed_vnis=[vni]) for vni in delta.removed_vnis]
    for network in delta.networks:
        head = pb.PlanDelta(revision=delta.revision)
        head.networks.add(vni=network.vni, mtu=network.mtu, removed_macs=network.removed_macs)
        parts.append(head)
        for entry in network.upserted:
            part = pb.PlanDelta(revision=delta.revision)
            part.networks.add(vni=network.vni).upserted.append(entry)
            parts.append(part)
    return parts


@given(STATES, STATES)
def test_a_plan_is_not_changed_by_what_follows_it(first: dict, second: dict) -> None:
    plan = plan_of(first)
    before = content(plan)
    plan.apply(delta_between(first, second, 2))
    assert content(plan) == before


@given(STATES)
def test_a_whole_plan_survives_its_deltas(state: dict) -> None:
    plan = plan_of(state, 7)
    again = apply_all(full_deltas(plan))
    assert content(again) == content(plan)
    assert again.revision == 7


@given(STATES, STATES)
def test_a_plan_is_the_same_whatever_it_shares_values_with(known: dict, state: dict) -> None:
    like, plan = plan_of(known), plan_of(state)
    again = EMPTY_PLAN
    for delta in full_deltas(plan):
        again = again.apply(delta, like)
    assert again == plan
    assert content(again) == content(plan)
    assert content(like) == content(plan_of(known))
    for vni, network in again.networks.items():
        if network == like.networks.get(vni):
            assert network is like.networks[vni]


def test_what_guests_are_told_is_there_but_once() -> None:
    told = pb.PlanDelta(revision=1)
    for number in range(1, 4):
        told.service_ports.add(
            number=number, vni=1, mac=number, port=f"tenants/t/networks/n/ports/p{number}", mtu=1400
        )
        told.zones.add(vni=number, network=f"tenants/t/networks/n{number}", domain="d").upserted.add(
            name="a", addresses=[bytes([10, 0, 0, number])]
        )
    known = EMPTY_PLAN.apply(told)
    told.service_ports[1].mtu = 1500
    told.zones[1].upserted[0].addresses[:] = [bytes([10, 0, 0, 9])]
    for message in (told, *full_deltas(EMPTY_PLAN.apply(told))):
        again = EMPTY_PLAN.apply(message, known)
        for number, record in again.service_ports.items():
            assert (record is known.service_ports[number]) == (number != 2)
        for vni, zone in again.zones.items():
            assert (zone is known.zones[vni]) == (vni != 2)


@given(STATES, STATES)
def test_operations_lead_to_the_plan_and_then_there_is_nothing_to_do(first: dict, second: dict) -> None:
    actual = Actual()
    for state in (first, second):
        plan = plan_of(state)
        carry_out(all_of(plan, actual), actual)
        assert not all_of(plan, actual)
        assert {v: f for v, f in actual.fdb.items() if f} == {
            v: dict(n.fdb) for v, n in plan.networks.items() if n.fdb
        }
        assert actual.digest.value() == fdb_digest({v: n.fdb for v, n in plan.networks.items()})
        assert actual.firewall.peers == plan.peers


@given(STATES, STATES)
def test_the_scope_of_a_delta_is_enough(first: dict, second: dict) -> None:
    for by_delta in (True, False):
        actual, plan = Actual(), plan_of(first)
        carry_out(all_of(plan, actual), actual)
        delta = delta_between(first, second, 2)
        after = plan.apply(delta)
        scope = scope_of(delta, plan) if by_delta else changed(plan, after)
        carry_out(all_of(after, actual, scope), actual)
        assert not all_of(after, actual)


def test_the_digest_is_the_one_of_the_contract() -> None:
    fdb = {Vni(0x1001): {Mac(2): LOCAL}, Vni(0x1000): {Mac(0x0AF00A000005): Vtep(bytes([10, 0, 0, 2]))}}
    wanted = hashlib.sha256(
        bytes.fromhex("000010000af00a0000050a000002000010010000000000020a000001")
    ).digest()
    assert fdb_digest(fdb) == wanted


@given(st.lists(st.tuples(VNIS, MACS, st.none() | VTEPS), max_size=20))
def test_the_running_digest_equals_the_one_from_nothing(steps: list[tuple]) -> None:
    running, fdbs = FdbDigest(), {}
    for vni, mac, vtep in steps:
        if vtep is None:
            running.discard(vni, mac)
            fdbs.get(vni, {}).pop(mac, None)
        else:
            running.put(vni, mac, vtep)
            fdbs.setdefault(vni, {})[mac] = vtep
    assert running.value() == fdb_digest(fdbs)


def test_a_bad_entry_stops_no_other() -> None:
    delta = pb.PlanDelta(revision=3)
    part = delta.networks.add(vni=0x1000, mtu=1450)
    good = 0x0AF00A000005
    for mac, vtep in (
        (good, b"\x0a\0\0\2"),
        (0x010000000001, b"\x0a\0\0\2"),
        (good + 1, b"\x0a\0"),
        (0, b"\x0a\0\0\2"),
    ):
        part.upserted.add(mac=mac, vtep=vtep)
    delta.networks.add(vni=1 << 24, mtu=1450)
    delta.networks.add(vni=0x1001)
    plan = EMPTY_PLAN.apply(delta)
    todo = all_of(plan, Actual())
    assert [(put.vni, put.mac) for put in todo.fdb_put] == [(0x1000, good)]
    assert [spec.vni for spec in todo.links_create] == [0x1000]
    reasons = [fault.reason for fault in plan_faults(plan, Actual())]
    assert reasons == ["FDB_INVALID", "NETWORK_INVALID", "NETWORK_INVALID"]
    repaired = plan.apply(pb.PlanDelta(revision=4, removed_vnis=[1 << 24, 0x1001, 0x1000]))
    assert plan_faults(repaired, Actual()) == []
    assert not repaired.peers


def settled(state: dict) -> tuple[HostPlan, Actual]:
    plan, actual = plan_of(state), Actual()
    carry_out(all_of(plan, actual), actual)
    return plan, actual


ONE = {0x1000: (1450, {0x0AF00A000005: bytes([10, 0, 0, 2])})}


def test_what_nobody_planned_is_drift_and_is_named() -> None:
    plan, actual = settled(ONE)
    vni, mac = Vni(0x1000), Mac(0x0AF00A000005)
    nothing = Scope()
    actual.set_entry(vni, mac, None)
    assert drifts(all_of(plan, actual), nothing) == {"FDB_MISSING": ["vx001000 0a:f0:0a:00:00:05"]}
    actual.set_entry(vni, mac, Vtep(bytes([10, 9, 9, 9])))
    assert list(drifts(all_of(plan, actual), nothing)) == ["FDB_ALTERED"]
    actual.set_entry(vni, mac, Vtep(bytes([10, 0, 0, 2])))
    actual.set_entry(vni, Mac(2), LOCAL)
    assert list(drifts(all_of(plan, actual), nothing)) == ["FDB_FOREIGN"]
    assert drifts(all_of(plan, actual), Scope(macs={vni: {Mac(2)}})) == {}
    actual.set_link(vni, None)
    assert drifts(all_of(plan, actual), nothing) == {"LINK_MISSING": ["vx001000"]}


def test_a_device_is_altered_in_place_where_that_is_possible() -> None:
    plan, actual = settled(ONE)
    link = actual.links[Vni(0x1000)]
    for wrong in ({"mtu": 1400}, {"up": False}, {"learning": True}):
        actual.links[link.vni] = Link(**{**as_dict(link), **wrong})
        todo = all_of(plan, actual)
        assert [spec.vni for spec in todo.links_update] == [0x1000]
        assert not todo.links_replace
        assert not todo.fdb_put
    for wrong in ({"local": bytes([10, 0, 0, 9])}, {"sound": False}):
        actual.links[link.vni] = Link(**{**as_dict(link), **wrong})
        todo = all_of(plan, actual)
        assert [spec.vni for spec in todo.links_replace] == [0x1000]
        assert len(todo.fdb_put) == 1, "a new device begins empty"


def as_dict(link: Link) -> dict:
    return {name: getattr(link, name) for name in link.__slots__}


def test_a_firewall_that_is_not_whole_is_rewritten_even_with_the_right_peers() -> None:
    plan, actual = settled(ONE)
    actual.firewall = Firewall(actual.firewall.peers, actual.firewall.guarded, intact=False)
    todo = all_of(plan, actual)
    assert todo.firewall is not None
    assert list(drifts(todo, Scope())) == ["FIREWALL_ALTERED"]
    assert drifts(todo, Scope(firewall=True)) == {}


def test_an_entry_in_a_foreign_form_is_deleted_before_it_is_written() -> None:
    plan, actual = settled(ONE)
    vni = Vni(0x1000)
    actual.set_entry(vni, Mac(0x0AF00A000005), None)
    actual.strays[vni] = {0x0AF00A000005, 0}
    todo = all_of(plan, actual)
    assert sorted(todo.fdb_delete) == [(vni, 0), (vni, 0x0AF00A000005)]
    assert [put.mac for put in todo.fdb_put] == [0x0AF00A000005]


def test_a_name_of_ours_on_another_kind_of_device_is_left_alone_and_told() -> None:
    plan = plan_of(ONE)
    actual = Actual(taken={Vni(0x1000)})
    assert not all_of(plan, actual).links_create
    assert [fault.reason for fault in plan_faults(plan, actual)] == ["LINK_NAME_TAKEN"]
