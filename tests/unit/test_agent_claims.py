"""Announcements: which packets say that an address lives at a port, and how often that is told."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from agent.outbox import CLAIMS_MAX, Outbox
from agent.services.claims import BURST_CLAIMS, QUIET_S, Claims
from agent.services.dispatcher import Dispatcher, base_routes
from agent.services.seams import ServicePorts
from cloison.addresses import IpAddress
from tests.support.guests import METADATA4, NUMBER, Guest, port

PREFIXES = (ip_network("10.0.0.0/28"), ip_network("fd01::9/128"))


class Heard:
    """A guest whose announcements are kept in `told`, at a time that the test says."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.told: list[tuple[int, IpAddress | None]] = []
        served = port(allowed_prefixes=PREFIXES)
        self.guest = Guest(served)
        claims = Claims(lambda number, address: self.told.append((number, address)), lambda: self.now_s)
        self.guest.dispatcher = Dispatcher(ServicePorts([served]), base_routes(), claims)

    def says(self, packet: Packet) -> list[IpAddress | None]:
        """What is told of a packet."""
        before = len(self.told)
        self.guest.sends(packet)
        assert all(number == NUMBER for number, _ in self.told)
        return [address for _, address in self.told[before:]]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def advertisement(target: str, **fields: int) -> Packet:
    ip = IPv6(src="fd01::5", dst="ff02::1", hlim=fields.pop("hlim", 255))
    return ip / ICMPv6ND_NA(tgt=target, R=0, S=0, O=1, **fields) / ICMPv6NDOptDstLLAddr(lladdr="02::1")


@pytest.mark.parametrize("op", [1, 2])
def test_gratuitous_arp(heard: Heard, op: int) -> None:
    assert heard.says(ARP(op=op, psrc="10.0.0.9", pdst="10.0.0.9")) == [ip_address("10.0.0.9")]


def test_an_unsolicited_advertisement(heard: Heard) -> None:
    assert heard.says(advertisement("fd01::9")) == [ip_address("fd01::9")]


@pytest.mark.parametrize(
    "packet",
    [
        ARP(op=1, psrc="10.0.0.5", pdst=METADATA4),
        ARP(op=1, psrc="10.0.0.77", pdst="10.0.0.77"),
        ARP(op=1, psrc="0.0.0.0", pdst="10.0.0.9"),
        advertisement("fd01::8"),
        advertisement("fd01::9", hlim=64),
        advertisement("fd01::9", code=1),
    ],
    ids=["its-own", "not-listed", "a-probe", "not-listed-6", "from-afar", "another-code"],
)
def test_what_announces_nothing(heard: Heard, packet: Packet) -> None:
    assert heard.says(packet) == []


def test_a_question_to_the_services_is_answered_all_the_same(heard: Heard) -> None:
    (reply,) = heard.guest.sends(ARP(op=1, hwsrc=heard.guest.mac, psrc="10.0.0.9", pdst=METADATA4))
    assert (reply.op, reply.psrc) == (2, METADATA4)
    assert heard.told == [(NUMBER, ip_address("10.0.0.9"))]


def test_a_guest_that_repeats_itself_is_told_once_in_a_while(heard: Heard) -> None:
    said = ARP(op=1, psrc="10.0.0.9", pdst="10.0.0.9")
    assert len(heard.says(said)) == 1
    assert heard.says(said) == []
    assert len(heard.says(ARP(op=1, psrc="10.0.0.8", pdst="10.0.0.8"))) == 1
    heard.now_s += 2 * QUIET_S
    assert len(heard.says(said)) == 1


def test_an_address_that_was_taken_away_meanwhile_can_be_announced_at_once(heard: Heard) -> None:
    """Away takes some 40 ms at the least, and nobody tells the agent."""
    said = ARP(op=1, psrc="10.0.0.9", pdst="10.0.0.9")
    assert len(heard.says(said)) == 1
    heard.now_s += 0.04
    assert len(heard.says(said)) == 1


