"""The loop: each revision of the store becomes flows and plans for the hosts it touches.

One revision is worked out and proved as a whole before any host is told anything, so that none ever gets half
of a transaction; where that takes long, in turns with whatever else there is to do, while nothing it relies
on may change (rounds.py). Sending is each host's own business (host.py): one slow host delays no other.

Everything, after a start or where the store could not be followed, is worked out in turns with whatever else
there is to do (loading.py). Until that is done, and what has changed meanwhile is followed, no host has a
session here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence, Set
from typing import Any

import structlog

from cloison.addresses import IpAddress
from cloison.errors import Unavailable
from cloison.model import Host, Port, PortBinding
from cloison.names import HostName, PortName
from cloison.v1 import host_sync_pb2
from controller.compiler import static_flows
from controller.flows import Flow
from controller.openflow.switch import Switch
from controller.reconcile import address_log
from controller.reconcile.agents import Agents
from controller.reconcile.compiled import Compiled
from controller.reconcile.flowset import Unit
from controller.reconcile.following import Follower, WentBack
from controller.reconcile.gate import Gate, GateMode, Verdict
from controller.reconcile.handover import Handover, handovers
from controller.reconcile.host import HostActor
from controller.reconcile.impact import Impact, impact_in_pieces
from controller.reconcile.keeper import EdgeChanges, Keeper
from controller.reconcile.loading import Loading, let_go
from controller.reconcile.meant import delta_in_pieces, intent_in_parts
from controller.reconcile.meters import CONNECTIONS_PER_S
from controller.reconcile.naming import Naming
from controller.reconcile.profiles import ProfileWorker
from controller.reconcile.realized import NOTHING, RealizedTracker
from controller.reconcile.registration import Registration
from controller.reconcile.release import ReleaseWorker
from controller.reconcile.renumbered import Renamings
from controller.reconcile.retrial import HostUnit, Retrial
from controller.reconcile.rounds import Rounds
from controller.reconcile.selfcheck import SelfCheck
from controller.reconcile.session import AgentSession
from controller.reconcile.taking_turns import give_way, in_turns
from controller.reconcile.tracker import GateFigures
from controller.reconcile.tunnels import PlanChange
from controller.reconcile.units import STATIC_UNIT, UnitFlows, impact_on
from controller.store.changes import RevisionChanges
from controller.store.state import State
from controller.store.store import Store, Subscription
from controller.turns import Work, at_once
from controller.verify.intent import IntentDelta

_log = structlog.get_logger(__name__)


class Reconciler:
    """Owns one HostActor per known host, and the workers beside them."""

    def __init__(
        self,
        store: Store,
        controller_id: str,
        epoch: int,
        gate: GateMode = GateMode.ENFORCE,
        connections_per_s: int = CONNECTIONS_PER_S,
        edge_changes: EdgeChanges | None = None,
    ) -> None:
        """edge_changes: by which edges of hosts are made and removed; None: they are left alone."""
        self._store = store
        self._connections_per_s = connections_per_s
        self._gate = Gate(gate)
        self._hosts: dict[HostName, HostActor] = {}
        self._compiled = Compiled(self._hosts)
        # Whether everything has been worked out; and of what state, while that is not the newest one.
        self._loaded = False
        self._loading: Loading | None = None
        self._switches: dict[int, Switch] = {}
        self._revision = 0
        self._rounds = Rounds(store)
        self.quiet = self._rounds.quiet
        self._retrial = Retrial(self._hosts, self._judge_again, self._unsound_plans, self._rounds.quiet)
        self.self_check = SelfCheck(self._hosts, self._settled, self._fresh, self._repair)
        self._tasks: set[asyncio.Task[None]] = set()
        self._host_tasks: dict[HostName, asyncio.Task[None]] = {}
        self._handovers: list[Handover] = []
        self._renamings = Renamings(self._hosts)
        self.tracker = RealizedTracker(controller_id, epoch, lambda: store.state)
        self.tracker.hosts = self._hosts
        self.tracker.gate = self._figures
        self._agents = Agents(store, self.tracker, self._hosts, self._spawn)
        self._release = ReleaseWorker(store, self._host_holds)
        self._profiles = ProfileWorker(store)
        self._keeper = Keeper(store, self._hosts, edge_changes)
        self._follower = Follower(store, controller_id, self._follow, self._begin, self._rounds)

    @property
    def revision(self) -> int:
        """The revision of the store that hosts are being brought to; NOTHING while all is worked out."""
        return self._revision if self._loaded else NOTHING

    @property
    def _state(self) -> State:
        """What is worked out: the newest state, or the one that is loaded."""
        return self._loading.state if self._loading is not None else self._store.state

    @property
    def hosts(self) -> Mapping[HostName, HostActor]:
        """Every known host, for those who look and change nothing."""
        return self._hosts

    def plan_of(self, host: HostName) -> PlanChange:
        """Return the whole plan of a host."""
        return self._compiled.plan_of(host)

    def service_ofport(self, host: HostName) -> int | None:
        """Return the OpenFlow port of a host's local services, as far as its switch has said so."""
        return self._compiled.units.service_ofport(host)

    def _figures(self) -> GateFigures:
        gate, check = self._gate, self.self_check
        return GateFigures(gate.mode.value, gate.checked, gate.refused, check.compared, check.repaired)

    def _settled(self) -> State | None:
        """Return the state, as long as no change of it waits to be followed, or is being followed."""
        state = self._store.state
        return state if state.revision == self.revision and not self._rounds.busy else None

    def _fresh(self, state: State, host: HostName, unit: Unit) -> tuple[Flow, ...]:
        return self._compiled.units.fresh(state, host, unit)

    # --- life ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Compile the state as it is now, then follow it; raises what goes wrong. The store has started."""
        subscription = await self._follower.begin()
        self._spawn(self._follower.run(subscription), "follow")
        self._spawn(self._release.run(), "release")
        self._spawn(self._profiles.run(), "profiles")
        self._spawn(self._agents.run(), "claims")
        self._spawn(self._retrial.run(), "retrial")
        self._spawn(self.self_check.run(), "self-check")
        self._spawn(self._keeper.run(), "keeper")

    async def stop(self) -> None:
        """End every task; nothing is taken off any host."""
        tasks = [*self._tasks, *self._host_tasks.values()]
        for task in tasks:
            task.cancel()
        for actor in self._hosts.values():
            actor.stop()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a task failed", task=task.get_name(), exc_info=error)

    async def _begin(self, epoch: int | None, subscription: Subscription) -> None:
        """Work out everything, and bring every host to it. epoch: a new one, if it must be.

        Raises WentBack if the store does so meanwhile; whatever it raises, it has to be called again.
        """
        self._loaded = False
        loading = self._loading = Loading(self._store.state, subscription)
        dropped = [self._drop(name, "the controller begins anew") for name in list(self._hosts)]
        before = let_go(dropped, self._gate)
        self._gate, self._compiled = Gate(self._gate.mode), Compiled(self._hosts)
        self._revision = loading.state.revision
        self.tracker.restart(self.epoch if epoch is None else epoch)
        self._release.load(loading.state)
        await in_turns(before, loading.collect)
        await in_turns(self._load(loading.state), loading.collect)
        self._profiles.load(loading.state)
        while revisions := loading.advance():
            await in_turns(self._follow(revisions), loading.collect)
            await give_way()
        # From here on the state is the store's own: nothing is waiting, and nobody had a turn since.
        self._loaded, self._loading = True, None
        for name in self._store.state.hosts:
            self._attach(name)
        self._retrial.refused(())
        self._spawn(in_turns(loading.let_go()), "freeing")

    # --- from state to hosts ------------------------------------------------------------------------

    def _load(self, state: State) -> Work[None]:
        """Work out everything, as if all of it had just changed; in pieces."""
        for host in state.hosts:
            self._actor(host)
            yield
        units, edges = yield from self._compiled.load(state)
        made = self._compiled.units
        meant = intent_in_parts(state, made.has_port, made.service_ofport)
        verdict = yield from self._gate.load(meant, units, self.plan_of, self._revision)
        for host in state.hosts:
            self._hand_out(host, units.get(host, {}), self.plan_of(host) or None, verdict, self._revision)
            units.pop(host, None)
            yield
        self._keeper.follow(edges)
        yield from self.tracker.load(state, self._revision)

    def _follow(self, revisions: Sequence[RevisionChanges]) -> Work[None]:
        """Follow transactions, up to the revision that the state is at, in pieces; a round by itself.

        Raises WentBack if that is an older one than before.
        """
        newest = self._revision
        for of_revision in revisions:
            if of_revision.revision < newest:
                raise WentBack(f"from revision {newest} to {of_revision.revision}")
            newest = of_revision.revision
        # From the first revision that was not followed yet: a list stands for all it has passed over (and may
        # be of the very revision that was followed last).
        state, since = self._state, min(self._revision + 1, newest)
        changes = [change for revision in revisions for change in revision.changes]
        hosts = {c.stored.name for c in changes if isinstance(c.stored, Host)}
        for host in hosts & state.hosts.keys():
            self._actor(host)
        impact = yield from impact_in_pieces(changes, state)
        impact.add(self._renamings.take(state))
        self._keeper.follow(impact.edges)
        yield from self._change(impact, hosts, since, revisions[-1].revision)
        for host in hosts - state.hosts.keys():
            self._forget(host)
            yield
        for host in hosts & state.hosts.keys():
            self._attach(host)
        self._agents.follow(changes)
        self._release.follow(changes)
        self._profiles.follow(changes)
        for of_revision in revisions:
            address_log.follow(of_revision.changes, of_revision.revision)

    def _change(self, impact: Impact, hosts: set[HostName], since: int, revision: int) -> Work[None]:
        """Compile what is touched from revision since on, have it judged, and hand it to the hosts, which are
        at revision then.

        What is refused together is judged again apart: only who is at fault is held up.
        """
        refused = self._gate.refused
        units = yield from self._work_out(impact, hosts, since, revision)
        if units or self._gate.refused > refused:
            self._retrial.refused(units)

    def _work_out(
        self, impact: Impact, hosts: set[HostName], since: int, revision: int
    ) -> Work[set[HostUnit]]:
        """As _change; return the units that are withheld."""
        units, plans = yield from self._compiled.updating(self._state, impact)
        made = self._compiled.units
        delta = yield from delta_in_pieces(self._state, impact, hosts, made.has_port, made.service_ofport)
        flows = {host: self._actor(host).flows for host in units}
        judged = {(host, unit) for host, us in units.items() for unit in us}
        known = {str(unit[-1]) for _, unit in self._retrial.withheld() - judged}
        verdict = yield from self._gate.examining(delta, units, plans, flows, revision, known)
        # All hosts in one go: who is told what comes of a revision is told by the same one.
        self._revision = revision
        self._carry_out(impact, units, plans, verdict, since)
        return judged & self._retrial.withheld()

    def _judge_again(self, host: HostName, unit: Unit) -> None:
        """Work out one unit anew that was refused, apart from all others; not while all of them are."""
        if not self._loaded:
            return
        if unit == STATIC_UNIT:
            self._give_static(host)
            return
        at_once(self._work_out(impact_on(host, unit), set(), self._revision, self._revision))

    def _repair(self, host: HostName, unit: Unit) -> None:
        """Work out a unit anew, with whatever was kept to make it."""
        match unit:
            case ("policy", tenant):
                hosts = self._state.tenant_hosts(tenant) | {host}
                impact = Impact(policies={tenant}, policy_units={(name, tenant) for name in hosts})
                at_once(self._change(impact, set(), self._revision, self._revision))
            case _:
                self._judge_again(host, unit)

    def _unsound_plans(self) -> Set[HostName]:
        """Return whose plans are wrong; while all is worked out nobody knows."""
        return self._gate.unsound_plans() if self._loaded else self._hosts.keys()

    def _carry_out(
        self,
        impact: Impact,
        compiled: UnitFlows,
        plans: dict[HostName, PlanChange],
        verdict: Verdict,
        since: int,
    ) -> None:
        known = self._hosts.keys() | self._state.hosts.keys()
        left = []
        concerned = {host: self._actor(host) for host in (compiled.keys() | plans.keys()) & known}
        begun = handovers(self._revision, self._compiled.tunnels.moves, concerned, verdict.units)
        self._handovers = [h for h in self._handovers if not h.over] + begun
        for host in concerned:
            left += self._hand_out(host, compiled.get(host, {}), plans.get(host), verdict, since)
        for handover in begun:
            handover.progressed()
        self.tracker.touched(impact, since, self._revision, left)

    def _hand_out(
        self,
        host: HostName,
        compiled: Mapping[Unit, tuple[Flow, ...]],
        plan: PlanChange | None,
        verdict: Verdict,
        since: int,
    ) -> list[tuple[HostName, PortName]]:
        """Let a host have what it may have of what was compiled; return the ports that it has no more."""
        units, actor = verdict.units.get(host, {}), self._actor(host)
        had = [unit[1] for unit in units if _is_port(unit) and actor.flows.flows_of(unit)]
        actor.change(since, units, plan, hold_plan=host in verdict.held)
        for unit, flows in compiled.items():
            if units[unit] != flows:
                actor.block(unit, "REFUSED_BY_GATE", verdict.why)
        for unit in self._compiled.units.failed.pop(host, ()):
            actor.block(unit, "COMPILER_FAILED", "its flows could not be made; the log says why")
        return [(host, port) for port in had if not actor.flows.flows_of(("port", port))]

    def _renamed(self, actor: HostActor, before: Naming) -> None:
        """The bridge gave numbers to other interfaces than before: work out again what relies on them.

        Together with what was not followed yet: neither is held against a meaning from before the other.
        """
        self._renamings.note(actor, before)
        if self._settled() is None:
            self._follower.catch_up()
        impact = self._renamings.take(self._state)
        if self._loaded and (impact.port_units or impact.network_units or impact.host_units):
            at_once(self._change(impact, set(), self._revision, self._revision))

    # --- hosts --------------------------------------------------------------------------------------

    def _actor(self, name: HostName) -> HostActor:
        actor = self._hosts.get(name)
        if actor is None:
            actor = self._hosts[name] = HostActor(
                name,
                lambda: self._revision,
                self._progressed,
                self._renamed,
                lambda actor, flows: self._gate.withheld(actor.name, flows),
                self.plan_of,
                self._rounds,
                self._connections_per_s,
            )
            self._give_static(name)
            self._host_tasks[name] = asyncio.create_task(actor.run(), name=f"host-{name.host}")
        return actor

    def _give_static(self, name: HostName) -> None:
        units: UnitFlows = {name: {STATIC_UNIT: static_flows()}}
        flows = {name: self._hosts[name].flows}
        verdict = at_once(self._gate.examining(IntentDelta(), units, {}, flows, self._revision))
        self._hand_out(name, units[name], None, verdict, self._revision)
        self.tracker.progressed()

    def _forget(self, name: HostName) -> None:
        """A host was deleted: it is no one's peer any more, and gets nothing more from us."""
        actor = self._drop(name, "the host was deleted")
        if actor is not None:
            self._gate.forget(name, actor.flows, self._compiled.tunnels.snapshot(name))
        self._release.progressed()

    def _drop(self, name: HostName, reason: str) -> HostActor | None:
        """End what is done for a host; its agent must dial again."""
        actor = self._hosts.pop(name, None)
        task = self._host_tasks.pop(name, None)
        if task is not None:
            task.cancel()
        if actor is not None:
            actor.stop()
            self._agents.forget(actor, reason)
        return actor

    def _attach(self, name: HostName) -> None:
        """Give a host the session of the bridge it has registered, if there is one, and no other.

        While all is worked out that waits: nothing is sent before the proof has seen all there is.
        """
        if not self._loaded:
            return
        host, actor = self._store.state.hosts[name], self._actor(name)
        switch = self._switches.get(host.datapath_id)
        if switch is not None and not self.may_connect(switch.host_id, switch.dpid):
            switch = None
        if actor.switch is switch:
            return
        if actor.switch is not None:
            actor.switch_gone(actor.switch.dpid)
        if switch is not None:
            actor.switch_connected(switch)
            self.tracker.unsettle(name)

    def _progressed(self, actor: HostActor) -> None:
        for handover in self._handovers:
            handover.progressed()
        self.tracker.progressed()
        self._release.progressed()

    def _host_holds(self, host: HostName, revision: int) -> bool:
        actor = self._hosts.get(host)
        return actor is not None and actor.holds(revision)

    # --- switches -----------------------------------------------------------------------------------

    def may_connect(self, host_id: str | None, dpid: int) -> bool:
        """Tell whether the holder of a host's certificate (None: no certificates) may be this datapath."""
        host = self._store.state.host_by_datapath(dpid)
        return host is not None and (host_id is None or host.name.host == host_id)

    def switch_connected(self, dpid: int, switch: Switch) -> None:
        """A bridge dialled in and was allowed to."""
        self._switches[dpid] = switch
        self._keeper.sessions_changed()
        host = self._store.state.host_by_datapath(dpid)
        if host is not None:
            self._attach(host.name)

    def switch_gone(self, dpid: int) -> None:
        """The session of a bridge ended. (What waits may be followed for that, and bring other hosts.)"""
        self._switches.pop(dpid, None)
        for actor in list(self._hosts.values()):
            actor.switch_gone(dpid)
        self._keeper.sessions_changed()

    # --- agents -------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Fencing epoch of this controller."""
        return self.tracker.epoch

    async def register(self, hello: Registration, agent_epoch: int) -> None:
        """See Agents. Raises Unavailable while everything is worked out."""
        self._require_loaded()
        await self._agents.register(hello, agent_epoch)

    def inventory(self, session: AgentSession, message: host_sync_pb2.Inventory) -> None:
        """See Agents. Raises Unavailable while everything is worked out, and to who has no session yet while
        a round is under way: wait with that for `quiet`.
        """
        self._require_loaded()
        if not session.ready and self._rounds.busy:
            raise Unavailable("this controller is working out a large change; try again")
        known = session.host in self._store.state.hosts
        self._agents.inventory(session, self._actor(session.host) if known else None, message)
        if message.complete:
            self._keeper.sessions_changed()

    def _require_loaded(self) -> None:
        if not self._loaded:
            raise Unavailable("this controller is working out what every host should hold; try again")

    def birth(self, state: State, port: Port) -> PortBinding | None:
        """See Agents."""
        return self._agents.birth(state, port)

    def agent_gone(self, session: AgentSession) -> None:
        """See Agents."""
        self._agents.gone(session)
        self._keeper.sessions_changed()

    def acked(self, session: AgentSession, ack: host_sync_pb2.Ack) -> None:
        """See Agents."""
        self._agents.acked(session, ack)

    def drifted(self, session: AgentSession, drift: host_sync_pb2.Drift) -> None:
        """See Agents."""
        self._agents.drifted(session, drift)

    def claimed(self, session: AgentSession, number: int, address: IpAddress | None) -> None:
        """See Agents."""
        self._agents.claimed(session, number, address)

    @staticmethod
    def inspected(session: AgentSession, answer: host_sync_pb2.Inspection) -> None:
        """An agent answers what it was asked; more than that, and answers nobody waits for, are dropped."""
        session.inspections.answered(answer)


def _is_port(unit: Unit) -> bool:
    return bool(unit[0] == "port")
