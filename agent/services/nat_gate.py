"""TCP of guests, served by the kernel's TCP in a namespace apart: packets in and out, connections to servers.

What guests send at a service's address and port goes, translated (nat.py), into the namespace's TUN
device; what comes out of it goes back as frames. The connections accepted there are handed to the server of
that address and port together with the port of the guest, so many at a time and no more.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from agent.netlink.tun import Stack, open_stack
from agent.services import answers
from agent.services.buckets import Buckets
from agent.services.nat import INTERNAL4, INTERNAL6, Nat
from agent.services.seams import ETH_IPV4, ETH_IPV6, Packet, Send, ServicePort, ServicePorts
from cloison.addresses import IpAddress

_log = structlog.get_logger("agent.services")

MTU_BYTES = 1280
"""The least MTU of IPv6: these packets pass in any network, and peers are told a fitting MSS."""
CONNECTIONS_PER_PORT_MAX, CONNECTIONS_MAX = 16, 512
BUFFER_BYTES = 16 * 1024
"""What a connection buffers on its way to a server; the peer waits when it is full."""
SYN_RATE_PPS, SYN_BURST_PACKETS = 20.0, 40.0
"""New connections of a port: with these the half-open ones of dozens of floods fit the kernel's queue."""
BACKLOG = 4096
_SYN, _SYN_OR_ACK, _FLAGS_AT = 0x02, 0x12, 13
_PACKETS_PER_TURN = 64
_ACCEPT_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Client:
    """Who is at the other end of a connection: the port, and the address its guest used."""

    port: ServicePort
    address: IpAddress


Server = Callable[[Client, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Serves one connection to its end. What it raises for the peer's doing (OSError) is nobody's fault here."""


class NatGate:
    """The gate between the guests' TCP and the servers, by address and port; a Service for TCP packets."""

    def __init__(
        self, ports: ServicePorts, send: Send, servers: Mapping[tuple[IpAddress, int], Server]
    ) -> None:
        self._ports, self._send, self._servers = ports, send, dict(servers)
        self._nat = Nat([(address.packed, number) for address, number in servers])
        self._begun = Buckets(SYN_RATE_PPS, SYN_BURST_PACKETS)
        self._stack: Stack | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[int, dict[asyncio.Task[None], Client]] = {}

    async def open(self) -> None:
        """Make the namespace and serve; raises Unavailable if the kernel lets nobody."""
        self._stack = await open_stack(MTU_BYTES, [INTERNAL4, INTERNAL6], list(self._servers), BACKLOG)
        asyncio.get_running_loop().add_reader(self._stack.tun, self._drain, self._stack.tun)
        for door, listener in self._stack.listeners.items():
            self._spawn(self._accept(listener, self._servers[door]))

    async def close(self) -> None:
        """End all connections; the namespace and everything in it is gone then."""
        if self._stack is None:
            return
        asyncio.get_running_loop().remove_reader(self._stack.tun)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._stack.close()
        self._stack = None

    def settle(self) -> None:
        """Follow a change of the ports: connections of those that are gone, or are others now, end."""
        for number in [number for number in self._nat.ports if self._ports.get(number) is None]:
            self._nat.forget(number)
        self._begun.keep([port.number for port in self._ports])
        for number, connections in self._open.items():
            port = self._ports.get(number)
            for task, client in connections.items():
                if client.port != port:
                    task.cancel()

    def handle(self, port: ServicePort, packet: Packet) -> Iterable[bytes]:
        """Take a TCP packet of a guest; the answer, if any, comes from the kernel later."""
        if self._stack is None or not self._may_begin(port, packet):
            return ()
        inward = self._nat.inward(port.number, packet.network)
        if inward is not None:
            try:
                os.write(self._stack.tun, inward)
            except OSError:
                pass  # a packet lost: TCP is made for it (ENOBUFS, or a header the kernel cannot read)
        return ()

    def _may_begin(self, port: ServicePort, packet: Packet) -> bool:
        """Tell whether a packet is within what a port may begin; what has begun goes on."""
        is_begin = packet.payload[_FLAGS_AT] & _SYN_OR_ACK == _SYN
        return not is_begin or self._begun.take(port.number, asyncio.get_running_loop().time())

    def _drain(self, tun: int) -> None:
        """Hand on what the kernel has to say; what is left after one turn waits for the next."""
        for _ in range(_PACKETS_PER_TURN):
            try:
                packet = os.read(tun, 65535)
            except (BlockingIOError, InterruptedError):
                return
            translated = self._nat.outward(packet)
            if translated is None:
                continue
            guest, outward = translated
            port = self._ports.get(guest.port)
            if port is not None:
                self._send(answers.ethernet(port, ETH_IPV4 if len(guest.address) == 4 else ETH_IPV6, outward))

    async def _accept(self, listener: socket.socket, server: Server) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, (peer, *_) = await loop.sock_accept(listener)
            except ConnectionError:
                continue  # gone again already
            except OSError as err:
                _log.warning("a guest's connection cannot be accepted", error=str(err))
                await asyncio.sleep(_ACCEPT_PAUSE_S)  # out of descriptors or memory: others need them too
                continue
            client = self._client(peer)
            if client is None or not self._has_room(client.port.number):
                _refuse(connection)
                continue
            task = self._spawn(self._serve(connection, client, server))
            self._open.setdefault(client.port.number, {})[task] = client
            task.add_done_callback(partial(self._gone, client.port.number))

    def _client(self, peer: str) -> Client | None:
        guest = self._nat.guest(ipaddress.ip_address(peer).packed)
        port = None if guest is None else self._ports.get(guest.port)
        if guest is None or port is None:
            return None
        return Client(port, ipaddress.ip_address(guest.address))

    def _has_room(self, number: int) -> bool:
        """Tell whether a port may have one more: never more than what it leaves to all others."""
        total = sum(map(len, self._open.values()))
        return len(self._open.get(number, ())) < min(CONNECTIONS_PER_PORT_MAX, CONNECTIONS_MAX - total)

    async def _serve(self, connection: socket.socket, client: Client, server: Server) -> None:
        writer = None
        try:
            reader, writer = await asyncio.open_connection(sock=connection, limit=BUFFER_BYTES)
            await server(client, reader, writer)
        except OSError:
            pass  # the guest went away, or is too slow (TimeoutError)
        finally:
            if writer is None:
                connection.close()
            else:
                _finish(writer)

    def _gone(self, number: int, task: asyncio.Task[None]) -> None:
        connections = self._open[number]
        del connections[task]
        if not connections:
            del self._open[number]

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a service failed at a connection", exc_info=task.exception())


def _refuse(connection: socket.socket) -> None:
    """End a connection at once, with a reset: nothing of it stays in the kernel."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _finish(writer: asyncio.StreamWriter) -> None:
    """End a connection; what a guest does not fetch is not kept for it."""
    if writer.transport.get_write_buffer_size():
        writer.transport.abort()
    else:
        writer.close()
