"""Meters of one switch: there before the flows that name them, gone after those, repaired like flows.

A port has two: for what it may ask of the local services, and for the connections it may open; in a network
with multicast a third, for what it may send to all. Which is which their ids say (compiler/view.py).
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

import structlog

from controller.compiler.view import METERS_OF_CONNECTIONS, METERS_OF_SPREADING
from controller.flows.meters import Meter, MeterDelta
from controller.openflow.refusal import FlowError
from controller.openflow.switch import Change, Switch

_log = structlog.get_logger(__name__)

NO_METERS = MeterDelta()


class Rate(NamedTuple):
    """So many packets a second, after so many at once."""

    packets_per_s: int
    burst: int


# What a guest asks of DHCP, DNS and metadata in earnest is far less; what it gets beyond, all guests pay for.
SERVICES = Rate(100, 100)
# Each is copied for up to 500 ports and hosts. Announcements and heartbeats are some ten a second.
SPREADING = Rate(1_000, 1_000)
CONNECTIONS_PER_S = 1_000
"""What a port may open without a word from the operator.

Open vSwitch keeps a UDP connection without an answer for 60 s (lib/conntrack-tp.c), one of TCP for less,
and the agent allows 65,536 for each port: so one that opens what nobody answers fills neither its own zone
nor that of a peer.
"""
CONNECTIONS_BURST_S = 2


class HostMeters:
    """The meters a switch is believed to have, and what makes them those that flows name."""

    def __init__(self, connections_per_s: int = CONNECTIONS_PER_S) -> None:
        """connections_per_s: how many connections a port may open, for a start twice as many at once."""
        # (None: one that we could not have made.)
        self._installed: dict[int, Meter | None] = {}
        # Whether it may differ from what flows name in any meter, or only in those that have moved since.
        self._in_any = True
        # Those installed that have another rate than they should.
        self._altered: set[int] = set()
        self._connections = Rate(connections_per_s, CONNECTIONS_BURST_S * connections_per_s)

    async def read(self, switch: Switch) -> None:
        """Learn what the switch has."""
        self._in_any = True
        self._installed = dict(await switch.read_meters())
        self._altered = {n for n, meter in self._installed.items() if not self._is_right(n, meter)}

    def differs(self, named: Set[int]) -> bool:
        """Tell whether the switch has other meters than those that flows name."""
        return bool(self._altered) or self._installed.keys() != named

    def wanted(self, named: Set[int], moved: Set[int]) -> MeterDelta:
        """Return what is missing or altered, to be put in before flows name it.

        moved: what may be missing if nothing was when `tidy` was last done: a host has thousands of meters,
        and a change names two. Flows whose meter the switch does not take are refused by themselves.
        """
        suspects = named if self._in_any else moved
        missing = {n for n in suspects if n in named and n not in self._installed}
        altered = {n for n in self._altered if n in named}
        if not missing and not altered:
            return NO_METERS
        add, modify = (tuple(map(self._meter, sorted(numbers))) for numbers in (missing, altered))
        return MeterDelta(add=add, modify=modify)

    async def took(self, switch: Switch, wanted: MeterDelta, refused: Sequence[FlowError] = ()) -> None:
        """The switch has carried it out but for what it refused; then only reading tells what it has."""
        if refused:
            _log.error("the switch does not take some meters", errors=[error.text for error in refused[:3]])
            await self.read(switch)
            return
        self._installed.update({meter.id: meter for meter in (*wanted.add, *wanted.modify)})
        self._altered.difference_update(meter.id for meter in wanted.modify)

    async def tidy(
        self, switch: Switch, named: Set[int], moved: set[int], zones: tuple[int, ...] = ()
    ) -> None:
        """Take away what no flow names any more, and have zones forgotten with it.

        moved, as for `wanted`, is empty then.
        """
        # (What moves meanwhile stays in it.)
        seen = set(moved)
        moved.clear()
        suspects = self._installed.keys() if self._in_any else seen
        unused = {n for n in suspects if n in self._installed and n not in named}
        try:
            if unused or zones:
                change = Change(meters=MeterDelta(delete=tuple(sorted(unused))), zones=zones)
                await switch.carry_out(change)
        except BaseException:
            moved |= seen
            raise
        self._in_any = False
        self._altered -= unused
        for number in unused:
            del self._installed[number]

    def _is_right(self, number: int, meter: Meter | None) -> bool:
        """As meter == self._meter(number): a host has thousands, and every few seconds all are looked at."""
        return meter is not None and (meter.packets_per_s, meter.burst) == self._rate(number)

    def _meter(self, number: int) -> Meter:
        return Meter(number, *self._rate(number))

    def _rate(self, number: int) -> Rate:
        if number < METERS_OF_CONNECTIONS:
            return SERVICES
        return self._connections if number < METERS_OF_SPREADING else SPREADING
