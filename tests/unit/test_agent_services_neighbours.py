"""ARP, neighbour discovery, ping, packets that are too large: what is answered, and what is not."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP
from scapy.packet import Raw

from tests.support.guests import DNS4, DNS6, LINK_LOCAL6, METADATA4, METADATA6, SERVICE_MAC, Guest, port


@pytest.fixture
def guest() -> Guest:
    return Guest(port())


@pytest.mark.parametrize("address", [DNS4, METADATA4])
@pytest.mark.parametrize("sender", ["10.0.0.5", "0.0.0.0"])
def test_arp_tells_where_a_service_is(guest: Guest, address: str, sender: str) -> None:
    (reply,) = guest.sends(ARP(op=1, hwsrc=guest.mac, psrc=sender, pdst=address))
    assert (reply.op, reply.hwsrc, reply.psrc) == (2, SERVICE_MAC, address)
    assert (reply.hwdst, reply.pdst) == (guest.mac, sender)


@pytest.mark.parametrize(
    "packet",
    [
        ARP(op=1, psrc="10.0.0.5", pdst="10.0.0.5"),
        ARP(op=1, psrc="10.0.0.5", pdst="10.0.0.6"),
        ARP(op=2, psrc="10.0.0.5", pdst=DNS4),
        ARP(op=1, psrc=DNS4, pdst=DNS4),
        ARP(op=1, psrc=METADATA4, pdst=DNS4),
        ARP(op=1, hwtype=6, psrc="10.0.0.5", pdst=DNS4),
        ARP(op=1, plen=6, psrc="10.0.0.5", pdst=DNS4),
    ],
)
def test_no_other_arp_is_answered(guest: Guest, packet: ARP) -> None:
    assert guest.sends(packet) == []


def solicitation(guest: Guest, target: str, **header: object) -> IPv6:
    ip = IPv6(**{"src": "fd01::5", "dst": "ff02::1:ff00:254", "hlim": 255, **header})
    return ip / ICMPv6ND_NS(tgt=target) / ICMPv6NDOptSrcLLAddr(lladdr=guest.mac)


@pytest.mark.parametrize("address", [DNS6, METADATA6, LINK_LOCAL6])
def test_nd_tells_where_a_service_is(guest: Guest, address: str) -> None:
    (reply,) = guest.sends(solicitation(guest, address))
    assert (reply.src, reply.dst, reply.hlim) == (address, "fd01::5", 255)
    said = reply[ICMPv6ND_NA]
    assert (said.R, said.S, said.O, said.tgt) == (0, 1, 1, address)
    assert reply[ICMPv6NDOptDstLLAddr].lladdr == SERVICE_MAC


def test_who_probes_for_a_service_address_learns_that_it_is_taken(guest: Guest) -> None:
    (reply,) = guest.sends(IPv6(src="::", dst="ff02::1:ff00:254", hlim=255) / ICMPv6ND_NS(tgt=METADATA6))
    assert (reply.dst, reply[ICMPv6ND_NA].S) == ("ff02::1", 0)


def test_no_other_solicitation_is_answered(guest: Guest) -> None:
    assert guest.sends(solicitation(guest, "fd01::5")) == []
    assert guest.sends(solicitation(guest, "fe80::1")) == []
    # RFC 4861, section 7.1.1: what may have come from beyond the link is not believed.
    assert guest.sends(solicitation(guest, DNS6, hlim=254)) == []
    hidden = IPv6(src="fd01::5", dst="ff02::1", hlim=255) / IPv6ExtHdrFragment() / ICMPv6ND_NS(tgt=DNS6)
    assert guest.sends(hidden) == []


def test_services_answer_pings(guest: Guest) -> None:
    (reply,) = guest.sends(IP(src="10.0.0.5", dst=DNS4) / ICMP(id=7, seq=3) / b"some bytes")
    assert (reply.src, reply.dst, reply[ICMP].type) == (DNS4, "10.0.0.5", 0)
    assert (reply[ICMP].id, reply[ICMP].seq, bytes(reply[Raw])) == (7, 3, b"some bytes")
    for address in (DNS6, METADATA6, LINK_LOCAL6):
        asked = IPv6(src="fd01::5", dst=address) / ICMPv6EchoRequest(id=7, seq=3, data=b"some bytes")
        (reply,) = guest.sends(asked)
        assert (reply.src, reply[ICMPv6EchoReply].id, reply.data) == (address, 7, b"some bytes")


def test_nobody_else_is_pinged_for(guest: Guest) -> None:
    assert guest.sends(IP(src="10.0.0.5", dst="10.0.0.6") / ICMP()) == []
    assert guest.sends(IP(src="10.0.0.5", dst=DNS4) / ICMP(type=13)) == []
    assert guest.sends(IP(src="10.0.0.5", dst=DNS4) / ICMP(type=0)) == []
    assert guest.sends(IP(src="0.0.0.0", dst=DNS4) / ICMP()) == []
    assert guest.sends(IPv6(src="ff02::1", dst=DNS6) / ICMPv6EchoRequest()) == []


@pytest.mark.parametrize("flags", ["DF", ""])
def test_what_is_too_large_is_told_what_fits(guest: Guest, flags: str) -> None:
    asked = IP(src="10.0.0.5", dst="10.0.0.9", flags=flags) / UDP(sport=1000, dport=2000) / (b"x" * 1500)
    (error,) = guest.sends(asked)
    assert (error.dst, error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu) == ("10.0.0.5", 3, 4, 1450)
    # RFC 792: enough of the packet that the sender finds whose it was.
    quoted = error[ICMP].payload
    assert (quoted.src, quoted.dst, quoted.sport, quoted.dport) == ("10.0.0.5", "10.0.0.9", 1000, 2000)
    assert len(bytes(error)) <= 576


def test_what_is_too_large_is_told_what_fits_in_ipv6(guest: Guest) -> None:
    (error,) = guest.sends(IPv6(src="fd01::5", dst="fd01::9") / TCP(sport=1000, dport=2000) / (b"x" * 1500))
    assert (error.dst, error[ICMPv6PacketTooBig].mtu) == ("fd01::5", 1450)
    quoted = error[ICMPv6PacketTooBig].payload
    assert (quoted.dst, quoted.sport, quoted.dport) == ("fd01::9", 1000, 2000)
    assert len(bytes(error)) <= 1280


def test_no_error_is_sent_where_none_may_be(guest: Guest) -> None:
    big = b"x" * 1500
    assert guest.sends(IP(src="10.0.0.5", dst="10.0.0.9") / UDP() / b"fits") == []
    assert guest.sends(IP(src="10.0.0.5", dst="224.0.0.1") / UDP() / big) == []
    assert guest.sends(IP(src="10.0.0.5", dst="255.255.255.255") / UDP() / big) == []
    assert guest.sends(IP(src="10.0.0.5", dst="10.0.0.9") / ICMP(type=3, code=4) / big) == []
    assert guest.sends(IPv6(src="fd01::5", dst="ff02::fb") / UDP() / big) == []
    assert guest.sends(IPv6(src="fd01::5", dst="fd01::9") / ICMPv6DestUnreach() / big) == []
    first, later, *_ = fragment(IP(src="10.0.0.5", dst="10.0.0.9") / UDP() / (b"x" * 4000), fragsize=1480)
    assert len(guest.sends(first)) == 1
    assert guest.sends(later) == []


def test_what_nobody_serves_is_counted_and_not_answered(guest: Guest) -> None:
    assert guest.sends(IP(src="10.0.0.5", dst=DNS4) / UDP(dport=9) / b"x") == []
    assert guest.sends(IPv6(src="fd01::5", dst=DNS6) / IPv6ExtHdrHopByHop() / TCP()) == []
    assert guest.dispatcher.counts["unserved"] == 2
