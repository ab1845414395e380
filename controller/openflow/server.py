"""Switches as they come and go, in the event loop.

Owns who is admitted and which session stands for which datapath id. All decisions are taken in the event
loop, one after the other; sessions live in threads of their own (session.py) and only ever pass things on to
the loop.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog

from cloison.errors import InvalidIntent
from controller.flows import FlowKey
from controller.openflow import handshake
from controller.openflow.listener import Listener, TlsFiles, Waiting, WaitingRoom, host_of, server_context
from controller.openflow.session import Limits, Session
from controller.openflow.session_switch import SessionSwitch, call_in
from controller.openflow.switch import Switch

log = structlog.get_logger(__name__)

Authorize = Callable[[str | None, int], bool]


class SwitchServer:
    """Listens for switches. Callbacks run in the event loop of start() and must not block.

    authorize(host_id, dpid) decides before anything but the handshake is said (host_id is None without TLS).
    A datapath id that a live session of another host holds is refused; the same host's new session replaces
    it.
    """

    def __init__(
        self,
        listen: tuple[str, int],
        tls: TlsFiles | None,
        authorize: Authorize,
        on_connect: Callable[[int, Switch], None],
        on_disconnect: Callable[[int], None],
        *,
        insecure: bool = False,
        limits: Limits | None = None,
    ) -> None:
        if tls is None and not insecure:
            raise ValueError("OpenFlow without TLS needs insecure=True")
        self.counters: Counter[str] = Counter()
        self._listen = listen
        self._tls = tls
        self._authorize = authorize
        self._on_connect = on_connect
        self._on_disconnect = on_disconnect
        self._limits = limits or Limits()
        self._room = WaitingRoom(self._limits)
        self._switches: dict[int, tuple[Session, SessionSwitch]] = {}
        self._threads: set[threading.Thread] = set()
        self._sessions: dict[Session, Waiting] = {}
        self._lock = threading.Lock()  # of the counters and the two above
        self._context: ssl.SSLContext | None = None
        self._listener: Listener | None = None
        self._stopping = False

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; with port 0 asked for, the port that was given."""
        assert self._listener is not None, "not started"
        return self._listener.address

    async def start(self) -> None:
        """Listen. Raises OSError (address in use, unreadable file) or ssl.SSLError."""
        self._loop = asyncio.get_running_loop()
        if self._tls is not None:
            self._context = server_context(self._tls)
        else:
            log.warning("OpenFlow is spoken in plain text: anybody on the network can be a switch")
        self._stopping = False
        self._listener = Listener(self._listen, self._accepted)
        handshake.acquire()
        self._listener.start()
        log.info("listening for switches", address=self._listener.address)

    async def stop(self) -> None:
        """End every session and thread; on_disconnect is called for every switch. Flows stay as they are."""
        if self._listener is None:
            return
        self._stopping = True
        listener, self._listener = self._listener, None
        await asyncio.to_thread(listener.stop)
        self._room.clear()
        with self._lock:
            sessions, threads = list(self._sessions), list(self._threads)
        for session in sessions:
            session.end("the controller stops")
        for thread in threads:
            await asyncio.to_thread(thread.join, self._limits.write_stall_s)
        await asyncio.sleep(0)  # what the threads said last
        handshake.release()

    # In the threads

    def count(self, what: str) -> None:
        """Part of SessionOwner; thread-safe."""
        with self._lock:
            self.counters[what] += 1

    def _accepted(self, sock: socket.socket, address: Any) -> None:
        waiting = Waiting(sock, address[0])
        if self._room.enter(waiting) is not None:
            self.count("crowded_out")
        thread = threading.Thread(
            target=self._serve,
            args=(waiting, address),
            name=f"openflow-{address[0]}:{address[1]}",
            daemon=True,
        )
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _serve(self, waiting: Waiting, address: Any) -> None:
        session: Session | None = None
        try:
            host_id = self._shake_hands(waiting)
            session = Session(waiting.sock, address, host_id, self, self._limits)
            with self._lock:
                self._sessions[session] = waiting
            if self._stopping:
                session.end("the controller stops")
            session.serve()
        except (OSError, ssl.SSLError, InvalidIntent) as error:
            self.count("refused_tls")
            log.warning("refused an OpenFlow connection", source=address[0], error=str(error))
        finally:
            waiting.sock.close()
            self._room.leave(waiting)
            with self._lock:
                self._threads.discard(threading.current_thread())
                if session is not None:
                    del self._sessions[session]
            if session is not None:
                call_in(self._loop, self._ended, session)

    def _shake_hands(self, waiting: Waiting) -> str | None:
        """TLS; returns the host that the peer's certificate names."""
        if self._context is None:
            return None
        waiting.sock.settimeout(self._limits.handshake_s)
        waiting.sock = tls = self._context.wrap_socket(
            waiting.sock, server_side=True, do_handshake_on_connect=False
        )
        tls.do_handshake()
        return host_of(tls.getpeercert())

    def features_received(self, session: Session) -> None:
        """Part of SessionOwner."""
        call_in(self._loop, self._admit, session)

    def drifted(self, session: Session, keys: set[FlowKey], complete: bool) -> None:
        """Part of SessionOwner."""
        call_in(self._loop, self._drifted, session, keys, complete)

    def port_changed(self, session: Session, ofport: int, name: str | None) -> None:
        """Part of SessionOwner."""
        call_in(self._loop, self._port_changed, session, ofport, name)

    # In the event loop

    def _admit(self, session: Session) -> None:
        dpid, host_id = session.id, session.host_id
        if session.end_reason is not None or self._stopping:
            return
        held = self._switches.get(dpid)
        if held is not None and held[0].end_reason is None and held[0].host_id != host_id:
            self._refuse(session, "another host holds this datapath id")
            return
        if not self._authorize(host_id, dpid):
            self._refuse(session, "this host may not be this datapath")
            return
        with self._lock:
            waiting = self._sessions.get(session)
        if waiting is None:
            return
        self._room.leave(waiting)
        if held is not None:
            held[0].end("the switch connected again")
            self._remove(dpid)
        session.admit()
        switch = SessionSwitch(session, self._loop, self._limits.answer_s)
        self._switches[dpid] = session, switch
        log.info("switch connected", dpid=dpid, host=host_id, source=session.address[0])
        self._on_connect(dpid, switch)

    def _refuse(self, session: Session, reason: str) -> None:
        self.count("refused_dpid")
        log.warning(
            "refused a switch",
            dpid=session.id,
            host=session.host_id,
            source=session.address[0],
            reason=reason,
        )
        session.end(reason)

    def _drifted(self, session: Session, keys: set[FlowKey], complete: bool) -> None:
        held = self._switches.get(session.id)
        if held is not None and held[0] is session:
            held[1].drift.add(keys, complete)

    def _port_changed(self, session: Session, ofport: int, name: str | None) -> None:
        held = self._switches.get(session.id)
        if held is not None and held[0] is session:
            held[1].port_changed(ofport, name)

    def _ended(self, session: Session) -> None:
        held = self._switches.get(session.id)
        if held is not None and held[0] is session:
            log.info("switch disconnected", dpid=session.id, host=session.host_id, reason=session.end_reason)
            self._remove(session.id)

    def _remove(self, dpid: int) -> None:
        _, switch = self._switches.pop(dpid)
        switch.ended()
        self._on_disconnect(dpid)


__all__ = ["Limits", "SwitchServer", "TlsFiles"]
