"""The command socket for messages we encode ourselves: many requests in one send, an answer for each.

One user at a time (the reconciler). A socket that lost answers (ENOBUFS) is closed and the loss is told
by raising Unavailable: what was done is then unknown, and the caller reads the kernel again.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from agent.netlink import wire
from cloison.errors import Unavailable

_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT_CHECK = 270, 10, 11, 12
_SO_RCVBUFFORCE = 33
BATCH_MESSAGES = 250
"""Requests in one send.

The kernel carries them out before the send returns; answers wait in the socket's buffer.
"""
RECEIVE_BYTES = 1 << 16
BUFFER_BYTES = 8 << 20
_ORDER = sys.byteorder


@dataclass(frozen=True, slots=True)
class Refusal:
    """The kernel's no to one request of a batch, by its position."""

    index: int
    errno: int
    text: str

    def __str__(self) -> str:
        name = errno.errorcode.get(self.errno, str(self.errno))
        return f"{name}: {self.text or os.strerror(self.errno)}"


def open_socket(groups: int = 0, buffer_bytes: int = BUFFER_BYTES, protocol: int = 0) -> socket.socket:
    """Return a non-blocking netlink socket (protocol 0: routing) that listens to groups (a bit mask)."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    sock.setblocking(False)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    for option in (_CAP_ACK, _EXT_ACK, _STRICT_CHECK):
        sock.setsockopt(_SOL_NETLINK, option, 1)
    sock.bind((0, groups))
    return sock


class Requests:
    """Sends batches and dumps over one socket: the one given, or one (of `protocol`) opened when needed."""

    def __init__(self, sock: socket.socket | None = None, protocol: int = 0) -> None:
        self._sock, self._is_given, self._protocol = sock, sock is not None, protocol
        self._seq = 0

    def close(self) -> None:
        """Close the socket; the next request opens another, unless it was given (of another namespace)."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    async def batch(self, requests: Sequence[bytes]) -> tuple[list[Refusal], list[memoryview]]:
        """Carry out all requests, in order; return the refused ones and the bodies of the answers.

        A refused request does not stop those after it. Other tasks run between the sends of a long batch.
        """
        refusals: list[Refusal] = []
        answers: list[memoryview] = []
        for start in range(0, len(requests), BATCH_MESSAGES):
            if start:
                await asyncio.sleep(0)
            await self._send(requests[start : start + BATCH_MESSAGES], start, refusals, answers)
        return refusals, answers

    async def _send(
        self, part: Sequence[bytes], start: int, refusals: list[Refusal], answers: list[memoryview]
    ) -> None:
        data, at, first = bytearray(b"".join(part)), 0, self._seq + 1
        for request in part:
            self._seq += 1
            data[at + 8 : at + 12] = self._seq.to_bytes(4, _ORDER)
            last, at = at, at + len(request)
        # Failures are always answered; an answer to the last request closes the list.
        flags = int.from_bytes(data[last + 6 : last + 8], _ORDER) | wire.NLM_F_ACK
        data[last + 6 : last + 8] = flags.to_bytes(2, _ORDER)
        await self._transmit(bytes(data))
        while True:
            for kind, flags, seq, body in wire.messages(await self._receive()):
                if not first <= seq <= self._seq:
                    continue
                if kind != wire.NLMSG_ERROR:
                    answers.append(body)
                    continue
                number, text = wire.error(flags, body)
                if number:
                    refusals.append(Refusal(start + seq - first, number, text))
                if seq == self._seq:
                    return

    async def dump(self, request: bytes) -> AsyncIterator[list[memoryview]]:
        """Yield the bodies of a dump, datagram by datagram; raise Unavailable if it came in two minds."""
        self._seq += 1
        await self._transmit(request[:8] + self._seq.to_bytes(4, _ORDER) + request[12:])
        torn = False
        while True:
            bodies: list[memoryview] = []
            done = False
            for kind, flags, seq, body in wire.messages(await self._receive()):
                if seq != self._seq:
                    continue
                torn = torn or bool(flags & wire.NLM_F_DUMP_INTR)
                if kind in (wire.NLMSG_DONE, wire.NLMSG_ERROR):
                    number, text = wire.error(flags, body) if len(body) >= 4 else (0, "")
                    if number:
                        raise Unavailable(f"the kernel refused to list: {text or os.strerror(number)}")
                    done = True
                else:
                    bodies.append(body)
            yield bodies
            if done:
                if torn:
                    raise Unavailable("the kernel's list changed while it was read", retry_delay_s=0)
                return
            await asyncio.sleep(0)

    async def _transmit(self, data: bytes) -> None:
        if self._sock is None:
            if self._is_given:
                raise Unavailable("netlink: the socket is closed", retry_delay_s=0)
            self._sock = open_socket(protocol=self._protocol)
        try:
            await asyncio.get_running_loop().sock_sendall(self._sock, data)
        except OSError as err:
            self.close()
            raise Unavailable(f"netlink: {err.strerror}") from err

    async def _receive(self) -> bytes:
        assert self._sock is not None
        try:
            return await asyncio.get_running_loop().sock_recv(self._sock, RECEIVE_BYTES)
        except OSError as err:
            self.close()
            raise Unavailable(f"netlink answers were lost: {err.strerror}", retry_delay_s=0) from err
