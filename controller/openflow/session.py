"""One session with one switch: an os-ken Datapath whose socket belongs to a single thread.

Owns the socket, the deadlines and the order of what is said. os-ken does the handshake (hello, features,
echo) with messages that were length-checked before; everything else stays bytes and goes to an Exchange. One
thread reads and writes: OpenSSL forbids two threads in one connection at once, which os-ken's own receive and
send loops are. Only the first write of a small exchange is done by whoever asks for it, if nothing else goes
on: under a lock, and without waiting. Never decides who may connect (server.py does), and never calls back
into asyncio by itself.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

import structlog
from os_ken.controller import ofp_event
from os_ken.controller.controller import Datapath
from os_ken.controller.handler import CONFIG_DISPATCHER, DEAD_DISPATCHER, MAIN_DISPATCHER
from os_ken.ofproto import ofproto_parser

from cloison.errors import Unavailable
from controller.flows import FlowKey
from controller.openflow import wire
from controller.openflow.decode import Malformed, decode_updates
from controller.openflow.exchange import Exchange, KnownFlows, changes_of
from controller.openflow.framing import Framer, Message, check_for_os_ken
from controller.openflow.ports import decode_port_status

log = structlog.get_logger(__name__)

_READ_BYTES = 1 << 18
_READS_PER_TURN = 8
_CHUNKS_PER_TURN = 8
_ANSWERS_BYTES_MAX = 1 << 20
# A read of less than this has most likely emptied the connection (a TLS record holds as much).
_FULL_READ_BYTES = 1 << 14
# Own xids count up from 1; those of os-ken (hello, features, echo) have this bit.
_OS_KEN_XID = 1 << 31


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines and caps of sessions.

    A switch that does not answer echo requests is given up after at most echoes_unanswered_max + 1 intervals;
    an exchange that it answered stands for an echo. answer_s is for small exchanges; large ones have more.
    """

    handshake_s: float = 5.0
    echo_interval_s: float = 3.0
    echoes_unanswered_max: int = 2
    write_stall_s: float = 10.0
    answer_s: float = 10.0
    pending_per_source_max: int = 32
    pending_max: int = 256


class Ended(Exception):
    """The session is over; the text says why. Stays inside this package."""


class SessionOwner(Protocol):
    """Who is told of a session. Called in the session's thread: must only pass it on."""

    def count(self, what: str) -> None:
        """One more of that."""

    def features_received(self, session: Session) -> None:
        """The switch said its datapath id; decide and call admit() or end()."""

    def drifted(self, session: Session, keys: set[FlowKey], complete: bool) -> None:
        """Somebody else changed flows (complete: no others than these)."""

    def port_changed(self, session: Session, ofport: int, name: str | None) -> None:
        """A port came, changed or (name None) went."""


@dataclass(slots=True)
class _Job:
    exchange: Exchange
    finished: Callable[[Exception | None], None]
    chunks: Iterator[bytes]
    xid: int
    deadline: float


