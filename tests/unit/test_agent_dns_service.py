"""The resolver as the dispatcher calls it, with an upstream on the loopback that says what a test wants."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from agent.services import dns_forward, packets
from agent.services.answers import udp
from agent.services.dispatcher import Dispatcher
from agent.services.dns import DnsService
from agent.services.dns_forward import (
    IN_FLIGHT_MAX,
    IN_FLIGHT_PER_PORT_MAX,
    Forwarder,
    Resolver,
    parse_resolver,
)
from agent.services.dns_zones import Zones
from agent.services.metadata import MetadataProxy
from agent.services.nat_doors import doors, routes
from agent.services.nat_gate import NatGate
from agent.services.seams import ServicePort, ServicePorts
from cloison.addresses import Mac, wire_mac
from cloison.errors import InvalidIntent
from cloison.model import Vni
from cloison.service_link import DNS4, DNS6, TO_AGENT
from tests.support.effort import examples

GUEST4, GUEST6 = ip_address("10.0.0.5"), ip_address("fd00:1::5")
Reply = Callable[[bytes, Callable[[bytes], None]], None]


def port(number: int = 1, tenant: str = "t1") -> ServicePort:
    return ServicePort(
        number=number, vni=Vni(1), mac=Mac(0x525400000000 + number), addresses=(GUEST4, GUEST6),
        tenant=tenant, network="net1", port=f"port{number}", mtu=1400,
    )  # fmt: skip


class Names:
    """A zone with one host."""

    domain = "n.test"

    def __init__(self, tenant: str, web: tuple[bytes, ...]) -> None:
        self.tenant, self.hosts = tenant, {"web": web}


class Upstream(asyncio.DatagramProtocol):
    """A resolver: `reply` is given each query and a way to answer it."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.asked = reply, list[bytes]()
        self.askers: list[tuple[str, int]] = []
        self.came = asyncio.Event()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append(data)
        self.askers.append(addr)
        self.came.set()
        self.reply(data, lambda wire: self.transport.sendto(wire, addr))

    async def has_been_asked(self, times: int) -> None:
        """Wait for so many queries."""
        async with asyncio.timeout(10):
            while len(self.asked) < times:
                self.came.clear()
                await self.came.wait()

    @property
    def resolver(self) -> Resolver:
        return parse_resolver("{}:{}".format(*self.transport.get_extra_info("sockname")[:2]))


def answer(wire: bytes, address: str = "192.0.2.1") -> bytes:
    response = dns.message.make_response(dns.message.from_wire(wire))
    response.answer = [dns.rrset.from_text(response.question[0].name, 60, "IN", "A", address)]
    return response.to_wire()


def good(wire: bytes, send: Callable[[bytes], None]) -> None:
    send(answer(wire))


def silent(wire: bytes, send: Callable[[bytes], None]) -> None:
    pass


@asynccontextmanager
async def upstream(reply: Reply = good) -> AsyncIterator[Upstream]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Upstream(reply), local_addr=("127.0.0.1", 0)
    )
    try:
        yield protocol
    finally:
        transport.close()


class Site:
    """The dispatcher, with ports 1 (of t1) and 2 (of t2), and what was sent to guests later."""

    def __init__(self, *resolvers: Resolver) -> None:
        self.ports = ServicePorts([port(), port(2, "t2")])
        self.sent: asyncio.Queue[bytes] = asyncio.Queue()
        zones = Zones()
        zones.replace({Vni(1): Names("t1", (GUEST4.packed,)), Vni(2): Names("t2", (b"\x0a\0\0\7",))})
        self.dns = DnsService(self.ports, zones, Forwarder(resolvers), self.sent.put_nowait)
        gate = NatGate(self.ports, self.sent.put_nowait, doors(self.dns, MetadataProxy(None)))
        self.dispatcher = Dispatcher(self.ports, routes(self.dns, gate))

    def ask(
        self, wire: bytes, number: int = 1, source_port: int = 4000, source: object = GUEST4
    ) -> list[bytes]:
        target = DNS4 if source == GUEST4 else DNS6
        frame = udp(port(number), source, source_port, target, 53, wire)  # type: ignore[arg-type]
        return self.dispatcher.handle((TO_AGENT << 32 | number).to_bytes(6) + frame[6:])

    async def later(self, timeout_s: float = 5.0) -> tuple[int, dns.message.Message]:
        """The next answer that came later: to which UDP port, and what."""
        async with asyncio.timeout(timeout_s):
            return read(await self.sent.get())


