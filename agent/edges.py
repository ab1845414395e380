"""The edges of this host: what the plan wants of them, what is there, and the work between.

A part of the loop's round (reconcile.py): edges are made before the bridges take their ports, and removed
after the bridges have dropped them. An edge that nothing is asked of is looked at in an audit only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import structlog

from agent.ovsdb.view import BridgeView, EdgePort
from agent.plan import (
    INSIDE,
    OUTSIDE,
    Edge,
    EdgeState,
    Fault,
    HostPlan,
    Scope,
    WantedEdge,
    differences,
    edge_digest,
    inside_link,
    outside_link,
)
from agent.seams import EdgesKernel
from cloison.errors import Unavailable

_log = structlog.get_logger("agent.edges")

WORDS_MAX = 5
"""Of what one edge has otherwise than it should."""


AUDITED_MAX = 8
"""Edges looked at in one round of an audit: one that is to become active waits for no more of them."""


@dataclass(slots=True)
class Settled:
    """What came of a look at some edges.

    drifts: (kind, what is concerned); more: others wait for their turn.
    """

    faults: list[Fault] = field(default_factory=list)
    drifts: list[tuple[str, str]] = field(default_factory=list)
    more: bool = False


class Edges:
    """mappings: the bridge of each physical network that this host has. bridge: the integration bridge."""

    def __init__(self, kernel: EdgesKernel, mappings: Mapping[str, str], bridge: str) -> None:
        self._kernel, self._mappings, self._bridge = kernel, dict(mappings), bridge
        # Those of which there is something, and what is there; None before the first look.
        self._present: set[int] | None = None
        self._ports: dict[int, dict[str, EdgePort]] = {}
        self._wanted: dict[int, WantedEdge] = {}
        # What is wrong with those that are not as planned, and those that an audit has not come to yet.
        self._failing: dict[int, Fault] = {}
        self._unaudited: set[int] = set()
        # How often a controller has said that the plan is the present one, and since when of these
        # active edges were announced.
        self._confirmations = 0
        self._announced: dict[int, int] = {}
        self.held: dict[int, bytes] = {}
        """Digests of the records of those that the kernel holds as the plan says, by number."""

    @property
    def ports(self) -> Mapping[str, EdgePort] | None:
        """The ports that the bridges should have, by the name of their device; None: not known yet."""
        if self._present is None:
            return None
        return {name: port for ports in self._ports.values() for name, port in ports.items()}

    def confirm(self) -> None:
        """A controller has said that the plan is the present one: active edges are announced (again).

        Another host may have answered for their addresses while this one was not told of it.
        """
        self._confirmations += 1

    async def settle(self, plan: HostPlan, view: BridgeView, planned: Scope, *, look: bool) -> Settled:
        """Make the edges of planned what the plan says, but for what must go; look: begin to look at all."""
        settled, known = Settled(), plan.edges.keys() | self._wanted.keys()
        if self._present is None or look or planned.everything:
            self._present = await self._kernel.numbers()
            self._unaudited = set(known)
        numbers = set(known) if planned.everything else planned.edges | self._failing.keys()
        numbers |= set(sorted(self._unaudited)[:AUDITED_MAX])
        for number in sorted(numbers):
            await self._settle_one(plan, number, view, planned, settled)
        self._unaudited -= numbers
        settled.more = bool(self._unaudited)
        settled.faults = [self._failing[number] for number in sorted(self._failing)]
        if look and not planned.everything:
            gone = self._present - self._wanted.keys() - planned.edges
            settled.drifts += [("EDGE_FOREIGN", f"edge {number}") for number in sorted(gone)]
        return settled

    async def remove(self) -> list[Fault]:
        """Remove what no plan wants, once the bridges have no port of it any more."""
        faults = []
        for number in sorted((self._present or set()) - self._wanted.keys()):
            try:
                await self._kernel.remove(number)
                if self._present is not None:
                    self._present.discard(number)
            except (Unavailable, OSError) as err:
                faults.append(Fault("EDGE_FAILED", f"edge {number} cannot be removed: {err}"))
        return faults

    async def _settle_one(
        self, plan: HostPlan, number: int, view: BridgeView, planned: Scope, settled: Settled
    ) -> None:
        known = self._wanted.get(number)
        self._failing.pop(number, None)
        wanted, fault = self._want(plan, number, view)
        if fault is not None:
            self._failing[number] = fault
        if wanted is None:
            self._forget(number)
            return
        self.held.pop(number, None)
        try:
            actual = await self._kernel.read(number)
            wanted = self._wanted[number] = self._as_confirmed(wanted, actual)
            differing = differences(wanted.state, actual)
            if differing and known == wanted and not planned.covers_edge(number):
                settled.drifts.append(("EDGE_ALTERED", f"{wanted.edge.title}: {_short(differing)}"))
            if differing:
                await self._make(wanted, actual)
            await self._note_ports(wanted)
            await self._announce(wanted)
        except (Unavailable, OSError) as err:
            self._wanted[number] = wanted
            self._failing[number] = _fault("EDGE_FAILED", wanted.edge, str(err))
            return
        self.held[number] = edge_digest(plan.edges[number].message)

    def _as_confirmed(self, wanted: WantedEdge, actual: EdgeState) -> WantedEdge:
        """Return an edge as it may be: while only the disk says that it is active, it becomes so no more.

        The host may have been away for long, and another has taken its place.
        """
        is_up = OUTSIDE in actual.legs and actual.legs[OUTSIDE].up
        if self._confirmations or is_up or not wanted.edge.active:
            return wanted
        return replace(wanted, edge=replace(wanted.edge, active=False))

    async def _make(self, wanted: WantedEdge, actual: EdgeState) -> None:
        number = wanted.edge.number
        if self._present is not None:
            self._present.add(number)
        after, refused = await self._kernel.apply(wanted, actual)
        left = differences(wanted.state, after)
        if left:
            raise Unavailable(f"{_short(left)}{'; the kernel said ' if refused else ''}{_short(refused)}")
        _log.info("edge is as planned", edge=number, router=wanted.edge.router, active=wanted.edge.active)

    async def _announce(self, wanted: WantedEdge) -> None:
        """Tell the link outside, once for each confirmation, where the addresses of an active edge are."""
        number = wanted.edge.number
        if not wanted.edge.active:
            self._announced.pop(number, None)
        elif self._announced.get(number, 0) != self._confirmations:
            await self._kernel.announce(wanted)
            self._announced[number] = self._confirmations

    async def _note_ports(self, wanted: WantedEdge) -> None:
        edge = wanted.edge
        indexes = await self._kernel.ports(edge.number)
        bridge = self._mappings[edge.physical_network]
        self._ports[edge.number] = {
            inside_link(edge.number): EdgePort(
                edge.number, self._bridge, indexes.get(INSIDE, 0), iface_id=edge.iface_id
            ),
            outside_link(edge.number): EdgePort(edge.number, bridge, indexes.get(OUTSIDE, 0), tag=edge.vlan),
        }

    def _want(self, plan: HostPlan, number: int, view: BridgeView) -> tuple[WantedEdge | None, Fault | None]:
        """Return what an edge should be, None for one that cannot be, and what is wrong with it."""
        record = plan.edges.get(number)
        edge = None if record is None else record.edge
        if edge is None:
            return None, None  # not in the plan, or told as a fault of the plan
        bridge = self._mappings.get(edge.physical_network)
        if bridge is None:
            words = f"no bridge is mapped to {edge.physical_network} here (--bridge-mappings)"
            return None, _fault("EDGE_UNMAPPED", edge, words)
        if view.connected and bridge not in view.bridges:
            words = f"bridge {bridge} of {edge.physical_network} is not there"
            return self._wanted.get(number), _fault("EDGE_BRIDGE_MISSING", edge, words)
        taken = {INSIDE: self._bridge, OUTSIDE: bridge}
        # A bridge of which nothing is known may have the userspace datapath.
        finished = frozenset(leg for leg, name in taken.items() if view.bridges.get(name) != "system")
        return WantedEdge(edge, finished), None

    def _forget(self, number: int) -> None:
        self._wanted.pop(number, None)
        self._ports.pop(number, None)
        self._announced.pop(number, None)
        self.held.pop(number, None)


def _fault(reason: str, edge: Edge, words: str) -> Fault:
    return Fault(reason, f"{edge.title}: {words}", edge.router)


def _short(words: list[str]) -> str:
    more = f" and {len(words) - WORDS_MAX} more" if len(words) > WORDS_MAX else ""
    return ", ".join(words[:WORDS_MAX]) + more
