"""The loop that makes a change, the same for every store: build, commit, wait for the mirror, or build again.

Owns retries and the question what became of a transaction whose answer was lost. Knows no network: how to
commit is the subclass's.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from itertools import chain
from typing import TypeVar

import structlog

from cloison.errors import Precondition, Unavailable
from cloison.model import Revision
from controller.store.batch import Batches
from controller.store.batch import Outcome as Outcome
from controller.store.changes import RevisionChanges
from controller.store.mirror import Expected, Mirror
from controller.store.state import State
from controller.store.store import SUBSCRIPTION_REVISIONS_MAX, Build, Subscription
from controller.store.txn import DEFAULT_LIMITS, Condition, Limits, Txn

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Only contention with other controllers uses these up: claims keep changes of one process apart.
ATTEMPTS_MAX = 20
MIRROR_WAIT_S, MIRROR_GRACE_S = 5.0, 1.0
RETRY_DELAY_MAX_S = 0.05


class OutcomeUnknown(Exception):
    """No answer: the transaction was done, was not, or will be."""


class BaseStore(ABC):
    """`Store` but for start, stop, and the way to etcd."""

    def __init__(
        self,
        *,
        subscription_revisions_max: int = SUBSCRIPTION_REVISIONS_MAX,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._mirror = Mirror(subscription_revisions_max)
        self._limits = limits
        self._healthy = False
        self._batches = Batches(self._send, limits)
        # Key -> end of the transaction of this process that writes it.
        self._flights: dict[str, asyncio.Future[None]] = {}

    @property
    def state(self) -> State:
        """See Store."""
        return self._mirror.state

    @property
    def limits(self) -> Limits:
        """See Store."""
        return self._limits

    @property
    def healthy(self) -> bool:
        """See Store."""
        return self._healthy

    @property
    def busy(self) -> bool:
        """See Store."""
        return bool(self._flights)

    @property
    def quarantine(self) -> Mapping[str, str]:
        """See Store."""
        return self._mirror.quarantine

    def standing_still(self) -> AbstractContextManager[None]:
        """See Store."""
        return self._mirror.standing_still()

    def subscribe(self) -> Subscription:
        """See Store."""
        return self._mirror.subscribe()

    def changes_since(self, revision: int) -> list[RevisionChanges]:
        """See Store."""
        return self._mirror.changes_since(revision)

    async def transact(self, build: Build[T]) -> tuple[Revision, T]:
        """See Store."""
        attempt = 0
        while attempt < ATTEMPTS_MAX:
            if refusal := self._refusal():
                raise Unavailable(refusal)
            txn, result = build(self.state)
            if not txn:
                return self.state.revision, result
            txn.check_limits(self._limits)
            if (flight := self._in_the_way(txn)) is not None:
                await asyncio.wait([flight])
                continue
            outcome = await self._attempt(txn)
            if outcome.committed:
                return Revision(outcome.revision), result
            attempt += 1
            if attempt > 1:
                await asyncio.sleep(random.uniform(0, RETRY_DELAY_MAX_S))
        self._raise_if_quarantined(txn)
        raise Unavailable(f"others changed the same objects {ATTEMPTS_MAX} times in a row; try again")

    @abstractmethod
    async def _commit(self, txn: Txn) -> Outcome:
        """Send a transaction once; raises OutcomeUnknown, or Unavailable if it was certainly not done."""

    @abstractmethod
    async def _raise_fence(self) -> int:
        """Write the fence key, however often it takes; return the revision, 0 if it takes too long."""

    def _refusal(self) -> str:
        """Return why no change may be made now, or nothing; for subclasses."""
        return ""

    async def _attempt(self, txn: Txn) -> Outcome:
        """Commit once, and wait until the mirror holds the revision of the outcome."""
        claimed = txn.reservation_keys
        self.state.reservations.claim(claimed)
        flight: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flights.update((write.key, flight) for write in txn.writes)
        self._mirror.announce(txn)
        try:
            outcome = await self._batches.commit(txn)
            # Until the mirror holds it, the claims keep other builds off what was just taken.
            await self._until_mirrored(outcome.revision)
        finally:
            self._mirror.renounce(txn)
            self.state.reservations.unclaim(claimed)
            for write in txn.writes:
                del self._flights[write.key]
            flight.set_result(None)
        return outcome

    async def _send(self, txn: Txn) -> Outcome:
        """Commit once; find out what became of it if there is no answer."""
        expected = self._mirror.expect(txn)
        try:
            return await self._commit(txn)
        except OutcomeUnknown as lost:
            return await self._settle(expected, lost)
        finally:
            self._mirror.forget(expected)

    async def _until_mirrored(self, revision: int) -> None:
        """Wait until the mirror holds a revision; suspect the watch if it stands still before that.

        Not if it is on its way: under load there may be seconds of revisions before this one, and when this
        process itself was busy all that time, nobody could read what the watch had brought long ago.
        """
        seen, wait_s = -1, MIRROR_WAIT_S
        while not await self._mirror.reached(revision, wait_s):
            if self.state.revision == seen:
                self._suspect(revision)
                return
            wait_s = MIRROR_WAIT_S if self.state.revision > seen >= 0 else MIRROR_GRACE_S
            seen = self.state.revision

    async def _settle(self, expected: Expected, lost: OutcomeUnknown) -> Outcome:
        """Find out what became of a transaction without an answer.

        Each transaction compares the fence key. Once that is written again, one that was not done by then
        is refused for ever: looking whether it is there would not do, for it may come late, even after what
        a second attempt created has been deleted.
        """
        fence = await self._raise_fence()
        if not fence or not await self._mirror.reached(fence, MIRROR_WAIT_S):
            raise Unavailable(
                f"etcd does not answer ({lost}); the change may have been stored: repeat it with the same "
                "request_id"
            ) from lost
        log.info("outcome was unknown", stored=bool(expected.revision), reason=str(lost))
        return Outcome(bool(expected.revision), expected.revision or fence)

    def _suspect(self, revision: int) -> None:
        """Note that the watch should have brought this revision long ago; for subclasses to act on."""
        log.warning("mirror is behind", revision=revision, mirror_revision=self.state.revision)

    def _in_the_way(self, txn: Txn) -> asyncio.Future[None] | None:
        """Return the end of a transaction of this process that is about to change what txn relies on.

        Waiting for it and building again is better than to be refused: it costs etcd nothing, and however
        many contend here, each gets its turn.
        """
        if not self._flights:
            return None
        for key in chain((w.key for w in txn.writes), (c.key for c in txn.compares)):
            if key in self._flights:
                return self._flights[key]
        return None

    def _raise_if_quarantined(self, txn: Txn) -> None:
        for compare in txn.compares:
            if compare.condition is not Condition.PRESENT and self._mirror.poison_revision(compare.key):
                raise Precondition(
                    "QUARANTINED",
                    compare.key,
                    f"{compare.key} holds a record that cannot be read; an operator must repair it",
                )
