"""What is asked on the way of a packet that arrives: connection tracking, and the meter of its sender.

No packet shows whether that happened, later ones would: a connection that nobody remembered has no replies,
and what passes by its meter takes the local services away from others. `due` is what is meant, `paid` what
the flows do; the two are compared for packets that arrive as they should.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from controller.verify.intent import NetworkIntent, PortIntent
from controller.verify.packet import NEW
from controller.verify.semantics import Seen, group_of, invalid, served, tracked
from controller.verify.stages import (
    COMMIT,
    DELIVER,
    METER,
    METERED,
    OPENING,
    ROUTE,
    SPREADING,
    TRACK,
    TRACKED,
)

Paid = tuple[tuple[str, int], ...]
"""In their order: ("ask" or "remember", the stage that says in whose zone), ("meter", its number)."""


class _Rule(Protocol):
    @property
    def attention(self) -> Paid: ...


def paid(rules: Iterable[_Rule]) -> Paid:
    """Return what the rules that a packet meets ask."""
    return tuple(asked for rule in rules for asked in rule.attention)


def due(
    network: NetworkIntent,
    sender: PortIntent,
    receiver: PortIntent | None,
    seen: Seen,
    *,
    abroad: bool = False,
) -> Paid:
    """Return what is to be asked about a packet; receiver None: the local services of its host.

    abroad: it is to cross to another tenant.
    """
    found: list[tuple[str, int]] = []
    belongs = tracked(seen)
    opens = belongs and seen.has("ct_state", NEW, NEW)
    remembered = opens and not invalid(seen)
    if belongs and not served(seen):
        found.append(("ask", TRACK))
        if opens:
            found.append(("meter", METERED[OPENING] + sender.ofport))
        if remembered:
            found.append(("remember", TRACKED))
    if abroad:
        found.append(("ask", ROUTE))
    if receiver is None:
        return (*found, ("meter", METERED[METER] + sender.ofport))
    if network.multicast and group_of(network, seen) is not None:
        found.append(("meter", METERED[SPREADING] + sender.ofport))
    if belongs and (sender.checked or receiver.checked or abroad):
        found += [("ask", DELIVER), *([("remember", COMMIT)] if remembered else [])]
    return tuple(found)
