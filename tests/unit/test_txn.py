"""What a transaction asks and writes; and how watch responses become whole revisions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloison.codec import record_from_bytes
from cloison.errors import InvalidIntent
from cloison.model import (
    Host,
    Meta,
    PolicyProfile,
    PortBinding,
    Reservation,
    SecurityGroup,
    TunnelPort,
    Vni,
)
from cloison.names import HostName, NetworkName, PortName, SecurityGroupName
from controller.store import ids, keys
from controller.store.keys import ProfileKey
from controller.store.mirror import RawEvent
from controller.store.revisions import BrokenWatch, Revisions
from controller.store.txn import Compare, Condition, Txn, Write
from tests.support.store_world import ACME, LAN, WEB, network, port, subnet, tenant

H1 = HostName("h1")


def stored(model, revision=7):
    if hasattr(model, "meta"):
        return replace(model, meta=replace(model.meta, revision=revision))
    return replace(model, revision=revision)


def asked(txn: Txn) -> set[Compare]:
    return set(txn.compares)


def written(txn: Txn) -> dict[str, bytes | None]:
    return {write.key: write.value for write in txn.writes}


ABSENT, PRESENT, UNCHANGED = Condition.ABSENT, Condition.PRESENT, Condition.UNCHANGED


@pytest.mark.parametrize(
    ("child", "parents"),
    [
        (tenant(), []),
        (Host(name=H1, meta=Meta(uid="u")), []),
        (network(), [ACME]),
        (subnet(), [WEB]),
        (port("p"), [WEB]),
        (
            PortBinding(port=PortName(*WEB, "p"), port_uid="u", host=H1, interface="tap", ofport=1),
            [PortName(*WEB, "p"), H1],
        ),
        (TunnelPort(host=H1, vni=Vni(5001), ofport=1), [H1]),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, list) else "",
)
def test_nothing_is_created_twice_or_without_its_parent(child, parents):
    txn = Txn()
    txn.create(child)
    wanted = {Compare(keys.resource_key(parent), PRESENT) for parent in parents}
    assert asked(txn) == wanted | {Compare(keys.key_of(child), ABSENT)}
    assert written(txn).keys() == {keys.key_of(child)}


def test_an_update_is_of_the_version_that_was_read():
    old, txn = stored(network()), Txn()
    new = replace(old, meta=replace(old.meta, display_name="new"))
    txn.update(old, new)
    key = keys.key_of(old)
    assert asked(txn) == {Compare(key, UNCHANGED, 7)}
    assert record_from_bytes(key, written(txn)[key], 7) == new
    with pytest.raises(ValueError, match="cannot move"):
        Txn().update(old, network(NetworkName("acme", "other")))
    with pytest.raises(ValueError, match="never read"):
        Txn().update(network(), network())


def test_a_delete_asks_that_nothing_is_below_and_nobody_refers():
    txn = Txn()
    txn.delete(stored(network()))
    ranges = {compare.key: compare for compare in txn.compares if compare.range_end}
    assert ranges.keys() == {
        *keys.child_prefixes(WEB),
        keys.reference_prefix(WEB),
    }
    assert all(compare.condition is ABSENT for compare in ranges.values())
    assert Compare(keys.resource_key(WEB), UNCHANGED, 7) in asked(txn)
    assert written(txn) == {keys.resource_key(WEB): None}


def test_with_a_port_go_its_bindings_and_with_a_host_its_tunnel_ports():
    for gone in (stored(port("p")), stored(Host(name=H1, meta=Meta(uid="u")))):
        txn = Txn()
        txn.delete(gone)
        [prefix] = keys.report_prefixes(gone.name)
        assert Write(prefix, None, keys.range_end(prefix)) in txn.writes


def test_a_reference_is_to_what_is_there():
    name, txn = PortName(*WEB, "p"), Txn()
    txn.add_reference(LAN, name)
    assert asked(txn) == {Compare(keys.resource_key(LAN), PRESENT)}
    [write] = txn.writes
    prefix = keys.reference_prefix(LAN)
    assert prefix <= write.key < keys.range_end(prefix)
    undo = Txn()
    undo.drop_reference(LAN, name)
    assert written(undo) == {write.key: None}


def test_reservations_are_taken_when_free_and_given_back_when_confirmed():
    txn, key = Txn(), ids.vni(5001)
    txn.reserve(key, WEB, "u")
    full = keys.allocation_key(key)
    assert asked(txn) == {Compare(full, ABSENT)}
    assert txn.reservation_keys == (key,)
    held = record_from_bytes(key, written(txn)[full], 7)
    assert held == Reservation(key=key, owner=str(WEB), owner_uid="u", revision=7)
    txn = Txn()
    txn.release(held, [HostName("h2"), H1, H1])
    waiting = record_from_bytes(key, written(txn)[full], 8)
    assert (waiting.released, waiting.hosts, waiting.owner_uid) == (True, (H1, HostName("h2")), "u")
    assert asked(txn) == {Compare(full, UNCHANGED, 7)}
    assert txn.reservation_keys == ()
    txn = Txn()
    txn.release(waiting, [])
    assert written(txn) == {full: None}
    for wrong in ("vni", "nothing/1", "ip/a/b/10.0.0.256", "mac/a/b/zz"):
        with pytest.raises(InvalidIntent):
            Txn().reserve(wrong, WEB, "u")


def test_the_limits_of_etcd_are_ours():
    txn = Txn()
    for number in range(1, 128):
        txn.reserve(ids.port_number(number), WEB, "u")
    txn.check_limits()
    txn.reserve(ids.port_number(128), WEB, "u")
    with pytest.raises(InvalidIntent, match="operations"):
        txn.check_limits()
    txn = Txn()
    old = stored(tenant())
    txn.update(old, replace(old, meta=replace(old.meta, display_name="x" * 1_600_000)))
    with pytest.raises(InvalidIntent, match="bytes"):
        txn.check_limits()


def test_a_contradiction_is_found_where_it_is_made():
    txn = Txn()
    txn.require(stored(network(), 7))
    txn.require(stored(network(), 7))
    with pytest.raises(ValueError, match="7 and at 8"):
        txn.require(stored(network(), 8))
    with pytest.raises(InvalidIntent, match="once"):
        for _ in range(2):
            txn.reserve(ids.vni(5001), WEB, "u")


def test_requirements_alone_are_no_transaction():
    txn = Txn()
    txn.require_present(WEB)
    txn.require_absent(LAN)
    txn.require_unreferenced(LAN)
    assert not txn
    assert len(txn.compares) == 3


# -- revisions -------------------------------------------------------------------------------------


def events(*pairs: tuple[int, str]) -> list[RawEvent]:
    return [RawEvent(key, b"", revision) for revision, key in pairs]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.data())
def test_however_it_is_cut_into_fragments_a_revision_comes_whole(sizes, data):
    sent = [RawEvent(f"k{n}", b"", revision) for revision, size in enumerate(sizes, 11) for n in range(size)]
    revisions, got, pending = Revisions(10), [], list(sent)
    while pending:
        # One response: some whole revisions; sent as any number of fragments.
        last = data.draw(st.integers(pending[0].mod_revision, 10 + len(sizes)))
        response = [event for event in pending if event.mod_revision <= last]
        pending = pending[len(response) :]
        while response:
            size = data.draw(st.integers(1, len(response)))
            part, response = response[:size], response[size:]
            whole = revisions.feed(part, fragment=bool(response))
            assert not (response and whole)
            got.extend(whole)
    assert [revision for revision, _ in got] == list(range(11, 11 + len(sizes)))
    assert [event for _, group in got for event in group] == sent


def test_a_repeated_revision_is_passed_over():
    revisions = Revisions(10)
    assert revisions.feed(events((11, "a"), (11, "b")), fragment=False)
    assert revisions.feed(events((11, "a"), (11, "b")), fragment=False) == []
    assert revisions.feed(events((11, "b")), fragment=False) == []
    assert revisions.feed([], fragment=False) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([(11, "a")], [(11, "b")]),
        ([(12, "a")], [(11, "a")]),
        ([(10, "a")], []),
        ([(12, "a"), (11, "b")], []),
    ],
    ids=["in two parts", "late", "before the start", "out of order"],
)
def test_a_broken_promise_is_noticed(first, second):
    revisions = Revisions(10)
    with pytest.raises(BrokenWatch):
        revisions.feed(events(*first), fragment=False)
        revisions.feed(events(*second), fragment=False)


def test_what_goes_along_is_in_nobodys_way():
    """A tenant goes with its only group: nothing else may lie there, at that moment."""
    inside = stored(SecurityGroup(name=SecurityGroupName("acme", "default"), meta=Meta(uid="g"), number=1))
    txn = Txn()
    txn.drop_reference(inside.name, ProfileKey(ACME, 16))
    txn.delete(inside)
    txn.delete(stored(tenant()))
    start, end = f"{keys.PREFIX}securitygroups/acme/", f"{keys.PREFIX}securitygroups/acme0"
    key = keys.resource_key(inside.name)
    empty = {(c.key, c.range_end) for c in txn.compares if c.condition is Condition.ABSENT}
    assert {(start, key), (f"{key}\0", end)} <= empty
    assert (start, end) not in empty
    # Around the reference that goes too, of the group and of the tenant.
    reference = keys.reference_key(inside.name, ProfileKey(ACME, 16))
    assert (f"{keys.PREFIX}refs/tenants/acme/", reference) in empty
    assert (keys.reference_prefix(inside.name), reference) in empty


def test_what_comes_along_need_not_be_there():
    made = SecurityGroup(name=SecurityGroupName("acme", "g"), meta=Meta(uid="g"), number=1)
    profile = PolicyProfile(tenant=ACME, number=16, groups=(made.name,))
    txn = Txn()
    txn.create(tenant())
    txn.create(made)
    txn.create(profile)
    txn.add_reference(made.name, ProfileKey(ACME, 16))
    txn.add_reference(ProfileKey(ACME, 16), PortName("acme", "web", "p"))
    assert {c.condition for c in txn.compares} == {Condition.ABSENT}
    # A profile that was there before must still be.
    txn = Txn()
    txn.add_reference(ProfileKey(ACME, 17), PortName("acme", "web", "p"))
    assert txn.compares == (Compare(f"{keys.PREFIX}profiles/acme/17", Condition.PRESENT),)


def test_a_profile_with_ports_is_not_deleted():
    profile = replace(
        PolicyProfile(tenant=ACME, number=16, groups=(SecurityGroupName("acme", "g"),)), revision=7
    )
    txn = Txn()
    txn.delete(profile)
    prefix = f"{keys.PREFIX}refs/profiles/acme/16/"
    assert Compare(prefix, Condition.ABSENT, range_end=keys.range_end(prefix)) in txn.compares
