"""Contracts of the tables with a meter for each port: what it asks of the services, opens, sends to all.

They speak of those tables alone, and so hold or not whatever other tables do to registers. How much a meter
lets through is not their business.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from controller.verify.contracts import ANYTHING
from controller.verify.frame import Frame
from controller.verify.packet import NEW, OFFSETS, WIDTHS, cube
from controller.verify.packet import TRACKED as CT_TRACKED
from controller.verify.space import Region, member
from controller.verify.stages import FORWARD, FROM_PORT, METER, METERED, OPENING, SERVICE, SPREADING, TRACKED
from controller.verify.symbolic import Bridge, Leaf, Undefined


class _Way(NamedTuple):
    """What comes to a table of a port, where it goes, unchanged, and whether through the port's meter."""

    what: str
    region: Region
    table: int
    onward: int
    metered: bool


def _state(new: int) -> Region:
    return Region(*cube(ct_state=(CT_TRACKED | new, CT_TRACKED | NEW)))


_WAYS = (
    _Way("what it sends to the local services", ANYTHING, METER, SERVICE, True),
    _Way("what opens a connection", _state(NEW), OPENING, TRACKED, True),
    _Way("what belongs to a connection", _state(0), OPENING, TRACKED, False),
)
# In networks with multicast only: from other ports nothing comes there.
_TO_ALL = _Way("what it sends to all of its network", ANYTHING, SPREADING, FORWARD, True)


def misled(bridge: Bridge, number: int, ofport: int, *, multicast: bool, stands_by: bool = False) -> str:
    """Return what of a local port does not go through its own meter as it should; "" if all does.

    multicast: whether its network has it. stands_by: it lives elsewhere and sends here to the services alone
    (admission.after_admission); where nothing of it comes it has no meter.
    """
    ways = _WAYS[:1] if stands_by else (*_WAYS, _TO_ALL) if multicast else _WAYS
    for way in ways:
        try:
            if any(True for _ in _astray(bridge, way, number, ofport)):
                return way.what
        except Undefined:
            return way.what
    return ""


def unmetered(bridge: Bridge, number: int, ofport: int) -> bool:
    """Tell whether anything of a port goes on without its meter; else it is at most lost."""
    try:
        return any(
            leaf.sent or leaf.stopped
            for way in (*_WAYS, _TO_ALL)
            if way.metered
            for leaf in _astray(bridge, way, number, ofport)
        )
    except Undefined:
        return True


def loses(bridge: Bridge, number: int, ofport: int) -> bool:
    """Tell whether what of a port does not go as it should goes nowhere."""
    try:
        return not any(
            leaf.sent or leaf.stopped or leaf.copies
            for way in (*_WAYS, _TO_ALL)
            for leaf in _astray(bridge, way, number, ofport)
        )
    except Undefined:
        return False


def _astray(bridge: Bridge, way: _Way, number: int, ofport: int) -> Iterator[Leaf]:
    start = Frame(way.region).write(OFFSETS[FROM_PORT], WIDTHS[FROM_PORT], number)
    through = [METERED[way.table] + ofport if way.metered else None]
    for leaf in bridge.run(start, way.table, stop_at=way.table + 1):
        same = leaf.stopped == (way.onward, start._replace(region=leaf.region))
        good = same and not leaf.sent and [rule.flow.meter for rule in leaf.rules] == through
        if not good and member(leaf.region) is not None:
            yield leaf
