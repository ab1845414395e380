"""Queries for names that are nobody's here, asked of the resolvers configured for the agent.

Each query goes out with a number of its own, by chance, from a socket of its own, whose port the kernel
chooses by chance and which hears only whom was asked (RFC 5452). So many at a time for each port of a
guest, and so many in all.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import dns.message
import dns.rcode

from agent.services import dns_message
from agent.services.dns_message import Query
from cloison.addresses import IpAddress
from cloison.errors import InvalidIntent

IN_FLIGHT_PER_PORT_MAX, IN_FLIGHT_MAX = 32, 256
TRY_TIMEOUT_S, TRIES_MAX = 1.2, 4
"""Together less than the 5 s after which a guest's resolver asks again."""
_NOISE_MAX = 8
_NUMBERS = 1 << 16
_UNHELPFUL = frozenset({dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP, dns.rcode.FORMERR})


@dataclass(frozen=True, slots=True)
class Resolver:
    """Where a resolver listens, UDP and TCP."""

    address: IpAddress
    port: int = 53


def parse_resolver(text: str) -> Resolver:
    """Return the resolver at ADDRESS, ADDRESS:PORT or [ADDRESS6]:PORT; raises InvalidIntent."""
    host, port = text, "53"
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else "53" if bracket and not rest else ""
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        number = int(port) if port.isascii() and port.isdecimal() else 0
        if not 0 < number < 1 << 16:
            raise ValueError("no port number")
        return Resolver(ipaddress.ip_address(host), number)
    except ValueError as err:
        raise InvalidIntent.of("--resolver", text, "ADDRESS, ADDRESS:PORT or [ADDRESS6]:PORT") from err


class Forwarder:
    """Asks the resolvers: first the one that answered last, last the one that failed."""

    def __init__(self, resolvers: Sequence[Resolver]) -> None:
        self._resolvers = list(resolvers)
        self._in_flight: Counter[int] = Counter()

    def __bool__(self) -> bool:
        """Tell whether there is anybody to ask."""
        return bool(self._resolvers)

    async def ask(self, port: int, query: Query) -> bytes:
        """Return the answer for the guest at that port; SERVFAIL if there is none, or too much is asked."""
        # No port may take more than what it leaves to all others, so that there is always some left.
        room = min(IN_FLIGHT_PER_PORT_MAX, IN_FLIGHT_MAX - self._in_flight.total())
        if self._in_flight[port] >= room:
            return dns_message.failure(query, dns.rcode.SERVFAIL)
        self._in_flight[port] += 1
        try:
            answer = await self._ask(query)
        finally:
            self._in_flight[port] -= 1
            if not self._in_flight[port]:
                del self._in_flight[port]
        if answer is None:
            return dns_message.failure(query, dns.rcode.SERVFAIL)
        return dns_message.passed_on(query, answer)

    async def _ask(self, query: Query) -> dns.message.Message | None:
        answer = None
        order = list(self._resolvers)
        for attempt in range(TRIES_MAX):
            resolver = order[attempt % len(order)]
            try:
                async with asyncio.timeout(TRY_TIMEOUT_S):
                    got = await (_by_tcp(resolver, query) if query.over_tcp else _by_udp(resolver, query))
            except (OSError, EOFError):  # refused, unreachable, closed; TimeoutError is one of these
                self._put(resolver, last=True)
                continue
            answer = got or answer
            if got is not None and got.rcode() not in _UNHELPFUL:
                self._put(resolver, last=False)
                break
            if attempt + 1 >= len(order) and answer is not None:
                break  # all of them said so
        return answer

    def _put(self, resolver: Resolver, *, last: bool) -> None:
        """Ask this one first, or last, from now on."""
        self._resolvers.remove(resolver)
        self._resolvers.insert(len(self._resolvers) if last else 0, resolver)


class _Datagrams(asyncio.DatagramProtocol):
    """What a connected socket hears."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes | OSError] = asyncio.Queue(_NOISE_MAX)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Keep a datagram, unless there are too many to look at."""
        if not self.heard.full():
            self.heard.put_nowait(data)

    def error_received(self, exc: OSError) -> None:  # type: ignore[override]
        """Keep what ICMP says: nobody listens there."""
        if not self.heard.full():
            self.heard.put_nowait(exc)


async def _by_udp(resolver: Resolver, query: Query) -> dns.message.Message | None:
    number = secrets.randbelow(_NUMBERS)
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        _Datagrams, remote_addr=(str(resolver.address), resolver.port)
    )
    try:
        transport.sendto(dns_message.outgoing(query, number))
        while True:
            heard = await protocol.heard.get()
            if isinstance(heard, OSError):
                raise heard
            answer = dns_message.answer_to(query, number, heard)
            if answer is not None:
                return answer
    finally:
        transport.abort()


async def _by_tcp(resolver: Resolver, query: Query) -> dns.message.Message | None:
    number = secrets.randbelow(_NUMBERS)
    reader, writer = await asyncio.open_connection(str(resolver.address), resolver.port)
    try:
        wire = dns_message.outgoing(query, number)
        writer.write(len(wire).to_bytes(2) + wire)
        await writer.drain()
        length = int.from_bytes(await reader.readexactly(2))
        return dns_message.answer_to(query, number, await reader.readexactly(length))
    finally:
        writer.transport.abort()
