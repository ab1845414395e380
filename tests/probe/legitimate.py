"""Kinds that must arrive, whole, at the one they are for and nowhere else."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP
from scapy.packet import Packet, Raw

from tests.probe.actors import (
    ADMITTED_TCP,
    ADMITTED_UDP,
    ALL,
    CLOSED,
    ME,
    OPEN,
    ROGUE,
    Actor,
    Kinds,
    blocked,
    eth,
    ip,
    passes,
    udp,
)
from tests.probe.fragments import in_two


def kinds(moment: str) -> Kinds:
    """`moment`: said in the names, for they are sent before and after the others."""
    for to in OPEN:
        where = f"to {to.port}, {moment}"
        yield from _neighbours(to, where)
        yield from _traffic(to, where, 7000 if moment == "before" else 7100)
    for to in CLOSED:
        source = 7200 if moment == "before" else 7300
        for version in (4, 6):
            head = eth(to.mac) / ip(version, to)
            where = f"ipv{version} to {to.port}, {moment}"
            yield passes(f"admitted tcp {where}", to, head / TCP(sport=source, dport=ADMITTED_TCP, flags="S"))
            yield passes(f"admitted udp {where}", to, head / udp(ADMITTED_UDP, source))
            yield passes(
                f"admitted udp in fragments {where}",
                to,
                *in_two(to, version, udp(ADMITTED_UDP, source), source),
            )
        options = eth(to.mac) / ip(4, to, options=[IPOption_NOP()] * 4)
        yield passes(
            f"admitted udp under ip options to {to.port}, {moment}",
            to,
            options / udp(ADMITTED_UDP, source + 1),
        )
        frame = eth(to.mac) / ip(6, to) / IPv6ExtHdrHopByHop() / udp(ADMITTED_UDP, source + 1)
        yield passes(f"admitted udp behind hop-by-hop options to {to.port}, {moment}", to, frame)


def _neighbours(to: Actor, where: str) -> Kinds:
    def nd(source: str = "", destination: str = "") -> Packet:
        return IPv6(src=source or ME.ip6, dst=destination or to.ip6, hlim=255)

    sll, tll = ICMPv6NDOptSrcLLAddr(lladdr=ME.mac), ICMPv6NDOptDstLLAddr(lladdr=ME.mac)
    arp = ARP(hwsrc=ME.mac, psrc=ME.ip4, pdst=to.ip4)
    yield passes(f"arp request {where}", to, eth(ALL) / arp)
    yield passes(f"arp request to one {where}", to, eth(to.mac) / arp)
    reply = ARP(hwsrc=ME.mac, psrc=ME.ip4, pdst=to.ip4, hwdst=to.mac, op=2)
    yield passes(f"arp reply {where}", to, eth(to.mac) / reply)
    yield passes(f"ns {where}", to, eth(to.group_mac6) / nd("", to.group6) / ICMPv6ND_NS(tgt=to.ip6) / sll)
    yield passes(f"ns to one {where}", to, eth(to.mac) / nd() / ICMPv6ND_NS(tgt=to.ip6))
    local = nd(ME.local, to.local)
    yield passes(f"ns link-local {where}", to, eth(to.mac) / local / ICMPv6ND_NS(tgt=to.local) / sll)
    yield passes(f"na {where}", to, eth(to.mac) / nd() / ICMPv6ND_NA(tgt=ME.ip6, R=0) / tll)
    yield passes(f"na link-local {where}", to, eth(to.mac) / local / ICMPv6ND_NA(tgt=ME.local, R=0) / tll)


def _traffic(to: Actor, where: str, source: int) -> Kinds:
    for version in (4, 6):
        here = f"ipv{version} {where}"
        head = eth(to.mac) / ip(version, to)
        echo = ICMP(id=source) if version == 4 else ICMPv6EchoRequest(id=source)
        yield passes(f"echo {here}", to, head / echo)
        yield passes(f"udp {here}", to, head / udp(9, source))
        yield passes(f"tcp syn {here}", to, head / TCP(sport=source, dport=9, flags="S"))
        yield passes(f"tcp ack {here}", to, head / TCP(sport=source + 1, dport=9, flags="A", seq=1, ack=1))
        yield passes(f"udp in fragments {here}", to, *in_two(to, version, udp(9, source), source))
        yield passes(f"udp to a stale MAC {here}", to, eth(ROGUE) / ip(version, to) / udp(9, source + 2))
        wire = to.wire4 if version == 4 else to.wire6
        yield passes(f"udp to the wire MAC {here}", to, eth(wire) / ip(version, to) / udp(9, source + 3))
    yield passes(
        f"udp without checksum {where}",
        to,
        eth(to.mac) / ip(4, to) / UDP(sport=source + 4, dport=9, chksum=0),
    )
    options = eth(to.mac) / ip(4, to, options=[IPOption_NOP()] * 4)
    yield passes(f"ip options {where}", to, options / udp(9, source + 5))
    local = IPv6(src=ME.local, dst=to.local)
    yield passes(f"udp link-local {where}", to, eth(to.mac) / local / udp(9, source))
    for name, header in {"hop-by-hop": IPv6ExtHdrHopByHop(), "destination": IPv6ExtHdrDestOpt()}.items():
        number = source + 6 + (name == "hop-by-hop")
        yield passes(f"{name} options {where}", to, eth(to.mac) / ip(6, to) / header / udp(9, number))
    yield passes(f"gre {where}", to, eth(to.mac) / ip(4, to, proto=47) / Raw(bytes(8)))
    # Who has no address pairs could not answer from there either.
    outside = IP(src=ME.ip4, dst="192.0.2.1") / udp(9, source + 8)
    yield blocked(f"by way of a guest that may not route {where}", eth(to.mac) / outside)
