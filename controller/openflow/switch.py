"""The seam: a switch as the rest of the controller sees it. No bytes, no threads.

`Switch` has two implementations that pass one test suite: a session with Open vSwitch (server.py) and
`FakeSwitch` (fake.py). What is applied is a whole delta or nothing; what is read is what the switch holds,
not what we sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cloison.errors import Unavailable
from controller.flows import Flow, FlowKey
from controller.flows.delta import FlowDelta, InstalledFlows
from controller.flows.meters import MeterDelta, Meters
from controller.openflow import wire
from controller.openflow.refusal import FlowError
from controller.openflow.statistics import MeterCounters, PortCounters

DRIFT_KEYS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Drift:
    """Somebody else changed the flows named by keys; and unless complete, perhaps others: read everything."""

    keys: frozenset[FlowKey]
    complete: bool


class Change(NamedTuple):
    """What is carried out one after the other: the meters, then the zones are forgotten, then the flows."""

    flows: FlowDelta = FlowDelta()
    meters: MeterDelta = MeterDelta()
    zones: tuple[int, ...] = ()


class Switch(Protocol):
    """One bridge. Calls are carried out one after the other; each raises Unavailable once the switch is
    gone.
    """

    dpid: int
    host_id: str | None
    ports: dict[int, str]
    on_port_changed: Callable[[int], None] | None

    async def read_flows(
        self,
        *,
        expected: Iterable[Flow] = (),
        table: int = wire.ALL_TABLES,
        cookie: int = 0,
        cookie_mask: int = 0,
    ) -> InstalledFlows:
        """Every flow with its counters, or those of one table or with cookie & cookie_mask as given.

        expected: flows that are probably there. They make the first read of a session several times as fast
        (recognised by their bytes, not decoded), and change nothing else; keep them as they are until it
        returns.
        """

    async def read_ports(self) -> None:
        """Fill `ports` with what the switch has now. From then on it follows by itself, and on_port_changed
        is called with the number of each port that came, went or has another name.
        """

    async def apply(self, delta: FlowDelta) -> None:
        """Carry out all of it, and return when it is in force in the flow tables (not yet in the datapath's
        caches).

        Raises SwitchRefused, with the flow that each error is about: then nothing was changed. Raises
        Unavailable if the switch is lost meanwhile: then everything or nothing was changed, read to know.
        """

    async def carry_out(self, change: Change) -> tuple[FlowError, ...]:
        """As apply_meters, flush_zones and apply in this order, with no wait between them.

        Returns the errors of meters; the rest is carried out all the same. Raises SwitchRefused if a zone is
        not forgotten or a flow is refused: then no flow was changed, while meters and zones may have been.
        """

    async def read_meters(self) -> Meters:
        """Every meter, by id."""

    async def apply_meters(self, delta: MeterDelta) -> None:
        """Carry it out, and return when it is in force. Not one transaction: when one meter is refused
        (SwitchRefused names it) the others may be there, read to know.

        A meter must be there before a flow that names it. To delete one deletes the flows that name it, which
        is told as drift: delete those flows first.
        """

    async def flush_zones(self, zones: Iterable[int]) -> None:
        """Forget all connections of these zones of the connection tracker (16 bits), and return when it is
        done. A packet of a flow that was deleted just before may still be on its way, in the datapath's
        caches.
        """

    async def ping(self) -> None:
        """Return when it has answered (a barrier): when it has carried out all that was sent before."""

    async def read_port_counters(self) -> Mapping[int, PortCounters]:
        """What was counted at each port, by ofport (LOCAL and its like are above 0xffffff00). Counters of a
        single flow come with read_flows.
        """

    async def read_meter_counters(self) -> Mapping[int, MeterCounters]:
        """What each meter dropped, by its id."""

    def watch_drift(self) -> AsyncIterator[Drift]:
        """What others change, from the moment of the connection on; own changes are left out. For one reader.

        Changes that are not fetched yet are merged. Raises Unavailable when the switch is gone.
        """


class DriftBuffer:
    """Merges drift until somebody asks. Belongs to the event loop."""

    def __init__(self, dpid: int) -> None:
        self._dpid = dpid
        self._keys: set[FlowKey] = set()
        self._complete = True
        self._ended = False
        self._news = asyncio.Event()

    def add(self, keys: set[FlowKey], complete: bool) -> None:
        """Note what changed."""
        self._keys |= keys
        self._complete &= complete
        if len(self._keys) > DRIFT_KEYS_MAX:
            self._keys.clear()
            self._complete = False
        self._news.set()

    def end(self) -> None:
        """The switch is gone."""
        self._ended = True
        self._news.set()

    async def watch(self) -> AsyncIterator[Drift]:
        """See Switch.watch_drift."""
        while True:
            await self._news.wait()
            if self._ended:
                raise Unavailable(f"the switch {self._dpid:#018x} is not connected")
            self._news.clear()
            drift = Drift(frozenset(self._keys), self._complete)
            self._keys.clear()
            self._complete = True
            yield drift
