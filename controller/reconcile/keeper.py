"""Keeps the ways out of the overlay as they should be: each change of it is a transaction. A thin loop.

What is to be done is decided by out.py from the state and from which hosts are lost; whatever fails is
decided again. A host is lost when neither its agent nor its switch has been connected for LOST_S, or neither
answers (silence.py). After a start of the controller it has GRACE_S to come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import structlog

from cloison.errors import CloisonError
from cloison.model import RouterEdge
from cloison.names import HostName, RouterName
from controller.reconcile.host import HostActor
from controller.reconcile.moves import move_txn
from controller.reconcile.out import Failover, failovers, lives_on, wanted
from controller.reconcile.silence import Silence
from controller.store.keys import EdgeKey
from controller.store.state import State
from controller.store.store import Store
from controller.store.txn import Txn

_log = structlog.get_logger(__name__)

# How long a host is without both sessions before what lives there is moved.
LOST_S = 1.0
# And after a start of the controller: agents and switches wait some seconds before they dial again.
GRACE_S = 15.0
# How long an edge of one host stays that nothing needs: a guest that is started anew finds it.
IDLE_S = 30.0
RETRY_DELAY_S = 1.0


class EdgeChanges(Protocol):
    """The transactions that make, remove and reschedule edges; empty ones where nothing is to be done."""

    def make(self, state: State, router: RouterName, host: HostName) -> Txn:
        """Make a router's edge on a host, or give it the addresses it should have."""
        ...

    def drop(self, state: State, edge: RouterEdge) -> Txn:
        """Remove an edge of one host."""
        ...

    def follow(self, state: State, router: RouterName) -> Txn:
        """Schedule a router's edge to the gateway hosts as they are now."""
        ...


class Keeper:
    """Follows the state and the sessions of hosts. changes: None if no edges of hosts are kept."""

    def __init__(
        self, store: Store, hosts: Mapping[HostName, HostActor], changes: EdgeChanges | None = None
    ) -> None:
        self._store, self._hosts, self._changes = store, hosts, changes
        self._routers: set[RouterName] = set()
        # When hosts without sessions are lost; and those that had one since the start.
        self._lost_at: dict[HostName, float] = {}
        self._known: set[HostName] = set()
        self._idle_since: dict[EdgeKey, float] = {}
        self._grace_until = 0.0
        self._wake = asyncio.Event()
        # By which gateway host each router goes out.
        self._lives_on: dict[RouterName, HostName] = {}
        self._silence = Silence(hosts, lambda: set(self._lives_on.values()), self._wake.set)

    def follow(self, routers: Iterable[RouterName]) -> None:
        """Something that the edges of these routers depend on changed."""
        before = len(self._routers)
        self._routers.update(routers)
        if len(self._routers) != before:
            self._wake.set()

    def sessions_changed(self) -> None:
        """Some agent or switch came or went."""
        self._wake.set()

    async def run(self) -> None:
        """Keep for ever; ends by being cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._silence.run(), name="silence")
            await self._run()

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        self._grace_until = now() + GRACE_S
        while True:
            again = await self._keep(now())
            try:
                async with asyncio.timeout_at(again):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _keep(self, now: float) -> float | None:
        """Do what is due; return when something else is, None if nothing is in sight."""
        lost, next_loss = self._judge_hosts(now)
        state, failed = self._store.state, False
        obeying = {name for name, actor in self._hosts.items() if actor.obeys}
        for failover in list(failovers(state, lost, obeying)) if lost else ():
            failed |= not await self._fail_over(failover)
        overdue = {key.router for key, since in self._idle_since.items() if since + IDLE_S <= now}
        routers, self._routers = self._routers | overdue, set()
        for router in routers:
            host = lives_on(state, router)
            self._lives_on.pop(router, None)
            if host is not None:
                self._lives_on[router] = host
        if self._changes is not None:
            for router in sorted(routers):
                if not await self._keep_router(router, now, self._changes):
                    failed = True
                    self._routers.add(router)
        due = [next_loss] if next_loss is not None else []
        due += [since + IDLE_S for since in self._idle_since.values()]
        due += [now + RETRY_DELAY_S] if failed else []
        return min(due, default=None)

    def _judge_hosts(self, now: float) -> tuple[set[HostName], float | None]:
        """Return the hosts that are lost, and when the next one will be if it stays away."""
        hosts = self._store.state.hosts
        for name in self._lost_at.keys() - hosts.keys():
            del self._lost_at[name]
        for name in hosts:
            actor = self._hosts.get(name)
            if name in self._silence.silent:
                self._lost_at[name] = min(now, self._lost_at.get(name, now))
            elif actor is not None and (actor.agent is not None or actor.switch is not None):
                self._known.add(name)
                self._lost_at.pop(name, None)
            elif name in self._known:
                self._lost_at.setdefault(name, now + LOST_S)
            else:
                self._lost_at.setdefault(name, max(now + LOST_S, self._grace_until))
        lost = {name for name, at in self._lost_at.items() if at <= now}
        return lost, min((at for at in self._lost_at.values() if at > now), default=None)

    async def _fail_over(self, failover: Failover) -> bool:
        """Move an edge; return False if that has to be tried again."""
        log = _log.bind(router=str(failover.router), lost=failover.lost.host, host=failover.host.host)

        def build(state: State) -> tuple[Txn, None]:
            due = failover in failovers(state, {failover.lost}, {failover.host})
            return move_txn(state, failover.host, failover.number) if due else Txn(), None

        try:
            await self._store.transact(build)
        except CloisonError as error:
            log.warning("the way out of a router could not be moved, will retry", error=str(error))
            return False
        log.warning("the way out of a router moved: its host is lost")
        return True

    async def _keep_router(self, name: RouterName, now: float, changes: EdgeChanges) -> bool:
        """Make and remove edges of hosts; return False if that has to be tried again."""
        todo, done = wanted(self._store.state, name), True
        for key in [k for k in self._idle_since if k.router == name]:
            if all(EdgeKey(edge.router, edge.host) != key for edge in todo.idle):
                del self._idle_since[key]
        if todo.elsewhere:
            done &= await self._carry_out(lambda state: changes.follow(state, name))
        for host in todo.missing:
            done &= await self._carry_out(lambda state, host=host: changes.make(state, name, host))  # type: ignore[misc]
        for edge in todo.idle:
            since = self._idle_since.setdefault(EdgeKey(edge.router, edge.host), now)
            if since + IDLE_S <= now:
                done &= await self._carry_out(lambda state, edge=edge: _still_idle(changes, state, edge))  # type: ignore[misc]
        return done

    async def _carry_out(self, make: Callable[[State], Txn]) -> bool:
        try:
            await self._store.transact(lambda state: (make(state), None))
        except CloisonError as error:
            _log.warning("an edge could not be made, or removed, will retry", error=str(error))
            return False
        return True


def _still_idle(changes: EdgeChanges, state: State, edge: RouterEdge) -> Txn:
    return changes.drop(state, edge) if edge in wanted(state, edge.router).idle else Txn()
