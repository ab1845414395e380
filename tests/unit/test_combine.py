"""Several transactions as one: it happens exactly if they could have in turn, and does the same."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloison.errors import InvalidIntent
from cloison.model import Host, Meta, PortBinding
from cloison.names import HostName, PortName
from controller.store import keys
from controller.store.changes import Event
from controller.store.combine import Combination
from controller.store.hypothesis import Hypothesis
from controller.store.memory import MemoryEtcd
from controller.store.mirror import Mirror, RawEvent
from controller.store.state import State
from controller.store.txn import Compare, Condition, Limits, Txn, Write
from tests.support.effort import examples
from tests.support.store_world import ACME, LAN, WEB, content, network, port, subnet, tenant

BASE = 10
FUTURE = BASE + 1
KEYS = [f"/p/{name}" for name in "abc"] + [f"/q/{name}" for name in "ab"]
RANGES = [("/p/", "/p0"), ("/q/", "/q0"), ("/p/b", "/p/c"), ("/p/b", "/q/b")]


def etcd_of(values: dict[str, tuple[bytes, int]], revision: int) -> MemoryEtcd:
    etcd = MemoryEtcd(revision=revision)
    for key, (value, mod_revision) in values.items():
        etcd.revision = mod_revision - 1
        etcd.put(key, value)
    etcd.revision = revision
    return etcd


def content_of(etcd: MemoryEtcd) -> dict[str, bytes]:
    return {key: found.value for key, found in etcd.values.items()}


def commit(etcd: MemoryEtcd, txn: Txn) -> bool:
    """Carry out at the revision that the etcd has now, plus one; it can do so again and again."""
    if not all(etcd.holds(compare) for compare in txn.compares):
        return False
    revision = etcd.revision
    etcd.write(txn.writes)
    etcd.revision = revision
    return True


def one_by_one(etcd: MemoryEtcd, parts: list[Txn]) -> bool:
    return all(commit(etcd, part) for part in parts)


def check_acceptable(txn: Txn) -> None:
    """What etcd 3.4 refuses: a key put twice, or put and deleted."""
    puts = [w.key for w in txn.writes if w.value is not None]
    assert len(puts) == len(set(puts))
    for write in txn.writes:
        if write.value is None:
            end = write.range_end or write.key + "\0"
            assert not [key for key in puts if write.key <= key < end]


stores = st.dictionaries(st.sampled_from(KEYS), st.tuples(st.binary(max_size=2), st.integers(1, BASE)))


@st.composite
def parts(draw: st.DrawFn, etcd: MemoryEtcd) -> list[Txn]:
    """Transactions that can follow each other, each with what is so at that moment as its comparisons."""
    now, made = deepcopy(etcd), []
    for number in range(draw(st.integers(1, 6))):
        compares = {}
        for key in draw(st.sets(st.sampled_from(KEYS))):
            found = now.values.get(key)
            options = [Compare(key, Condition.ABSENT)]
            if found is not None:
                options = [
                    Compare(key, Condition.PRESENT),
                    Compare(key, Condition.UNCHANGED, found.mod_revision),
                ]
            compares[key] = draw(st.sampled_from(options))
        for start, end in draw(st.sets(st.sampled_from(RANGES))):
            if not now.matching(start, end):
                compares[start, end] = Compare(start, Condition.ABSENT, range_end=end)
        writes = {}
        cleared = draw(st.sampled_from([None, None, *RANGES]))
        if cleared:
            writes[cleared] = Write(cleared[0], None, cleared[1])
        for key in draw(st.sets(st.sampled_from(KEYS))):
            if not cleared or not cleared[0] <= key < cleared[1]:
                writes[key] = Write(key, draw(st.sampled_from([None, b"%d" % number])))
        txn = Txn(compares.values(), writes.values())
        assert commit(now, txn)
        made.append(txn)
    return made


@pytest.mark.slow
@settings(max_examples=examples(400))
@given(st.data(), stores, stores)
def test_together_is_as_one_after_the_other(
    data: st.DataObject, values: dict[str, tuple[bytes, int]], others: dict[str, tuple[bytes, int]]
) -> None:
    etcd = etcd_of(values, BASE)
    made = data.draw(parts(etcd))
    combination = Combination(FUTURE)
    for part in made:
        combination.add(part)
    together = combination.txn
    check_acceptable(together)
    # Here as it was read, and in a world that has become another meanwhile (revisions below the base only:
    # what is newer must not be taken for what the transactions themselves will have written).
    moved = dict(values)
    for key, other in others.items():
        if data.draw(st.booleans()):
            moved[key] = other
        else:
            moved.pop(key, None)
    for world in (values, moved):
        apart, joined = etcd_of(world, BASE), etcd_of(world, BASE)
        could = one_by_one(apart, made)
        did = commit(joined, together)
        assert not (could and not did), (made, together)
        if together:
            assert did == could
        if could:
            assert content_of(joined) == content_of(apart)


def test_a_part_that_cannot_follow_is_found() -> None:
    first = Txn([Compare("/p/a", Condition.ABSENT)], [Write("/p/a", b"1")])
    for wrong in (
        Compare("/p/a", Condition.ABSENT),
        Compare("/p/a", Condition.UNCHANGED, BASE),
        Compare("/p/", Condition.ABSENT, range_end="/p0"),
    ):
        combination = Combination(FUTURE)
        combination.add(first)
        with pytest.raises(ValueError, match="does not follow"):
            combination.add(Txn([wrong], []))
    combination = Combination(FUTURE)
    combination.add(Txn([Compare("/p/a", Condition.UNCHANGED, 3)], []))
    with pytest.raises(ValueError, match="was read at"):
        combination.add(Txn([Compare("/p/a", Condition.UNCHANGED, 4)], []))


def test_nothing_newer() -> None:
    etcd = etcd_of({"/p/a": (b"1", 4), "/q/a": (b"1", 9)}, BASE)
    for (start, end), revision, holds in [
        (("/p/", "/p0"), 4, True),
        (("/p/", "/p0"), 3, False),
        (("/p/", "/q0"), 8, False),
        (("/r/", "/r0"), 0, True),
    ]:
        assert etcd.holds(Compare(start, Condition.NOT_NEWER, revision, end)) is holds


def test_limits_say_what_to_set() -> None:
    txn = Txn(writes=[Write(f"/p/{n}", b"x" * 10) for n in range(200)])
    with pytest.raises(InvalidIntent, match=r"200 operations.*at most 128.*--etcd-max-txn-ops of 200"):
        txn.check_limits()
    txn.check_limits(Limits(ops=200))
    with pytest.raises(InvalidIntent, match=r"at most 5000 bytes.*--etcd-max-request-bytes"):
        txn.check_limits(Limits(ops=200, request_bytes=5000))


# -- hypotheses ------------------------------------------------------------------------------------

H1 = HostName("h1")


def state_of(*objects) -> State:
    mirror = Mirror()
    txn = Txn(writes=[])
    for one in objects:
        txn.create(one)
    mirror.apply(BASE, [RawEvent(w.key, w.value, BASE) for w in txn.writes])
    return mirror.state


def world() -> State:
    one = port("p", "10.0.0.5", requested_hosts=(H1,))
    binding = PortBinding(port=one.name, port_uid=one.meta.uid, host=H1, interface="tap", ofport=1)
    return state_of(tenant(), network(), subnet(), one, Host(name=H1, meta=Meta(uid="u")), binding)


def deleting(state: State, name) -> Txn:
    txn = Txn()
    txn.delete(state.get(name))
    return txn


def test_a_hypothesis_leaves_the_state_alone() -> None:
    state = world()
    before, hypothesis = content(state), Hypothesis(state)
    for name in (PortName(*WEB, "p"), LAN, WEB, ACME):
        hypothesis.carry_out(deleting(hypothesis.after, name))
    assert content(state) == before
    assert content(hypothesis.after).keys() == {"hosts/h1"}
    assert {change.key for change in hypothesis.changes} == {
        *(PortName(*WEB, "p"), LAN, WEB, ACME),
        (PortName(*WEB, "p"), H1),
    }
    assert hypothesis.after.ports_of(WEB) == hypothesis.after.ports_on(H1) == ()
    assert state.bound_hosts(WEB) == {H1}
    assert hypothesis.after.bound_hosts(WEB) == frozenset()


def test_a_network_goes_with_its_port_unless_another_came() -> None:
    state = world()
    hypothesis = Hypothesis(state)
    for name in (PortName(*WEB, "p"), LAN, WEB):
        hypothesis.carry_out(deleting(hypothesis.after, name))
    etcd = MemoryEtcd(revision=BASE - 1)
    every = Txn()
    for stored in content(state).values():
        every.create(stored)
    etcd.write(every.writes)
    assert all(etcd.holds(compare) for compare in hypothesis.txn.compares)
    for key in (
        keys.resource_key(PortName(*WEB, "late")),
        keys.resource_key(PortName(*WEB, "a")),
        keys.reference_key(LAN, PortName(*WEB, "late")),
    ):
        raced = deepcopy(etcd)
        raced.put(key, b"")
        assert not all(raced.holds(compare) for compare in hypothesis.txn.compares), key


def test_what_is_made_and_unmade_is_nothing() -> None:
    hypothesis = Hypothesis(world())
    made = network(WEB._replace(network="new"))
    txn = Txn()
    txn.create(made)
    hypothesis.carry_out(txn)
    hypothesis.carry_out(deleting(hypothesis.after, made.name))
    assert not hypothesis.txn
    assert hypothesis.changes == ()


def test_an_object_is_replaced() -> None:
    hypothesis = Hypothesis(world())
    name = PortName(*WEB, "p")
    hypothesis.carry_out(deleting(hypothesis.after, name))
    txn, again = Txn(), port("p", "10.0.0.6")
    txn.create(again)
    hypothesis.carry_out(txn)
    [change] = [c for c in hypothesis.changes if c.key == name]
    assert change.new.meta.uid == again.meta.uid
    written = {write.key: write for write in hypothesis.txn.writes}
    assert written[keys.resource_key(name)].value is not None
    assert keys.report_prefixes(name)[0] in written


def test_copies_and_forks_are_apart() -> None:
    state = world()
    copy, fork = state.copy(), state.fork()
    before = content(state)
    for other in (copy, fork):
        hypothesis = Hypothesis(other)
        hypothesis.carry_out(deleting(other, PortName(*WEB, "p")))
        other.apply(FUTURE, [])
        assert content(state) == before
    assert content(copy) == content(fork) == before
    other = Hypothesis(copy)
    other.carry_out(deleting(copy, PortName(*WEB, "p")))
    copy.apply(FUTURE, [Event(change.key, change.new) for change in other.changes])
    assert content(state) == before
    assert copy.bound_hosts(WEB) == frozenset()
    assert state.bound_hosts(WEB) == {H1}
