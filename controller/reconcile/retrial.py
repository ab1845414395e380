"""What the gate refused, judged again: apart at once, and now and then as long as it is refused.

What is refused together is often one object's fault, and what was at fault may be right by now (a clash that
is over, a bug in something that changed since). Decides when to ask again, never what the answer is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set

import structlog

from cloison.names import HostName
from controller.reconcile.flowset import Unit
from controller.reconcile.host import HostActor
from controller.reconcile.units import order

_log = structlog.get_logger(__name__)

# How soon what is refused is judged again; the wait doubles while it is refused again.
RETRY_MIN_S, RETRY_MAX_S = 1.0, 60.0
_RETRIED = frozenset({"REFUSED_BY_GATE", "FLOW_CONFLICT", "COMPILER_FAILED"})

HostUnit = tuple[HostName, Unit]


class Retrial:
    """Follows what is withheld from hosts.

    judge: work out a unit anew; unsound: whose plans are wrong; quiet: wait until either may be asked.
    """

    def __init__(
        self,
        hosts: Mapping[HostName, HostActor],
        judge: Callable[[HostName, Unit], object],
        unsound: Callable[[], Set[HostName]],
        quiet: Callable[[], Awaitable[None]],
    ) -> None:
        self._hosts, self._judge, self._unsound, self._quiet = hosts, judge, unsound, quiet
        self._apart: set[HostUnit] = set()
        self._wake = asyncio.Event()

    def withheld(self, reasons: Set[str] = frozenset()) -> set[HostUnit]:
        """Return the units that do not have the flows they should, for one of these reasons or any."""
        return {
            (name, unit)
            for name, actor in self._hosts.items()
            for unit, condition in actor.blocked.items()
            if not reasons or condition.reason in reasons
        }

    def refused(self, units: Iterable[HostUnit]) -> None:
        """Something was refused, these units together."""
        self._apart.update(units)
        self._wake.set()

    async def run(self) -> None:
        """Judge again for ever; ends by being cancelled."""
        loop, delay_s, due_at = asyncio.get_running_loop(), RETRY_MIN_S, None
        while True:
            if not self.withheld(_RETRIED) and not self._held():
                delay_s, due_at = RETRY_MIN_S, None
            elif due_at is None:
                due_at = loop.time() + delay_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due_at):
                    await self._wake.wait()
            self._wake.clear()
            try:
                units, self._apart = self._apart, set()
                await self._judge_apart(units)
                if due_at is not None and loop.time() >= due_at:
                    delay_s, due_at = min(2 * delay_s, RETRY_MAX_S), None
                    await self._judge_apart(self.withheld(_RETRIED))
                    await self._quiet()
                    self._release_plans()
            except Exception:  # noqa: BLE001 - what is refused stays refused, and is looked at again
                _log.exception("could not judge again")

    async def _judge_apart(self, units: set[HostUnit]) -> None:
        for host, unit in sorted(units, key=lambda item: order(item[1])):
            await self._quiet()
            if (host, unit) in self.withheld(_RETRIED):
                self._judge(host, unit)
                await asyncio.sleep(0)

    def _held(self) -> list[HostActor]:
        return [actor for actor in self._hosts.values() if actor.plan_held]

    def _release_plans(self) -> None:
        held = self._held()
        unsound = self._unsound() if held else frozenset()
        for actor in held:
            if actor.name not in unsound:
                actor.release_plan()