class Session(Datapath):  # type: ignore[misc]  # os_ken is untyped
    """See the module. submit(), admit() and end() are for any thread, the rest only for its own."""

    def __init__(
        self, sock: socket.socket, address: Any, host_id: str | None, owner: SessionOwner, limits: Limits
    ) -> None:
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = (
            threading.Lock()
        )  # of the end: nobody may write to a closed descriptor, no job ends twice
        # Of the socket, the framer, the job and what is to be written.
        self._io = threading.Lock()
        super().__init__(sock, address)
        sock.setblocking(False)
        self.host_id = host_id
        self.known = KnownFlows()
        self.xid = _OS_KEN_XID
        self._owner = owner
        self._limits = limits
        self._framer = Framer()
        self._out: deque[memoryview] = deque()
        self._jobs: deque[tuple[Exchange, Callable[[Exception | None], None]]] = deque()
        self._job: _Job | None = None
        self._next_xid = 1
        self._admitted = False
        self._end_reason: str | None = None
        now = monotonic()
        self._handshake_deadline = now + limits.handshake_s
        self._next_echo = now + limits.echo_interval_s
        self._written_at = now
        self._wakes_at = now

    # What other threads may call

    def submit(self, exchange: Exchange, finished: Callable[[Exception | None], None]) -> None:
        """Queue an exchange, and begin it at once if that is little work and nothing else goes on.

        finished is called once, in another thread, with the reason if it failed.
        """
        self._jobs.append((exchange, finished))
        if not exchange.brief or not self._begin(exchange):
            self._notify()

    def _begin(self, exchange: Exchange) -> bool:
        """Start an exchange if it is the next; tells whether the thread need not look before the answer."""
        if not self._io.acquire(blocking=False):
            return False
        try:
            idle = self._job is None and not self._out and self._end_reason is None
            next_is_this = bool(self._jobs) and self._jobs[0][0] is exchange
            if not idle or not next_is_this or self.state != MAIN_DISPATCHER:
                return False
            self._start_next()
            return not self._write() and self._next_deadline() >= self._wakes_at
        except (OSError, ssl.SSLError):
            return False  # the thread meets it too
        except Exception:
            log.exception("openflow exchange failed", dpid=self.id, host=self.host_id)
            self.end("internal error")
            return False
        finally:
            self._io.release()

    def admit(self) -> None:
        """The peer may be this datapath: exchanges begin."""
        self._admitted = True
        self._notify()

    def end(self, reason: str) -> None:
        """Close the session soon; unfinished exchanges fail with Unavailable."""
        if self._end_reason is None:
            self._end_reason = reason
        self._notify()

    @property
    def end_reason(self) -> str | None:
        """Why it ended or is ending; None while it lives."""
        return self._end_reason

    def _notify(self) -> None:
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)
                return
            self._fail_jobs()

    # What os-ken calls

    def send(self, buf: bytes, close_socket: bool = False) -> bool:
        """Queue an answer of os-ken's handlers, before anything of the exchange that is running."""
        if sum(map(len, self._out)) > _ANSWERS_BYTES_MAX:
            raise Ended("the switch asks and does not read the answers")
        self._out.append(memoryview(bytes(buf)))
        if close_socket:
            self.end("the OpenFlow versions do not meet")
        return True

    def set_xid(self, msg: Any) -> int:
        """Give a message of os-ken's an xid that no exchange uses."""
        self.xid = _OS_KEN_XID | ((self.xid + 1) & (_OS_KEN_XID - 1))
        msg.set_xid(self.xid)
        return self.xid

    # The thread

    def serve(self) -> None:
        """Run the session until it ends; never raises."""
        try:
            self.send_msg(self.ofproto_parser.OFPHello(self))
            self._loop()
        except (Ended, Malformed, OSError, ssl.SSLError) as error:
            self._owner.count("malformed" if isinstance(error, Malformed) else "ended")
            self.end(str(error) or type(error).__name__)
        except Exception:  # the last line of defence: one broken session must not be silent
            self._owner.count("session_errors")
            log.exception("openflow session failed", dpid=self.id, host=self.host_id)
            self.end("internal error")
        finally:
            self._finish()

    def _finish(self) -> None:
        with self._io:  # nobody may write to what this number stands for next
            self.is_active = False
            self.set_state(DEAD_DISPATCHER)
            self.socket.close()
        with self._lock:
            os.close(self._wake)
            self._wake = -1
            self._fail_jobs()

    def _fail_jobs(self) -> None:
        """Under the lock."""
        reason = Unavailable(f"the switch {self.id or 0:#018x} is not connected: {self._end_reason}")
        if self._job is not None:
            job, self._job = self._job, None
            job.finished(reason)
        while self._jobs:
            self._jobs.popleft()[1](reason)

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self.socket, select.POLLIN)
        asked = select.POLLIN
        while True:
            with self._io:
                wanted = select.POLLIN | (select.POLLOUT if self._write() else 0)
                if self._end_reason is not None:
                    raise Ended(self._end_reason)
                pending = isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()
                self._wakes_at = self._next_deadline()
            if wanted != asked:
                poll.modify(self.socket, wanted)
                asked = wanted
            ready = dict(poll.poll(0 if pending else max(0.0, self._wakes_at - monotonic()) * 1000))
            if self._wake in ready:
                os.eventfd_read(self._wake)
            with self._io:
                if pending or len(ready) > (self._wake in ready):
                    self._read()
                self._advance()
                self._check_deadlines(monotonic())

    def _read(self) -> None:
        for _ in range(_READS_PER_TURN):
            try:
                data = self.socket.recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not data:
                raise Ended("the switch closed the connection")
            for message in self._framer.feed(data):
                self._receive(message)
            if len(data) < _FULL_READ_BYTES:
                return

    def _write(self) -> bool:
        """Send what can be sent now; tells whether more is waiting for the peer."""
        for _ in range(_CHUNKS_PER_TURN):
            if not self._out and not self._refill():
                self._written_at = monotonic()
                return False
            chunk = self._out[0]
            try:
                sent = self.socket.send(chunk)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return True
            self._written_at = monotonic()
            if sent == len(chunk):
                self._out.popleft()
            else:
                self._out[0] = chunk[sent:]
        return True

    def _refill(self) -> bool:
        if self._job is None:
            return False
        chunk = next(self._job.chunks, b"")
        if chunk:
            self._out.append(memoryview(chunk))
        return bool(chunk)

    # Deadlines

    def _next_deadline(self) -> float:
        deadlines = [self._next_echo]
        if self.state != MAIN_DISPATCHER:
            deadlines.append(self._handshake_deadline)
        if self._out:
            deadlines.append(self._written_at + self._limits.write_stall_s)
        if self._job is not None:
            deadlines.append(self._job.deadline)
        return min(deadlines)

    def _check_deadlines(self, now: float) -> None:
        if self.state != MAIN_DISPATCHER and now >= self._handshake_deadline:
            raise Ended("the handshake took too long")
        if self._out and now >= self._written_at + self._limits.write_stall_s:
            raise Ended("the switch does not read")
        if self._job is not None and now >= self._job.deadline:
            raise Ended("the switch does not answer")
        if now >= self._next_echo:
            self._next_echo = now + self._limits.echo_interval_s
            if self.state == MAIN_DISPATCHER:
                self._echo()

    def _echo(self) -> None:
        if len(self.unreplied_echo_requests) >= self._limits.echoes_unanswered_max:
            raise Ended("the switch does not answer echo requests")
        request = self.ofproto_parser.OFPEchoRequest(self)
        self.unreplied_echo_requests.append(self.set_xid(request))
        self.send_msg(request)

    # Messages

    def _receive(self, message: Message) -> None:
        if self.state == CONFIG_DISPATCHER and message.type in wire.UNASKED:
            # It may speak as soon as the versions have met; what matters of this is asked for again.
            self._owner.count(f"ignored_type_{message.type}")
        elif message.type in (wire.ECHO_REQUEST, wire.ECHO_REPLY) or self.state != MAIN_DISPATCHER:
            self._dispatch_to_os_ken(message)
        elif message.type == wire.MULTIPART_REPLY and self._is_update(message):
            keys, complete = changes_of(decode_updates(message.body[wire.MULTIPART.size :]))
            if keys or not complete:
                self._owner.drifted(self, keys, complete)
        elif message.type == wire.PORT_STATUS:
            self._owner.port_changed(self, *decode_port_status(message.body))
        elif self._job is not None and self._job.xid <= message.xid < self._job.xid + self._job.exchange.xids:
            self._out.extend(map(memoryview, self._job.exchange.receive(message)))
        else:
            # Packet-ins, which nobody asked for, cost no more than this.
            self._owner.count(f"ignored_type_{message.type}")

    def _is_update(self, message: Message) -> bool:
        return message.body[:2] == wire.MP_FLOW_MONITOR.to_bytes(2)

    def _dispatch_to_os_ken(self, message: Message) -> None:
        if message.type == wire.ERROR:
            raise Ended("the switch sent an error during the handshake")
        check_for_os_ken(message)
        parsed = ofproto_parser.msg(
            self, message.version, message.type, len(message.data), message.xid, bytearray(message.data)
        )
        if parsed is None:
            raise Malformed(f"a message of type {message.type} that os-ken can't parse")
        event = ofp_event.ofp_msg_to_ev(parsed)
        for handler in list(self.ofp_brick.get_handlers(event, self.state)):
            handler(event)

    def features_received(self) -> None:
        """Called by the handler of the features reply, once: the datapath id is known."""
        self._owner.features_received(self)

    # Exchanges

    def _advance(self) -> None:
        if self._admitted and self.state != MAIN_DISPATCHER:
            self.set_state(MAIN_DISPATCHER)
        if self._job is not None and self._job.exchange.done:
            job, self._job = self._job, None
            # That says as much as an echo, and each message costs the switch a look at all of its ports.
            self._next_echo = monotonic() + self._limits.echo_interval_s
            job.finished(job.exchange.failure())
        self._start_next()

    def _start_next(self) -> None:
        if self._job is None and self._jobs and self.state == MAIN_DISPATCHER:
            exchange, finished = self._jobs.popleft()
            if self._next_xid + exchange.xids >= _OS_KEN_XID:
                self._next_xid = 1
            xid, self._next_xid = self._next_xid, self._next_xid + exchange.xids
            self._job = _Job(exchange, finished, exchange.start(xid), xid, monotonic() + exchange.allowed_s)
