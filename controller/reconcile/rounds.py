"""Rounds of the reconciler, one at a time: a large one in turns with whatever else there is to do.

While one is under way nothing it relies on may change, nor may anybody look at what it is working out: the
state stands still, and who would change or ask something else waits for its end. So what comes of a round
does not depend on who had a turn when; and nobody is sent anything before all of it is proved.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from controller.reconcile.taking_turns import in_turns
from controller.store.store import Store
from controller.turns import Work

HELD_S = 0.05
"""A round that takes no longer is done in one go: others can wait for that, and a revocation need not."""


class Rounds:
    """What is under way, and what waits for its end."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.busy = False
        self._over = asyncio.Event()
        self._waiting: deque[Callable[[], None]] = deque()

    async def run(self, work: Work[None]) -> None:
        """Do a round, and then what has waited for its end.

        Raises what the round raises. What waits is forgotten then: everything has to be begun anew.
        """
        self.busy = True
        try:
            with self._store.standing_still():
                await in_turns(work, first_s=HELD_S, stays=False)
        except BaseException:
            self._waiting.clear()
            raise
        finally:
            self.busy = False
            self._over.set()
        while self._waiting:
            self._waiting.popleft()()

    def soon(self, do: Callable[[], None]) -> None:
        """Call something at once, or at the end of the round that is under way; one after the other."""
        if self.busy:
            self._waiting.append(do)
        else:
            do()

    async def quiet(self) -> None:
        """Wait until no round is under way; none is until the next await."""
        while self.busy:
            self._over.clear()
            await self._over.wait()
