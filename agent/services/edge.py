"""The one place where frames of guests enter the agent and answers leave it: packet sockets on the device
whose other end is a port of the bridge.

What it costs is bounded: so many frames at a time, in turn from each queue that has any, no more than about
half of the loop's time; what comes faster stays in its queue until that is full (queues.py).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter, deque
from collections.abc import Callable

import structlog

from agent.services import packets, queues
from agent.services.buckets import Buckets
from agent.services.dispatcher import Dispatcher
from agent.services.seams import ServicePorts

_log = structlog.get_logger("agent.services")

FRAMES_PER_TURN = 64
FRAME_BYTES_MAX = 65535
PAUSE_MIN_S = 0.001
DEFECTS_LOGGED_MAX = 20


class Edge:
    """Frames in, through the dispatcher, frames out. `counts` tells what was lost on the way, and why."""

    def __init__(
        self, ports: ServicePorts, dispatcher: Dispatcher, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        """on_lost is called when the device went away; attach() is to be called then."""
        self._ports, self._dispatcher, self._on_lost = ports, dispatcher, on_lost
        self._buckets = Buckets()
        self._queues: tuple[socket.socket, ...] = ()
        self._ifindex = 0
        self._pause: asyncio.TimerHandle | None = None
        self._buffer = bytearray(FRAME_BYTES_MAX)
        self.counts: Counter[str] = Counter()

    @property
    def is_open(self) -> bool:
        """Tell whether frames are taken."""
        return bool(self._queues)

    def attach(self, name: str, ifindex: int) -> None:
        """Take frames from this device from now on; raises OSError if that cannot be.

        The same device again changes nothing; one that was deleted and made again has another ifindex.
        """
        if self._queues and ifindex == self._ifindex:
            return
        self.close()
        self._queues, self._ifindex = queues.open_queues(name), ifindex
        self._listen()
        _log.info("serving guests", device=name, ports=len(self._ports))

    def close(self) -> None:
        """Take no more frames."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._pause_listening()
        for queue in self._queues:
            queue.close()
        self._queues = ()

    def forget_others(self) -> None:
        """The ports have changed: keep no account of those that are gone."""
        self._buckets.keep([port.number for port in self._ports])

    def send(self, frame: bytes) -> None:
        """Hand a frame to the switch; one that it cannot take now is lost, as on any network."""
        if not self._queues:
            self.counts["unsent"] += 1
            return
        try:
            self._queues[0].send(frame)
            self.counts["sent"] += 1
        except OSError:
            self.counts["unsent"] += 1

    def _listen(self) -> None:
        self._pause = None
        for queue in self._queues:
            asyncio.get_running_loop().add_reader(queue, self._turn)

    def _pause_listening(self) -> None:
        for queue in self._queues:
            asyncio.get_running_loop().remove_reader(queue)

    def _turn(self) -> None:
        """Take what is there, up to a limit; after a full turn let others have as long as it took."""
        started_s = time.monotonic()
        if self._pause is None and self._take_in_turn():
            self._pause_listening()
            pause_s = max(PAUSE_MIN_S, time.monotonic() - started_s)
            self._pause = asyncio.get_running_loop().call_later(pause_s, self._listen)

    def _take_in_turn(self) -> bool:
        """Take one frame after the other of each queue that has any; tell whether the limit was met."""
        waiting, taken = deque(self._queues), 0
        while waiting and taken < FRAMES_PER_TURN:
            queue = waiting.popleft()
            frame = self._receive(queue)
            if frame is not None:
                waiting.append(queue)
                self._take(frame, time.monotonic())
                taken += 1
        return self.is_open and taken >= FRAMES_PER_TURN

    def _receive(self, queue: socket.socket) -> bytes | None:
        if not self._queues:
            return None
        try:
            size = queue.recv_into(self._buffer)
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
        """Return how many frames the kernel has dropped since this was last asked, their queue being full."""
        return sum(map(queues.dropped, self._queues))
