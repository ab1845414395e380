"""One stream with a controller, without the stream: who is obeyed, and what becomes of each message.

A snapshot is gathered aside and taken as a whole when it is complete, so a reconnect changes nothing that
is right. The fence is on disk before anything of a newer epoch is obeyed.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from agent.ovsdb.view import Verdict
from agent.plan import EMPTY_PLAN, HostPlan, scope_of
from agent.reconcile import Reconciler
from agent.state import Fence, PlanLog, StateDirectory
from cloison.errors import CloisonError
from cloison.v1 import host_sync_pb2 as pb

_log = structlog.get_logger("agent.session")


class Refused(CloisonError):
    """This host does not obey what it was told; the stream must end."""


class Session:
    """Takes the messages of one stream, in order."""

    def __init__(
        self,
        host: str,
        state: StateDirectory,
        plan_log: PlanLog,
        reconciler: Reconciler,
        fence: Fence,
        inspect: Callable[[pb.Inspect], None] | None = None,
    ) -> None:
        """inspect takes the controller's questions; without it they are not answered."""
        self._log = _log.bind(host=host)
        self._state, self._plan_log, self._reconciler = state, plan_log, reconciler
        self._gathered: HostPlan | None = None
        self._inspect = inspect
        self.fence = fence
        self.welcomed = False

    def take(self, message: pb.ControllerMessage) -> None:
        """Act on one message; raises Refused if it must not be obeyed."""
        kind = message.WhichOneof("kind")
        if kind == "welcome":
            self._welcome(message.welcome)
            return
        if not self.welcomed:
            raise Refused(f"{kind} came before Welcome")
        if kind == "delta":
            self._delta(message.delta)
        elif kind == "snapshot_complete":
            self._snapshot(message.snapshot_complete.revision)
        elif kind == "verdicts":
            self._verdicts(message.verdicts)
        elif kind == "barrier":
            self._barrier(message.barrier)
        elif kind == "inspect" and self._inspect is not None:
            self._inspect(message.inspect)
        if message.HasField("then"):
            self._barrier(message.then)

    def end(self) -> None:
        """The stream is over; what it half said is forgotten."""
        self._gathered = None
        self._reconciler.forget_barriers()

    def _welcome(self, welcome: pb.Welcome) -> None:
        known = self.fence
        if welcome.epoch < known.epoch:
            raise Refused(
                f"controller {welcome.controller_id} has epoch {welcome.epoch}, but this host obeyed "
                f"{known.controller_id} with epoch {known.epoch}"
            )
        target = welcome.openflow_target or known.openflow_target
        fence = Fence(welcome.epoch, welcome.controller_id, target)
        if fence != known:
            self._state.write_fence(fence)
            self.fence = fence
        self.welcomed, self._gathered = True, EMPTY_PLAN
        self._reconciler.set_target(target)
        self._log.info("obeying controller", controller=welcome.controller_id, epoch=welcome.epoch)

    def _delta(self, delta: pb.PlanDelta) -> None:
        if self._gathered is not None:
            # Most often it is what is known: while both are there, they take the room of one.
            self._gathered = self._gathered.apply(delta, self._reconciler.plan)
            return
        plan = self._reconciler.plan
        if plan is None:
            raise Refused("a delta came before the snapshot")
        self._plan_log.append(delta)
        self._reconciler.set_plan(plan.apply(delta), scope_of(delta, plan))

    def _snapshot(self, revision: int) -> None:
        gathered, known = self._gathered, self._reconciler.plan
        if gathered is None:
            raise Refused("the snapshot was complete already")
        plan = gathered.apply(pb.PlanDelta(revision=revision))
        if known is not None and plan.revision < known.revision and self.fence.epoch <= self._plan_log.epoch:
            raise Refused(
                f"the controller's state is at revision {plan.revision}, but this host runs {known.revision} "
                f"of the same epoch ({self.fence.epoch}). If the store was restored or made anew on purpose, "
                "stop the agent, remove the file 'plan' from its state directory, and start it"
            )
        self._gathered = None
        self._plan_log.start_over(self.fence.epoch)
        self._reconciler.set_plan(plan)
        self._reconciler.confirm()
        self._log.info("plan complete", revision=plan.revision, networks=len(plan.networks))

    def _barrier(self, barrier: pb.Barrier) -> None:
        plan = self._reconciler.plan
        if plan is None or self._gathered is not None:
            raise Refused("a barrier came before the snapshot")
        if barrier.revision > plan.revision:
            # Acknowledged revisions are remembered, even one that changes nothing here.
            self._delta(pb.PlanDelta(revision=barrier.revision))
        self._reconciler.barrier(
            barrier.revision, taken_away=barrier.revalidate, flows_changed=barrier.flows_changed
        )

    def _verdicts(self, message: pb.InterfaceVerdicts) -> None:
        verdicts = {}
        for verdict in message.verdicts:
            reason = "" if verdict.bound else verdict.condition.reason or "UNKNOWN"
            state = "bound" if verdict.bound else "refused"
            verdicts[verdict.interface] = Verdict(verdict.iface_id, state, reason)
            if not verdict.bound:
                self._log.warning(
                    "interface refused", interface=verdict.interface, object=verdict.iface_id,
                    reason=reason, message=verdict.condition.message,
                )  # fmt: skip
        self._reconciler.set_verdicts(verdicts)
