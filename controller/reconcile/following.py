"""Following the store: each revision is handed on, and what cannot be followed step by step is begun anew.

Never gives up: whatever goes wrong with one revision, the next state is worked out all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from controller.reconcile.rounds import Rounds
from controller.store.changes import RevisionChanges
from controller.store.store import Store, Subscription, SubscriptionOverrun
from controller.turns import Work, at_once

_log = structlog.get_logger(__name__)

RESTART_DELAY_S = 1.0
# How long the next round waits at the most, however long the last one took.
PAUSE_MAX_S = 0.2
# As often as long as the last round took it waits where several changes wait already: they are a burst.
BURST_PAUSES = 4


class WentBack(Exception):
    """The store is at an older revision than before: it was restored."""


class Follower:
    """Drives a reconciler: follow() a few revisions, or begin() with everything."""

    def __init__(
        self,
        store: Store,
        controller_id: str,
        follow: Callable[[Sequence[RevisionChanges]], Work[None]],
        begin: Callable[[int | None, Subscription], Awaitable[None]],
        rounds: Rounds,
    ) -> None:
        """Both may raise WentBack. begin takes a new epoch, or None to keep the one it has, and what comes
        after the state as it is when begin is called: it may follow some of that.
        """
        self._store, self._controller_id = store, controller_id
        self._follow, self._begin, self._rounds = follow, begin, rounds
        self._subscription: Subscription | None = None
        # Why what was caught up with could not be worked out.
        self._failure: Exception | None = None

    async def begin(self) -> Subscription:
        """Work out everything for the first time, and return what run() is to follow.

        Raises whatever that raises, but for a store that goes back.
        """
        try:
            return await self._begin_once(went_back=False)
        except WentBack as error:
            _log.warning("the store went back: beginning anew", reason=str(error))
            return await self._restart(went_back=True)

    def catch_up(self) -> None:
        """Work out at once what is waiting; never raises. Not to be called in a round."""
        revisions = self._subscription.pending() if self._subscription is not None else []
        if not revisions:
            return
        try:
            at_once(self._follow(revisions))
        except Exception as error:  # noqa: BLE001 - run() sees to it
            self._failure = error
            self._close()

    async def run(self, subscription: Subscription) -> None:
        """Follow until the store stops."""
        loop = asyncio.get_running_loop()
        while True:
            went_back = False
            self._subscription = subscription
            try:
                async for first in subscription:
                    # All that is waiting together: the mirror is at the last of them, and half of the way
                    # to a state is no state that anybody asked for.
                    begun_s = loop.time()
                    await self._rounds.run(self._follow([first, *subscription.pending()]))
                    await rest(self._store, subscription, loop.time() - begun_s)
                if self._failure is None:
                    return
                failure, self._failure = self._failure, None
                raise failure
            except SubscriptionOverrun as error:
                _log.warning("too slow to follow the store: beginning anew", reason=str(error))
            except WentBack as error:
                went_back = True
                _log.warning("the store went back: beginning anew", reason=str(error))
            except Exception:  # noqa: BLE001 - a revision that cannot be worked out is not the last one
                _log.exception("a revision could not be worked out: beginning anew")
            self._close()
            subscription = await self._restart(went_back)

    def _close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    async def _restart(self, went_back: bool) -> Subscription:
        """Work out everything as after a start; repeat that until it succeeds."""
        while True:
            try:
                return await self._begin_once(went_back)
            except WentBack as error:
                went_back = True
                _log.warning("the store went back again: beginning anew", reason=str(error))
            except Exception:  # noqa: BLE001 - nobody else would try again
                _log.exception("could not begin anew, will retry")
                await asyncio.sleep(RESTART_DELAY_S)

    async def _begin_once(self, went_back: bool) -> Subscription:
        # Agents hold newer revisions if the store went back: only a newer epoch brings them to an older one.
        epoch = await self._store.next_epoch(self._controller_id) if went_back else None
        subscription = self._store.subscribe()
        try:
            await self._begin(epoch, subscription)
        except BaseException:
            subscription.close()
            raise
        return subscription


async def rest(
    store: Store,
    subscription: Subscription,
    spent_s: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Leave as long again as a round took (spent_s) to everybody else, and longer in a burst.

    What comes meanwhile is then one round, which costs each host as much as one change does, and this process
    little more. Where nothing else comes nobody waits for it; and who makes one change after the other, each
    as soon as the one before is stored, never has one waiting and another on its way.
    """
    pause_s = min(spent_s, PAUSE_MAX_S)
    await sleep(pause_s)
    if subscription.waiting > 1 or (subscription.waiting and store.busy):
        await sleep(min(BURST_PAUSES * spent_s, PAUSE_MAX_S) - pause_s)
