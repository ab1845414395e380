"""Something that claims to be a switch: says what a test tells it to say, and remembers what it heard."""

from __future__ import annotations

import asyncio
import ssl
import struct
from typing import Self

HEADER = struct.Struct(">BBHI")
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, FEATURES_REQUEST, FEATURES_REPLY = 0, 1, 2, 3, 5, 6
DEADLINE_S = 15.0


def message(kind: int, body: bytes = b"", xid: int = 1) -> bytes:
    return HEADER.pack(5, kind, HEADER.size + len(body), xid) + body


class Peer:
    """One connection. Answers nothing by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.heard: list[int] = []

    @classmethod
    async def connect(cls, address: tuple[str, int], tls: ssl.SSLContext | None = None) -> Self:
        name = "controller.c1" if tls else None
        return cls(*await asyncio.open_connection(*address, ssl=tls, server_hostname=name))

    async def send(self, kind: int, body: bytes = b"", xid: int = 1) -> None:
        self.writer.write(message(kind, body, xid))
        await self.writer.drain()

    async def receive(self) -> tuple[int, int, bytes]:
        """Type, xid, body; raises IncompleteReadError or ConnectionError when the other side closes."""
        async with asyncio.timeout(DEADLINE_S):
            _, kind, length, xid = HEADER.unpack(await self.reader.readexactly(HEADER.size))
            body = await self.reader.readexactly(length - HEADER.size)
        self.heard.append(kind)
        return kind, xid, body

    async def until(self, wanted: int) -> tuple[int, bytes]:
        """Listen until a message of this type comes: its xid and body."""
        while True:
            kind, xid, body = await self.receive()
            if kind == wanted:
                return xid, body

    async def claim(self, dpid: int) -> None:
        """Hello, and say which datapath this is."""
        await self.send(HELLO, struct.pack(">HHI", 1, 8, 1 << 5))
        xid, _ = await self.until(FEATURES_REQUEST)
        await self.send(FEATURES_REPLY, struct.pack(">QIBB2xII", dpid, 0, 254, 0, 0, 0), xid)

    async def until_closed(self) -> None:
        """Listen until the other side closes."""
        try:
            while True:
                await self.receive()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass

    def close(self) -> None:
        self.writer.transport.abort()
