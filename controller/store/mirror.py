"""Raw keys and values in, whole revisions out: the mirror of etcd in this process.

Owns the State, recent history, subscribers, and the quarantine of records that cannot be read. Knows no
network. Nothing here awaits while the state changes, so nobody sees half a revision; and one bad record
never stops the others.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from types import MappingProxyType
from typing import NamedTuple

import structlog

from cloison.codec import record_from_bytes
from cloison.errors import InvalidIntent, Unavailable
from cloison.model import Reservation, Resource, Revision, Stored
from controller.store import ids, keys
from controller.store.changes import Event, RevisionChanges, at_revision
from controller.store.keys import StoredKey
from controller.store.state import State
from controller.store.store import SUBSCRIPTION_REVISIONS_MAX, HistoryGone, Subscription
from controller.store.txn import Compare, Condition, Txn, Write

log = structlog.get_logger(__name__)

HISTORY_REVISIONS_MAX = 10_000
# Some 3,000 ports made: each keeps 136 bytes, and what was there before, beyond what the state takes.
HISTORY_CHANGES_MAX = 25_000


class RawEvent(NamedTuple):
    """One key after a transaction, as etcd tells it: value None means deleted."""

    key: str
    value: bytes | None
    mod_revision: int


@dataclass(eq=False)
class Expected:
    """One write of a transaction whose outcome may become unknown; revision is set when it is seen."""

    key: str
    value: bytes | None
    after: int
    revision: int = 0

    def match(self, event: RawEvent) -> None:
        """Note the revision if this event is that write."""
        if not self.revision and event.mod_revision > self.after and event.value == self.value:
            self.revision = event.mod_revision


@dataclass
class Mirror:
    """See the module; only a store changes it."""

    subscription_revisions_max: int = SUBSCRIPTION_REVISIONS_MAX
    state: State = field(default_factory=State)
    # Mod revision of the fence key, 0 if there is none.
    fence_revision: int = 0
    _quarantine: dict[str, str] = field(default_factory=dict)
    _poison_revision: dict[str, int] = field(default_factory=dict)
    _history: deque[RevisionChanges] = field(default_factory=deque)
    _history_changes: int = 0
    _history_start: int = 0
    _subscriptions: set[Subscription] = field(default_factory=set)
    _waiting: list[tuple[int, int, asyncio.Future[None]]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)
    _expected: dict[str, list[Expected]] = field(default_factory=dict)
    # What transactions on their way write, by key: of one process no two write the same.
    _own: dict[str, Write] = field(default_factory=dict)
    # How many want the state to stand still, and the end of that.
    _still: int = 0
    _moves: asyncio.Event = field(default_factory=asyncio.Event)

    # -- reading -----------------------------------------------------------------------------------

    @property
    def quarantine(self) -> Mapping[str, str]:
        """Keys whose value cannot be used -> why."""
        return MappingProxyType(self._quarantine)

    def poison_revision(self, key: str) -> int:
        """Return the mod revision of the unusable value that lies under a key; 0 if there is none."""
        return self._poison_revision.get(key, 0)

    def subscribe(self) -> Subscription:
        """Return a subscription to every revision after the present one."""
        subscription = Subscription(self._subscriptions.discard, self.subscription_revisions_max)
        self._subscriptions.add(subscription)
        return subscription

    def changes_since(self, revision: int) -> list[RevisionChanges]:
        """Return everything after a revision; raises HistoryGone if it is not all known."""
        if not self._history_start <= revision <= self.state.revision:
            raise HistoryGone(revision, self._history_start)
        return [changes for changes in self._history if changes.revision > revision]

    async def reached(self, revision: int, timeout_s: float) -> bool:
        """Wait until the mirror holds a revision; tell whether it does."""
        if self.state.revision >= revision:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (revision, next(self._order), future))
        try:
            while not future.done():
                try:
                    async with asyncio.timeout(timeout_s):
                        await asyncio.shield(future)
                except TimeoutError:
                    # (It is no wonder that nothing comes while the state stands still.)
                    if not self._still:
                        return False
            future.result()
        finally:
            future.cancel()
        return True

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Keep the state as it is meanwhile: what the store brings waits."""
        self._still += 1
        try:
            yield
        finally:
            self._still -= 1
            self._moves.set()

    async def moving(self) -> None:
        """Wait until the state may change; it may until the next await."""
        while self._still:
            self._moves.clear()
            await self._moves.wait()

    # -- what a transaction leaves behind ----------------------------------------------------------

    def announce(self, txn: Txn) -> None:
        """Know what a transaction about to be sent writes; end with `renounce`."""
        self._own.update((write.key, write) for write in txn.writes)

    def renounce(self, txn: Txn) -> None:
        """Undo announce."""
        for write in txn.writes:
            self._own.pop(write.key, None)

    def expect(self, txn: Txn) -> Expected:
        """Look out for a transaction about to be sent; end with `forget`.

        Any of its writes identifies it: a value holds the owner's uid or times, so nobody else writes the
        same. (If it only deletes, another's delete is as good.) The longest value is the safest.
        """
        write = max(txn.writes, key=lambda w: (w.value is not None, len(w.value or b""), not w.range_end))
        expected = Expected(write.key, write.value, self.state.revision)
        self._expected.setdefault(write.key, []).append(expected)
        return expected

    @property
    def expected_keys(self) -> Mapping[str, list[Expected]]:
        """Keys under which a write is looked out for."""
        return self._expected

    def compares(self, txn: Txn) -> tuple[Compare, ...]:
        """Return a transaction's comparisons with that of the fence, and fitted to what is quarantined.

        An object whose record went bad can be updated or deleted as it was last known: that replaces
        exactly that bad record.
        """
        condition = Condition.UNCHANGED if self.fence_revision else Condition.ABSENT
        fence = Compare(keys.FENCE, condition, self.fence_revision)
        return (fence, *map(self._fitted, txn.compares))

    def _fitted(self, compare: Compare) -> Compare:
        if compare.condition is not Condition.UNCHANGED or compare.key not in self._poison_revision:
            return compare
        return replace(compare, revision=self._poison_revision[compare.key])

    def forget(self, expected: Expected) -> None:
        """Undo expect."""
        waiting = self._expected.get(expected.key, [])
        if expected in waiting:
            waiting.remove(expected)
        if not waiting:
            self._expected.pop(expected.key, None)

    # -- one revision ------------------------------------------------------------------------------

    def apply(self, revision: int, raw: Iterable[RawEvent]) -> RevisionChanges:
        """Take in all events of one revision and tell the subscribers."""
        events = []
        for event in raw:
            for expected in self._expected.get(event.key, ()):
                expected.match(event)
            read = self.read(event)
            if read is not None:
                events.append(read)
        changes = self.state.apply(revision, events)
        self._publish(changes)
        return changes

    def read(self, event: RawEvent) -> Event | None:
        """Return what an event says, or None if it is about no object or cannot be used."""
        if not keys.is_object(event.key):
            if event.key == keys.FENCE:
                self.fence_revision = event.mod_revision if event.value is not None else 0
            return None
        try:
            if event.value is None:
                key, stored = keys.parse(event.key), None
            else:
                stored = self._stored(event.key, event.value, event.mod_revision)
                key = keys.stored_key(stored)
        except Exception as error:  # noqa: BLE001  # whatever a stranger's bytes do, it stays with them
            self._set_aside(event, error)
            return None
        if self._quarantine.pop(event.key, None) is not None:
            self._poison_revision.pop(event.key, None)
            log.info("record is good again", key=event.key, revision=event.mod_revision)
        return Event(key, stored)

    def _stored(self, key: str, value: bytes, mod_revision: int) -> Stored:
        """As decode, which is not needed where this process has just written the very same."""
        own = self._own.get(key)
        if own is not None and own.stored is not None and own.value == value:
            return at_revision(own.stored, Revision(mod_revision))
        return decode(key, value, mod_revision)

    def _set_aside(self, event: RawEvent, error: Exception) -> None:
        if event.value is None:
            self._quarantine.pop(event.key, None)
            self._poison_revision.pop(event.key, None)
            return
        self._quarantine[event.key] = f"{type(error).__name__}: {error}"
        self._poison_revision[event.key] = event.mod_revision
        log.error(
            "record cannot be used: set aside, the last good value stays",
            key=event.key,
            tenant=keys.tenant_of(event.key),
            revision=event.mod_revision,
            reason=str(error),
            quarantined=len(self._quarantine),
        )

    # -- a new full list ---------------------------------------------------------------------------

    def resync(self, revision: int, events: Iterable[Event], *, forget_history: bool) -> RevisionChanges:
        """Move to a revision of which only the difference to the present state is known."""
        changes = self.state.apply(revision, events, resync=True)
        if forget_history:
            self._history.clear()
            self._history_changes = 0
            self._history_start = revision
        self._publish(changes)
        return changes

    def loaded(self, revision: int) -> None:
        """End the first load (into `state.load`)."""
        self.state.apply(revision, ())
        self._history_start = revision
        self._wake()

    def keep_quarantined(self, poison: set[str]) -> None:
        """After a full list: forget quarantined keys that are not there any more."""
        for key in self._quarantine.keys() - poison:
            del self._quarantine[key]
            del self._poison_revision[key]

    def settle_expected(self, find: Callable[[str], RawEvent | None]) -> None:
        """After a full list: look for expected writes in it (find: the key's value there)."""
        for key, waiting in self._expected.items():
            event = find(key)
            for expected in waiting:
                if event is not None:
                    expected.match(event)
                elif expected.value is None and not expected.revision:
                    expected.revision = self.state.revision

    def close(self) -> None:
        """End all subscriptions and waits."""
        for subscription in tuple(self._subscriptions):
            subscription.close()
        for _, _, future in self._waiting:
            if not future.done():
                future.set_exception(Unavailable("the store has been stopped"))
        self._waiting.clear()

    # -- parts -------------------------------------------------------------------------------------

    def _publish(self, changes: RevisionChanges) -> None:
        self._history.append(changes)
        self._history_changes += len(changes.changes)
        while self._history and (
            len(self._history) > HISTORY_REVISIONS_MAX or self._history_changes > HISTORY_CHANGES_MAX
        ):
            dropped = self._history.popleft()
            self._history_changes -= len(dropped.changes)
            self._history_start = dropped.revision
        for subscription in tuple(self._subscriptions):
            subscription.publish(changes)
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.state.revision:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)


def decode(key: str, value: bytes, mod_revision: int) -> Stored:
    """Return the object under a key of etcd; raises InvalidIntent if it is none or is another key's."""
    stored = record_from_bytes(keys.reservation_part(key), value, mod_revision)
    if keys.key_of(stored) != key:
        raise InvalidIntent.of("key", key, f"{keys.key_of(stored)}, as the record says")
    if isinstance(stored, Reservation):
        ids.split(stored.key)
    return stored


def revision_of(stored: Stored) -> int:
    """Return the revision at which an object last changed."""
    return stored.meta.revision if isinstance(stored, Resource) else stored.revision


def identity_at(key: str) -> StoredKey | None:
    """Return what the object under a key is found under in State; None for keys that are no object's."""
    if not keys.is_object(key):
        return None
    try:
        return keys.parse(key)
    except InvalidIntent:
        return None
