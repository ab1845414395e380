"""The agents' side of the reconciler: registration, inventories, receipts, and what was refused.

Owns the worker that stores what an agent reports, one for each session that is ready. A session belongs to
one host of the state, and once it is closed nothing it says counts any more.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import structlog

from cloison.addresses import IpAddress
from cloison.errors import Precondition, Unavailable
from cloison.model import Port, PortBinding
from cloison.names import HostName
from cloison.v1 import host_sync_pb2
from controller.reconcile.binding import Verdict
from controller.reconcile.claiming import ClaimWorker
from controller.reconcile.host import HostActor
from controller.reconcile.plugs import PlugWorker
from controller.reconcile.realized import RealizedTracker
from controller.reconcile.registration import Registration, registration_txn
from controller.reconcile.session import AgentSession
from controller.store.changes import Change
from controller.store.state import State
from controller.store.store import Store

_log = structlog.get_logger(__name__)

DRIFT_DETAILS_SHOWN = 10
DRIFT_DETAIL_LENGTH_MAX = 200

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class Agents:
    """Every session of every agent. hosts: the actors there are now."""

    def __init__(
        self, store: Store, tracker: RealizedTracker, hosts: Mapping[HostName, HostActor], spawn: Spawn
    ) -> None:
        self._store, self._tracker, self._hosts, self._spawn = store, tracker, hosts, spawn
        self._plugs: dict[HostName, PlugWorker] = {}
        self._claims = ClaimWorker(store)

    async def run(self) -> None:
        """Store what guests announce, for ever; ends by being cancelled."""
        await self._claims.run()

    async def register(self, hello: Registration, agent_epoch: int) -> None:
        """Store what an agent says of its host.

        Raises Precondition if the agent obeys a newer controller, or its addresses are another host's.
        """
        epoch = self._tracker.epoch
        if agent_epoch > epoch:
            raise Precondition(
                "STALE_CONTROLLER",
                str(hello.host),
                f"{hello.host} obeys epoch {agent_epoch}; this controller has {epoch} and was replaced",
            )
        new_uid, now_ns = str(uuid.uuid4()), time.time_ns()
        await self._store.transact(
            lambda state: (registration_txn(state, hello, new_uid=new_uid, now_ns=now_ns), None)
        )

    def inventory(
        self, session: AgentSession, actor: HostActor | None, message: host_sync_pb2.Inventory
    ) -> None:
        """An agent reported interfaces; the first whole report makes the session ready.

        Raises Unavailable if the session is over, or of no host (no actor).
        """
        if session.closed_because is not None or actor is None:
            raise Unavailable(session.closed_because or f"{session.host} was deleted; register again")
        touched, tunnels = session.take_inventory(message)
        if message.complete and not session.ready:
            self._begin(session, actor)
        if not session.ready:
            raise Unavailable("the first inventory must be a complete one")
        plugs = self._plugs[session.host]
        if message.complete:
            self._tracker.refused.clear(session.host)
            plugs.mark_all()
        plugs.mark(touched, tunnels=tunnels)
        self._tracker.refused.drop(session.host, message.removed_interfaces)

    def _begin(self, session: AgentSession, actor: HostActor) -> None:
        """From here on this is the host's session, and no other is."""
        before = actor.agent
        if before is not None and before.worker is not None:
            # What it has not stored yet is older than what is stored from now on.
            before.worker.cancel()
        session.ready = True
        plugs = PlugWorker(self._store, session, lambda verdicts: self._judged(session, verdicts))
        self._plugs[session.host] = plugs
        session.worker = self._spawn(plugs.run(), f"plugs-{session.host.host}")
        session.worker.add_done_callback(lambda task: _worker_ended(session, task))
        actor.agent_connected(session)
        self._tracker.unsettle(session.host)

    def gone(self, session: AgentSession) -> None:
        """A stream ended."""
        session.close("the agent ended the stream")
        if session.worker is not None:
            session.worker.cancel()
        actor = self._hosts.get(session.host)
        if actor is not None and actor.agent is session:
            self._plugs.pop(session.host, None)
            actor.agent_gone(session)

    def forget(self, actor: HostActor, reason: str) -> None:
        """There is no such host any more, or it begins anew."""
        self._plugs.pop(actor.name, None)
        self._tracker.refused.clear(actor.name)
        if actor.agent is not None:
            if actor.agent.worker is not None:
                actor.agent.worker.cancel()
            actor.agent.close(reason)

    def acked(self, session: AgentSession, ack: host_sync_pb2.Ack) -> None:
        """An agent's receipt."""
        actor = self._hosts.get(session.host)
        if actor is not None and actor.agent is session:
            actor.acked(ack.revision, tuple(f"{e.reason}: {e.message}" for e in ack.errors))

    def claimed(self, session: AgentSession, number: int, address: IpAddress | None) -> None:
        """An agent heard the guest of a port announce an address of its pairs; None: that it runs there."""
        actor = self._hosts.get(session.host)
        if actor is not None and actor.agent is session:
            self._claims.add(session.host, number, address)

    def drifted(self, session: AgentSession, drift: host_sync_pb2.Drift) -> None:
        """An agent found and repaired what somebody else had changed."""
        actor = self._hosts.get(session.host)
        if actor is None or actor.agent is not session:
            return
        actor.drift_count += 1
        shown = drift.details[:DRIFT_DETAILS_SHOWN]
        _log.warning(
            "drift: the kernel was changed behind our back",
            host=session.host.host,
            kind=drift.kind[:DRIFT_DETAIL_LENGTH_MAX],
            details=[detail[:DRIFT_DETAIL_LENGTH_MAX] for detail in shown],
            repair_s=round(drift.repair_s, 4),
        )

    def _judged(self, session: AgentSession, verdicts: Sequence[Verdict]) -> None:
        """Verdicts are stored (or were already): tell the agent and whoever asks."""
        current = [v for v in verdicts if session.interfaces.get(v.interface.name) == v.interface]
        self._tracker.refused.judged(session.host, current)
        for verdict in current:
            if verdict.refusal is not None:
                _log.warning(
                    "interface refused",
                    host=session.host.host,
                    interface=verdict.interface.name,
                    iface_id=verdict.interface.iface_id,
                    reason=verdict.refusal.reason,
                )
        session.send_verdicts(current)

    def birth(self, state: State, port: Port) -> PortBinding | None:
        """Return the binding that a port about to be created has at once: its interface is plugged already.

        None unless there is just one such interface, on one host, and nobody else has its number. Whatever
        becomes of it in this moment, `follow` has it judged when the binding is stored.
        """
        found = [
            (host, interface)
            for host in port.requested_hosts
            if (actor := self._hosts.get(host)) is not None
            and (session := actor.agent) is not None
            and session.ready
            for interface in session.plugged(port.iface_id)
            if interface.ofport not in session.shared_numbers
        ]
        if len(found) != 1:
            return None
        host, interface = found[0]
        if state.bindings_at(host, interface.ofport) or state.tunnel_ports_at(host, interface.ofport):
            return None
        return PortBinding(
            port=port.name,
            port_uid=port.meta.uid,
            host=host,
            interface=interface.name,
            ofport=interface.ofport,
        )

    def follow(self, changes: Sequence[Change]) -> None:
        """Judge again what is plugged: a port came, went, moved, was unplugged; a network came to a host."""
        state = self._store.state
        bound = [change.new for change in changes if isinstance(change.new, PortBinding)]
        for binding in bound:
            if binding.host in self._plugs:
                port = state.ports.get(binding.port)
                self._plugs[binding.host].mark(
                    {port.iface_id} if port is not None else set(), tunnels=self._is_untold(binding)
                )
        iface_ids = {
            port.iface_id for change in changes for port in (change.old, change.new) if isinstance(port, Port)
        }
        # A binding that went makes room for whoever was refused because of it, here or on another host.
        gone = (change.old for change in changes if change.new is None)
        unplugged = (state.ports.get(old.port) for old in gone if isinstance(old, PortBinding))
        iface_ids.update(port.iface_id for port in unplugged if port is not None)
        if not iface_ids:
            return
        for host, plugs in self._plugs.items():
            actor = self._hosts.get(host)
            if actor is not None and actor.agent is not None:
                plugs.mark(iface_ids & actor.agent.iface_ids)

    def _is_untold(self, binding: PortBinding) -> bool:
        """Tell whether a host reported the tunnel port of a binding's network before it had the network."""
        network = self._store.state.networks.get(binding.port.parent)
        actor = self._hosts.get(binding.host)
        if network is None or actor is None or actor.agent is None:
            return False
        stored = self._store.state.tunnel_ports.get((binding.host, network.vni))
        reported = actor.agent.tunnel_ports.get(network.vni)
        return (stored.ofport if stored is not None else None) != reported


def _worker_ended(session: AgentSession, task: asyncio.Task[None]) -> None:
    """A worker ends only with its session; if it failed, the agent dials again and gets a new one."""
    if not task.cancelled() and task.exception() is not None:
        session.close("what the agent reports could not be stored: an internal error")
