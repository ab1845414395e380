"""The fake: an etcd of dicts in this process, and a store on it that passes EtcdStore's suite.

Several stores on one `MemoryEtcd` behave like several controllers. Values go through the same bytes as in
etcd, so nothing that passes here fails there for its encoding. Faults are injected by the tests' hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cloison.codec import epoch_from_bytes, epoch_to_bytes
from cloison.errors import Unavailable
from controller.store import keys
from controller.store.base import BaseStore, Outcome, OutcomeUnknown
from controller.store.mirror import RawEvent
from controller.store.relist import Relist
from controller.store.txn import DEFAULT_LIMITS, Compare, Condition, Limits, Txn, Write


class _Value(NamedTuple):
    value: bytes
    mod_revision: int


@dataclass
class MemoryEtcd:
    """Keys, values, revisions, history: etcd's data model, no more."""

    revision: int = 1
    compacted: int = 0
    values: dict[str, _Value] = field(default_factory=dict)
    history: list[tuple[int, list[RawEvent]]] = field(default_factory=list)
    on_commit: list[Callable[[], None]] = field(default_factory=list)

    def put(self, key: str, value: bytes | None) -> int:
        """Write a raw value (or delete the key), as anybody with access to etcd could."""
        return self.write([Write(key, value)])

    def write(self, writes: Sequence[Write]) -> int:
        """Apply writes at one new revision, and return it; no new revision if nothing is changed."""
        revision, events = self.revision + 1, []
        for write in writes:
            for key in self.matching(write.key, write.range_end) if write.value is None else [write.key]:
                if write.value is None:
                    self.values.pop(key, None)
                else:
                    self.values[key] = _Value(write.value, revision)
                events.append(RawEvent(key, write.value, revision))
        if events:
            self.revision = revision
            self.history.append((revision, events))
            for notify in tuple(self.on_commit):
                notify()
        return self.revision

    def matching(self, key: str, range_end: str) -> list[str]:
        """Return the keys there are in a range (or the key itself, if it is there)."""
        if not range_end:
            return [key] if key in self.values else []
        return [other for other in self.values if key <= other < range_end]

    def holds(self, compare: Compare) -> bool:
        """Evaluate one comparison as etcd does: over a range, for each key in it."""
        found = self.matching(compare.key, compare.range_end)
        match compare.condition:
            case Condition.ABSENT:
                return not found
            case Condition.PRESENT:
                return bool(found)
            case Condition.UNCHANGED:
                return bool(found) and all(self.values[key].mod_revision == compare.revision for key in found)
            case Condition.NOT_NEWER:
                return all(self.values[key].mod_revision <= compare.revision for key in found)

    def compact(self) -> None:
        """Forget history; a watch that has not read it yet must list again."""
        self.compacted = self.revision
        self.history = []


class MemoryStore(BaseStore):
    """A store without etcd, for tests of everything above the seam."""

    def __init__(
        self,
        etcd: MemoryEtcd | None = None,
        *,
        subscription_revisions_max: int = 20_000,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(subscription_revisions_max=subscription_revisions_max, limits=limits)
        self.etcd = etcd if etcd is not None else MemoryEtcd()
        # What the next commit meets: 'lost' = done, but the answer is lost; 'late' = the same, and
        # etcd comes to it only some time after; 'down' = not done, and known.
        self.faults: list[str] = []
        self._news = asyncio.Event()
        self._watching = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """See Store."""
        self._watching.set()
        await self._relist()
        self.etcd.on_commit.append(self._news.set)
        self._news.set()
        self._follower = asyncio.create_task(self._follow())
        self._healthy = True

    async def stop(self) -> None:
        """See Store."""
        self._healthy = False
        if self._follower is not None:
            self._follower.cancel()
            self.etcd.on_commit.remove(self._news.set)
            self._follower = None
        self._mirror.close()

    def pause(self) -> None:
        """Stop following, as a controller does whose watch is cut."""
        self._watching.clear()

    def resume(self) -> None:
        """Undo pause."""
        self._watching.set()

    async def next_epoch(self, controller_id: str) -> int:
        """See Store."""
        found = self.etcd.values.get(keys.EPOCH)
        epoch = (epoch_from_bytes(found.value)[0] if found else 0) + 1
        self.etcd.put(keys.EPOCH, epoch_to_bytes(epoch, controller_id))
        return epoch

    async def _commit(self, txn: Txn) -> Outcome:
        compares = self._mirror.compares(txn)
        await asyncio.sleep(0)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "down":
            raise Unavailable("the store does not answer; nothing was changed")
        if fault == "late":
            asyncio.get_running_loop().call_later(0.02, self._evaluate, compares, txn)
            raise OutcomeUnknown("no answer")
        outcome = self._evaluate(compares, txn)
        if fault == "lost":
            raise OutcomeUnknown("no answer")
        return outcome

    async def _raise_fence(self) -> int:
        await asyncio.sleep(0)
        return self.etcd.put(keys.FENCE, b"")

    def _evaluate(self, compares: Sequence[Compare], txn: Txn) -> Outcome:
        if not all(self.etcd.holds(compare) for compare in compares):
            return Outcome(False, self.etcd.revision)
        return Outcome(True, self.etcd.write(txn.writes))

    async def _follow(self) -> None:
        while True:
            await self._news.wait()
            await self._watching.wait()
            await self._mirror.moving()
            self._news.clear()
            if self.etcd.compacted > self.state.revision or self.etcd.revision < self.state.revision:
                await self._relist()
            for revision, events in self.etcd.history:
                if revision > self.state.revision:
                    self._mirror.apply(revision, events)

    async def _relist(self) -> None:
        relist = Relist(self._mirror)
        revision = self.etcd.revision
        await relist.page([RawEvent(key, *value) for key, value in sorted(self.etcd.values.items())])
        await relist.finish(revision)
