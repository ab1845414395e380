"""The loop: each revision of the store becomes flows and plans for the hosts it touches.

One revision is worked out in one go, without awaiting anything, so that no host ever gets half of a
transaction. Sending is each host's own business (host.py): one slow host delays no other.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Coroutine, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import structlog

from cloison.errors import Precondition, Unavailable
from cloison.model import Host, Port, PortBinding
from cloison.names import HostName, NetworkName, PortName
from cloison.v1 import host_sync_pb2
from controller.compiler import network_flows, port_flows, static_flows
from controller.flows import Flow
from controller.openflow.switch import Switch
from controller.reconcile.binding import Verdict as InterfaceVerdict
from controller.reconcile.flowset import Unit
from controller.reconcile.gate import Gate, GateMode, Verdict
from controller.reconcile.host import HostActor
from controller.reconcile.impact import Impact, impact_of
from controller.reconcile.meant import intent_delta, intent_of
from controller.reconcile.plugs import PlugWorker
from controller.reconcile.realized import RealizedTracker
from controller.reconcile.registration import Registration, registration_txn
from controller.reconcile.release import ReleaseWorker
from controller.reconcile.session import AgentSession
from controller.reconcile.tunnels import PlanChange, TunnelPlans
from controller.reconcile.views import network_view, port_view, vxlan_device
from controller.store.changes import Change, RevisionChanges
from controller.store.state import State
from controller.store.store import Store
from controller.verify.intent import IntentDelta

_log = structlog.get_logger(__name__)

STATIC_UNIT: Unit = ("static",)
UnitFlows = dict[HostName, dict[Unit, tuple[Flow, ...]]]


class Reconciler:
    """Owns one HostActor per known host, and the workers beside them."""

    def __init__(
        self, store: Store, controller_id: str, epoch: int, gate: GateMode = GateMode.ENFORCE
    ) -> None:
        self._store = store
        self._gate = Gate(gate)
        self._hosts: dict[HostName, HostActor] = {}
        self._plans = TunnelPlans()
        self._plugs: dict[HostName, PlugWorker] = {}
        self._revision = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._host_tasks: dict[HostName, asyncio.Task[None]] = {}
        self.tracker = RealizedTracker(controller_id, epoch, lambda: store.state)
        self.tracker.hosts = self._hosts
        self._release = ReleaseWorker(store, self._host_holds)

    @property
    def revision(self) -> int:
        """The revision of the store that hosts are being brought to."""
        return self._revision

    @property
    def hosts(self) -> Mapping[HostName, HostActor]:
        """Every known host, for those who look and change nothing."""
        return self._hosts

    def plan_of(self, host: HostName) -> PlanChange:
        """Return the whole tunnel plan of a host."""
        return self._plans.snapshot(host)

    # --- life ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Compile the state as it is now, then follow it. The store must have been started."""
        subscription = self._store.subscribe()
        self._load(self._store.state)
        self._spawn(self._follow(subscription), "follow")
        self._spawn(self._release.run(), "release")

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
        task.add_done_callback(self._tasks.discard)
        return task

    async def _follow(self, subscription: Any) -> None:
        async for first in subscription:
            # All that is waiting together: the mirror is at the last of them, and half of the way to a
            # state is no state that anybody asked for.
            self._process([first, *subscription.pending()])

    # --- from state to hosts ------------------------------------------------------------------------

    def _load(self, state: State) -> None:
        """Work out everything, as if all of it had just changed."""
        impact = Impact()
        impact.moved.update(state.ports)
        impact.spans.update(state.networks)
        for port, host in state.bindings:
            impact.port_units.add((host, port))
            impact.network_units.add((host, port.parent))
        self._revision = state.revision
        for host in state.hosts:
            self._actor(host)
        units, plans = self._compile(impact)
        intent = intent_of(state, self._has_port)
        self._carry_out(
            impact, units, plans, self._gate.load(intent, units, plans, self._revision), self._revision
        )
        self._release.load(state)

    def _process(self, revisions: Sequence[RevisionChanges]) -> None:
        """Follow transactions, up to the revision that the mirror is at."""
        state = self._store.state
        changes = [change for revision in revisions for change in revision.changes]
        impact = impact_of(changes, state)
        self._revision = revisions[-1].revision
        hosts = {c.stored.name for c in changes if isinstance(c.stored, Host)}
        for host in hosts & state.hosts.keys():
            self._actor(host)
        self._change(impact, hosts, revisions[0].revision)
        for host in hosts - state.hosts.keys():
            self._forget(host)
        self._mark_plugs(changes)
        self._release.follow(changes)

    def _change(self, impact: Impact, hosts: set[HostName], since: int) -> None:
        """Compile what is touched from revision since on, have it judged, and hand it to the hosts."""
        units, plans = self._compile(impact)
        delta = intent_delta(self._store.state, impact, hosts, self._has_port)
        flows = {host: self._actor(host).flows for host in units}
        verdict = self._gate.examine(delta, units, plans, flows, self._revision)
        self._carry_out(impact, units, plans, verdict, since)

    def _compile(self, impact: Impact) -> tuple[UnitFlows, dict[HostName, PlanChange]]:
        state = self._store.state
        units: UnitFlows = {}
        for host, port in impact.port_units:
            units.setdefault(host, {})["port", port] = self._compile_port(state, host, port)
        for host, network in impact.network_units:
            units.setdefault(host, {})["network", network] = self._compile_network(state, host, network)
        return units, self._plans.update(state, impact)

    def _carry_out(
        self,
        impact: Impact,
        compiled: UnitFlows,
        plans: dict[HostName, PlanChange],
        verdict: Verdict,
        since: int,
    ) -> None:
        known = self._hosts.keys() | self._store.state.hosts.keys()
        for host in (compiled.keys() | plans.keys()) & known:
            units, actor = verdict.units.get(host, {}), self._actor(host)
            actor.change(since, units, plans.get(host), hold_plan=verdict.plans_held)
            for unit, flows in compiled.get(host, {}).items():
                if units[unit] != flows:
                    actor.block(unit, "REFUSED_BY_GATE", "; ".join(map(str, verdict.refused[:3])))
        self.tracker.touched(impact, since, self._revision)

    def _has_port(self, host: HostName, ofport: int, interface: str) -> bool:
        actor = self._hosts.get(host)
        return actor is None or actor.has_port(ofport, interface)

    def _compile_port(self, state: State, host: HostName, port: PortName) -> tuple[Flow, ...]:
        view = port_view(state, port, host)
        if view is None:
            return ()
        interface = state.bindings[port, host].interface
        return port_flows(view) if self._actor(host).has_port(view.ofport, interface) else ()

    def _compile_network(self, state: State, host: HostName, network: NetworkName) -> tuple[Flow, ...]:
        view = network_view(state, network, host)
        if view is None:
            return ()
        ofport = view.tunnel_ofport
        if ofport is not None and not self._actor(host).has_port(ofport, vxlan_device(view.vni)):
            view = replace(view, tunnel_ofport=None)
        return network_flows(view)

    def _ports_changed(self, actor: HostActor, ofports: Set[int]) -> None:
        """The bridge gave these numbers to other interfaces: compile again what relies on them."""
        state, host = self._store.state, actor.name
        impact = Impact()
        for binding in state.bindings_on(host):
            has_flows = bool(actor.flows.flows_of(("port", binding.port)))
            if binding.ofport in ofports and has_flows != actor.has_port(binding.ofport, binding.interface):
                impact.port_units.add((host, binding.port))
        for tunnel in state.tunnel_ports_on(host):
            network = state.network_by_vni(tunnel.vni) if tunnel.ofport in ofports else None
            if network is not None:
                impact.network_units.add((host, network.name))
        if impact.port_units or impact.network_units:
            self._change(impact, set(), self._revision)

    # --- hosts --------------------------------------------------------------------------------------

    def _actor(self, name: HostName) -> HostActor:
        actor = self._hosts.get(name)
        if actor is None:
            actor = HostActor(
                name, lambda: self._revision, self._progressed, self._ports_changed, self._plans.snapshot
            )
            self._hosts[name] = actor
            units: UnitFlows = {name: {STATIC_UNIT: static_flows()}}
            self._carry_out(
                Impact(),
                units,
                {},
                self._gate.examine(IntentDelta(), units, {}, {}, self._revision),
                self._revision,
            )
            self._host_tasks[name] = asyncio.create_task(actor.run(), name=f"host-{name.host}")
        return actor

    def _forget(self, name: HostName) -> None:
        """A host was deleted: it is no one's peer any more, and gets nothing more from us."""
        actor = self._hosts.pop(name, None)
        task = self._host_tasks.pop(name, None)
        if task is not None:
            task.cancel()
        if actor is not None:
            actor.stop()
            self._gate.forget(name, actor.flows, self._plans.snapshot(name))
            if actor.agent is not None:
                actor.agent.close("the host was deleted")
        self._release.progressed()

    def _progressed(self, actor: HostActor) -> None:
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
        host = self._store.state.host_by_datapath(dpid)
        if host is not None:
            self._actor(host.name).switch_connected(switch)

    def switch_gone(self, dpid: int) -> None:
        """The session of a bridge ended."""
        for actor in self._hosts.values():
            actor.switch_gone(dpid)

    # --- agents -------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Fencing epoch of this controller."""
        return self.tracker.epoch

    async def register(self, hello: Registration, agent_epoch: int) -> None:
        """Store what an agent says of its host.

        Raises Precondition if the agent obeys a newer controller, or its addresses are another host's.
        """
        if agent_epoch > self.epoch:
            raise Precondition(
                "STALE_CONTROLLER",
                str(hello.host),
                f"{hello.host} obeys epoch {agent_epoch}; this controller has {self.epoch} and was replaced",
            )
        new_uid, now_ns = str(uuid.uuid4()), time.time_ns()
        await self._store.transact(
            lambda state: (registration_txn(state, hello, new_uid=new_uid, now_ns=now_ns), None)
        )

    def inventory(self, session: AgentSession, message: host_sync_pb2.Inventory) -> None:
        """An agent reported interfaces; the first whole report makes the session ready."""
        touched = session.take_inventory(message)
        plugs = self._plugs.get(session.host)
        if message.complete:
            plugs = self._begin(session)
            plugs.mark_all()
        if plugs is None:
            raise Unavailable("the first inventory must be a complete one")
        plugs.mark(touched, tunnels=bool(message.tunnel_ports or message.removed_tunnel_ports))
        known = self.tracker.refused.get(session.host, {})
        for name in message.removed_interfaces:
            known.pop(name, None)

    def _begin(self, session: AgentSession) -> PlugWorker:
        if session.ready:
            return self._plugs[session.host]
        session.ready = True
        self.tracker.refused[session.host] = {}
        plugs = PlugWorker(self._store, session, lambda verdicts: self._judged(session, verdicts))
        self._plugs[session.host] = plugs
        session.worker = self._spawn(plugs.run(), f"plugs-{session.host.host}")
        self._actor(session.host).agent_connected(session)
        return plugs

    def agent_gone(self, session: AgentSession) -> None:
        """A stream ended."""
        session.inspections.end("the agent ended the stream")
        if session.worker is not None:
            session.worker.cancel()
        actor = self._hosts.get(session.host)
        if actor is not None and actor.agent is session:
            self._plugs.pop(session.host, None)
            actor.agent_gone(session)

    @staticmethod
    def inspected(session: AgentSession, answer: host_sync_pb2.Inspection) -> None:
        """An agent answers what it was asked; more than that, and answers nobody waits for, are dropped."""
        session.inspections.answered(answer)

    def acked(self, session: AgentSession, ack: host_sync_pb2.Ack) -> None:
        """An agent's receipt."""
        actor = self._hosts.get(session.host)
        if actor is not None and actor.agent is session:
            actor.acked(ack.revision, tuple(f"{e.reason}: {e.message}" for e in ack.errors))

    def drifted(self, session: AgentSession, drift: host_sync_pb2.Drift) -> None:
        """An agent found and repaired what somebody else had changed."""
        actor = self._hosts.get(session.host)
        if actor is None:
            return
        actor.drift_count += 1
        _log.warning(
            "drift: the kernel was changed behind our back",
            host=session.host.host,
            kind=drift.kind,
            details=list(drift.details[:10]),
            repair_s=round(drift.repair_s, 4),
        )

    def _judged(self, session: AgentSession, verdicts: Sequence[InterfaceVerdict]) -> None:
        """Verdicts are stored (or were already): tell the agent and whoever asks."""
        refused = self.tracker.refused.setdefault(session.host, {})
        for verdict in verdicts:
            if verdict.refusal is None:
                refused.pop(verdict.interface.name, None)
                continue
            refused[verdict.interface.name] = verdict
            _log.warning(
                "interface refused",
                host=session.host.host,
                interface=verdict.interface.name,
                iface_id=verdict.interface.iface_id,
                reason=verdict.refusal.reason,
            )
        session.send_verdicts(verdicts)

    def _mark_plugs(self, changes: Sequence[Change]) -> None:
        """A port that came, went, moved or was unplugged may suit interfaces that are plugged already."""
        iface_ids = {
            port.iface_id for change in changes for port in (change.old, change.new) if isinstance(port, Port)
        }
        # A binding that went makes room for whoever was refused because of it, here or on another host.
        gone = (change.old for change in changes if change.new is None)
        unplugged = (self._store.state.ports.get(old.port) for old in gone if isinstance(old, PortBinding))
        iface_ids.update(port.iface_id for port in unplugged if port is not None)
        if not iface_ids:
            return
        for host, plugs in self._plugs.items():
            actor = self._hosts.get(host)
            if actor is not None and actor.agent is not None:
                plugs.mark(iface_ids & actor.agent.iface_ids)
