"""Kinds: whose address is it. Sources, ARP and neighbour discovery that claim what is not the sender's."""

from __future__ import annotations

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP
from scapy.packet import Packet

from tests.probe.actors import (
    ALL,
    DNS4,
    DNS6,
    GATEWAY4,
    GATEWAY6,
    HIM,
    ME,
    METADATA4,
    METADATA6,
    NONE,
    OPEN,
    ROGUE,
    SERVICE_MAC,
    SERVICES_LL,
    Actor,
    Kinds,
    blocked,
    eth,
    ip,
    udp,
)

MACS = {
    "a neighbour": HIM.mac, "nobody": ROGUE, "broadcast": ALL, "multicast": "01:00:5e:00:00:01", "zero": NONE,
    "own wire MAC": ME.wire4, "a neighbour's wire MAC": HIM.wire4, "a wire MAC of IPv6": HIM.wire6,
    "profile open": "0a:f4:00:00:00:01", "profile 16": "0a:f4:00:00:00:10", "the services": SERVICE_MAC,
    "a service of a port": "0a:f3:00:00:00:07",
}  # fmt: skip
SOURCES4 = (HIM.ip4, GATEWAY4, "0.0.0.0", "255.255.255.255", "127.0.0.1", "10.0.0.77", "10.0.1.11",
            "192.0.2.1", "224.0.0.1", METADATA4, DNS4, "169.254.0.11")  # fmt: skip
SOURCES6 = (HIM.ip6, HIM.local, GATEWAY6, "::", "::1", "ff02::1", "fd00:10::77", "2001:db8::11",
            "::ffff:10.0.0.11", "fe80::11", METADATA6, DNS6, SERVICES_LL)  # fmt: skip


def kinds() -> Kinds:
    for to in OPEN:
        where = f"to {to.port}"
        yield from _macs(to, where)
        for source in (*SOURCES4, to.ip4):
            yield blocked(f"source {source} {where}", eth(to.mac) / ip(4, to, source) / udp())
        for source in (*SOURCES6, to.ip6, to.local):
            yield blocked(f"source {source} {where}", eth(to.mac) / ip(6, to, source) / udp())
        yield from _land(to, where)
        yield from _arp(to, where)
        yield from _nd(to, where)


def _macs(to: Actor, where: str) -> Kinds:
    for name, mac in (*MACS.items(), ("the target", to.mac)):
        for version in (4, 6):
            frame = eth(to.mac, mac) / ip(version, to) / udp()
            yield blocked(f"source MAC of {name} ipv{version} {where}", frame)
        frame = eth(to.mac, mac) / ARP(hwsrc=ME.mac, psrc=ME.ip4, pdst=to.ip4)
        yield blocked(f"source MAC of {name} arp {where}", frame)
        frame = eth(to.mac, mac) / ip(6, to, hlim=255) / ICMPv6ND_NS(tgt=to.ip6) / _sll(ME.mac)
        yield blocked(f"source MAC of {name} solicitation {where}", frame)


def _land(to: Actor, where: str) -> Kinds:
    """The target seems to speak to itself."""
    for version, own in ((4, to.ip4), (6, to.ip6)):
        for source in (ME.mac, to.mac):
            frame = eth(to.mac, source) / ip(version, to, own) / TCP(sport=22, dport=22, flags="S")
            yield blocked(f"land ipv{version} from {source} {where}", frame)


