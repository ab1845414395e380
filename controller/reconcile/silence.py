"""Which hosts that ways out live on have fallen silent, though nobody said that their sessions are over.

A machine that loses its power, or its link, closes no connection, and the keepalives of gRPC and OpenFlow
take up to 16 s to notice. So those few hosts are asked all the time, agent and switch, and either answer will
do. A host is silent when neither has answered for SILENT_S: one that is busy answers by the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Set
from dataclasses import dataclass

from cloison.names import HostName
from controller.reconcile.host import HostActor

ASK_EVERY_S = 0.3
SILENT_S = 1.2


@dataclass(slots=True)
class _Asked:
    since: float
    answer: asyncio.Task[bool]


class Silence:
    """hosts: all there are. watched: which of them are asked. changed: called when one falls silent."""

    def __init__(
        self,
        hosts: Mapping[HostName, HostActor],
        watched: Callable[[], Set[HostName]],
        changed: Callable[[], None],
    ) -> None:
        self.silent: set[HostName] = set()
        self._hosts, self._watched, self._changed = hosts, watched, changed
        self._asked: dict[HostName, _Asked] = {}

    async def run(self) -> None:
        """Ask for ever; ends by being cancelled."""
        now = asyncio.get_running_loop().time
        before = now()
        try:
            while True:
                await asyncio.sleep(ASK_EVERY_S)
                # What this process was late by is not the fault of those who were to answer it.
                late, before = max(0.0, now() - before - 2 * ASK_EVERY_S), now()
                self.look(before, late)
        finally:
            for asked in self._asked.values():
                asked.answer.cancel()

    def look(self, now: float, late: float = 0.0) -> None:
        """Ask whoever has answered again, and judge those who have not; times in seconds."""
        watched = {name for name in self._watched() if self._connected(name)}
        for name in self._asked.keys() - watched:
            self._asked.pop(name).answer.cancel()
        # Whose sessions are over is lost, not silent; and who is not asked is not either.
        self.silent &= watched
        for name in watched:
            self._look_at(name, now, late)

    def _look_at(self, name: HostName, now: float, late: float) -> None:
        asked = self._asked.get(name)
        if asked is None:
            self._asked[name] = _Asked(now, self._ask(name))
            return
        asked.since += late
        if asked.answer.done():
            if asked.answer.result():
                asked.since = now
                self.silent.discard(name)
            asked.answer = self._ask(name)
        if now - asked.since >= SILENT_S and name not in self.silent:
            self.silent.add(name)
            self._changed()

    def _connected(self, name: HostName) -> bool:
        actor = self._hosts.get(name)
        return actor is not None and (actor.agent is not None or actor.switch is not None)

    def _ask(self, name: HostName) -> asyncio.Task[bool]:
        return asyncio.create_task(_answers(self._hosts[name]), name=f"alive {name.host}")


def _questions(actor: HostActor) -> Iterator[Awaitable[object]]:
    if actor.agent is not None:
        yield actor.agent.inspections.ask()
    if actor.switch is not None:
        yield actor.switch.ping()


async def _answers(actor: HostActor) -> bool:
    """Tell whether a host answers, as soon as its agent or its switch has."""
    waiting = {asyncio.ensure_future(question) for question in _questions(actor)}
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if any(not task.cancelled() and task.exception() is None for task in done):
                return True
        return False
    finally:
        for task in waiting:
            task.cancel()
