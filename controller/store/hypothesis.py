"""What would be: transactions carried out on top of a state, without a store. Pure.

Each is made on what the ones before it leave behind; `txn` is all of them as one.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloison.model import Revision
from cloison.names import PortName
from controller.store import keys
from controller.store.changes import Change, Event, at_revision
from controller.store.combine import Combination
from controller.store.keys import BindingKey, StoredKey, TunnelPortKey
from controller.store.state import State
from controller.store.txn import Txn, Write


class Hypothesis:
    """A state that must not change meanwhile, and what it would become."""

    def __init__(self, before: State) -> None:
        self.before = before
        self.base_revision = before.revision
        self.after = before.fork()
        # Whatever is written gets one revision that no object of the state can have: the next one. It need
        # not come true; nothing that is written holds it, and no comparison with it reaches etcd.
        self.revision = Revision(before.revision + 1)
        self._combination = Combination(self.revision)
        # By the key in etcd: the keys of a tenant and a host, or of a network and a group, may be equal.
        self._touched: dict[str, StoredKey] = {}

    def carry_out(self, txn: Txn) -> None:
        """Do what a transaction that was made on `after` would do."""
        events = list(self._events(txn))
        self._combination.add(txn)
        self._touched.update((key, event.key) for key, event in events)
        self.after.apply(self.revision, (event for _, event in events))

    @property
    def txn(self) -> Txn:
        """All transactions as one: it happens if all of them could have, in order."""
        return self._combination.txn

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is not as before."""
        changes = (Change(self.before.lookup(key), self.after.lookup(key)) for key in self._touched.values())
        return tuple(change for change in changes if change.old != change.new)

    def _events(self, txn: Txn) -> Iterator[tuple[str, Event]]:
        """Yield what comes of each object, after its key in etcd."""
        for write in txn.writes:
            if write.range_end:
                yield from ((keys.locate(key), Event(key, None)) for key in self._reported(write))
            elif write.stored is not None:
                stored = at_revision(write.stored, self.revision)
                yield write.key, Event(keys.stored_key(stored), stored)
            elif keys.is_object(write.key):
                yield write.key, Event(keys.parse(write.key), None)

    def _reported(self, write: Write) -> Iterator[StoredKey]:
        """Yield what lies in a range that goes with a port or a host."""
        owner = keys.report_owner(write.key)
        if isinstance(owner, PortName):
            yield from (BindingKey(b.port, b.host) for b in self.after.bindings_of(owner))
        else:
            yield from (TunnelPortKey(t.host, t.vni) for t in self.after.tunnel_ports_on(owner))
