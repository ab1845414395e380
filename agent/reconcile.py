"""The loop: desired, actual, the operations between them, apply, tell. The same path for a start, a new
plan, an event of the kernel or of the bridge, a retry, and the full audit that comes every so often.

Nothing is deleted before a whole desired plan is known (from disk or from a controller). A round that
fails is repeated; it never stops the next one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from agent.bridging import Bridging, port_faults
from agent.edges import Edges, Settled
from agent.outbox import Outbox
from agent.ovsdb.view import BridgeView, Change, Verdict
from agent.plan import (
    Fault,
    Firewall,
    HostPlan,
    Operations,
    Scope,
    ServiceLink,
    changed,
    drifts,
    operations,
)
from agent.receipts import Receipts
from agent.seams import Bridge, HostSettings, Kernel, LocalServices
from agent.state import PlanLog
from cloison.errors import Unavailable
from cloison.v1 import host_sync_pb2 as pb

_log = structlog.get_logger("agent.reconcile")

RETRY_MIN_S, RETRY_MAX_S = 0.2, 10.0
DRIFT_DETAILS_MAX = 20
DRIFT_PACE_S = 0.01
LIMIT_TIMEOUT_S = 2.0


@dataclass(slots=True)
class _Work:
    """What a round has to deal with.

    Taken as a whole when it begins, given back as far as it was not done.
    """

    planned: Scope = field(default_factory=Scope)
    suspect: Scope = field(default_factory=Scope)
    bridge_planned: bool = False


class Reconciler:
    """Everything this host should be, and the task that makes it so."""

    def __init__(
        self, settings: HostSettings, kernel: Kernel, bridge: Bridge, plan_log: PlanLog, outbox: Outbox,
        services: LocalServices | None = None, edges: Edges | None = None,
    ) -> None:  # fmt: skip
        """services are told of every plan and of their device; without them no device is made, without edges
        no edge.
        """
        self._settings, self._kernel, self._bridge = settings, kernel, bridge
        self._outbox = outbox
        self._services, self._edges = services, edges
        self._service_link: ServiceLink | None = None
        self._limit_set = False
        self._awake = asyncio.Event()
        self._receipts = Receipts(settings.host, bridge, plan_log, outbox, self._awake.set)
        self._work = _Work(bridge_planned=True)
        self._target: str | None = None
        self._verdicts: dict[str, Verdict] = {}
        self._bridging = Bridging(settings)
        self._guarded: frozenset[str] = frozenset()
        # Faults of the ports in a view of the bridge.
        self._port_faults: tuple[BridgeView, list[Fault]] = bridge.view, port_faults(bridge.view)
        self._audit_at = 0.0
        self._retry_at: float | None = None
        self._retry_delay_s = RETRY_MIN_S
        self._noticed_at: float | None = None
        self.plan: HostPlan | None = None

    def audit(self) -> None:
        """Something may have changed that no event tells of: look at everything now."""
        self._audit_at = 0.0
        self.wake()

    def wake(self) -> None:
        """Something may have changed: look at it now."""
        if self._noticed_at is None:
            self._noticed_at = time.monotonic()
        self._awake.set()

    def set_plan(self, plan: HostPlan, scope: Scope | None = None) -> None:
        """Take a new desired plan; scope is where it differs from the last one (found out if not given)."""
        if self.plan is None:
            scope = Scope(everything=True)
        elif scope is None:
            scope = changed(self.plan, plan)
        self.plan = plan
        if self._services is not None:
            self._services.serve(plan)
        self._work.planned.merge(scope)
        self._awake.set()

    def confirm(self) -> None:
        """A controller has said that the plan is the present one."""
        if self._edges is not None and self.plan is not None:
            self._edges.confirm()
            self._work.planned.edges.update(self.plan.edges)
            self._awake.set()

    def barrier(self, revision: int, *, taken_away: bool, flows_changed: bool) -> None:
        """Promise an Ack of revision once everything set so far is carried out."""
        self._receipts.ask(revision, taken_away=taken_away, flows_changed=flows_changed)
        self._awake.set()

    def forget_barriers(self) -> None:
        """The stream that asked has ended; the next one asks anew."""
        self._receipts.forget()

    def set_target(self, target: str) -> None:
        """Take the one controller that the bridge may dial."""
        if target and target != self._target:
            self._target = target
            self._work.bridge_planned = True
            self._awake.set()

    def set_verdicts(self, verdicts: Mapping[str, Verdict]) -> None:
        """Take what a controller said about interfaces, by name."""
        # (A new mapping: the bridge compares what it was given with what it is given.)
        now = {**self._verdicts, **verdicts}
        for name in self._verdicts.keys() - verdicts.keys() - self._bridge.view.interfaces.keys():
            del now[name]
        self._verdicts = now
        self._awake.set()

    async def run(self) -> None:
        """Reconcile for ever."""
        while True:
            await self._wait()
            work, self._work = self._work, _Work()
            try:
                clean = await self._round(work)
            except Unavailable as err:
                _log.warning("round failed, will retry", host=self._settings.host, error=str(err))
                # What was done is not known: the next round begins with a full read.
                self._audit_at, clean = 0.0, False
            if clean:
                self._retry_delay_s, self._retry_at = RETRY_MIN_S, None
            else:
                self._give_back(work)

    async def _wait(self) -> None:
        due_at = self._audit_at if self._retry_at is None else self._retry_at
        # For the audit, or for a retry. (The loop's clock is time.monotonic.)
        timer = asyncio.get_running_loop().call_at(due_at, self._awake.set)
        try:
            await self._awake.wait()
        finally:
            timer.cancel()
        self._awake.clear()

    def _give_back(self, work: _Work) -> None:
        """Keep what the round did not do, so that the rest of it is not taken for drift."""
        now = self._work
        now.planned.merge(work.planned)
        now.suspect.merge(work.suspect)
        now.bridge_planned = now.bridge_planned or work.bridge_planned
        self._retry_at = time.monotonic() + self._retry_delay_s
        self._retry_delay_s = min(self._retry_delay_s * 2, RETRY_MAX_S)

    async def _round(self, work: _Work) -> bool:
        """One pass; return whether nothing is left to do."""
        noticed_at, self._noticed_at = self._noticed_at or time.monotonic(), None
        # All that is desired is taken now: what comes while this round waits belongs to the next one.
        due, plan, target = self._receipts.due(), self.plan, self._target
        auditing = time.monotonic() >= self._audit_at
        work.suspect.merge(await self._look())
        faults = await self._see_to_services() if auditing or self._service_link is None else []
        self._limit_set = self._limit_set and not auditing
        todo = self._operations(plan, work)
        drifted = drifts(todo, work.planned) if plan is not None and todo else {}
        made_known = bool(drifted)
        faults += await self._kernel.apply(todo)
        settled = await self._see_to_edges(plan, work.planned, look=auditing)
        faults += settled.faults
        if settled.more:
            self._awake.set()
        changes, bridge_faults = await self._apply_bridge(plan, target)
        faults += bridge_faults
        if not bridge_faults:
            await self._limit_connections()
        if todo.links_delete:
            faults += await self._kernel.remove_links(todo.links_delete)
        if self._edges is not None and plan is not None:
            faults += await self._edges.remove()
        for kind, detail in [
            *settled.drifts,
            *_bridge_drifts(changes, work, made_known or bool(settled.drifts)),
        ]:
            drifted.setdefault(kind, []).append(detail)
        if drifted and not faults:
            self._tell_drift(drifted, time.monotonic() - noticed_at)
            # Somebody who changes things back all the time gets no more than this much of a core.
            await asyncio.sleep(DRIFT_PACE_S)
        if plan is None:
            return not faults
        held = {} if self._edges is None else self._edges.held
        return self._receipts.give(due, plan, self._kernel.actual, faults, held)

    async def _look(self) -> Scope:
        """Bring the mirror up to date; return where it has to be compared with the plan."""
        if time.monotonic() < self._audit_at:
            return await self._kernel.refresh()
        await self._kernel.read()
        self._audit_at = time.monotonic() + self._settings.audit_interval_s
        return Scope(everything=True)

    async def _see_to_services(self) -> list[Fault]:
        """Make sure that the local services have their devices; part of an audit."""
        if self._services is None:
            return []
        try:
            self._service_link = await self._kernel.service_link()
            self._services.attach(self._service_link)
        except Unavailable as err:
            self._service_link = None
            return [Fault("SERVICES_FAILED", str(err))]
        return []

    async def _see_to_edges(self, plan: HostPlan | None, planned: Scope, *, look: bool) -> Settled:
        if self._edges is None or plan is None:
            return Settled()
        return await self._edges.settle(plan, self._bridge.view, planned, look=look)

    async def _limit_connections(self) -> None:
        """Once an audit, whatever comes of it: ovs-vswitchd forgets the limit when it ends."""
        if self._limit_set or not self._bridge.view.datapath_id:
            return
        self._limit_set = True
        try:
            async with asyncio.timeout(LIMIT_TIMEOUT_S):
                await self._bridge.limit_connections(self._settings.conntrack_limit)
        except (Unavailable, TimeoutError) as err:
            _log.warning("connections of guests are not limited", host=self._settings.host, error=str(err))

    def _operations(self, plan: HostPlan | None, work: _Work) -> Operations:
        actual = self._kernel.actual
        guarded = self._bridging.guarded(
            plan,
            self._bridge.view,
            with_services=self._service_link is not None,
            with_edges=self._edges is not None,
        )
        if plan is None:
            # Who may send to us is not known; but what stands on the bridge is never for the host's own ears.
            wanted = Firewall(actual.firewall.peers, guarded, intact=True)
            return Operations(firewall=None if wanted == actual.firewall else wanted)
        if guarded != self._guarded:
            self._guarded = guarded
            work.planned.firewall = True
        scope = Scope()
        scope.merge(work.suspect)
        scope.merge(work.planned)
        if not scope:
            return Operations()
        return operations(plan, actual, scope, local=self._settings.vtep, guarded=guarded)

    async def _apply_bridge(
        self, plan: HostPlan | None, target: str | None
    ) -> tuple[list[Change], list[Fault]]:
        spec = self._bridging.spec(
            plan,
            self._kernel.actual,
            target,
            self._verdicts,
            None if self._service_link is None else self._service_link.ifindex,
            None if plan is None or self._edges is None else self._edges.ports,
        )
        try:
            changes = await self._bridge.apply(spec)
        except Unavailable as err:
            return [], [Fault("BRIDGE_UNAVAILABLE", str(err))]
        view = self._bridge.view
        if view is not self._port_faults[0]:
            self._port_faults = view, port_faults(view)
        return changes, self._port_faults[1]

    def _tell_drift(self, drifted: Mapping[str, list[str]], repair_s: float) -> None:
        revision = 0 if self.plan is None else self.plan.revision
        for kind, details in drifted.items():
            shown = details[:DRIFT_DETAILS_MAX]
            if len(details) > len(shown):
                shown.append(f"and {len(details) - len(shown)} more")
            _log.warning(
                "drift repaired", host=self._settings.host, revision=revision, kind=kind, details=shown,
                repair_s=round(repair_s, 4),
            )  # fmt: skip
            self._outbox.drift(pb.Drift(revision=revision, kind=kind, details=shown, repair_s=repair_s))


def _bridge_drifts(changes: list[Change], work: _Work, links_drifted: bool) -> list[tuple[str, str]]:
    """Return (kind, detail) of the changes that no change of desired explains."""
    found = []
    for change in changes:
        if change.kind in ("bridge", "controller", "service") and not work.bridge_planned:
            found.append(("BRIDGE_ALTERED", change.detail))
        if change.kind == "tunnel" and change.vni is not None:
            # A device that had to be made anew brings its port along; told once is enough.
            if links_drifted or work.planned.covers(change.vni):
                continue
            found.append(("TUNNEL_PORT_ALTERED", change.detail))
        if change.edge is not None and not links_drifted and not work.planned.covers_edge(change.edge):
            found.append(("EDGE_PORT_ALTERED", change.detail))
    return found
