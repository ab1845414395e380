"""Whether what was kept up change by change is what a compilation from nothing gives.

Compared all the time, a unit at a time, at a small bounded cost. A difference is a defect of ours: it is
logged, counted, and put right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter

import structlog

from cloison.names import HostName
from controller.flows import Flow
from controller.reconcile.flowset import Unit
from controller.reconcile.host import HostActor
from controller.store.state import State

_log = structlog.get_logger(__name__)

SHARE_OF_CORE = 0.005
"""What comparing may take at the most: 100,000 ports are gone through within an hour."""
ROUND_S = 600.0
"""Nor is all there is gone through much oftener than that: where there is little, little is spent on it."""
SLICE_S = 0.001
"""Work in one go; nobody notices that much."""
ROUND_INTERVAL_S = 10.0

# Compiles a unit from the state, past everything that is kept; raises whatever the compiler raises.
Fresh = Callable[[State, HostName, Unit], tuple[Flow, ...]]


class SelfCheck:
    """Goes round for ever."""

    def __init__(
        self,
        hosts: Mapping[HostName, HostActor],
        settled: Callable[[], State | None],
        fresh: Fresh,
        repair: Callable[[HostName, Unit], object],
    ) -> None:
        """settled: the state that hosts are at, None while changes of it wait to be followed.

        repair: work out a unit anew, through the gate, as if what it is made of had changed.
        """
        self._hosts, self._settled, self._fresh, self._repair = hosts, settled, fresh, repair
        self.compared = 0
        self.repaired = 0

    async def run(self) -> None:
        """Compare for ever; ends by being cancelled."""
        while True:
            spent_s, done = 0.0, 0
            for host, unit in self._everything():
                began_s = perf_counter()
                self._compare(host, unit)
                spent_s, done = spent_s + perf_counter() - began_s, done + 1
                if spent_s >= SLICE_S:
                    await asyncio.sleep(pause_s(spent_s, done, self._count()))
                    spent_s, done = 0.0, 0
            await asyncio.sleep(ROUND_INTERVAL_S)

    def _count(self) -> int:
        """Return how many units there are, as far as they have flows."""
        return sum(len(actor.flows.units) for actor in self._hosts.values())

    def check_everything(self) -> int:
        """Compare all there is in one go; return how many units differed."""
        before = self.repaired
        for host, unit in self._everything():
            self._compare(host, unit)
        return self.repaired - before

    def _everything(self) -> Iterable[tuple[HostName, Unit]]:
        """Yield what there is to compare; what comes meanwhile is for the next round."""
        for host in list(self._hosts):
            state, actor = self._settled(), self._hosts.get(host)
            if state is None or actor is None:
                continue
            yield from ((host, unit) for unit in actor.flows.units | units_of(state, host))

    def _compare(self, host: HostName, unit: Unit) -> None:
        state, actor = self._settled(), self._hosts.get(host)
        # What is withheld has no flows for a reason that is told, and is tried again by itself.
        if state is None or actor is None or unit in actor.blocked:
            return
        self.compared += 1
        try:
            fresh = self._fresh(state, host, unit)
        except Exception:  # noqa: BLE001 - it was compiled before, or its failure was told
            _log.exception("a unit cannot be compiled to be compared", host=host.host, unit=_text(unit))
            return
        kept = actor.flows.flows_of(unit)
        if kept is fresh or set(kept) == set(fresh):
            return
        self.repaired += 1
        _log.error(
            "the flows kept differ from those compiled from nothing: putting that right",
            host=host.host,
            unit=_text(unit),
            missing=len(set(fresh) - set(kept)),
            excess=len(set(kept) - set(fresh)),
            revision=state.revision,
        )
        self._repair(host, unit)


def pause_s(spent_s: float, done: int, units: int) -> float:
    """Return how long to rest after this many units, of all there are, have taken so long; in seconds."""
    return max(spent_s / SHARE_OF_CORE, ROUND_S * done / max(units, done))


def units_of(state: State, host: HostName) -> set[Unit]:
    """Return the units that have flows on a host."""
    units: set[Unit] = {("static",), ("host", host)}
    for binding in state.bindings_on(host):
        network = binding.port.parent
        units |= {("port", binding.port), ("policy", network.parent)}
        units |= {("network", carried) for carried in (network, *state.routed_with(network))}
    return units


def _text(unit: Unit) -> str:
    return " ".join(map(str, unit))
