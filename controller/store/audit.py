"""Whether the mirror is what etcd held at one revision, from a list of keys without values.

etcd has lost watch events before. A lost one shows as an object at another revision, or as a count that is
off; what changed while the list was read is no evidence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice

from controller.store import keys
from controller.store.mirror import Mirror, RawEvent, identity_at, revision_of
from controller.store.relist import KEYS_BETWEEN_YIELDS
from controller.store.store import HistoryGone


class Audit:
    """One comparison, begun at the mirror's present revision."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self.revision = mirror.state.revision
        self._objects = mirror.state.objects
        self._listed = 0
        self._suspects: set[str] = set()

    async def page(self, found: Iterable[RawEvent]) -> None:
        """Compare some keys, as they were listed at `revision`."""
        rest = iter(found)
        while batch := list(islice(rest, 4 * KEYS_BETWEEN_YIELDS)):
            for event in batch:
                self._compare(event)
            await asyncio.sleep(0)

    def _compare(self, event: RawEvent) -> None:
        key = identity_at(event.key)
        if key is None:
            return
        known = self._mirror.state.lookup(key)
        if event.key in self._mirror.quarantine:
            self._listed += known is not None
            return
        self._listed += 1
        if known is None or revision_of(known) != event.mod_revision:
            self._suspects.add(event.key)

    def missed(self) -> str:
        """Return what the mirror has missed, empty if nothing; the list must be complete."""
        try:
            later = {
                keys.locate(change.key)
                for past in self._mirror.changes_since(self.revision)
                for change in past.changes
            }
        except HistoryGone:
            return ""
        suspects = self._suspects - later
        if suspects:
            return f"{len(suspects)} objects differ, {next(iter(suspects))} for one"
        if self._listed != self._objects:
            return (
                f"{self._listed} objects in etcd, {self._objects} in the mirror, at revision {self.revision}"
            )
        return ""