def _arp(to: Actor, where: str) -> Kinds:
    def arp(sender: str, source: str, target: str = to.ip4, operation: int = 1, **other: object) -> Packet:
        return ARP(hwsrc=sender, psrc=source, pdst=target, op=operation, **other)

    yield blocked(f"arp sha {where}", eth(to.mac) / arp(HIM.mac, ME.ip4))
    yield blocked(f"arp spa {where}", eth(to.mac) / arp(ME.mac, HIM.ip4))
    yield blocked(f"arp sha and spa {where}", eth(to.mac) / arp(HIM.mac, HIM.ip4))
    yield blocked(f"arp all of another {where}", eth(to.mac, HIM.mac) / arp(HIM.mac, HIM.ip4))
    yield blocked(f"arp reply spa {where}", eth(to.mac) / arp(ME.mac, HIM.ip4, operation=2))
    yield blocked(f"arp reply sha {where}", eth(to.mac) / arp(ROGUE, ME.ip4, operation=2))
    for name, own in {"gateway": GATEWAY4, "metadata": METADATA4, "DNS": DNS4, "target": to.ip4}.items():
        for operation in (1, 2):
            frame = eth(to.mac) / arp(ME.mac, own, operation=operation)
            yield blocked(f"arp {operation} as {name} {where}", frame)
    yield blocked(f"gratuitous arp of another {where}", eth(ALL) / arp(ME.mac, HIM.ip4, HIM.ip4))
    yield blocked(f"gratuitous arp of the target {where}", eth(ALL) / arp(ME.mac, to.ip4, to.ip4))
    yield blocked(f"gratuitous arp reply of another {where}", eth(ALL) / arp(ME.mac, HIM.ip4, HIM.ip4, 2))
    yield blocked(f"arp probe {where}", eth(ALL) / arp(ME.mac, "0.0.0.0"))
    for operation in (0, 3, 4, 8, 9):
        yield blocked(
            f"arp operation {operation} {where}", eth(to.mac) / arp(ME.mac, ME.ip4, to.ip4, operation)
        )
    yield blocked(f"arp of another hardware {where}", eth(to.mac) / arp(ME.mac, ME.ip4, hwtype=6))
    yield blocked(f"arp of another protocol {where}", eth(to.mac) / arp(ME.mac, ME.ip4, ptype=0x86DD))
    yield blocked(f"arp as RARP {where}", eth(to.mac, kind=0x8035) / bytes(arp(ME.mac, ME.ip4)))


def _nd(to: Actor, where: str) -> Kinds:
    def head(source: str = "", destination: str = "", hops: int = 255) -> Packet:
        return IPv6(src=source or ME.ip6, dst=destination or to.ip6, hlim=hops)

    def advert(target: str, mac: str = ME.mac) -> Packet:
        return ICMPv6ND_NA(tgt=target, R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)

    ns = ICMPv6ND_NS(tgt=to.ip6)
    yield blocked(f"ns sll {where}", eth(to.mac) / head() / ns / _sll(HIM.mac))
    yield blocked(
        f"ns sll to the group {where}", eth(to.group_mac6) / head("", to.group6) / ns / _sll(HIM.mac)
    )
    yield blocked(f"ns source {where}", eth(to.mac) / head(HIM.ip6) / ns / _sll(ME.mac))
    yield blocked(f"ns link-local source {where}", eth(to.mac) / head(HIM.local) / ns / _sll(ME.mac))
    yield blocked(f"ns hop limit {where}", eth(to.mac) / head(hops=64) / ns / _sll(ME.mac))
    yield blocked(f"ns two options {where}", eth(to.mac) / head() / ns / _sll(ME.mac) / _sll(HIM.mac))
    yield blocked(f"ns from nobody {where}", eth(to.group_mac6) / head("::", to.group6) / ns)
    targets = {"neighbour": HIM.ip6, "gateway": GATEWAY6, "target": to.ip6, "link-local": HIM.local,
               "metadata": METADATA6, "DNS": DNS6, "services": SERVICES_LL}  # fmt: skip
    for name, own in targets.items():
        yield blocked(f"na target {name} {where}", eth(to.mac) / head() / advert(own))
        yield blocked(
            f"na target {name} without option {where}", eth(to.mac) / head() / ICMPv6ND_NA(tgt=own, R=0)
        )
        frame = eth("33:33:00:00:00:01") / head("", "ff02::1") / advert(own)
        yield blocked(f"na target {name} unsolicited {where}", frame)
    yield blocked(f"na tll {where}", eth(to.mac) / head() / advert(ME.ip6, HIM.mac))
    yield blocked(f"na tll of the target {where}", eth(to.mac) / head() / advert(ME.ip6, to.mac))
    yield blocked(f"na source {where}", eth(to.mac) / head(HIM.ip6) / advert(HIM.ip6))
    yield blocked(f"na hop limit {where}", eth(to.mac) / head(hops=1) / advert(ME.ip6))
    other = eth(to.mac) / IPv6(src=ME.ip6, dst="2001:db8:0:1::12") / ICMPv6EchoRequest()
    yield blocked(f"echo under a wire MAC of IPv6 {where}", _to(other, to.wire6))
    yield blocked(
        f"outside under a wire MAC of IPv4 {where}", eth(to.wire4) / IP(src=ME.ip4, dst="192.0.2.1") / udp()
    )


def _to(packet: Packet, mac: str) -> Packet:
    packet.dst = mac
    return packet


def _sll(mac: str) -> Packet:
    return ICMPv6NDOptSrcLLAddr(lladdr=mac)
