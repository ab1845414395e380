"""Frames as they are on an interface of a namespace: capture without loss unnoticed, send as they are.

Packet sockets (packet(7)) opened inside the namespace and used from here: no program to start, nothing left
in a buffer when a capture ends, and the kernel's count of dropped frames is checked.
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from topologies.nodes import within
from topologies.wait import LOOK_S, looks

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_PACKET_IGNORE_OUTGOING = 23
_PACKET_OUTGOING = 4
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_TP_STATUS_VLAN_VALID = 1 << 4
_AUXDATA = struct.Struct("=IIIHHHH")
RECEIVE_BUFFER_BYTES = 32 * 1024 * 1024
FRAME_MAX_BYTES = 65536
_POLL_MS = 50


@dataclass(frozen=True)
class Frame:
    """One frame seen: its bytes (VLAN tag included), when (time.monotonic), and whether the node sent it."""

    data: bytes
    time_s: float
    outgoing: bool


class CaptureError(RuntimeError):
    """The capture is not the truth: the kernel dropped frames, or the filter is wrong."""


class Capture:
    """A running capture; a context manager. `frames` grows until `stop`."""

    def __init__(self, pid: int, interface: str, expression: str = "", outgoing: bool = False) -> None:
        """Capture on `interface` in the namespace of process `pid`.

        `expression` is a tcpdump filter (pcap-filter(7)); `outgoing` also takes what the node itself sends.
        Raises CaptureError for a wrong filter, OSError when the interface is not there.
        """
        self.frames: list[Frame] = []
        self._outgoing = outgoing
        program = _compile(expression) if expression else b""
        self._socket = within(pid, lambda: _open(interface, program))
        self._stopping = threading.Event()
        self._reader = threading.Thread(target=self._read, name=f"capture-{interface}", daemon=True)
        self._reader.start()

    def __enter__(self) -> Capture:
        """The capture is already running."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop. A capture that lost frames raises, unless another error is on its way."""
        try:
            self.stop()
        except CaptureError:
            if error is None:
                raise

    def stop(self) -> list[Frame]:
        """End the capture, with all that the kernel had queued, and return the frames.

        Raises CaptureError if the kernel dropped any. Idempotent.
        """
        if not self._stopping.is_set():
            self._stopping.set()
            self._reader.join()
            self._drain()
            statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            self._socket.close()
            dropped = struct.unpack("=II", statistics)[1]
            if dropped:
                raise CaptureError(f"the kernel dropped {dropped} frames: this capture proves nothing")
        return self.frames

    def settle(self, quiet_s: float = 0.2, timeout_s: float = 5.0) -> list[Frame]:
        """Wait until no frame came for `quiet_s` seconds (or `timeout_s` is over); the frames so far."""
        settle([self], quiet_s, timeout_s)
        return list(self.frames)

    def wait_for(self, wanted: Callable[[Frame], bool], timeout_s: float) -> Frame | None:
        """The first frame that is `wanted`, or None after `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        looked = 0
        while True:
            frames = self.frames
            while looked < len(frames):
                if wanted(frames[looked]):
                    return frames[looked]
                looked += 1
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.005)

    def save(self, path: Path) -> None:
        """Write the frames as a pcap file for tcpdump or Wireshark (times are since boot)."""
        with path.open("wb") as out:
            out.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, FRAME_MAX_BYTES, 1))
            for frame in list(self.frames):
                micros = int(frame.time_s * 1_000_000)
                size = len(frame.data)
                out.write(struct.pack("=IIII", micros // 1_000_000, micros % 1_000_000, size, size))
                out.write(frame.data)

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while not self._stopping.is_set():
            if poll.poll(_POLL_MS):
                self._drain()

    def _drain(self) -> None:
        while True:
            try:
                data, ancillary, _, address = self._socket.recvmsg(
                    FRAME_MAX_BYTES, socket.CMSG_SPACE(_AUXDATA.size), socket.MSG_DONTWAIT
                )
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                return  # the interface went down or away: what was seen is seen
            outgoing = address[2] == _PACKET_OUTGOING
            if self._outgoing or not outgoing:
                self.frames.append(Frame(_with_tag(data, ancillary), time.monotonic(), outgoing))


def settle(captures: Sequence[Capture], quiet_s: float = 0.2, timeout_s: float = 5.0) -> None:
    """Wait until no frame came to any of the captures for `quiet_s` seconds, or `timeout_s` is over."""
    seen, quiet = -1, 0
    for _ in looks(timeout_s):
        count = sum(len(c.frames) for c in captures)
        seen, quiet = count, quiet + 1 if count == seen else 0
        if quiet * LOOK_S >= quiet_s:
            return


def send(pid: int, interface: str, frames: Iterable[bytes], interval_s: float = 0.0) -> int:
    """Send frames as they are from `interface` in the namespace of process `pid`; how many were sent.

    Raises OSError when the interface is not there or is down.
    """
    with within(pid, lambda: _open(interface, b"", receive=False)) as raw:
        count = 0
        for frame in frames:
            raw.send(frame)
            count += 1
            if interval_s:
                time.sleep(interval_s)
        return count


def _open(interface: str, program: bytes, receive: bool = True) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    if receive:
        raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        raw.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        if program:
            _attach(raw, program)
    raw.bind((interface, _ETH_P_ALL if receive else 0))
    return raw


def _attach(raw: socket.socket, program: bytes) -> None:
    code = ctypes.create_string_buffer(program)
    # struct sock_fprog (linux/filter.h): count of 8-byte instructions, pointer; the kernel copies at once.
    prog = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, prog)


@lru_cache(maxsize=64)
def _compile(expression: str) -> bytes:
    argv = ["tcpdump", "-ddd", "-y", "EN10MB", expression]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        raise CaptureError(f"filter {expression!r}: {done.stderr.strip()}")
    lines = done.stdout.split("\n")[1:]
    return b"".join(struct.pack("=HBBI", *map(int, line.split())) for line in lines if line)


def _with_tag(data: bytes, ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """Put back the VLAN tag that the kernel took out of the frame and handed over beside it."""
    for level, kind, value in ancillary:
        if level == _SOL_PACKET and kind == _PACKET_AUXDATA and len(value) >= _AUXDATA.size:
            status, _, _, _, _, tci, tpid = _AUXDATA.unpack(value[: _AUXDATA.size])
            if status & _TP_STATUS_VLAN_VALID:
                return data[:12] + struct.pack("!HH", tpid or 0x8100, tci) + data[12:]
    return data
