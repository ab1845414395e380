"""The seam: what the rest of the controller knows of the store. No etcd here.

`EtcdStore` (etcd_store.py) is the real one, `MemoryStore` (memory.py) the fake; both pass the same suite.

A store is a mirror that follows etcd, and one way to change it: `transact`. A caller never holds a lock and
never sees half of a transaction; what it reads may be a moment old, and etcd's comparisons find that out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from cloison.errors import CallerError, Unavailable
from cloison.model import Revision
from controller.store.changes import RevisionChanges
from controller.store.state import State
from controller.store.txn import Limits, Txn

T = TypeVar("T")
Build = Callable[[State], tuple[Txn, T]]

SUBSCRIPTION_REVISIONS_MAX = 20_000


class HistoryGone(CallerError):
    """The history asked for is not kept any more (or is of another store): begin with a snapshot."""

    def __init__(self, revision: int, oldest: int) -> None:
        self.revision, self.oldest = revision, oldest
        super().__init__(f"what changed after revision {revision} is not known; history begins at {oldest}")


class SubscriptionOverrun(Unavailable):
    """The subscriber was too slow; it must subscribe again and begin with a snapshot."""


class Store(Protocol):
    """The state of everything, and how it changes."""

    @property
    def state(self) -> State:
        """The mirror: always the same object, at the newest revision known here."""
        ...

    @property
    def limits(self) -> Limits:
        """What one transaction may hold."""
        ...

    @property
    def healthy(self) -> bool:
        """Whether the mirror is known to follow etcd: False from the loss of the watch until it is back."""
        ...

    @property
    def busy(self) -> bool:
        """Whether changes of this process are on their way: more revisions are about to come."""
        ...

    @property
    def quarantine(self) -> Mapping[str, str]:
        """Keys whose value cannot be used -> why. The last good value, if any, is still in state."""
        ...

    async def start(self) -> None:
        """Connect, and return when the mirror holds a complete state. Waits for etcd as long as it takes."""
        ...

    async def stop(self) -> None:
        """Disconnect; subscriptions end."""
        ...

    async def transact(self, build: Build[T]) -> tuple[Revision, T]:
        """Run build on the mirror, commit what it returns, and return (revision, build's result).

        build is pure and may run several times: again whenever something it relied on had changed. Its
        errors go to the caller. An empty Txn commits nothing and gives the current revision. On return the
        mirror holds the revision. Raises Unavailable if etcd does not answer or others are always faster;
        the message says if the change may have been stored nevertheless.
        """
        ...

    def standing_still(self) -> AbstractContextManager[None]:
        """Keep state as it is while this lasts, for who looks at it across awaits: reads go on, what etcd
        tells waits, and transact with it, as it waits for the mirror. For seconds, not minutes.
        """
        ...

    def subscribe(self) -> Subscription:
        """Return an iterator over all revisions after `state.revision` as it is at this moment."""
        ...

    def changes_since(self, revision: int) -> list[RevisionChanges]:
        """Return everything after a revision, oldest first; raises HistoryGone if not all of it is known."""
        ...

    async def next_epoch(self, controller_id: str) -> int:
        """Take the next fencing number, higher than any before it."""
        ...


class Subscription:
    """An async iterator of RevisionChanges in order, none left out. Bounded: see SubscriptionOverrun."""

    def __init__(self, on_close: Callable[[Subscription], None], revisions_max: int) -> None:
        self._queue: deque[RevisionChanges] = deque()
        self._revisions_max = revisions_max
        self._wake = asyncio.Event()
        self._on_close = on_close
        self._closed = False
        self._overrun = False

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> RevisionChanges:
        while not self._queue:
            if self._overrun:
                raise SubscriptionOverrun(f"more than {self._revisions_max} revisions behind")
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    @property
    def waiting(self) -> int:
        """How many revisions wait to be taken."""
        return len(self._queue)

    def pending(self) -> list[RevisionChanges]:
        """Take everything that is waiting, without waiting: for consumers that work in rounds."""
        taken, self._queue = list(self._queue), deque()
        return taken

    def close(self) -> None:
        """End the iteration after what is already queued."""
        self._closed = True
        self._wake.set()
        self._on_close(self)

    def publish(self, changes: RevisionChanges) -> None:
        """Queue one revision; only the store calls this."""
        if self._closed or self._overrun:
            return
        if len(self._queue) >= self._revisions_max:
            # Dropping single revisions would make its state wrong silently: drop it whole.
            self._overrun = True
            self._queue.clear()
        else:
            self._queue.append(changes)
        self._wake.set()