def read(frame: bytes) -> tuple[int, dns.message.Message]:
    packet = packets.parse(frame)
    assert packet is not None
    assert packet.source in (DNS4, DNS6)
    assert packet.source_port == 53
    return packet.target_port, dns.message.from_wire(packet.data)


def query(name: str = "www.example", **options: object) -> bytes:
    return dns.message.make_query(name, "A", **options).to_wire()  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [GUEST4, GUEST6])
async def test_own_names_are_answered_at_once_to_each_tenant_its_own(source: object) -> None:
    site = Site()
    for number, expected in ((1, "10.0.0.5"), (2, "10.0.0.7")):
        (frame,) = site.ask(query("web.n.test"), number, source=source)
        to, message = read(frame)
        assert (to, message.answer[0][0].to_text()) == (4000, expected)
        assert frame[:6] == wire_mac(GUEST4).to_bytes(6)


async def test_nobody_to_ask_is_said_to_be() -> None:
    (frame,) = Site().ask(query())
    assert read(frame)[1].rcode() == dns.rcode.REFUSED
    assert not read(frame)[1].flags & dns.flags.RA


async def test_others_names_are_asked_with_numbers_and_ports_of_our_own() -> None:
    async with upstream() as up:
        site = Site(up.resolver)
        wires = [query(f"n{i}.example", id=7) for i in range(16)]
        for i, wire in enumerate(wires):
            assert site.ask(wire, source_port=5000 + i) == []
        for _ in wires:
            to, message = await site.later()
            assert message.id == 7
            assert message.question[0].name.to_text() == f"n{to - 5000}.example."
        assert len({wire[:2] for wire in up.asked}) > 12, "numbers are by chance"
        assert len({asker[1] for asker in up.askers}) > 12, "and so are ports"


async def test_only_who_was_asked_is_heard_and_only_about_what_was_asked() -> None:
    """Another socket answers first, right but for its address; the resolver says other things before."""
    loop = asyncio.get_running_loop()
    rogue, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))

    def reply(wire: bytes, send: Callable[[bytes], None]) -> None:
        rogue.sendto(answer(wire, "192.0.2.66"), up.askers[-1])
        send(bytes([wire[0] ^ 1]) + answer(wire, "192.0.2.67")[1:])
        send(answer(query("www.other", id=int.from_bytes(wire[:2])), "192.0.2.68"))
        send(b"\xff" * 40)
        loop.call_later(0.05, send, answer(wire))

    async with upstream(reply) as up:
        site = Site(up.resolver)
        site.ask(query())
        _, message = await site.later()
        assert message.answer[0][0].to_text() == "192.0.2.1"
    rogue.close()


async def test_a_port_has_its_share_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_forward, "TRY_TIMEOUT_S", 0.5)
    async with upstream(silent) as up:
        site = Site(up.resolver)
        for i in range(IN_FLIGHT_PER_PORT_MAX + 20):
            site.ask(query(f"n{i}.example"), source_port=5000 + i)
        refused = [(await site.later())[1].rcode() for _ in range(20)]
        assert refused == [dns.rcode.SERVFAIL] * 20, "more than its share is refused at once"
        assert len(up.asked) <= IN_FLIGHT_PER_PORT_MAX
        up.reply = good
        site.ask(query(), number=2)
        _, message = await site.later()
        assert message.answer, "another port's query finds room"
        await site.dns.close()


