"""Frames built by hand are what scapy, an independent reader, takes them for, with right checksums."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from topologies import frames
from topologies.demo.guests import Token

A, B = "52:54:00:00:00:11", "52:54:00:00:00:12"
V4, V6 = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")
CHECKSUMS = {IP: "chksum", UDP: "chksum", ICMP: "chksum", ICMPv6EchoRequest: "cksum", ICMPv6ND_NS: "cksum"}


@pytest.mark.parametrize(
    ("frame", "layers"),
    [
        (frames.udp(A, B, *V4, b"abc"), (IP, UDP)),
        (frames.udp(A, B, *V6, b"abcd"), (IPv6, UDP)),
        (frames.echo(A, B, *V4, b"x" * 16), (IP, ICMP)),
        (frames.echo(A, B, *V6, b"x" * 15), (IPv6, ICMPv6EchoRequest)),
        (frames.solicitation(A, *V6), (IPv6, ICMPv6ND_NS)),
    ],
)
def test_layers_and_checksums(frame: bytes, layers: tuple[type[Packet], ...]) -> None:
    packet = Ether(frame)
    assert len(frame) >= 60
    assert packet.src == A
    for layer in layers:
        assert layer in packet
        if layer in CHECKSUMS:
            again = packet.copy()
            del again[layer].fields[CHECKSUMS[layer]]
            assert bytes(Ether(bytes(again))[layer])[:12] == bytes(packet[layer])[:12]


def test_arp_asks_and_answers() -> None:
    asked, answered = Ether(frames.arp(A, *V4)), Ether(frames.arp(A, *V4, to=B, operation=2))
    assert (asked.dst, asked[ARP].op, asked[ARP].pdst, asked[ARP].hwsrc) == (frames.BROADCAST, 1, V4[1], A)
    assert (answered.dst, answered[ARP].op, answered[ARP].hwdst) == (B, 2, B)


def test_solicitations_go_to_the_group_of_the_target() -> None:
    packet = Ether(frames.solicitation(A, "fd00::1", "fd00::12:3456"))
    assert (packet.dst, packet[IPv6].dst) == ("33:33:ff:12:34:56", "ff02::1:ff12:3456")
    assert (packet[ICMPv6ND_NS].tgt, packet[IPv6].hlim) == ("fd00::12:3456", 255)


@pytest.mark.parametrize(
    ("group", "mac"), [("224.0.0.251", "01:00:5e:00:00:fb"), ("ff02::fb", "33:33:00:00:00:fb")]
)
def test_multicast_addresses_have_their_macs(group: str, mac: str) -> None:
    assert frames.multicast_mac(group) == mac
    assert frames.is_group(frames.udp(A, mac, *V4, b""))


def test_vxlan_is_taken_apart() -> None:
    inner = frames.udp(A, B, *V4, b"inner")
    outer = (
        Ether() / IP(src="1.1.1.1", dst="2.2.2.2") / UDP(sport=5, dport=4789) / VXLAN(vni=0xABCDEF) / inner
    )
    assert frames.vxlan(bytes(outer)) == (0xABCDEF, inner)
    assert frames.vxlan(inner) is None
    assert frames.vxlan(b"") is None


def test_a_token_is_found_wherever_it_stands_and_only_whole() -> None:
    token = Token(3, 250, 1)
    assert Token.find(b"junk" + token.encode() * 2) == token
    # `ping -p` repeats the pattern and cuts it at either end.
    assert Token.find(token.encode()[5:] + token.encode() + token.encode()[:9]) == token
    assert Token.find(token.encode()[:15]) is None
    assert len(token.encode()) == 16
