"""Says in the log who had which address outside, and when: what one is asked when somebody complains.

An address is its owner's with all of its ports, so no range of ports need be told apart. It is said when it
is assigned, when it is given back, and when it is free: each controller says it, with the revision.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from cloison.model import Reservation
from controller.store import ids
from controller.store.changes import Change

_log = structlog.get_logger(__name__)

PORTS = "1024-65535"


def follow(changes: Iterable[Change], revision: int) -> None:
    """Follow one revision."""
    for change in changes:
        stored = change.stored
        if not isinstance(stored, Reservation) or not ids.is_external(stored.key):
            continue
        event = _event(change)
        if event:
            _, network, address = stored.key.split("/")
            parts = stored.owner.split("/")
            _log.info(
                event,
                address=address,
                external_network=network,
                owner=stored.owner,
                ports=PORTS,
                revision=revision,
                tenant=parts[1] if parts[0] == "tenants" else "",
            )


def _event(change: Change) -> str:
    old = change.old if isinstance(change.old, Reservation) else None
    new = change.new if isinstance(change.new, Reservation) else None
    if new is None:
        return "external address free"
    if new.released:
        return "" if old is not None and old.released else "external address released"
    return "external address assigned" if old is None or old.owner_uid != new.owner_uid else ""
