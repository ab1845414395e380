"""The frames of guests as the kernel keeps them until they are read: in several queues, by port.

All frames of a port come to the same queue, one of QUEUES. So what a flood leaves unread takes no room from
ports of other queues, and is not read before their frames. What decides is in the kernel, a filter on
each of several packet sockets (packet(7)), so that nothing has to be read to be thrown away.
"""

from __future__ import annotations

import ctypes
import socket
import struct

QUEUES = 16
"""A power of two: the low bits of a port's number choose."""
QUEUE_BYTES = 1 << 20
_ETH_P_ALL = 3
# linux/if_packet.h
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 263, 6, 23
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
# Where a frame for the services has the lowest byte of the port's number: last in the destination MAC.
_NUMBER_AT = 5
# linux/filter.h: load a byte, mask it, compare, return how much of the frame to keep.
_LOAD_BYTE, _AND, _EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06
_ALL_BYTES = 0x40000


def open_queues(name: str) -> tuple[socket.socket, ...]:
    """Return non-blocking packet sockets that share out what a device brings; raises OSError."""
    opened: list[socket.socket] = []
    try:
        for number in range(QUEUES):
            opened.append(_queue())
            _filter(opened[-1], number)
            opened[-1].bind((name, _ETH_P_ALL))
    except OSError:
        for made in opened:
            made.close()
        raise
    return tuple(opened)


def dropped(queue: socket.socket) -> int:
    """Return how many frames the kernel has dropped since this was last asked, the queue being full."""
    statistics = queue.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
    return int(struct.unpack("=II", statistics)[1])


def _queue() -> socket.socket:
    # Protocol 0: it gets nothing before it is bound.
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    made = socket.socket(socket.AF_PACKET, kind, 0)
    try:
        made.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, QUEUE_BYTES)
    except OSError:
        made.close()
        raise
    return made


def _filter(queue: socket.socket, number: int) -> None:
    """Let in only the frames of one queue; a frame too short to say whose it is gets in nowhere."""
    program = (
        (_LOAD_BYTE, 0, 0, _NUMBER_AT),
        (_AND, 0, 0, QUEUES - 1),
        (_EQUAL, 0, 1, number),
        (_RETURN, 0, 0, _ALL_BYTES),
        (_RETURN, 0, 0, 0),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    head = struct.pack("@HP", len(program), ctypes.addressof(code))
    queue.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
