"""From a switch's counters to what became of a port's frames. Pure: no reading, no clock.

What a guest sends is counted where it is believed or not, by flows of its port alone. What is meant for it
is counted where that is decided and where it leaves; what was lost in between is bounded by what the judges
on the way dropped of everybody. Those two are not counted at one instant (Open vSwitch collects the counters
of flows from its datapath every half second), so the smaller is read last: what is called dropped, was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from controller.compiler.pipeline import (
    ADMISSION,
    CLAIMED,
    COMMIT,
    DELIVER,
    DIRECTION,
    EGRESS,
    FORWARD,
    INGRESS,
    METER,
    OPENING,
    OUTPUT,
    SPREADING,
    TABLES,
    Table,
)
from controller.flows.delta import InstalledFlow
from controller.openflow.statistics import MeterCounters, PortCounters

# The tables that believe a port, or do not: what admits it has its cookie.
ADMITTING = (ADMISSION, CLAIMED)
# The tables that judge what is for a port, in the order of its way.
_JUDGES = (DELIVER, DIRECTION, EGRESS, INGRESS, COMMIT)

# By policy or as part of no connection: by one of several tables, with different reasons.
NOT_ADMITTED = "NOT_ADMITTED"
RATE_LIMITED = "RATE_LIMITED"
NOT_TAKEN = "NOT_TAKEN_BY_GUEST"


@dataclass(frozen=True, slots=True)
class Count:
    """Frames, and their bytes."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.packets + other.packets, self.bytes + other.bytes)

    def beyond(self, other: Count) -> Count:
        """Return by how much this is more than other; nothing if it is not."""
        packets = max(0, self.packets - other.packets)
        return Count(packets, max(0, self.bytes - other.bytes)) if packets else Count()

    def at_most(self, other: Count) -> Count:
        """Return the smaller of both."""
        return Count(min(self.packets, other.packets), min(self.bytes, other.bytes))


@dataclass(frozen=True, slots=True)
class Drop:
    """Frames that were dropped. reason: a stable word; table: where, or the tables that come into question.

    of_port: of this port alone, otherwise of everything on its host.
    """

    reason: str
    table: str
    count: Count
    of_port: bool


@dataclass(frozen=True, slots=True)
class Readings:
    """What was read, the port's counters last.

    own: flows of the port, by its cookie; bridge: those of no object, and all of ADMITTING: all that drops.
    """

    own: tuple[InstalledFlow, ...]
    bridge: tuple[InstalledFlow, ...]
    meter: MeterCounters | None
    port: PortCounters
    opening: MeterCounters | None = None
    spreading: MeterCounters | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the frames from and to a port."""

    received: Count
    admitted: Count
    delivered: Count
    drops: tuple[Drop, ...]


def fate_of(read: Readings) -> Fate:
    """Work out what became of a port's frames: first the drops of its own, then those of its whole host."""
    received = Count(read.port.received_packets or 0, read.port.received_bytes or 0)
    delivered = Count(read.port.sent_packets or 0, read.port.sent_bytes or 0)
    dropped = {table.number: _counted(read.bridge, table, drops=True) for table in TABLES}
    own = [
        Drop(CLAIMED.drop_reason, CLAIMED.name, _counted(read.own, CLAIMED, drops=True), True),
        *_judged(_counted(read.own, FORWARD, drops=False).beyond(delivered), dropped),
        *_limited(read.opening, OPENING),
        *_limited(read.spreading, SPREADING),
        *_limited(read.meter, METER),
        Drop(NOT_TAKEN, OUTPUT.name, Count(read.port.sent_dropped or 0), True),
    ]
    of_host = [Drop(t.drop_reason, t.name, dropped[t.number], False) for t in TABLES]
    drops = tuple(drop for drop in (*own, *of_host) if drop.count.packets)
    admitted = [_counted(read.own, table, drops=False) for table in ADMITTING]
    return Fate(received, admitted[0] + admitted[1], delivered, drops)


def _counted(flows: Iterable[InstalledFlow], table: Table, *, drops: bool) -> Count:
    """Return what the flows of one table dropped (those that do nothing and go nowhere), or passed on."""
    found = (
        Count(f.packets, f.bytes)
        for f in flows
        if f.flow.table == table.number and drops == (not f.flow.actions and f.flow.goto is None)
    )
    return sum(found, Count())


def _judged(lost: Count, dropped: Mapping[int, Count]) -> Iterator[Drop]:
    """Yield what was lost between FORWARD and the port, with the tables that come into question.

    No more of it than those tables dropped of everybody: what is left was not sent for other reasons, as what
    a guest sends to itself.
    """
    guilty = [table for table in _JUDGES if dropped[table.number].packets]
    if guilty:
        reasons = {table.drop_reason for table in guilty}
        reason = reasons.pop() if len(reasons) == 1 else NOT_ADMITTED
        here = lost.at_most(sum((dropped[table.number] for table in guilty), Count()))
        yield Drop(reason, "/".join(table.name for table in guilty), here, True)


def _limited(meter: MeterCounters | None, table: Table) -> Iterator[Drop]:
    """Yield what the port asked of the local services, opened or sent to all beyond its rate."""
    if meter is not None and meter.dropped_packets is not None:
        count = Count(meter.dropped_packets, meter.dropped_bytes or 0)
        yield Drop(RATE_LIMITED, table.name, count, True)
