"""The mirror takes what this process wrote for what it is, and nothing else for it."""

from __future__ import annotations

import pytest

from cloison.codec import record_to_bytes
from cloison.model import Meta, Revision, Tenant
from cloison.names import TenantName
from controller.store import keys
from controller.store.changes import at_revision
from controller.store.mirror import Mirror, RawEvent
from controller.store.txn import Txn

ACME = TenantName("acme")
KEY = keys.resource_key(ACME)


def tenant(uid: str, number: int) -> Tenant:
    return Tenant(name=ACME, meta=Meta(uid=uid), number=number)


@pytest.fixture
def mirror() -> Mirror:
    """One that knows of a transaction on its way."""
    mirror, txn = Mirror(), Txn()
    txn.create(tenant("ours", 1))
    mirror.announce(txn)
    return mirror


def test_what_was_written_here_comes_back_with_its_revision(mirror: Mirror) -> None:
    ours = tenant("ours", 1)
    mirror.apply(7, [RawEvent(KEY, record_to_bytes(ours), 7)])
    assert mirror.state.tenants[ACME] == at_revision(ours, Revision(7))


def test_anothers_value_under_the_same_key_is_read(mirror: Mirror) -> None:
    theirs = tenant("theirs", 2)
    mirror.apply(7, [RawEvent(KEY, record_to_bytes(theirs), 7)])
    assert mirror.state.tenants[ACME] == at_revision(theirs, Revision(7))


def test_a_value_that_cannot_be_read_is_set_aside(mirror: Mirror) -> None:
    mirror.apply(7, [RawEvent(KEY, b"\xff", 7)])
    assert ACME not in mirror.state.tenants
    assert KEY in mirror.quarantine
    mirror.apply(8, [RawEvent(KEY, record_to_bytes(tenant("ours", 1)), 8)])
    assert ACME in mirror.state.tenants
    assert not mirror.quarantine


def test_nothing_is_kept_of_transactions_that_have_ended(mirror: Mirror) -> None:
    txn = Txn()
    txn.create(tenant("ours", 1))
    mirror.renounce(txn)
    assert not mirror._own
