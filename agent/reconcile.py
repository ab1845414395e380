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

from agent.outbox import Outbox
from agent.ovsdb.view import BridgeSpec, BridgeView, Change, Verdict
from agent.plan import (
    Fault,
    Firewall,
    HostPlan,
    Operations,
    Scope,
    changed,
    conditions,
    drifts,
    link_name,
    operations,
    plan_faults,
)
from agent.seams import Bridge, HostSettings, Kernel
from agent.state import PlanLog
from cloison.errors import Unavailable
from cloison.v1 import host_sync_pb2 as pb

_log = structlog.get_logger("agent.reconcile")

RETRY_MIN_S, RETRY_MAX_S = 0.2, 10.0
DRIFT_DETAILS_MAX = 20


@dataclass(slots=True)
class _Work:
    """What a round has to deal with.

    Taken as a whole when it begins, given back as far as it was not done.
    """

    planned: Scope = field(default_factory=Scope)
    bridge_planned: bool = False
    barrier: int | None = None
    revalidate: bool = False


class Reconciler:
    """Everything this host should be, and the task that makes it so."""

    def __init__(
        self, settings: HostSettings, kernel: Kernel, bridge: Bridge, plan_log: PlanLog, outbox: Outbox
    ) -> None:
        self._settings, self._kernel, self._bridge = settings, kernel, bridge
        self._plan_log, self._outbox = plan_log, outbox
        self._awake = asyncio.Event()
        self._work = _Work(bridge_planned=True)
        self._target: str | None = None
        self._verdicts: dict[str, Verdict] = {}
        self._guarded: frozenset[str] = frozenset()
        self._audit_at = 0.0
        self._retry_at: float | None = None
        self._retry_delay_s = RETRY_MIN_S
        self._noticed_at: float | None = None
        self._answered: int | None = None
        self._faults: list[Fault] = []
        self.plan: HostPlan | None = None

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
        self._work.planned.merge(scope)
        self._awake.set()

    def barrier(self, revision: int, *, revalidate: bool) -> None:
        """Promise an Ack of revision once everything set so far is carried out."""
        self._work.barrier = max(revision, self._work.barrier or 0)
        self._work.revalidate = self._work.revalidate or revalidate
        self._awake.set()

    def forget_barriers(self) -> None:
        """The stream that asked has ended; the next one asks anew."""
        self._work.barrier = self._answered = None

    def set_target(self, target: str) -> None:
        """Take the one controller that the bridge may dial."""
        if target and target != self._target:
            self._target = target
            self._work.bridge_planned = True
            self._awake.set()

    def set_verdicts(self, verdicts: Mapping[str, Verdict]) -> None:
        """Take what a controller said about interfaces, by name."""
        self._verdicts.update(verdicts)
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
        try:
            # (asyncio.wait_for of Python 3.11 can swallow the cancellation of this task.)
            async with asyncio.timeout(max(0.0, due_at - time.monotonic())):
                await self._awake.wait()
        except TimeoutError:
            pass  # time for the audit, or for a retry
        self._awake.clear()

    def _give_back(self, work: _Work) -> None:
        """Keep what the round did not do, so that the rest of it is not taken for drift."""
        now = self._work
        now.planned.merge(work.planned)
        now.bridge_planned = now.bridge_planned or work.bridge_planned
        now.revalidate = now.revalidate or work.revalidate
        if work.barrier is not None:
            now.barrier = max(work.barrier, now.barrier or 0)
        self._retry_at = time.monotonic() + self._retry_delay_s
        self._retry_delay_s = min(self._retry_delay_s * 2, RETRY_MAX_S)

    async def _round(self, work: _Work) -> bool:
        """One pass; return whether nothing is left to do."""
        noticed_at, self._noticed_at = self._noticed_at or time.monotonic(), None
        scope = await self._look()
        plan = self.plan
        todo = self._operations(plan, scope, work)
        drifted = drifts(todo, work.planned) if plan is not None else {}
        made_known = bool(drifted)
        faults = await self._kernel.apply(todo)
        changes, bridge_faults = await self._apply_bridge(plan)
        faults += bridge_faults
        faults += await self._kernel.remove_links(todo.links_delete)
        for kind, detail in _bridge_drifts(changes, work, made_known):
            drifted.setdefault(kind, []).append(detail)
        if not faults:
            self._tell_drift(drifted, time.monotonic() - noticed_at)
        return await self._acknowledge(work, plan, faults)

    async def _look(self) -> Scope:
        """Bring the mirror up to date; return where it has to be compared with the plan."""
        if time.monotonic() < self._audit_at:
            return await self._kernel.refresh()
        await self._kernel.read()
        self._audit_at = time.monotonic() + self._settings.audit_interval_s
        return Scope(everything=True)

    def _operations(self, plan: HostPlan | None, scope: Scope, work: _Work) -> Operations:
        actual, view = self._kernel.actual, self._bridge.view
        guarded = frozenset(view.interfaces) | {link_name(vni) for vni in view.tunnels}
        if plan is None:
            # Who may send to us is not known; but what stands on the bridge is never for the host's own ears.
            wanted = Firewall(actual.firewall.peers, guarded, intact=True)
            return Operations(firewall=None if wanted == actual.firewall else wanted)
        guarded |= {link_name(vni) for vni, network in plan.networks.items() if not network.fault}
        if guarded != self._guarded:
            self._guarded = guarded
            work.planned.firewall = True
        scope.merge(work.planned)
        return operations(plan, actual, scope, local=self._settings.vtep, guarded=guarded)

    async def _apply_bridge(self, plan: HostPlan | None) -> tuple[list[Change], list[Fault]]:
        links = self._kernel.actual.links
        tunnels = None
        if plan is not None:
            tunnels = {vni: links[vni].ifindex for vni in plan.networks if vni in links}
        settings = self._settings
        spec = BridgeSpec(
            name=settings.bridge,
            datapath_type=settings.datapath_type,
            new_datapath_type=settings.new_datapath_type,
            tls=settings.tls,
            target=self._target,
            tunnels=tunnels,
            verdicts=dict(self._verdicts),
        )
        try:
            changes = await self._bridge.apply(spec)
        except Unavailable as err:
            return [], [Fault("BRIDGE_UNAVAILABLE", str(err))]
        return changes, _tunnel_faults(self._bridge.view)

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

    async def _acknowledge(self, work: _Work, plan: HostPlan | None, faults: list[Fault]) -> bool:
        """Answer a barrier, or say that something changed since the last answer.

        Return whether all is done.
        """
        if plan is None:
            return not faults
        if work.revalidate and not faults:
            try:
                await self._bridge.revalidate()
                work.revalidate = False
            except Unavailable as err:
                faults.append(Fault("REVALIDATION_FAILED", str(err)))
        try:
            # Short and on purpose not in a thread: nothing may be acknowledged before it is on disk.
            self._plan_log.save(plan)
        except Unavailable as err:
            faults.append(Fault("STATE_NOT_SAVED", str(err)))
        told = faults + plan_faults(plan, self._kernel.actual)
        if told and told != self._faults:
            _log.error("plan is not carried out", host=self._settings.host, revision=plan.revision,
                       faults=[f"{fault.reason}: {fault.message}" for fault in told[:5]])  # fmt: skip
        if work.barrier is not None:
            self._answered, work.barrier = work.barrier, None
            self._send_ack(told)
        elif self._answered is not None and told != self._faults:
            self._send_ack(told)
        self._faults = told
        return not faults

    def _send_ack(self, faults: list[Fault]) -> None:
        ack = pb.Ack(revision=self._answered or 0, digest=self._kernel.actual.digest.value())
        ack.errors.extend(conditions(faults, self._settings.host))
        self._outbox.ack(ack)


def _tunnel_faults(view: BridgeView) -> list[Fault]:
    return [
        Fault("TUNNEL_PORT_FAILED", f"{link_name(tunnel.vni)}: {tunnel.error}")
        for tunnel in view.tunnels.values()
        if tunnel.error
    ]


def _bridge_drifts(changes: list[Change], work: _Work, links_drifted: bool) -> list[tuple[str, str]]:
    """Return (kind, detail) of the changes that no change of desired explains."""
    found = []
    for change in changes:
        if change.kind in ("bridge", "controller") and not work.bridge_planned:
            found.append(("BRIDGE_ALTERED", change.detail))
        if change.kind == "tunnel" and change.vni is not None:
            # A device that had to be made anew brings its port along; told once is enough.
            if links_drifted or work.planned.covers(change.vni):
                continue
            found.append(("TUNNEL_PORT_ALTERED", change.detail))
    return found
