"""Watch responses in, whole revisions out. Pure.

etcd promises that a response holds whole revisions, in order, each once; a response that is too large comes
in fragments of which only the last is not marked as one. Here that promise is checked, not believed:
a revision that comes in two parts, late, or out of order raises `BrokenWatch`, and the store lists again.
An exact repetition of the newest revision is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from controller.store.mirror import RawEvent


class BrokenWatch(Exception):
    """The watch did not keep its promise: events may be missing."""


class Revisions:
    """Puts fragments together, and cuts what is complete into revisions."""

    def __init__(self, last_revision: int) -> None:
        """last_revision: what the mirror holds; the watch begins at the next."""
        self._last = last_revision
        self._last_events: frozenset[RawEvent] = frozenset()
        self._fragments: list[RawEvent] = []

    def feed(self, events: Iterable[RawEvent], *, fragment: bool) -> list[tuple[int, list[RawEvent]]]:
        """Take one response's events; return the (revision, events) that are now known to be whole."""
        self._fragments.extend(events)
        if fragment:
            return []
        complete, self._fragments = self._fragments, []
        whole = []
        for revision, group in groupby(complete, key=lambda event: event.mod_revision):
            of_revision = list(group)
            if self._is_new(revision, of_revision):
                self._last, self._last_events = revision, frozenset(of_revision)
                whole.append((revision, of_revision))
        return whole

    def _is_new(self, revision: int, events: list[RawEvent]) -> bool:
        if revision > self._last:
            return True
        if revision == self._last and self._last_events.issuperset(events):
            return False
        raise BrokenWatch(f"events of revision {revision} came after revision {self._last} was complete")
