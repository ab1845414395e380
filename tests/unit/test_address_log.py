"""Who had which address outside, in the log: when it is assigned, given back, and free."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from cloison.model import Reservation
from controller.reconcile import address_log
from controller.store.changes import Change

KEY, OWNER = "ext/inet/192.0.2.7", "tenants/acme/routers/r1"


def held(*, owner: str = OWNER, uid: str = "u1", released: bool = False) -> Reservation:
    return Reservation(key=KEY, owner=owner, owner_uid=uid, released=released)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (None, held(), "external address assigned"),
        (held(), held(released=True), "external address released"),
        (held(released=True), None, "external address free"),
        (held(released=True), held(released=True), None),
        (held(), held(), None),
        # A full list after a gap: what was between is not known.
        (held(), held(owner="tenants/beta/floatingIps/f1", uid="u2"), "external address assigned"),
        (held(), None, "external address free"),
    ],
)
def test_each_change_of_hands_is_told_once(
    old: Reservation | None, new: Reservation | None, told: str | None
) -> None:
    with capture_logs() as logs:
        address_log.follow([Change(old, new)], 12)
    assert [entry["event"] for entry in logs] == ([told] if told else [])
    if told:
        stored = new or old
        assert stored is not None
        assert logs[0]["tenant"] == stored.owner.split("/")[1]
        expected = ("192.0.2.7", "inet", stored.owner, "1024-65535", 12)
        fields = ("address", "external_network", "owner", "ports", "revision")
        assert tuple(logs[0][field] for field in fields) == expected


def test_other_identifiers_are_not_told() -> None:
    with capture_logs() as logs:
        address_log.follow([Change(None, Reservation(key="vni/5001", owner=OWNER, owner_uid="u"))], 1)
    assert not logs
