"""A complete list, page by page, becoming the state or the difference to it.

Yields to the event loop while it works: at 100,000 ports a list is a million keys. The mirror changes once,
at the end, and never before the list is complete: what has not been listed yet is not deleted.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable
from itertools import chain, islice

from controller.store import keys
from controller.store.changes import Event, RevisionChanges
from controller.store.keys import StoredKey
from controller.store.mirror import Mirror, RawEvent, identity_at, revision_of

# About 2 ms of decoding.
KEYS_BETWEEN_YIELDS = 200
KEYS_BETWEEN_FREEZES = 1 << 14
# Where hashes of keys are put by their first bits: one set of a million holds the loop when it grows or goes.
SHARDS, SHARD_SHIFT = 256, 56


class Relist:
    """One list in progress; drop it to give up."""

    def __init__(self, mirror: Mirror, *, trust_revisions: bool = True) -> None:
        """trust_revisions: an object at a revision the mirror has is that object (not in another store)."""
        self._mirror = mirror
        self._first = mirror.state.revision == 0
        self._trust_revisions = trust_revisions
        # Hashes of etcd's keys: a set of a million keys would take a fifth of a gigabyte. (That two are the
        # same, and a deletion goes unnoticed until the next list, happens once in ten million lists.)
        self._seen = tuple(set[int]() for _ in range(SHARDS))
        self._taken = 0
        self._events: list[Event] = []
        self._expected: dict[str, RawEvent] = {}
        self._poison: set[str] = set()
        self._fence_revision = 0

    async def page(self, found: Iterable[RawEvent]) -> None:
        """Take in some keys and values."""
        rest = iter(found)
        while batch := list(islice(rest, KEYS_BETWEEN_YIELDS)):
            self._taken += len(batch)
            if self._taken % KEYS_BETWEEN_FREEZES < len(batch):
                # What is loaded stays: the garbage collector need not walk it again and again, for a second
                # each time, with everything else waiting.
                gc.freeze()
            for event in batch:
                self._take(event)
                if event.key in self._mirror.quarantine:
                    self._poison.add(event.key)
            await asyncio.sleep(0)

    def _take(self, event: RawEvent) -> None:
        mirror = self._mirror
        if event.key == keys.FENCE:
            self._fence_revision = event.mod_revision
        if event.key in mirror.expected_keys:
            self._expected[event.key] = event
        if self._first:
            read = mirror.read(event)
            if read is not None and read.new is not None:
                mirror.state.load(read.new, read.key)
            return
        hashed = hash(event.key)
        self._seen_at(hashed).add(hashed)
        key = identity_at(event.key)
        if key is None:
            # No object, or a key nobody can parse: read() sets that aside.
            mirror.read(event)
            return
        known = mirror.state.lookup(key)
        if self._trust_revisions and known is not None and revision_of(known) == event.mod_revision:
            return
        read = mirror.read(event)
        if read is not None:
            self._events.append(read)

    def _seen_at(self, hashed: int) -> set[int]:
        """Return the set that a hash is in, if it was seen."""
        return self._seen[hashed >> SHARD_SHIFT & SHARDS - 1]

    async def deleted(self) -> list[StoredKey]:
        """Return what the state holds and the list did not; meaningful once all pages are in."""
        missing: list[StoredKey] = []
        if self._first:
            return missing
        rest = iter(self._mirror.state.stored_keys)
        while batch := list(islice(rest, 8 * KEYS_BETWEEN_YIELDS)):
            hashes = ((key, hash(keys.locate(key))) for key in batch)
            missing.extend(key for key, hashed in hashes if hashed not in self._seen_at(hashed))
            await asyncio.sleep(0)
        return missing

    async def _let_go(self) -> None:
        """Free what was seen, a part at a time: of a million keys all at once takes 50 ms."""
        for seen in self._seen:
            if seen:
                seen.clear()
                await asyncio.sleep(0)

    async def finish(self, revision: int) -> RevisionChanges | None:
        """Make the list the state, at the revision it was read at; None if it is the first one."""
        mirror = self._mirror
        mirror.keep_quarantined(self._poison)
        mirror.fence_revision = self._fence_revision
        if self._first:
            mirror.loaded(revision)
            if self._taken >= KEYS_BETWEEN_FREEZES:
                gc.freeze()
            return None
        deleted = await self.deleted()
        await self._let_go()
        await mirror.moving()
        events = chain(self._events, (Event(key, None) for key in deleted))
        changes = mirror.resync(revision, events, forget_history=not self._trust_revisions)
        mirror.settle_expected(self._expected.get)
        return changes
