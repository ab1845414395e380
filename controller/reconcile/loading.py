"""What is loaded while the store goes on: a state that stands still, and what has changed since.

Everything is compiled and proved of one state, and what came meanwhile is followed afterwards, revision by
revision as ever: so nothing depends on when somebody had a turn. The copy moves on with that, a few revisions
at a time: working out what many minutes brought would hold the loop as well.
"""

from __future__ import annotations

from collections import deque

from controller.reconcile.gate import Gate
from controller.reconcile.host import HostActor
from controller.store.changes import Event, RevisionChanges
from controller.store.keys import stored_key
from controller.store.state import State
from controller.store.store import Subscription
from controller.turns import Work

# How many revisions are one round, after everything.
REVISIONS_AT_ONCE = 10


class Loading:
    """A copy of a state, and the way from it to the newest one."""

    def __init__(self, state: State, subscription: Subscription) -> None:
        """subscription: to all that comes after state as it is now."""
        self.state = state.copy()
        self._subscription = subscription
        self._waiting: deque[RevisionChanges] = deque()

    def collect(self) -> None:
        """Take what has come: a subscription holds only so much."""
        self._waiting.extend(self._subscription.pending())

    def advance(self) -> list[RevisionChanges]:
        """Move the copy a few revisions on, and return them; none if it is at the newest state."""
        self.collect()
        revisions = [self._waiting.popleft() for _ in range(min(REVISIONS_AT_ONCE, len(self._waiting)))]
        for of_revision in revisions:
            events = (Event(stored_key(change.stored), change.new) for change in of_revision.changes)
            self.state.apply(of_revision.revision, events)
        return revisions

    def let_go(self) -> Work[None]:
        """Free the copy table by table, when nobody needs it any more."""
        for table in vars(self.state).values():
            if isinstance(table, dict):
                table.clear()
                yield


def let_go(actors: list[HostActor | None], gate: Gate) -> Work[None]:
    """Free what was worked out before, host by host: all at once that would hold the loop for seconds."""
    while actors:
        actors.pop()
        yield
    yield from gate.let_go()
