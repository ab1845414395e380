"""Several transactions, each made on what the ones before it would leave behind, as one. Pure.

The one happens if and only if they would have happened one after the other with nothing in between, and
leaves behind the same. What a transaction asks of a key that an earlier one writes is settled here, and not
asked of etcd: etcd compares with what there is before all of them.

"Nothing lies in this range" is asked without the keys that earlier ones have deleted: of what is left of the
range between them. That is exact, whatever else may be known here or not. (To ask that nothing in the range
is newer than what we have read would be one comparison in place of many; but it holds for a key that we never
could read as well, such as a record set aside, or a reference, and then something would be left behind.)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

from controller.store.txn import Compare, Condition, Txn, Write


class Combination:
    """Transactions put together so far. revision: that which they give to what they write, as read later."""

    def __init__(self, revision: int) -> None:
        self._revision = revision
        self._compares: dict[tuple[str, str, Condition], Compare] = {}
        # The last write to each key; those keys in order; and those that were created and deleted again.
        self._writes: dict[str, Write] = {}
        self._order: list[str] = []
        self._undone: set[str] = set()
        self._cleared = _Spans()

    def add(self, txn: Txn) -> None:
        """Append one transaction. Raises ValueError if it could not happen after the ones before it."""
        for compare in txn.compares:
            self._settle(compare)
        for write in txn.writes:
            if write.range_end:
                self._clear(write.key, write.range_end)
            else:
                self._write(write)

    def writes_in(self, start: str, end: str) -> bool:
        """Tell whether anything is written or deleted in a range (no end: of that key)."""
        end = end or _after(start)
        return bool(self._within(start, end) or self._cleared.within(start, end))

    @property
    def txn(self) -> Txn:
        """All of them as one."""
        writes = [write for key, write in self._writes.items() if key not in self._undone]
        for start, end in self._cleared:
            puts = ((key, _after(key)) for key in self._within(start, end))
            writes += [Write(low, None, high) for low, high in _gaps(start, end, puts)]
        return Txn(self._needed(), writes) if writes else Txn()

    def _needed(self) -> Iterator[Compare]:
        for compare in self._compares.values():
            exact = (compare.key, "", Condition.UNCHANGED)
            if compare.condition is not Condition.PRESENT or exact not in self._compares:
                yield compare

    # -- what is asked -----------------------------------------------------------------------------

    def _settle(self, compare: Compare) -> None:
        if compare.range_end:
            self._settle_range(compare)
            return
        there = self._is_there(compare.key)
        if there is None:
            self._keep(compare)
        elif there is (compare.condition is Condition.ABSENT) or (
            compare.condition is Condition.UNCHANGED and compare.revision != self._revision
        ):
            raise ValueError(f"{compare} does not follow from the changes before it")

    def _settle_range(self, compare: Compare) -> None:
        if compare.condition is not Condition.ABSENT:
            self._keep(compare)
            return
        start, end = compare.key, compare.range_end
        written = [key for key in self._within(start, end) if key not in self._undone]
        if any(self._writes[key].value is not None for key in written):
            raise ValueError(f"{compare} does not follow from the changes before it")
        deleted = [(key, _after(key)) for key in written]
        for low, high in _gaps(start, end, sorted([*deleted, *self._cleared.within(start, end)])):
            self._keep(Compare(low, Condition.ABSENT, range_end=high))

    def _is_there(self, key: str) -> bool | None:
        """Tell whether a key is there after what was added so far; None if that is as before."""
        write = self._writes.get(key)
        if write is not None:
            return write.value is not None
        return False if self._cleared and self._cleared.covers(key) else None

    def _keep(self, compare: Compare) -> None:
        index = (compare.key, compare.range_end, compare.condition)
        known = self._compares.get(index)
        if known is not None and known.revision != compare.revision:
            raise ValueError(f"{compare.key} was read at {known.revision} and at {compare.revision}")
        self._compares[index] = compare

    # -- what is written ---------------------------------------------------------------------------

    def _write(self, write: Write) -> None:
        key, before = write.key, self._writes.get(write.key)
        if write.value is None and self._cleared and self._cleared.covers(key):
            if before is not None:
                self._forget(key)
            return
        if before is None:
            insort(self._order, key)
        self._writes[key] = write
        if write.value is None and (key, "", Condition.ABSENT) in self._compares:
            self._undone.add(key)
        else:
            self._undone.discard(key)

    def _clear(self, start: str, end: str) -> None:
        for key in self._within(start, end):
            self._forget(key)
        self._cleared.add(start, end)

    def _forget(self, key: str) -> None:
        del self._writes[key]
        del self._order[bisect_left(self._order, key)]
        self._undone.discard(key)

    def _within(self, start: str, end: str) -> list[str]:
        return self._order[bisect_left(self._order, start) : bisect_left(self._order, end)]


class _Spans:
    """Ranges of keys that are apart from each other, in order."""

    def __init__(self) -> None:
        self._spans: list[tuple[str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._spans)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._spans)

    def add(self, start: str, end: str) -> None:
        """Add a range; those that it meets become one with it."""
        met = self.within(start, end)
        low = bisect_left(self._spans, met[0]) if met else bisect_left(self._spans, (start, end))
        joined = min([start, *(s for s, _ in met)]), max([end, *(e for _, e in met)])
        self._spans[low : low + len(met)] = [joined]

    def covers(self, key: str) -> bool:
        """Tell whether a key is in one of them."""
        return bool(self.within(key, _after(key)))

    def within(self, start: str, end: str) -> list[tuple[str, str]]:
        """Return those that have a key in common with a range."""
        first = bisect_right(self._spans, start, key=lambda span: span[1])
        last = bisect_left(self._spans, end, key=lambda span: span[0])
        return self._spans[first:last]


def _after(key: str) -> str:
    """Return the first key after one."""
    return key + "\0"


def _gaps(start: str, end: str, holes: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield what is left of a range without some ranges, given in order."""
    for hole_start, hole_end in holes:
        if start < hole_start:
            yield start, hole_start
        start = max(start, hole_end)
    if start < end:
        yield start, end
