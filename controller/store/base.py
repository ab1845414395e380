"""The loop that makes a change, the same for every store: build, commit, wait for the mirror, or build again.

Owns retries and the question what became of a transaction whose answer was lost. Knows no network: how to
commit is the subclass's.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import structlog

from cloison.errors import Precondition, Unavailable
from cloison.model import Revision
from controller.store.changes import RevisionChanges
from controller.store.mirror import Expected, Mirror
from controller.store.state import State
from controller.store.store import SUBSCRIPTION_REVISIONS_MAX, Build, Subscription
from controller.store.txn import Condition, Txn

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Only contention with other controllers uses these up: claims keep changes of one process apart.
ATTEMPTS_MAX = 20
MIRROR_WAIT_S = 5.0
RETRY_DELAY_MAX_S = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a transaction: committed at revision, or refused by a comparison as of revision."""

    committed: bool
    revision: int


class OutcomeUnknown(Exception):
    """No answer. As of revision (0: not even that is known) the transaction was not seen, but may yet be."""

    def __init__(self, revision: int, reason: str) -> None:
        self.revision = revision
        super().__init__(reason)


class BaseStore(ABC):
    """`Store` but for start, stop, and the way to etcd."""

    def __init__(self, *, subscription_revisions_max: int = SUBSCRIPTION_REVISIONS_MAX) -> None:
        self._mirror = Mirror(subscription_revisions_max)
        self._healthy = False
        # Key -> end of the transaction of this process that writes it.
        self._flights: dict[str, asyncio.Future[None]] = {}

    @property
    def state(self) -> State:
        """See Store."""
        return self._mirror.state

    @property
    def healthy(self) -> bool:
        """See Store."""
        return self._healthy

    @property
    def quarantine(self) -> Mapping[str, str]:
        """See Store."""
        return self._mirror.quarantine

    def subscribe(self) -> Subscription:
        """See Store."""
        return self._mirror.subscribe()

    def changes_since(self, revision: int) -> list[RevisionChanges]:
        """See Store."""
        return self._mirror.changes_since(revision)

    async def transact(self, build: Build[T]) -> tuple[Revision, T]:
        """See Store."""
        unknown: list[tuple[Expected, T]] = []
        try:
            return await self._attempts(build, unknown)
        finally:
            for expected, _ in unknown:
                self._mirror.forget(expected)

    @abstractmethod
    async def _commit(self, txn: Txn) -> Outcome:
        """Send a transaction once; raises OutcomeUnknown, or Unavailable if it was certainly not done."""

    def _refusal(self) -> str:
        """Return why no change may be made now, or nothing; for subclasses."""
        return ""

    async def _attempts(self, build: Build[T], unknown: list[tuple[Expected, T]]) -> tuple[Revision, T]:
        txn = Txn()
        attempt = 0
        while attempt < ATTEMPTS_MAX:
            if refusal := self._refusal():
                raise Unavailable(refusal)
            for expected, result in unknown:
                # The answer was lost, the transaction was not.
                if expected.revision:
                    return Revision(expected.revision), result
            txn, result = build(self.state)
            if not txn:
                return self.state.revision, result
            txn.check_limits()
            if (flight := self._in_the_way(txn)) is not None:
                await asyncio.wait([flight])
                continue
            attempt += 1
            revision = await self._attempt(txn, result, unknown)
            if revision is not None:
                return revision, result
            if attempt > 1:
                await asyncio.sleep(random.uniform(0, RETRY_DELAY_MAX_S))
        self._raise_if_quarantined(txn)
        raise Unavailable(f"others changed the same objects {ATTEMPTS_MAX} times in a row; try again")

    async def _attempt(self, txn: Txn, result: T, unknown: list[tuple[Expected, T]]) -> Revision | None:
        """Commit once; return the revision, or None when build must run again."""
        claimed = txn.reservation_keys
        expected = self._mirror.expect(txn)
        self.state.reservations.claim(claimed)
        flight: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flights.update((write.key, flight) for write in txn.writes)
        try:
            outcome = await self._commit(txn)
            # Until the mirror holds it, the claims keep other builds off what was just taken.
            behind = not await self._mirror.reached(outcome.revision, MIRROR_WAIT_S)
        except OutcomeUnknown as lost:
            unknown.append((expected, result))
            await self._resolve(lost, unknown)
            return None
        finally:
            self.state.reservations.unclaim(claimed)
            for write in txn.writes:
                del self._flights[write.key]
            flight.set_result(None)
            if not any(expected is kept for kept, _ in unknown):
                self._mirror.forget(expected)
        if behind:
            self._suspect(outcome.revision)
        return Revision(outcome.revision) if outcome.committed else None

    async def _resolve(self, lost: OutcomeUnknown, unknown: list[tuple[Expected, T]]) -> None:
        """Wait until the mirror has everything up to where the transaction was looked for.

        Not seen by then, it may still come: sending it again is safe, because each makes the comparisons of
        the other fail, and the one that came is recognised on the next round.
        """
        if not lost.revision:
            raise Unavailable(f"{lost}; the change may have been stored: ask again with the same request_id")
        await self._mirror.reached(lost.revision, MIRROR_WAIT_S)
        log.info("outcome was unknown", found=bool(unknown[-1][0].revision), reason=str(lost))

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
