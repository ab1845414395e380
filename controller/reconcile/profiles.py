"""Takes policy profiles away that no port has any more, some time after the last one left.

Not at once: a guest that is made anew comes back with the groups it had, and a profile that stays costs
nobody a new number, and no host another policy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from cloison.errors import CloisonError
from controller.store import profiles
from controller.store.changes import Change
from controller.store.state import State
from controller.store.store import Store

_log = structlog.get_logger(__name__)

IDLE_S = 30.0
RETRY_DELAY_S = 1.0


class ProfileWorker:
    """Follows which profiles are left by their ports. idle_s: how long one may stay unused."""

    def __init__(self, store: Store, idle_s: float = IDLE_S) -> None:
        self._store, self._idle_s = store, idle_s
        # When each may go, by number; the oldest first, as all wait equally long.
        self._due_at: dict[int, float] = {}
        self._wake = asyncio.Event()

    def load(self, state: State) -> None:
        """Begin with what the state holds already."""
        self._due_at.clear()
        self._note(profile.number for profile in profiles.idle(state))

    def follow(self, changes: Iterable[Change]) -> None:
        """Follow one revision."""
        self._note(profiles.left(changes))

    def _note(self, numbers: Iterable[int]) -> None:
        due_at = asyncio.get_running_loop().time() + self._idle_s
        for number in numbers:
            self._due_at.pop(number, None)
            self._due_at[number] = due_at
            self._wake.set()

    async def run(self) -> None:
        """Collect for ever; ends by being cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            number = next(iter(self._due_at), None)
            if number is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            await asyncio.sleep(self._due_at[number] - loop.time())
            if self._due_at.get(number, loop.time() + 1) > loop.time():
                continue
            try:
                await self._collect(number)
            except CloisonError as error:
                _log.warning("could not take a profile away, will retry", profile=number, error=str(error))
                self._due_at[number] = loop.time() + RETRY_DELAY_S
                await asyncio.sleep(RETRY_DELAY_S)
            except Exception:  # noqa: BLE001 - whatever it is, the others must go
                _log.exception("could not take a profile away", profile=number)
                self._due_at.pop(number, None)

    async def _collect(self, number: int) -> None:
        await self._store.transact(lambda state: (profiles.collect(state, number), None))
        self._due_at.pop(number, None)
