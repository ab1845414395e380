"""The resolver of the guests of this host, at 169.254.169.253 and fd00:ec2::253, port 53.

The names of the asking guest's tenant are answered from the plan, with no controller alive; every other name
is asked of the resolvers the agent was given. UDP comes as packets from the switch, TCP through the gate
(nat_gate.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import IPv4Address

import dns.rcode

from agent.services import answers, dns_message
from agent.services.dns_forward import Forwarder
from agent.services.dns_message import Query
from agent.services.dns_zones import Zones
from agent.services.nat_gate import Client
from agent.services.seams import Packet, Send, ServicePort, ServicePorts
from cloison.addresses import IpAddress
from cloison.service_link import DNS4, DNS6

DNS_PORT = 53
TCP_IDLE_S = 10.0
_HEADERS_BYTES = 48
"""IPv6 and UDP."""

_Asked = tuple[int, IpAddress, int, bytes]
"""A query of a guest: number of the port, its address and UDP port, the message."""


class DnsService:
    """A Service for UDP packets to port 53, and the server of TCP connections."""

    def __init__(self, ports: ServicePorts, zones: Zones, forwarder: Forwarder, send: Send) -> None:
        self._ports, self._zones, self._forwarder, self._send = ports, zones, forwarder, send
        self._asked: dict[_Asked, asyncio.Task[None]] = {}

    def handle(self, port: ServicePort, packet: Packet) -> Iterable[bytes]:
        """Answer a query from the zones at once; ask the resolvers for the rest, and answer later."""
        source, target = packet.source, packet.target
        if source is None or target not in (DNS4, DNS6) or not _is_answerable(source, packet):
            return ()
        answer = self._answer(port, packet.data, over_tcp=False)
        if isinstance(answer, Query):
            self._ask_later(port, packet, source, answer)
            return ()
        return () if answer is None else (_datagram(port, packet, source, answer),)

    async def serve(self, client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the queries of a connection, one after the other (RFC 7766); ends when it is idle."""
        while True:
            async with asyncio.timeout(TCP_IDLE_S):
                try:
                    length = int.from_bytes(await reader.readexactly(2))
                    if length > dns_message.QUERY_BYTES_MAX:
                        return
                    wire = await reader.readexactly(length)
                except asyncio.IncompleteReadError:
                    return
            answer = self._answer(client.port, wire, over_tcp=True)
            if isinstance(answer, Query):
                answer = await self._forwarder.ask(client.port.number, answer)
            if answer is None:
                return
            async with asyncio.timeout(TCP_IDLE_S):
                writer.write(len(answer).to_bytes(2) + answer)
                await writer.drain()

    async def close(self) -> None:
        """Give up what is still being asked."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _answer(self, port: ServicePort, wire: bytes, *, over_tcp: bool) -> bytes | Query | None:
        """Return the answer; or the query, if somebody else has to be asked; or None if there is none."""
        room = min(dns_message.UDP_BYTES_MAX, port.mtu - _HEADERS_BYTES)
        query = dns_message.read(wire, over_tcp=over_tcp, udp_bytes_max=room)
        if not isinstance(query, Query):
            return query
        node = self._zones.find(port.tenant, port.vni, query.text, port.near)
        if node is not None:
            return dns_message.from_zones(query, node, recursion=bool(self._forwarder))
        return query if self._forwarder else dns_message.failure(query, dns.rcode.REFUSED, recursion=False)

    def _ask_later(self, port: ServicePort, packet: Packet, source: IpAddress, query: Query) -> None:
        asked = (port.number, source, packet.source_port, packet.data)
        if asked in self._asked:
            return  # a guest that repeats itself gets the one answer that is on its way
        task = asyncio.get_running_loop().create_task(self._ask(port, packet, source, query))
        self._asked[asked] = task
        task.add_done_callback(lambda _: self._asked.pop(asked, None))

    async def _ask(self, port: ServicePort, packet: Packet, source: IpAddress, query: Query) -> None:
        answer = await self._forwarder.ask(port.number, query)
        now = self._ports.get(port.number)
        # The port may have gone meanwhile, or its number been given to another.
        if now is not None and (now.port, now.vni, now.tenant) == (port.port, port.vni, port.tenant):
            self._send(_datagram(now, packet, source, answer))


def _datagram(port: ServicePort, packet: Packet, source: IpAddress, answer: bytes) -> bytes:
    assert packet.target is not None
    return answers.udp(port, packet.target, DNS_PORT, source, packet.source_port, answer)


def _is_answerable(source: IpAddress, packet: Packet) -> bool:
    """Tell whether an answer has somewhere to go."""
    if source.is_multicast or source.is_unspecified or source.is_loopback or packet.source_port == 0:
        return False
    return not (isinstance(source, IPv4Address) and source.packed[0] in (0, 255))
