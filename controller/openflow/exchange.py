"""What is said to a switch and what it answers, as state machines without a socket: read, apply, monitor.

An exchange yields chunks of bytes to send (lazily: the switch works on the first while the next is being
encoded) and is fed every message of the switch that bears one of its xids. The session runs exchanges one
after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from itertools import chain, islice
from typing import Protocol

from controller.flows import Flow, FlowKey
from controller.flows.delta import FlowDelta, ForeignFlow, InstalledFlow, InstalledFlows
from controller.openflow import wire
from controller.openflow.decode import Malformed, decode_error, decode_identity, identity, iter_flow_stats
from controller.openflow.encode import encode_flow, encode_match
from controller.openflow.framing import Message
from controller.openflow.refusal import BUNDLE_LOST, Change, FlowError, SwitchRefused, flow_error

FLOWS_PER_CHUNK = 512
# Open vSwitch takes 40,000 changes a second on a loaded machine; a tenth of that is a switch in trouble.
CHANGES_PER_S_MIN = 4_000


class Exchange(Protocol):
    """One question and its answer. done turns True when the answer is complete."""

    xids: int
    done: bool
    allowed_s: float

    def start(self, xid: int) -> Iterator[bytes]:
        """Chunks to send; messages may use the xids [xid, xid + self.xids)."""

    def receive(self, message: Message) -> Iterable[bytes]:
        """Take in a message of the switch; returns what to send next. Raises Malformed."""

    def failure(self) -> Exception | None:
        """Once done: the reason why it failed, in words of the seam."""


def _message(kind: int, xid: int, body: bytes = b"") -> bytes:
    return wire.HEADER.pack(wire.VERSION, kind, wire.HEADER.size + len(body), xid) + body


class ApplyExchange:
    """A delta as one bundle, atomic and ordered (7.3.9), ended by a barrier.

    The commit is sent only when the switch has answered the close with no error before it: Open vSwitch
    refuses a bad flow when it is put into the bundle, but would commit the rest. A changed flow is sent as
    an ADD: of a flow that is there it keeps the counters (as OFPFF_RESET_COUNTS is not set) and, unlike a
    MODIFY, replaces the cookie too; of a flow that someone has just deleted it makes a flow, where a MODIFY
    would do nothing, silently.
    """

    def __init__(
        self, delta: FlowDelta, known: MutableMapping[bytes, Flow], *, allowed_s: float = 10.0
    ) -> None:
        self.changes: tuple[Change, ...] = (*delta.purge, *delta.delete, *delta.add, *delta.modify)
        self._deletions = len(delta.purge) + len(delta.delete)
        self._flows = (*delta.add, *delta.modify)
        self._known = known
        # xids: open, one for each change, close, commit or discard, barrier
        self.xids = len(self.changes) + 4
        self.allowed_s = allowed_s + len(self.changes) / CHANGES_PER_S_MIN
        self.done = False
        self._xid = 0
        self._errors: list[FlowError] = []
        self._committed = False
        self._names: dict[bytes, Flow] = {}

    def start(self, xid: int) -> Iterator[bytes]:
        """Open, everything, close."""
        self._xid = xid
        yield self._control(xid, wire.BUNDLE_OPEN_REQUEST)
        messages = chain(self._delete_messages(xid + 1), self._add_messages(xid + 1 + self._deletions))
        while chunk := b"".join(islice(messages, FLOWS_PER_CHUNK)):
            yield chunk
        yield self._control(xid + self.xids - 3, wire.BUNDLE_CLOSE_REQUEST)

    def _control(self, xid: int, kind: int) -> bytes:
        return _message(
            wire.BUNDLE_CONTROL, xid, wire.BUNDLE_BODY.pack(self._xid, kind, wire.BUNDLE_ATOMIC_ORDERED)
        )

    def _delete_messages(self, xid: int) -> Iterator[bytes]:
        for n, change in enumerate(self.changes[: self._deletions], xid):
            match = change.match if isinstance(change, ForeignFlow) else encode_match(change.match)
            yield _bundled(self._xid, n, 0, change.table, wire.DELETE_STRICT, change.priority, match)

    def _add_messages(self, xid: int) -> Iterator[bytes]:
        bundle, names = self._xid, self._names
        for n, flow in enumerate(self._flows, xid):
            encoded = encode_flow(flow)
            names[identity(flow, encoded)] = flow
            yield _bundled(bundle, n, flow.cookie, flow.table, wire.ADD, flow.priority, encoded)

    def receive(self, message: Message) -> Iterable[bytes]:
        """Errors of flows, the answer to the close, to the commit, the barrier."""
        last = self._xid + self.xids - 1
        if message.type == wire.ERROR:
            return self._refused(message)
        if message.type == wire.BARRIER_REPLY and message.xid == last:
            self.done = True
            if self._committed and not self._errors:
                self._known.update(self._names)
        elif message.type == wire.BUNDLE_CONTROL and len(message.body) >= wire.BUNDLE_BODY.size:
            answer = wire.BUNDLE_BODY.unpack_from(message.body)[1]
            if answer == wire.BUNDLE_CLOSE_REPLY:
                return self._finish()
            self._committed |= answer == wire.BUNDLE_COMMIT_REPLY
        return ()

    def _finish(self) -> Iterable[bytes]:
        """Commit, or discard after an error; then the barrier."""
        kind = wire.BUNDLE_DISCARD_REQUEST if self._errors else wire.BUNDLE_COMMIT_REQUEST
        xid = self._xid + self.xids - 2
        return (self._control(xid, kind) + _message(wire.BARRIER_REQUEST, xid + 1),)

    def _refused(self, message: Message) -> Iterable[bytes]:
        place = message.xid - self._xid - 1
        error = decode_error(message.body)
        change = self.changes[place] if 0 <= place < len(self.changes) else None
        # That one message failed says nothing which was not said about the message itself.
        if not (
            self._errors and (error.type, error.code) == (wire.ERROR_BUNDLE_FAILED, wire.BUNDLE_MSG_FAILED)
        ):
            self._errors.append(flow_error(change, error))
        return self._finish() if place == len(self.changes) else ()

    def failure(self) -> Exception | None:
        """SwitchRefused, unless the bundle was committed."""
        if self._committed and not self._errors:
            return None
        return SwitchRefused(self._errors or [BUNDLE_LOST])


def _bundled(
    bundle: int, xid: int, cookie: int, table: int, command: int, priority: int, rest: bytes
) -> bytes:
    """A flow-mod inside the message that puts it into the bundle; both bear the same xid (7.3.9.6)."""
    size = wire.BUNDLED_FLOW_MOD.size + len(rest)
    return (
        wire.BUNDLED_FLOW_MOD.pack(
            wire.VERSION,
            wire.BUNDLE_ADD_MESSAGE,
            size,
            xid,
            bundle,
            wire.BUNDLE_ATOMIC_ORDERED,
            wire.VERSION,
            wire.FLOW_MOD,
            size - wire.BUNDLE_ADD_SIZE,
            xid,
            cookie,
            table,
            command,
            priority,
            wire.FLOW_MOD_TAIL,
        )
        + rest
    )


class ReadExchange:
    """All flows of a switch, or those of one table or with certain bits in the cookie (7.3.5.2)."""

    xids = 1

    def __init__(
        self,
        known: MutableMapping[bytes, Flow],
        *,
        table: int = wire.ALL_TABLES,
        cookie: int = 0,
        cookie_mask: int = 0,
        allowed_s: float = 10.0,
    ) -> None:
        self.allowed_s = allowed_s
        self.done = False
        self._known = known
        self._request = wire.FLOW_STATS_REQUEST.pack(table, wire.ANY, wire.ANY, cookie, cookie_mask)
        self._everything = table == wire.ALL_TABLES and not cookie_mask
        self._flows: dict[FlowKey, InstalledFlow] = {}
        self._foreign: list[ForeignFlow] = []
        self._seen: dict[bytes, Flow] = {}
        self._failure: Exception | None = None

    def start(self, xid: int) -> Iterator[bytes]:
        """The request."""
        yield _message(
            wire.MULTIPART_REQUEST,
            xid,
            wire.MULTIPART.pack(wire.MP_FLOW, 0) + self._request + wire.EMPTY_MATCH,
        )

    def receive(self, message: Message) -> Iterable[bytes]:
        """One part of the answer."""
        if message.type == wire.ERROR:
            self._failure = SwitchRefused([flow_error(None, decode_error(message.body))])
            self.done = True
        elif message.type == wire.MULTIPART_REPLY:
            if len(message.body) < wire.MULTIPART.size:
                raise Malformed("a multipart reply without its header")
            kind, flags = wire.MULTIPART.unpack_from(message.body)
            if kind != wire.MP_FLOW:
                raise Malformed(f"a multipart reply of type {kind} to a request of type {wire.MP_FLOW}")
            self._take(message.body[wire.MULTIPART.size :])
            if not flags & wire.MP_MORE:
                self._complete()
        return ()

    def _take(self, body: bytes) -> None:
        known, flows, seen = self._known, self._flows, self._seen
        for name, packets, octets in iter_flow_stats(body):
            flow = known.get(name) or decode_identity(name)
            if isinstance(flow, ForeignFlow):
                self._foreign.append(flow)
            else:
                flows[flow.key] = InstalledFlow(flow, packets, octets)
                seen[name] = flow

    def _complete(self) -> None:
        if self._everything:  # what is no longer there need not be remembered
            self._known.clear()
        self._known.update(self._seen)
        self.done = True

    def failure(self) -> Exception | None:
        """What the switch said instead of an answer."""
        return self._failure

    @property
    def result(self) -> InstalledFlows:
        """What was read."""
        return InstalledFlows(self._flows, tuple(self._foreign))


class MonitorExchange:
    """Asks to be told of changes of the flow table that others make (OpenFlow 1.4, 7.3.5.17).

    Our own changes come back abbreviated to an xid, as OFPFMF_NO_ABBREV is not set. Open vSwitch speaks it
    since 3.0.
    """

    xids = 2
    _MONITOR = 1

    def __init__(self, *, allowed_s: float = 10.0) -> None:
        self.allowed_s = allowed_s
        self.done = False
        self.supported = True
        self._xid = 0

    def start(self, xid: int) -> Iterator[bytes]:
        """The request and a barrier: no answer is promised for an empty table."""
        self._xid = xid
        request = wire.MONITOR_REQUEST.pack(
            self._MONITOR,
            wire.ANY,
            wire.ANY,
            wire.MONITOR_FLAGS_ADD_REMOVED_MODIFY,
            wire.ALL_TABLES,
            wire.MONITOR_ADD,
        )
        body = wire.MULTIPART.pack(wire.MP_FLOW_MONITOR, 0) + request + wire.EMPTY_MATCH
        yield _message(wire.MULTIPART_REQUEST, xid, body) + _message(wire.BARRIER_REQUEST, xid + 1)

    def receive(self, message: Message) -> Iterable[bytes]:
        """An error means: this switch can't."""
        if message.type == wire.ERROR:
            self.supported = False
        self.done |= message.type == wire.BARRIER_REPLY
        return ()

    def failure(self) -> Exception | None:
        """Never fails: supported tells."""
        return None


def changes_of(updates: Iterable[tuple[int, FlowKey | None]]) -> tuple[set[FlowKey], bool]:
    """What monitor events say: keys that others changed, and whether they name everything that changed.

    A pause (7.3.5.17.3) is no loss, the switch tells afterwards what differs; a foreign flow has no key.
    """
    keys: set[FlowKey] = set()
    complete = True
    for event, key in updates:
        if event in (wire.EVENT_ADDED, wire.EVENT_REMOVED, wire.EVENT_MODIFIED):
            if key is None:
                complete = False
            else:
                keys.add(key)
    return keys, complete
