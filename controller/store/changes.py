"""What happened in one revision of the store, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from cloison.model import Reservation, Resource, Revision, Stored
from controller.store.keys import StoredKey, stored_key


class Event(NamedTuple):
    """One key after a transaction: what lies there now, None if it is gone."""

    key: StoredKey
    new: Stored | None


def at_revision(stored: Stored, revision: Revision) -> Stored:
    """Return an object as written at a revision."""
    if isinstance(stored, Reservation):
        # Most of what is written are reservations, and replace() takes three times as long.
        return Reservation(
            key=stored.key,
            owner=stored.owner,
            owner_uid=stored.owner_uid,
            released=stored.released,
            hosts=stored.hosts,
            revision=revision,
        )
    if isinstance(stored, Resource):
        return replace(stored, meta=replace(stored.meta, revision=revision))
    return replace(stored, revision=revision)


@dataclass(frozen=True, slots=True)
class Change:
    """One object before and after a transaction; created if old is None, deleted if new is None."""

    old: Stored | None
    new: Stored | None

    @property
    def stored(self) -> Stored:
        """The object as it is now, or as it last was."""
        stored = self.new if self.new is not None else self.old
        if stored is None:
            raise ValueError("a change of nothing")
        return stored

    @property
    def key(self) -> StoredKey:
        """What the object is (or was) found under in `State`."""
        return stored_key(self.stored)

    @property
    def is_reservation(self) -> bool:
        """Whether this is about an identifier, which flows and plans never depend on."""
        return isinstance(self.stored, Reservation)


@dataclass(frozen=True, slots=True)
class RevisionChanges:
    """All changes of one etcd transaction together, in the order of their keys.

    resync: not one transaction but the difference to a new full list, because revisions in between are
    unknown. After a restore of the store, the revision may then be lower than the one before. changes may
    be empty: the transaction touched keys that are no objects.
    """

    revision: Revision
    changes: tuple[Change, ...]
    resync: bool = False
