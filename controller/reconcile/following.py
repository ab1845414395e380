"""Following the store: each revision is handed on, and what cannot be followed step by step is begun anew.

Never gives up: whatever goes wrong with one revision, the next state is worked out all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import structlog

from controller.store.changes import RevisionChanges
from controller.store.store import Store, Subscription, SubscriptionOverrun

_log = structlog.get_logger(__name__)

RESTART_DELAY_S = 1.0
# How long the next round waits at the most, however long the last one took.
PAUSE_MAX_S = 0.2


class WentBack(Exception):
    """The store is at an older revision than before: it was restored."""


class Follower:
    """Drives a reconciler: process() a few revisions, or begin_anew(epoch)."""

    def __init__(
        self,
        store: Store,
        controller_id: str,
        process: Callable[[Sequence[RevisionChanges]], None],
        begin_anew: Callable[[int | None], None],
    ) -> None:
        """process may raise WentBack; begin_anew takes a new epoch, or None to keep the one it has."""
        self._store, self._controller_id = store, controller_id
        self._process, self._begin_anew = process, begin_anew
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """Something waits for the newest state to be followed: let no round wait for others."""
        self._hurried.set()

    async def run(self, subscription: Subscription) -> None:
        """Follow until the store stops."""
        loop = asyncio.get_running_loop()
        while True:
            went_back = False
            try:
                async for first in subscription:
                    # All that is waiting together: the mirror is at the last of them, and half of the way
                    # to a state is no state that anybody asked for.
                    begun_s = loop.time()
                    self._process([first, *subscription.pending()])
                    # As long again for everybody else: under load what comes meanwhile is then one round, and
                    # that costs little more than one change. Where nothing else comes nobody waits for it.
                    await self._pause(min(loop.time() - begun_s, PAUSE_MAX_S))
                return
            except SubscriptionOverrun as error:
                _log.warning("too slow to follow the store: beginning anew", reason=str(error))
            except WentBack as error:
                went_back = True
                _log.warning("the store went back: beginning anew", reason=str(error))
            except Exception:  # noqa: BLE001 - a revision that cannot be worked out is not the last one
                _log.exception("a revision could not be worked out: beginning anew")
            subscription.close()
            subscription = await self._restart(went_back)

    async def _pause(self, duration_s: float) -> None:
        """Let others have their turn."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(duration_s):
                await self._hurried.wait()
        self._hurried.clear()

    async def _restart(self, went_back: bool) -> Subscription:
        """Work out everything as after a start; repeat that until it succeeds."""
        while True:
            subscription: Subscription | None = None
            try:
                # Agents hold newer revisions then: only a newer epoch may bring them to an older one.
                epoch = await self._store.next_epoch(self._controller_id) if went_back else None
                subscription = self._store.subscribe()
                self._begin_anew(epoch)
                return subscription
            except Exception:  # noqa: BLE001 - nobody else would try again
                _log.exception("could not begin anew, will retry")
                if subscription is not None:
                    subscription.close()
                await asyncio.sleep(RESTART_DELAY_S)
