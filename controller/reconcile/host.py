"""One host: what it should carry, what it confirmed, and the loop that closes the gap.

Owns the desired flows and the receipts of its host. Never decides what the flows are. Whatever the cause
(a change, a reconnect, drift) the same loop reads, compares and sends one bundle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from cloison.errors import Unavailable
from cloison.names import HostName
from cloison.service_link import SERVICE_LINK
from controller.flows import Flow
from controller.openflow.refusal import SwitchRefused
from controller.openflow.switch import Change, Switch
from controller.reconcile.barriers import Barriers
from controller.reconcile.flowset import FlowSet, Unit
from controller.reconcile.meters import CONNECTIONS_PER_S, HostMeters
from controller.reconcile.naming import Naming
from controller.reconcile.progress import Progress
from controller.reconcile.rounds import Rounds
from controller.reconcile.session import AgentSession, Pause
from controller.reconcile.tracker import Condition
from controller.reconcile.tunnels import PlanChange

_log = structlog.get_logger(__name__)

RETRY_DELAY_S = 1.0
# How often meters are read: a switch tells who changed its flows, but not who changed its meters.
METER_AUDIT_INTERVAL_S = 10.0


class HostActor:
    """Desired state and receipts of one host, with the sessions of its switch and its agent."""

    def __init__(
        self,
        name: HostName,
        latest: Callable[[], int],
        on_progress: Callable[[HostActor], None],
        on_named: Callable[[HostActor, Naming], None],
        on_left_out: Callable[[HostActor, Sequence[Flow]], None],
        snapshot: Callable[[HostName], PlanChange],
        rounds: Rounds,
        connections_per_s: int = CONNECTIONS_PER_S,
    ) -> None:
        """on_named: the bridge named its ports otherwise (before); on_left_out: it does not take these flows.

        Neither comes while one of rounds is under way. snapshot: the whole plan as it is now;
        connections_per_s: how many a port may open.
        """
        self.name = name
        self.flows = FlowSet()
        self._meters = HostMeters(connections_per_s)
        self.flows_progress = Progress()
        self.plan_progress = Progress()
        self.switch: Switch | None = None
        # As the switch itself names its ports.
        self.naming = Naming()
        self.agent: AgentSession | None = None
        self.drift_count = 0
        # Units that do not have the flows they should, and why.
        self.blocked: dict[Unit, Condition] = {}
        # What the agent said it could not do, until its next clean receipt.
        self.agent_errors: tuple[str, ...] = ()
        self._latest = latest
        self._on_progress = on_progress
        self._on_named = on_named
        self._on_left_out = on_left_out
        self._snapshot = snapshot
        self._rounds = rounds
        # What the agent's next receipt must cover: flows of any kind, or something taken away.
        self._flows_changed = self._revalidate = False
        self.plan_held = False
        self._snapshot_sent = False
        self._barriers = Barriers()
        self._must_read = False
        self._must_read_meters = False
        # The first read of a session finds what a restart left, which is no drift.
        self._read_before = False
        self._wake = asyncio.Event()
        # What the next flows wait for.
        self._pause: Pause | None = None
        self._drift_task: asyncio.Task[None] | None = None
        self._log = _log.bind(host=name.host)

    # --- desired state ------------------------------------------------------------------------------

    def change(
        self,
        revision: int,
        units: Mapping[Unit, tuple[Flow, ...]],
        plan: PlanChange | None = None,
        *,
        hold_plan: bool = False,
    ) -> None:
        """The state asks for other flows of some units, or another plan, from this revision (or before) on.

        With hold_plan the plan is not to be sent, nor a later one, until release_plan.
        """
        for unit in units:
            self.blocked.pop(unit, None)
        for conflict in self.flows.set_units(units):
            self.block(conflict.unit, "FLOW_CONFLICT", str(conflict))
        if self.flows.dirty:
            self.flows_progress.require(revision)
            self._wake.set()
        if plan is not None:
            self._require_plan(revision)
            self._revalidate |= plan.takes_away
            self.plan_held |= hold_plan
            if not self.plan_held and self.agent is not None and self.agent.ready:
                self.agent.send_plan(self._latest(), plan, wait=plan.can_wait and self._flows_are_due)
        self.send_barrier()

    @property
    def _flows_are_due(self) -> bool:
        """Tell whether the switch is told of other flows now, so that a receipt is asked for after it."""
        due = self.flows_progress.outstanding is not None
        return due and self.switch is not None and not self._must_read and self._pause is None

    @property
    def obeys(self) -> bool:
        """Tell whether its switch and its agent are there to obey."""
        return self.switch is not None and self.agent is not None

    def pause_plan(self, until: Pause) -> None:
        """Let the changes of plan from now on wait."""
        if self.agent is not None and self.agent.ready:
            self.agent.pause(until)

    def pause_flows(self, until: Pause) -> None:
        """Let the changes of flows from now on wait."""
        self._pause = until

    def release_plan(self) -> None:
        """What was held back may go."""
        self.plan_held = False
        if self.agent is None:
            return
        if self._snapshot_sent:
            # A stream has one snapshot, and what changed since it is not known any more.
            self.agent.close("the plan was held back and is sent anew")
        else:
            self._send_snapshot(self.agent)

    def _require_plan(self, revision: int) -> None:
        """The agent must confirm this revision, also if it was asked before."""
        self.plan_progress.require(revision)
        self._barriers.required(revision)

    def holds(self, revision: int) -> bool:
        """Tell whether the host enforces everything up to revision that concerns it."""
        return self.flows_progress.holds(revision) and self.plan_progress.holds(revision)

    @property
    def realized_revision(self) -> int:
        """The newest revision of which the host is known to enforce everything."""
        pending = [
            p for p in (self.flows_progress.outstanding, self.plan_progress.outstanding) if p is not None
        ]
        return max(0, min(pending) - 1) if pending else self._latest()

    def block(self, unit: Unit, reason: str, message: str) -> None:
        """Note that a unit does not have the flows it should."""
        self.blocked[unit] = Condition(reason, message, (str(self.name),))
        self._log.error("flows withheld", unit=_unit_text(unit), reason=reason, error=message)

    def has_port(self, ofport: int, name: str) -> bool:
        """Tell whether the bridge has this interface under this number; see Naming."""
        return self.naming.has(ofport, name)

    # --- agent --------------------------------------------------------------------------------------

    def agent_connected(self, session: AgentSession) -> None:
        """A session became ready (Hello and whole inventory are in): bring it to the newest plan.

        Nothing is known of what the host holds: it may have started anew.
        """
        if self.agent is not None and self.agent is not session:
            self.agent.close("another session of the same host took over")
        self.agent = session
        self._snapshot_sent = False
        self.plan_progress.reset()
        self._barriers = Barriers()
        # While the plan is held back the host goes on with the one it has.
        if not self.plan_held:
            self._send_snapshot(session)
        self._log.info("agent connected", revision=self._latest(), plan_held=self.plan_held)
        self._on_progress(self)

    def _send_snapshot(self, session: AgentSession) -> None:
        session.send_snapshot(self._latest(), self._snapshot(self.name))
        self._snapshot_sent = self._flows_changed = self._revalidate = True
        self.send_barrier(force=True)

    def agent_gone(self, session: AgentSession) -> None:
        """A session ended; the host goes on with what it has."""
        if self.agent is session:
            self.agent = None
            self._log.warning("agent disconnected")
            self._on_progress(self)

    def acked(self, revision: int, errors: tuple[str, ...]) -> None:
        """The agent holds the plan of this revision, or says what it could not do."""
        self.agent_errors = errors
        known = self._barriers.answered(revision)
        if errors:
            self._log.warning("agent could not carry out its plan", revision=revision, errors=errors)
        else:
            self.plan_progress.confirm(min(known, self._latest()))
        self.send_barrier()
        self._on_progress(self)

    def send_barrier(self, *, force: bool = False) -> None:
        """Ask the agent for its receipt, up to the newest revision whose flows are committed."""
        if self.agent is None or not self.agent.ready or self.plan_held:
            return
        pending = self.flows_progress.outstanding
        through = self._latest() if pending is None else pending - 1
        newest = self.plan_progress.newest
        wanted = force or (
            not self.plan_progress.holds(through) and newest is not None and self._barriers.lacks(newest)
        )
        if wanted and through >= 0 and self._barriers.may_send(through):
            self.agent.send_barrier(through, revalidate=self._revalidate, flows_changed=self._flows_changed)
            self._barriers.sent(through)
            self._flows_changed = self._revalidate = False

    # --- switch -------------------------------------------------------------------------------------

    def switch_connected(self, switch: Switch) -> None:
        """The bridge dialled in: read it before anything is sent."""
        self._rounds.soon(lambda: self._know_ports(None))
        self.switch = switch
        self._must_read = True
        self._read_before = False
        self.flows_progress.reset()
        self._wake.set()
        self._stop_drift_watch()
        self._drift_task = asyncio.create_task(self._watch_drift(switch), name=f"drift-{self.name.host}")
        self._log.info("switch connected", datapath_id=f"{switch.dpid:016x}")

    def switch_gone(self, dpid: int) -> None:
        """The session ended; flows stay in the bridge (fail_mode=secure)."""
        if self.switch is not None and self.switch.dpid == dpid:
            self.switch.on_port_changed = None
            self.switch = None
            self._rounds.soon(lambda: self._know_ports(None))
            self._stop_drift_watch()
            self._send_waiting()
            self._log.warning("switch disconnected")
            self._on_progress(self)

    async def _watch_drift(self, switch: Switch) -> None:
        try:
            async for _ in switch.watch_drift():
                self._must_read = True
                self._wake.set()
        except Unavailable:
            return  # switch_gone says so too

    def _stop_drift_watch(self) -> None:
        if self._drift_task is not None:
            self._drift_task.cancel()
            self._drift_task = None

    async def run(self) -> None:
        """Close the gap for ever. Ends only by being cancelled."""
        audit = asyncio.create_task(self._audit_meters(), name=f"meters-{self.name.host}")
        try:
            await self._close_gaps()
        finally:
            audit.cancel()

    async def _audit_meters(self) -> None:
        while True:
            await asyncio.sleep(METER_AUDIT_INTERVAL_S)
            self._must_read_meters = True
            self._wake.set()

    async def _close_gaps(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._settle()
            except Unavailable as error:
                self._log.warning("switch did not take the change, will retry", error=str(error))
                self._must_read = True
                if self.switch is not None:
                    asyncio.get_running_loop().call_later(RETRY_DELAY_S, self._wake.set)
            except Exception:  # noqa: BLE001 - one host's loop must outlive any bug
                self._log.exception("reconciling failed, will retry")
                self._must_read = True
                asyncio.get_running_loop().call_later(RETRY_DELAY_S, self._wake.set)
            finally:
                self._send_waiting()

    def _send_waiting(self) -> None:
        """The flows that the plan has waited for are in force, or will not be soon."""
        if self.agent is not None:
            self.agent.send_waiting()

    async def _settle(self) -> None:
        """Read if need be, then send what differs until nothing does."""
        if self._pause is not None:
            pause, self._pause = self._pause, None
            await pause()
        switch = self.switch
        if switch is None:
            return
        if self._must_read:
            self._must_read = self._must_read_meters = False
            if not self._read_before:
                await self._read_ports(switch)
            # (Another session may have begun: then nothing of this one counts any more.)
            if self.switch is switch:
                await self._read(switch)
        elif self._must_read_meters:
            self._must_read_meters = False
            await self._read_meters(switch)
        while self.switch is switch:
            revision = self._latest()
            if not await self._take_step(switch, revision) or self.flows.dirty:
                self._send_waiting()
                continue
            self.flows_progress.confirm(revision)
            self.send_barrier()
            self._on_progress(self)
            return

    async def _take_step(self, switch: Switch, revision: int) -> bool:
        """Bring the switch one step nearer to what is desired; return False if that has to be tried again.

        No flow names a meter that is not there, and none comes into a zone that remembers somebody else.
        """
        step = self.flows.take()
        meters = self._meters.wanted(self.flows.meters, self.flows.moved_meters)
        change = Change(step.delta, meters, step.free)
        if any(change) and not await self._push(switch, change, revision):
            return False
        if self.flows.dirty:
            if step.zones:
                await switch.flush_zones(step.zones)
        else:
            await self._meters.tidy(switch, self.flows.meters, self.flows.moved_meters, step.zones)
        if step.zones:
            self.flows.flushed(step.zones)
            self._log.info("connections forgotten", zones=step.zones)
        return True

    async def _read_ports(self, switch: Switch) -> None:
        """Port numbers are the switch's to give: compile again whatever relied on one it gave to another."""
        late: dict[int, str | None] = {}
        # What changes before the answer is taken in is in it or newer: it counts.
        switch.on_port_changed = lambda ofport: late.update({ofport: switch.ports.get(ofport)})
        await switch.read_ports()
        await self._rounds.quiet()
        if self.switch is not switch:
            return
        ports = {**switch.ports, **late}
        switch.ports = {ofport: name for ofport, name in ports.items() if name is not None}
        switch.on_port_changed = lambda ofport: self._rounds.soon(lambda: self._port_changed(switch))
        self._know_ports(dict(switch.ports))

    def _port_changed(self, switch: Switch) -> None:
        if self.switch is switch:
            self._know_ports(dict(switch.ports))

    def _know_ports(self, ports: Mapping[int, str] | None) -> None:
        """The bridge names its ports like that from now on (None: it cannot be asked, and is believed)."""
        before, services = self.naming, self.naming.service_ofport
        if ports is not None:
            services = next((n for n, name in ports.items() if name == SERVICE_LINK), None)
        self.naming = Naming(ports, services)
        if before != self.naming:
            self._on_named(self, before)

    async def _read(self, switch: Switch) -> None:
        """Compare the whole table with what it should be; what differs is sent next."""
        quiet = self._read_before and not self.flows.dirty and self.flows_progress.outstanding is None
        # A copy: it is walked through in another thread.
        found = await switch.read_flows(expected=tuple(self.flows.desired.values()))
        await self._meters.read(switch)
        if self.switch is not switch:
            return
        delta = self.flows.observed(found)
        self._read_before = True
        if delta and quiet:
            self.drift_count += 1
            self._log.warning(
                "drift: the bridge was changed behind our back, repairing",
                missing=len(delta.add),
                altered=len(delta.modify),
                foreign=len(delta.delete) + len(delta.purge),
            )

    async def _read_meters(self, switch: Switch) -> None:
        """Look whether the meters are as they should be; what differs is put right next."""
        quiet = not self.flows.dirty and self.flows_progress.outstanding is None
        await self._meters.read(switch)
        if quiet and self._meters.differs(self.flows.meters):
            self.drift_count += 1
            self._log.warning("drift: meters were changed behind our back, repairing")

    async def _push(self, switch: Switch, change: Change, revision: int) -> bool:
        """Carry out one step; return False if units had to be left out and the rest must be sent again."""
        delta = change.flows
        try:
            refused_meters = await switch.carry_out(change)
        except SwitchRefused as refused:
            self.flows.failed(delta)
            await self._rounds.quiet()
            self._leave_out(refused)
            if change.meters:
                # They may be there all the same.
                await self._meters.read(switch)
            return False
        except BaseException:
            self.flows.failed(delta)
            raise
        finally:
            if delta:
                # Not before: a barrier for older revisions that is sent meanwhile says nothing of this.
                self._require_plan(revision)
                self._flows_changed = True
                self._revalidate |= bool(delta.delete or delta.modify or delta.purge)
        self.flows.flushed(change.zones)
        self.flows.applied(delta)
        await self._meters.took(switch, change.meters, refused_meters)
        self._log.debug(
            "flows committed",
            revision=revision,
            added=len(delta.add),
            modified=len(delta.modify),
            deleted=len(delta.delete),
            zones_forgotten=change.zones,
        )
        return True

    def _leave_out(self, refused: SwitchRefused) -> None:
        """A unit whose flow the switch refuses gets none at all; everybody else goes on."""
        units: dict[Unit, tuple[Flow, ...]] = {}
        named = [(error.change.key, error) for error in refused.errors if isinstance(error.change, Flow)]
        owners = self.flows.owners({key for key, _ in named})
        for key, error in named:
            unit = owners.get(key)
            if unit is not None:
                units[unit] = ()
                self.block(unit, "REFUSED_BY_SWITCH", error.text)
        if not units:
            raise Unavailable(
                f"the switch refused a bundle and named no flow of ours: {refused}"
            ) from refused
        self._on_left_out(self, [flow for unit in units for flow in self.flows.flows_of(unit)])
        self.flows.set_units(units)

    def stop(self) -> None:
        """End the tasks this host owns; nothing is taken off the switch."""
        self._stop_drift_watch()
        if self.switch is not None:
            self.switch.on_port_changed = None


def _unit_text(unit: Unit) -> str:
    return " ".join(map(str, unit))
