"""Answers to barriers: what this host runs, on disk and revalidated before it is said.

Cached flows are revalidated beside the loop, which must not wait for it: drift is repaired meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from agent.outbox import Outbox
from agent.plan import Actual, Fault, HostPlan, PlanFaults, conditions, with_edges
from agent.seams import Bridge
from agent.state import PlanLog
from cloison.errors import Unavailable
from cloison.v1 import host_sync_pb2 as pb

_log = structlog.get_logger("agent.receipts")


@dataclass(frozen=True, slots=True)
class Due:
    """What was asked for when a round began; what comes later is for a later round to answer."""

    revision: int | None
    revalidation: int


class Receipts:
    """One per agent; `wake` makes the loop come round again when a revalidation has ended."""

    def __init__(
        self, host: str, bridge: Bridge, plan_log: PlanLog, outbox: Outbox, wake: Callable[[], None]
    ) -> None:
        self._host, self._bridge, self._plan_log, self._outbox = host, bridge, plan_log, outbox
        self._wake = wake
        self._asked: int | None = None
        self._answered: int | None = None
        self._told: list[Fault] = []
        self._plan_faults = PlanFaults()
        # Revalidations are counted: one that began before the last barrier does not answer it.
        self._wanted = self._done = self._running = 0
        # Whether anything was taken away since the last revalidation that went well began.
        self._taken_away = False
        self._task: asyncio.Task[None] | None = None

    def ask(self, revision: int, *, taken_away: bool, flows_changed: bool) -> None:
        """A controller wants to know when everything said so far is carried out."""
        self._asked = max(revision, self._asked or 0)
        self._wanted += taken_away or flows_changed
        self._taken_away |= taken_away

    def forget(self) -> None:
        """The one who asked is gone; the next one asks anew."""
        self._asked = self._answered = None

    def due(self) -> Due:
        """Return what the round that begins now may answer."""
        return Due(self._asked, self._wanted)

    def give(
        self, due: Due, plan: HostPlan, actual: Actual, faults: list[Fault], edges: Mapping[int, bytes]
    ) -> bool:
        """Answer what is due, or say that something changed since the last answer; after every round.

        edges: digests of those that are as planned. Returns whether nothing has to be tried again.
        """
        faults = list(faults)
        if due.revalidation > self._done and not faults and not self._revalidated(due, faults):
            return True
        try:
            # Short, and on purpose not in a thread: nothing is acknowledged before it is on disk.
            self._plan_log.save(plan)
        except Unavailable as err:
            faults.append(Fault("STATE_NOT_SAVED", str(err)))
        told = faults + self._plan_faults.of(plan, actual)
        if told and told != self._told:
            reasons = [f"{fault.reason}: {fault.message}" for fault in told[:5]]
            _log.error("plan not carried out", host=self._host, revision=plan.revision, faults=reasons)
        if due.revision is not None and self._asked is not None:
            self._answered = due.revision
            if self._asked == due.revision:
                self._asked = None
            self._send(self._answered, with_edges(actual.digest.value(), edges), told)
        elif self._answered is not None and told != self._told:
            self._send(self._answered, with_edges(actual.digest.value(), edges), told)
        self._told = told
        return not faults

    def _revalidated(self, due: Due, faults: list[Fault]) -> bool:
        """See to the revalidation that is due; return whether it has ended (with a fault if it failed)."""
        if self._task is not None and self._task.done():
            error = self._task.exception()
            self._task = None
            if error is None:
                self._done = self._running
            else:
                self._taken_away = True
                faults.append(Fault("REVALIDATION_FAILED", str(error)))
        if self._task is None and not faults and due.revalidation > self._done:
            self._running = due.revalidation
            wait = self._bridge.revalidate(taken_away=self._taken_away)
            self._taken_away = False
            self._task = asyncio.create_task(wait, name="revalidate")
            self._task.add_done_callback(lambda _: self._wake())
        return bool(faults) or due.revalidation <= self._done

    def _send(self, revision: int, digest: bytes, faults: list[Fault]) -> None:
        ack = pb.Ack(revision=revision, digest=digest)
        ack.errors.extend(conditions(faults, self._host))
        self._outbox.ack(ack)