def test_a_guest_that_floods_has_its_limit(heard: Heard) -> None:
    for n in range(1000):
        heard.says(ARP(op=1, psrc=f"10.0.0.{6 + n % 9}", pdst="10.0.0.1"))
        heard.now_s += 0.01
    assert len(heard.told) <= BURST_CLAIMS + 50


def test_claims_wait_for_a_stream_in_the_order_in_which_they_were_made() -> None:
    outbox = Outbox()
    for number, last in ((1, 9), (2, 9), (1, 8), (1, 9)):
        outbox.claim(number, ip_address(f"10.0.0.{last}"))
    outbox.begin()
    sent = [m.address_claim for m in outbox.take()]
    assert [(c.port_number, c.address[3]) for c in sent] == [(2, 9), (1, 8), (1, 9)]
    assert outbox.take() == []
    for number in range(CLAIMS_MAX + 5):
        outbox.claim(number, ip_address("10.0.0.9"))
    sent = [m.address_claim for m in outbox.take()]
    assert [c.port_number for c in sent] == list(range(5, CLAIMS_MAX + 5))


class Blocked(Heard):
    """A guest of a port that is not served here: it lives on another host, or did a moment ago."""

    def __init__(self) -> None:
        super().__init__()
        claims = Claims(lambda number, address: self.told.append((number, address)), lambda: self.now_s)
        self.guest.dispatcher = Dispatcher(ServicePorts(), base_routes(), claims)

    def announces(self, packet: Packet) -> bool:
        """Tell whether the port is told to be here."""
        before = len(self.told)
        assert self.guest.sends(packet) == []
        self.now_s += 1
        assert set(self.told[before:]) <= {(NUMBER, None)}
        return len(self.told) > before


@pytest.fixture
def blocked() -> Blocked:
    return Blocked()


def raw_rarp() -> Packet:
    """As a hypervisor pads it."""
    return Raw(bytes.fromhex("0001080006040003") + bytes(38))


@pytest.mark.parametrize("op", [1, 2])
def test_a_blocked_port_comes_by_gratuitous_arp(blocked: Blocked, op: int) -> None:
    assert blocked.announces(ARP(op=op, psrc="10.0.0.5", pdst="10.0.0.5"))


def test_a_blocked_port_comes_by_an_advertisement_that_nobody_asked_for(blocked: Blocked) -> None:
    assert blocked.announces(advertisement("fd01::5"))
    asked = IPv6(src="fd01::5", dst="fd01::6", hlim=255) / ICMPv6ND_NA(tgt="fd01::5", R=0, S=1, O=1)
    assert not blocked.announces(asked)


def test_a_blocked_port_that_asks_for_another_has_not_come(blocked: Blocked) -> None:
    assert not blocked.announces(ARP(op=1, psrc="10.0.0.5", pdst="10.0.0.6"))


@pytest.mark.parametrize("served", [True, False], ids=["still-served", "not-served"])
def test_a_blocked_port_comes_by_rarp(served: bool) -> None:
    """Its flows may be blocked a moment before its agent knows, or after."""
    made = Heard() if served else Blocked()
    frame = Ether(dst=f"0a:f3:{NUMBER >> 24:02x}:{NUMBER >> 16 & 255:02x}:{NUMBER >> 8 & 255:02x}:"
                  f"{NUMBER & 255:02x}", src=made.guest.mac, type=0x8035) / raw_rarp()  # fmt: skip
    assert made.guest.dispatcher.handle(bytes(frame)) == []
    assert made.told == [(NUMBER, None)]


def test_a_port_that_is_here_is_told_by_an_empty_address() -> None:
    outbox = Outbox()
    outbox.claim(7, None)
    outbox.begin()
    (claim,) = (m.address_claim for m in outbox.take())
    assert (claim.port_number, claim.address) == (7, b"")
