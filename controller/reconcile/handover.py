"""The order of a move, so that next to nothing is lost: flows where a port comes to live, then forwarding
entries everywhere else, then the end of its flows where it lived.

Only a matter of when, and never for long: who cannot be waited for is not. What is sent is as it was worked
out for the revision, and messages to one host stay in their order.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from typing import Protocol

from cloison.names import HostName, PortName
from controller.flows import Flow
from controller.reconcile.flowset import Unit
from controller.reconcile.progress import Progress
from controller.reconcile.session import Pause

PATIENCE_S = 0.3
"""Longer than a switch takes for a bundle, and less than anybody would notice of a revocation."""


class Place(Protocol):
    """A host as far as it is waited for."""

    flows_progress: Progress
    plan_progress: Progress

    @property
    def obeys(self) -> bool:
        """Tell whether its switch and its agent are there to obey."""

    def pause_plan(self, until: Pause) -> None:
        """Let the changes of plan from now on wait."""

    def pause_flows(self, until: Pause) -> None:
        """Let the changes of flows from now on wait."""


class Handover:
    """Waits for the hosts of one revision: `to`, where ports come to live, and others that send to them."""

    def __init__(self, revision: int, to: Place, others: Collection[Place]) -> None:
        """Call progressed() once the hosts have been told what they are to have."""
        self._revision, self._to, self._others = revision, to, others
        self._until_s = asyncio.get_running_loop().time() + PATIENCE_S
        self._ready, self._followed = asyncio.Event(), asyncio.Event()

    @property
    def over(self) -> bool:
        """Tell whether nobody has to wait any more."""
        return self._followed.is_set() or asyncio.get_running_loop().time() >= self._until_s

    def progressed(self) -> None:
        """Some host confirmed something, or cannot any more."""
        if not self._to.obeys or self._to.flows_progress.holds(self._revision):
            self._ready.set()
        if self._ready.is_set() and all(
            not other.obeys or other.plan_progress.holds(self._revision) for other in self._others
        ):
            self._followed.set()

    async def ready(self) -> None:
        """Return when the flows are in force where the port comes to live."""
        await self._wait(self._ready)

    async def followed(self) -> None:
        """Return when the others send there."""
        await self._wait(self._followed)

    async def _wait(self, event: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._until_s):
                await event.wait()


def handovers(
    revision: int,
    moves: Mapping[PortName, tuple[HostName, HostName]],
    places: Mapping[HostName, Place],
    units: Mapping[HostName, Mapping[Unit, tuple[Flow, ...]]],
) -> list[Handover]:
    """Begin what ports that move (from, to) need; the hosts that are told (places) wait for each other.

    units: the flows that they are to have: a port that keeps some where it was stands by there.
    """
    ways = {port: way for port, way in moves.items() if way[1] in places}
    arrivals, made = {to for _, to in ways.values()}, []
    staying = {host: place for host, place in places.items() if host not in arrivals}
    others = tuple(staying.values())
    for to in arrivals:
        handover = Handover(revision, places[to], others)
        made.append(handover)
        for place in others:
            place.pause_plan(handover.ready)
        for port, (old, new) in ways.items():
            if new == to and old in staying and units.get(old, {}).get(("port", port)):
                staying[old].pause_flows(handover.followed)
    return made
