"""What is said to a switch and what it answers, as state machines without a socket: read, apply, monitor.

An exchange yields chunks of bytes to send (lazily: the switch works on the first while the next is being
encoded) and is fed every message of the switch that bears one of its xids. The session runs exchanges one
after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from controller.flows import Flow, FlowKey
from controller.flows.delta import ForeignFlow, InstalledFlow, InstalledFlows
from controller.openflow import wire
from controller.openflow.decode import Malformed, decode_error, decode_identity, identity, iter_flow_stats
from controller.openflow.encode import encode_flow
from controller.openflow.framing import Message
from controller.openflow.refusal import SwitchRefused, flow_error

BRIEF_MESSAGES = 64
"""As many are encoded in less than a millisecond."""


class Exchange(Protocol):
    """One question and its answer. done turns True when the answer is complete.

    brief: to start it is little work, which whoever asks may do in the event loop.
    """

    brief: bool
    xids: int
    done: bool
    allowed_s: float

    def start(self, xid: int) -> Iterator[bytes]:
        """Chunks to send; messages may use the xids [xid, xid + self.xids)."""

    def receive(self, message: Message) -> Iterable[bytes]:
        """Take in a message of the switch; returns what to send next. Raises Malformed."""

    def failure(self) -> Exception | None:
        """Once done: the reason why it failed, in words of the seam."""


def control_message(kind: int, xid: int, body: bytes = b"") -> bytes:
    """A whole message of ours."""
    return wire.HEADER.pack(wire.VERSION, kind, wire.HEADER.size + len(body), xid) + body


class KnownFlows:
    """Flows of one switch by the bytes in which it shows them, so that reading need not decode them again.

    Bounded: what was replaced or deleted stays until the next full read, and then at most half of all is of
    that kind.
    """

    _STALE_MIN = 1_000

    def __init__(self) -> None:
        self.flows: dict[bytes, Flow] = {}
        self._stale = 0

    def applied(self, names: Mapping[bytes, Flow], replaced: int) -> None:
        """Flows were put into the switch, in place of so many others."""
        self.flows.update(names)
        self._stale += replaced
        if self._stale > max(self._STALE_MIN, len(self.flows) // 2):
            self.read({}, everything=True)

    def read(self, names: dict[bytes, Flow], *, everything: bool) -> None:
        """Flows were seen in the switch; if that was everything, there are no others."""
        if everything:
            self.flows, self._stale = names, 0
        else:
            self.flows.update(names)


class Multipart:
    """One multipart request and all parts of its answer (7.3.5); subclasses take in what the parts hold."""

    brief = True
    xids = 1

    def __init__(self, kind: int, request: bytes, *, allowed_s: float = 10.0) -> None:
        self.allowed_s = allowed_s
        self.done = False
        self._kind = kind
        self._request = request
        self._failure: Exception | None = None

    def start(self, xid: int) -> Iterator[bytes]:
        """The request."""
        body = wire.MULTIPART.pack(self._kind, 0) + self._request
        yield control_message(wire.MULTIPART_REQUEST, xid, body)

    def receive(self, message: Message) -> Iterable[bytes]:
        """One part of the answer."""
        if message.type == wire.ERROR:
            self._failure = SwitchRefused([flow_error(None, decode_error(message.body))])
            self.done = True
        elif message.type == wire.MULTIPART_REPLY:
            if len(message.body) < wire.MULTIPART.size:
                raise Malformed("a multipart reply without its header")
            kind, flags = wire.MULTIPART.unpack_from(message.body)
            if kind != self._kind:
                raise Malformed(f"a multipart reply of type {kind} to a request of type {self._kind}")
            self._take(message.body[wire.MULTIPART.size :])
            if not flags & wire.MP_MORE:
                self._complete()
                self.done = True
        return ()

    def failure(self) -> Exception | None:
        """What the switch said instead of an answer."""
        return self._failure

    def _take(self, body: bytes) -> None:
        """Take in what one part holds. Raises Malformed."""
        raise NotImplementedError

    def _complete(self) -> None:
        """That was the last part."""


class ReadExchange(Multipart):
    """All flows of a switch, or those of one table or with certain bits in the cookie (7.3.5.2)."""

    brief = False

    def __init__(
        self,
        known: KnownFlows,
        *,
        expected: Iterable[Flow] = (),
        table: int = wire.ALL_TABLES,
        cookie: int = 0,
        cookie_mask: int = 0,
        allowed_s: float = 10.0,
    ) -> None:
        request = wire.FLOW_STATS_REQUEST.pack(table, wire.ANY, wire.ANY, cookie, cookie_mask)
        super().__init__(wire.MP_FLOW, request + wire.EMPTY_MATCH, allowed_s=allowed_s)
        self._known = known
        self._expected = expected
        self._everything = table == wire.ALL_TABLES and not cookie_mask
        self._flows: dict[FlowKey, InstalledFlow] = {}
        self._foreign: list[ForeignFlow] = []
        self._seen: dict[bytes, Flow] = {}

    def _take(self, body: bytes) -> None:
        if body and not self._known.flows:
            # (Not before: a switch that is new holds nothing, and waits to be told.)
            self._known.flows = {identity(flow, encode_flow(flow)): flow for flow in self._expected}
        known, flows, seen = self._known.flows, self._flows, self._seen
        for name, packets, octets in iter_flow_stats(body):
            flow = known.get(name) or decode_identity(name)
            if isinstance(flow, ForeignFlow):
                self._foreign.append(flow)
            else:
                flows[flow.key] = InstalledFlow(flow, packets, octets)
                seen[name] = flow

    def _complete(self) -> None:
        self._known.read(self._seen, everything=self._everything)

    @property
    def result(self) -> InstalledFlows:
        """What was read."""
        return InstalledFlows(self._flows, tuple(self._foreign))


class MonitorExchange:
    """Asks to be told of changes of the flow table that others make (OpenFlow 1.4, 7.3.5.17).

    Our own changes come back abbreviated to an xid, as OFPFMF_NO_ABBREV is not set. Open vSwitch speaks it
    since 3.0.
    """

    brief = True
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
        yield control_message(wire.MULTIPART_REQUEST, xid, body) + control_message(
            wire.BARRIER_REQUEST, xid + 1
        )

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
