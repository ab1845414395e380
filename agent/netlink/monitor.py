"""Tells that something of ours changed in the kernel. Hints only: what is true is read, not taken from an
event.

Sockets of its own, so that a flood of events cannot break a command. A socket that overran (ENOBUFS) is
replaced, and the loss is told: everything must then be read again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.netlink import wire
from agent.netlink.requests import RECEIVE_BYTES, open_socket
from cloison.addresses import Mac
from cloison.model import Vni

_RTMGRP_LINK, _RTMGRP_NEIGH = 0x1, 0x4
_NFNLGRP_NFTABLES = 7
BUFFER_BYTES = 16 << 20
EVENTS_MAX = 200_000
"""Entries remembered between two looks; beyond that everything is read again."""
READS_MAX = 200
"""Events taken in one go before other tasks run."""


@dataclass(slots=True)
class Events:
    """What happened since the last look. The FDB part holds the last word heard about each entry."""

    lost: bool = False
    firewall: bool = False
    links: set[Vni] = field(default_factory=set)
    fdb: dict[tuple[int, Mac], bytes | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.lost or self.firewall or self.links or self.fdb)


class Monitor:
    """Listens to links and FDBs (rtnetlink) and to nftables.

    Calls `wake` when there is something to look at.
    """

    def __init__(self, wake: Callable[[], None], buffer_bytes: int = BUFFER_BYTES) -> None:
        self._wake, self._buffer_bytes = wake, buffer_bytes
        self._route: socket.socket | None = None
        self._filter: socket.socket | None = None
        self._events = Events()

    def open(self) -> None:
        """Begin to listen; must be called before the first read, so that nothing falls between."""
        loop = asyncio.get_running_loop()
        self._route = open_socket(_RTMGRP_LINK | _RTMGRP_NEIGH, self._buffer_bytes)
        self._filter = open_socket(1 << (_NFNLGRP_NFTABLES - 1), self._buffer_bytes, wire.NETFILTER)
        loop.add_reader(self._route.fileno(), self._read_route)
        loop.add_reader(self._filter.fileno(), self._read_filter)

    def close(self) -> None:
        """Stop listening."""
        loop = asyncio.get_running_loop()
        for sock in (self._route, self._filter):
            if sock is not None:
                loop.remove_reader(sock.fileno())
                sock.close()
        self._route = self._filter = None

    @property
    def untaken(self) -> Events:
        """What happened since the last take."""
        return self._events

    def take(self) -> Events:
        """Return what happened since the last call."""
        events, self._events = self._events, Events()
        return events

    def _read_route(self) -> None:
        for _ in range(READS_MAX):
            data = self._receive(self._route)
            if not data:
                break
            self._note(data)
        if len(self._events.fdb) > EVENTS_MAX:
            self._events = Events(lost=True)
        if self._events:
            self._wake()

    def _note(self, data: bytes) -> None:
        for kind, _, _, body in wire.messages(data):
            if kind in (wire.RTM_NEWNEIGH, wire.RTM_DELNEIGH):
                entry = wire.neighbour(body)
                if entry is None:
                    continue
                # b"" agrees with nothing, so an entry in a form that we never write gets looked at.
                seen = None if kind == wire.RTM_DELNEIGH else entry.vtep or b""
                self._events.fdb[entry.ifindex, Mac(entry.mac)] = seen
            elif kind in (wire.RTM_NEWLINK, wire.RTM_DELLINK):
                link = wire.link(body)
                if link is not None:
                    self._events.links.add(Vni(link.vni))

    def _read_filter(self) -> None:
        if self._receive(self._filter):
            self._events.firewall = True
            self._wake()

    def _receive(self, sock: socket.socket | None) -> bytes:
        if sock is None:
            return b""
        try:
            return sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            # ENOBUFS: the kernel dropped events. New sockets, and everything is to be read again.
            self.close()
            self.open()
            self._events.lost = True
            self._wake()
            return b""
