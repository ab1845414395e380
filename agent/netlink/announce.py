"""Tells a link where addresses are now: gratuitous ARP, unsolicited neighbour advertisements, several times.

What was lost, or came before a switch was ready to pass it on, is said again within the first second or so.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address

from cloison.addresses import IpAddress, Mac

AGAIN_S = (0.05, 0.15, 0.3, 0.5, 1.0)
"""Pauses after the first time."""
BURST, BURST_PAUSE_S = 128, 0.005
"""Frames that a switch's buffer takes at once."""
_BROADCAST, _ALL_NODES_MAC = b"\xff" * 6, bytes.fromhex("333300000001")
_ALL_NODES = IPv6Address("ff02::1").packed
_ARP_REQUEST, _ARP_REPLY = 1, 2
_ETH_ARP, _ETH_IPV6, _ICMPV6 = 0x0806, 0x86DD, 58
# Router and Override (RFC 4861, section 4.4).
_ADVERTISEMENT, _FLAGS = 136, 0xA0000000


def frames(mac: Mac, addresses: Iterable[IpAddress]) -> list[bytes]:
    """Return what says that these addresses are at mac.

    For IPv4 both forms of RFC 5944, section 4.6: some take only a request for news, some only a reply.
    """
    said = []
    for address in addresses:
        if address.version == 4:
            said += [_arp(kind, mac, address.packed) for kind in (_ARP_REQUEST, _ARP_REPLY)]
        else:
            said.append(_advertisement(mac, address.packed))
    return said


def _arp(kind: int, mac: Mac, packed: bytes) -> bytes:
    own = mac.to_bytes(6, "big")
    target = b"\0" * 6 if kind == _ARP_REQUEST else _BROADCAST
    head = struct.pack("!6s6sHHHBBH", _BROADCAST, own, _ETH_ARP, 1, 0x0800, 6, 4, kind)
    return head + own + packed + target + packed


def _advertisement(mac: Mac, packed: bytes) -> bytes:
    own = mac.to_bytes(6, "big")
    body = struct.pack("!BBHI16sBB6s", _ADVERTISEMENT, 0, 0, _FLAGS, packed, 2, 1, own)
    pseudo = packed + _ALL_NODES + struct.pack("!IxxxB", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB16s16s", 0x60000000, len(body), _ICMPV6, 255, packed, _ALL_NODES)
    return struct.pack("!6s6sH", _ALL_NODES_MAC, own, _ETH_IPV6) + header + body


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def open_on(device: str) -> socket.socket:
    """Return a socket that sends whole frames from a device of the calling thread's namespace.

    Raises OSError.
    """
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        sock.bind((device, 0))
    except OSError:
        sock.close()
        raise
    return sock


class Announcer:
    """Repeats announcements beside everything else, for each edge the newest."""

    def __init__(self) -> None:
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def begin(self, number: int, sock: socket.socket, said: list[bytes]) -> None:
        """Say it now and some times again.

        The socket is closed at the end. What was said before goes on no more.
        """
        self.end(number)
        task = asyncio.create_task(_repeat(sock, said), name=f"announce-{number}")
        self._tasks[number] = task
        task.add_done_callback(self._ended(number, sock))

    def end(self, number: int) -> None:
        """Say no more for an edge."""
        task = self._tasks.pop(number, None)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """Say no more at all."""
        for number in list(self._tasks):
            self.end(number)

    def _ended(self, number: int, sock: socket.socket) -> Callable[[asyncio.Task[None]], None]:
        def ended(task: asyncio.Task[None]) -> None:
            sock.close()
            if self._tasks.get(number) is task:
                del self._tasks[number]

        return ended


async def _repeat(sock: socket.socket, said: list[bytes]) -> None:
    for pause_s in (0.0, *AGAIN_S):
        await asyncio.sleep(pause_s)
        for start in range(0, len(said), BURST):
            _send(sock, said[start : start + BURST])
            if len(said) > BURST:
                await asyncio.sleep(BURST_PAUSE_S)


def _send(sock: socket.socket, said: list[bytes]) -> None:
    for frame in said:
        try:
            sock.send(frame)
        except OSError:
            return  # the device is gone, or full; what is lost is said again
