"""A delta as one atomic bundle: sent, checked, committed or discarded. A state machine without a socket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from controller.flows import Flow
from controller.flows.delta import FlowDelta, ForeignFlow
from controller.openflow import wire
from controller.openflow.commands import Command, commands_then_barrier
from controller.openflow.decode import SwitchError, decode_error, identity
from controller.openflow.encode import encode_flow, encode_match
from controller.openflow.exchange import BRIEF_MESSAGES, KnownFlows, control_message
from controller.openflow.framing import Message
from controller.openflow.refusal import BUNDLE_LOST, FlowChange, FlowError, SwitchRefused, flow_error

MESSAGES_PER_CHUNK = 512
# Open vSwitch takes 40,000 changes a second on a loaded machine; a tenth of that is a switch in trouble.
CHANGES_PER_S_MIN = 4_000


class ApplyExchange:
    """A delta as one bundle, atomic and ordered (7.3.9), ended by a barrier.

    The commit is sent only when the switch has answered the close with no error before it: Open vSwitch
    refuses a bad flow when it is put into the bundle, but would commit the rest. A changed flow is sent as
    an ADD: of a flow that is there it keeps the counters (as OFPFF_RESET_COUNTS is not set) and, unlike a
    MODIFY, replaces the cookie too; of a flow that someone has just deleted it makes a flow, where a MODIFY
    would do nothing, silently.

    before: commands that no bundle takes (commands.py), carried out first: a barrier keeps them in front.
    What is wrong with a meter is told in refused_meters; any other error of theirs spoils the bundle.
    """

    def __init__(
        self, delta: FlowDelta, known: KnownFlows, *, before: Sequence[Command] = (), allowed_s: float = 10.0
    ) -> None:
        self.changes: tuple[FlowChange, ...] = (*delta.purge, *delta.delete, *delta.add, *delta.modify)
        self._deletions = len(delta.purge) + len(delta.delete)
        self._flows = (*delta.add, *delta.modify)
        self._replaced = len(delta.delete) + len(delta.modify)
        self._known = known
        self._before = before
        self.refused_meters: tuple[FlowError, ...] = ()
        # xids: one for each command, and their barrier; then open, one for each change, close, commit or
        # discard, barrier
        self._first_xids = len(before) + 1 if before else 0
        self.xids = self._first_xids + len(self.changes) + 4
        self.brief = self.xids <= BRIEF_MESSAGES
        self.allowed_s = allowed_s + len(self.changes) / CHANGES_PER_S_MIN
        self.done = False
        self._xid = 0
        self._errors: list[FlowError] = []
        self._committed = False
        self._names: dict[bytes, Flow] = {}

    def start(self, xid: int) -> Iterator[bytes]:
        """The commands, open, everything, close: together as far as they are one chunk."""
        bundle = self._xid = xid + self._first_xids
        messages = chain(
            commands_then_barrier(self._before, xid) if self._before else (),
            (self._control(bundle, wire.BUNDLE_OPEN_REQUEST),),
            self._delete_messages(bundle + 1),
            self._add_messages(bundle + 1 + self._deletions),
            (self._control(self._last_xid - 2, wire.BUNDLE_CLOSE_REQUEST),),
        )
        while chunk := b"".join(islice(messages, MESSAGES_PER_CHUNK)):
            yield chunk

    @property
    def _last_xid(self) -> int:
        return self._xid + len(self.changes) + 3

    def _control(self, xid: int, kind: int) -> bytes:
        return control_message(
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
        if message.type == wire.ERROR:
            return self._refused(message)
        if message.type == wire.BARRIER_REPLY and message.xid == self._last_xid:
            self.done = True
            if self._committed and not self._errors:
                self._known.applied(self._names, self._replaced)
        elif message.type == wire.BUNDLE_CONTROL and len(message.body) >= wire.BUNDLE_BODY.size:
            answer = wire.BUNDLE_BODY.unpack_from(message.body)[1]
            if answer == wire.BUNDLE_CLOSE_REPLY:
                return self._finish()
            self._committed |= answer == wire.BUNDLE_COMMIT_REPLY
        return ()

    def _finish(self) -> Iterable[bytes]:
        """Commit, or discard after an error; then the barrier."""
        kind = wire.BUNDLE_DISCARD_REQUEST if self._errors else wire.BUNDLE_COMMIT_REQUEST
        xid = self._last_xid - 1
        return (self._control(xid, kind) + control_message(wire.BARRIER_REQUEST, xid + 1),)

    def _refused(self, message: Message) -> Iterable[bytes]:
        place = message.xid - self._xid - 1
        error = decode_error(message.body)
        if message.xid < self._xid:
            self._refused_before(message.xid - (self._xid - self._first_xids), error)
            return ()
        change = self.changes[place] if 0 <= place < len(self.changes) else None
        # That one message failed says nothing which was not said about the message itself.
        if not (
            self._errors and (error.type, error.code) == (wire.ERROR_BUNDLE_FAILED, wire.BUNDLE_MSG_FAILED)
        ):
            self._errors.append(flow_error(change, error))
        return self._finish() if place == len(self.changes) else ()

    def _refused_before(self, place: int, error: SwitchError) -> None:
        about = self._before[place].about if place < len(self._before) else None
        if about is not None:
            self.refused_meters += (flow_error(about, error),)
        else:
            self._errors.append(flow_error(None, error))

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