async def test_many_ports_leave_some_room(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each try has a socket of its own: on a slow machine second ones would be counted as well.
    monkeypatch.setattr(dns_forward, "TRY_TIMEOUT_S", 60.0)
    async with upstream(silent) as up:
        numbers = range(1, 41)
        site = Site(up.resolver)
        site.ports.replace({number: port(number) for number in numbers})
        for i in range(IN_FLIGHT_PER_PORT_MAX):
            for number in numbers[:-1]:
                site.ask(query(f"n{i}.example"), number, 5000 + i)
        await up.has_been_asked(IN_FLIGHT_MAX // 2)
        up.reply = good
        while not site.sent.empty():
            site.sent.get_nowait()
        site.ask(query(), numbers[-1], 9)
        while True:
            to, message = await site.later()
            if to == 9:
                break
        assert message.answer
        assert len(set(up.askers)) <= IN_FLIGHT_MAX
        await site.dns.close()


async def test_a_repeated_query_is_asked_once() -> None:
    async with upstream(silent) as up:
        site = Site(up.resolver)
        wire = query()
        for _ in range(5):
            site.ask(wire)
        await up.has_been_asked(1)
        assert len(up.asked) == 1
        await site.dns.close()


async def test_an_answer_for_a_port_that_is_gone_or_another_is_not_sent() -> None:
    for after in ({}, {1: replace(port(), tenant="t2")}, {1: replace(port(), vni=Vni(9))}):
        held: list[Callable[[], None]] = []

        def hold(wire: bytes, send: Callable[[bytes], None], held: list[Callable[[], None]] = held) -> None:
            held.append(lambda: send(answer(wire)))

        async with upstream(hold) as up:
            site = Site(up.resolver)
            site.ask(query())
            site.ask(query("second.example"), number=2)
            await up.has_been_asked(2)
            site.ports.replace({2: port(2, "t2"), **after})
            for send in held:
                send()
            _, message = await site.later()
            assert message.question[0].name.to_text() == "second.example."
            await site.dns.close()
            assert site.sent.empty()


async def test_the_next_resolver_is_asked_when_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_forward, "TRY_TIMEOUT_S", 0.2)

    def cannot(wire: bytes, send: Callable[[bytes], None]) -> None:
        response = dns.message.make_response(dns.message.from_wire(wire))
        response.set_rcode(dns.rcode.SERVFAIL)
        send(response.to_wire())

    async with upstream(cannot) as one, upstream(silent) as two, upstream() as three:
        site = Site(Resolver(ip_address("127.0.0.1"), 1), one.resolver, two.resolver, three.resolver)
        site.ask(query())
        assert (await site.later())[1].answer
        started = time.monotonic()
        site.ask(query("again.example"))
        assert (await site.later())[1].answer
        assert time.monotonic() - started < 0.15, "the one that answered is asked first"
        site = Site(one.resolver, two.resolver)
        site.ask(query())
        assert (await site.later())[1].rcode() == dns.rcode.SERVFAIL
        dead = [Resolver(ip_address("127.0.0.1"), number) for number in range(1, 7)]
        site = Site(*dead, three.resolver)
        async with asyncio.timeout(5):
            while True:
                site.ask(query())
                if (await site.later())[1].answer:
                    break


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", 53),
        ("192.0.2.1:5353", 5353),
        ("2001:db8::1", 53),
        ("[2001:db8::1]:5353", 5353),
        ("[::1]", 53),
    ],
)
def test_a_resolver_is_read(text: str, expected: int) -> None:
    assert parse_resolver(text).port == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "resolver.example",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "[::1",
        "[::1]53",
        "[::1]:x",
        "::1:²",
    ],
)
def test_what_is_no_resolver(text: str) -> None:
    with pytest.raises(InvalidIntent):
        parse_resolver(text)


async def test_no_frame_breaks_the_services() -> None:
    chance = random.Random(5)
    site = Site()
    good_frames = [
        (TO_AGENT << 32 | 1).to_bytes(6)
        + udp(port(), GUEST4, 4000, DNS4, 53, query("web.n.test", use_edns=0))[6:],
        (TO_AGENT << 32 | 1).to_bytes(6)
        + udp(port(), GUEST6, 4000, DNS6, 53, query("5.0.0.10.in-addr.arpa"))[6:],
    ]
    answered = 0
    for _ in range(examples(10_000)):
        frame = bytearray(chance.choice(good_frames))
        for _ in range(chance.randrange(1, 4)):
            # What comes before the question mostly stays, or nothing would get that far.
            at = chance.randrange(14 if chance.random() < 0.2 else 42, len(frame))
            frame[at] = chance.choice([0, 1, 6, 0xC0, 0xFF, chance.randrange(256)])
        for answered_frame in site.dispatcher.handle(bytes(frame)):
            answered += 1
            assert len(answered_frame) <= 14 + 1280
    assert answered
