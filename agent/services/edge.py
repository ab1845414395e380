"""The one place where frames of guests enter the agent and answers leave it: a packet socket on the device
whose other end is a port of the bridge.

What it costs is bounded: so many frames at a time, no more than about half of the loop's time, and what
comes faster stays in the kernel's buffer until that is full.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable

import structlog

from agent.services import packets
from agent.services.buckets import Buckets
from agent.services.dispatcher import Dispatcher
from agent.services.seams import ServicePorts

_log = structlog.get_logger("agent.services")

FRAMES_PER_TURN = 64
FRAME_BYTES_MAX = 65535
RECEIVE_BUFFER_BYTES = 4 << 20
PAUSE_MIN_S = 0.001
DEFECTS_LOGGED_MAX = 20
_ETH_P_ALL = 3
# linux/if_packet.h
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 263, 6, 23
_SO_RCVBUFFORCE = 33


class Edge:
    """Frames in, through the dispatcher, frames out. `counts` tells what was lost on the way, and why."""

    def __init__(
        self, ports: ServicePorts, dispatcher: Dispatcher, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        """on_lost is called when the device went away; attach() is to be called then."""
        self._ports, self._dispatcher, self._on_lost = ports, dispatcher, on_lost
        self._buckets = Buckets()
        self._socket: socket.socket | None = None
        self._ifindex = 0
        self._pause: asyncio.TimerHandle | None = None
        self._buffer = bytearray(FRAME_BYTES_MAX)
        self.counts: Counter[str] = Counter()

    @property
    def is_open(self) -> bool:
        """Tell whether frames are taken."""
        return self._socket is not None

    def attach(self, name: str, ifindex: int) -> None:
        """Take frames from this device from now on; raises OSError if that cannot be.

        The same device again changes nothing; one that was deleted and made again has another ifindex.
        """
        if self._socket is not None and ifindex == self._ifindex:
            return
        self.close()
        opened = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0
        )
        try:
            opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
            opened.bind((name, _ETH_P_ALL))
        except OSError:
            opened.close()
            raise
        self._socket, self._ifindex = opened, ifindex
        asyncio.get_running_loop().add_reader(opened, self._turn)
        _log.info("serving guests", device=name, ports=len(self._ports))

    def close(self) -> None:
        """Take no more frames."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def forget_others(self) -> None:
        """The ports have changed: keep no account of those that are gone."""
        self._buckets.keep([port.number for port in self._ports])

    def send(self, frame: bytes) -> None:
        """Hand a frame to the switch; one that it cannot take now is lost, as on any network."""
        if self._socket is None:
            self.counts["unsent"] += 1
            return
        try:
            self._socket.send(frame)
            self.counts["sent"] += 1
        except OSError:
            self.counts["unsent"] += 1

    def _turn(self) -> None:
        """Take what is there, up to a limit; after a full turn let others have as long as it took."""
        started_s = time.monotonic()
        for _ in range(FRAMES_PER_TURN):
            frame = self._receive()
            if frame is None:
                return
            self._take(frame, time.monotonic())
        opened = self._socket
        if opened is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(opened)
            pause_s = max(PAUSE_MIN_S, time.monotonic() - started_s)
            self._pause = loop.call_later(pause_s, loop.add_reader, opened, self._turn)

    def _receive(self) -> bytes | None:
        if self._socket is None:
            return None
        try:
            size = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as err:
            _log.warning("guests are not served: the device is gone", error=str(err))
            self.close()
            self._on_lost()
            return None
        self.counts["received"] += 1
        return bytes(memoryview(self._buffer)[:size])

    def _take(self, frame: bytes, now_s: float) -> None:
        number = packets.port_number(frame)
        served = number is not None and self._ports.get(number) is not None
        if number is not None and served and not self._buckets.take(number, now_s):
            self.counts["too_many"] += 1
            return
        try:
            answers = self._dispatcher.handle(frame)
        except Exception:  # noqa: BLE001 - whatever it is, a guest caused it, and must not end the agent
            self.counts["defects"] += 1
            if self.counts["defects"] <= DEFECTS_LOGGED_MAX:
                _log.exception("a frame was not served", port=number, frame=frame[:128].hex())
            return
        for answer in answers:
            self.send(answer)

    def kernel_drops(self) -> int:
        """Return how many frames the kernel has dropped since this was last asked, its buffer being full."""
        if self._socket is None:
            return 0
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("=II", statistics)[1])
