"""Kinds: what only a router, a server or everybody's neighbour may say; and what is for all."""

from __future__ import annotations

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import (
    DHCP6_Advertise,
    DHCP6_RelayForward,
    DHCP6_RelayReply,
    DHCP6_Reply,
    DHCP6_Solicit,
)
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLQuery,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.packet import Packet, Raw

from tests.probe.actors import (
    ALL,
    DNS4,
    DNS6,
    GATEWAY4,
    HIM,
    ME,
    METADATA4,
    METADATA6,
    OPEN,
    Actor,
    Kinds,
    blocked,
    eth,
    ip,
    udp,
)

NODES, NODES_MAC = "ff02::1", "33:33:00:00:00:01"


def kinds() -> Kinds:
    for to in OPEN:
        where = f"to {to.port}"
        yield from _router(to, where)
        yield from _dhcp(to, where)
        yield from _services(to, where)
    yield from _everybody()
    yield from _amplified()


def _router(to: Actor, where: str) -> Kinds:
    word = (
        ICMPv6ND_RA() / ICMPv6NDOptSrcLLAddr(lladdr=ME.mac) / ICMPv6NDOptPrefixInfo(prefix="2001:db8:bad::")
    )
    moved = ICMPv6ND_Redirect(tgt=ME.local, dst=HIM.ip6) / ICMPv6NDOptDstLLAddr(lladdr=ME.mac)
    for name, body in {"ra": word, "redirect": moved}.items():
        for source in (ME.local, ME.ip6, "fe80::1", HIM.local):
            head = IPv6(src=source, dst=to.local, hlim=255)
            yield blocked(f"{name} from {source} {where}", eth(to.mac) / head / body)
            yield blocked(
                f"{name} behind options from {source} {where}",
                eth(to.mac) / head / IPv6ExtHdrHopByHop() / body,
            )
            atomic = IPv6ExtHdrFragment(nh=58)
            yield blocked(
                f"{name} in an atomic fragment from {source} {where}", eth(to.mac) / head / atomic / body
            )
            all_ = IPv6(src=source, dst=NODES, hlim=255)
            yield blocked(f"{name} to all from {source} {where}", eth(NODES_MAC) / all_ / body)
    quoted = IP(src=to.ip4, dst=HIM.ip4) / udp()
    for source in (ME.ip4, GATEWAY4):
        frame = eth(to.mac) / ip(4, to, source) / ICMP(type=5, code=1, gw=ME.ip4) / quoted
        yield blocked(f"icmp redirect from {source} {where}", frame, stays=False)
    yield blocked(
        f"router solicitation {where}",
        eth(to.mac) / IPv6(src=ME.local, dst=to.local, hlim=255) / ICMPv6ND_RS(),
        served=True,
    )


def _dhcp(to: Actor, where: str) -> Kinds:
    def offer(kind: str) -> Packet:
        told = [("message-type", kind), ("server_id", ME.ip4), ("router", ME.ip4), "end"]
        return BOOTP(op=2, yiaddr="10.0.0.66", siaddr=ME.ip4, chaddr=bytes(6)) / DHCP(options=told)

    for kind in ("offer", "ack", "nak"):
        for source in (ME.ip4, GATEWAY4, DNS4):
            head = ip(4, to, source) / UDP(sport=67, dport=68)
            yield blocked(f"dhcp {kind} from {source} {where}", eth(to.mac) / head / offer(kind))
            wide = IP(src=source, dst="255.255.255.255") / UDP(sport=67, dport=68)
            yield blocked(f"dhcp {kind} to all from {source} {where}", eth(ALL) / wide / offer(kind))
    yield blocked(f"dhcp relay {where}", eth(to.mac) / ip(4, to) / UDP(sport=67, dport=67) / offer("offer"))
    asked = BOOTP(chaddr=bytes(6)) / DHCP(options=[("message-type", "discover"), "end"])
    client = UDP(sport=68, dport=67) / asked
    wide = IP(src="0.0.0.0", dst="255.255.255.255")
    yield blocked(f"dhcp discover under another MAC {where}", eth(ALL, HIM.mac) / wide / client)
    yield blocked(
        f"dhcp discover to a neighbour from nobody {where}",
        eth(to.mac) / IP(src="0.0.0.0", dst=to.ip4) / client,
    )
    yield blocked(
        f"dhcp discover as a neighbour {where}", eth(ALL) / IP(src=HIM.ip4, dst="255.255.255.255") / client
    )
    # It is asked, but only the local services hear it.
    yield blocked(f"dhcp discover to all {where}", eth(ALL) / wide / client, served=True)
    yield blocked(f"dhcp request to a neighbour {where}", eth(to.mac) / ip(4, to) / client, served=True)
    bodies = {"advertise": DHCP6_Advertise(), "reply": DHCP6_Reply(), "relay": DHCP6_RelayReply()}
    for kind, body in bodies.items():
        for source in (ME.local, ME.ip6, "fe80::1"):
            head = IPv6(src=source, dst=to.local) / UDP(sport=547, dport=546)
            yield blocked(f"dhcpv6 {kind} from {source} {where}", eth(to.mac) / head / body)
    head = IPv6(src=ME.ip6, dst=to.ip6) / UDP(sport=547, dport=547)
    yield blocked(f"dhcpv6 relay {where}", eth(to.mac) / head / DHCP6_RelayForward())
    head = IPv6(src=HIM.local, dst="ff02::1:2") / UDP(sport=546, dport=547)
    yield blocked(f"dhcpv6 solicit as a neighbour {where}", eth("33:33:00:01:00:02") / head / DHCP6_Solicit())
    head = IPv6(src=ME.local, dst="ff02::1:2") / UDP(sport=546, dport=547)
    yield blocked(f"dhcpv6 solicit {where}", eth("33:33:00:01:00:02") / head / DHCP6_Solicit(), served=True)


def _services(to: Actor, where: str) -> Kinds:
    """The service addresses lead to the sender's own host, whatever MAC the frame is sent to."""
    for version, names in (
        (4, {"metadata": METADATA4, "DNS": DNS4}),
        (6, {"metadata": METADATA6, "DNS": DNS6}),
    ):
        for name, there in names.items():
            head = IP(src=ME.ip4, dst=there) if version == 4 else IPv6(src=ME.ip6, dst=there)
            for mac in (to.mac, ALL):
                frame = eth(mac) / head / TCP(sport=5000, dport=80, flags="S")
                yield blocked(f"{name} ipv{version} by {mac} {where}", frame, served=True)
            frame = eth(to.mac) / ip(version, to, there) / TCP(sport=80, dport=5000, flags="SA")
            yield blocked(f"{name} ipv{version} as source {where}", frame)
    for source in (DNS4, GATEWAY4, "8.8.8.8"):
        yield blocked(f"dns answer from {source} {where}", eth(to.mac) / ip(4, to, source) / _answer())
    for source in (DNS6, "2001:4860:4860::8888"):
        yield blocked(f"dns answer from {source} {where}", eth(to.mac) / ip(6, to, source) / _answer())


def _answer() -> Packet:
    record = DNSRR(rrname="db.example.", rdata=ME.ip4)
    return UDP(sport=53, dport=5353) / DNS(qr=1, qd=DNSQR(qname="db.example."), an=record)


def _everybody() -> Kinds:
    """Broadcast and multicast, under their own MACs and under a guest's."""
    ports = {
        "mdns": ("224.0.0.251", "ff02::fb", 5353),
        "llmnr": ("224.0.0.252", "ff02::1:3", 5355),
        "ssdp": ("239.255.255.250", "ff02::c", 1900),
        "ws-discovery": ("239.255.255.250", "ff02::c", 3702),
        "rip": ("224.0.0.9", "ff02::9", 520),
        "ntp": ("224.0.1.1", "ff05::101", 123),
    }
    for name, (group4, group6, port) in ports.items():
        low = [int(b) for b in group4.split(".")]
        macs = (f"01:00:5e:{low[1] & 127:02x}:{low[2]:02x}:{low[3]:02x}", ALL, *(to.mac for to in OPEN))
        for mac in macs:
            yield blocked(f"{name} ipv4 by {mac}", eth(mac) / IP(src=ME.ip4, dst=group4) / udp(port, port))
        for mac in ("33:33:00:00:00:fb", ALL, *(to.mac for to in OPEN)):
            yield blocked(
                f"{name} ipv6 by {mac}", eth(mac) / IPv6(src=ME.local, dst=group6) / udp(port, port)
            )
    numbers = {"igmp": 2, "ospf": 89, "vrrp": 112, "pim": 103, "eigrp": 88}
    for name, number in numbers.items():
        for mac in ("01:00:5e:00:00:12", *(to.mac for to in OPEN)):
            frame = (
                eth(mac) / IP(src=ME.ip4, dst="224.0.0.18", proto=number, ttl=255) / Raw(b"\x16" + bytes(7))
            )
            yield blocked(f"{name} by {mac}", frame)
    reports = {
        "mld query": ICMPv6MLQuery(),
        "mld report": ICMPv6MLReport(),
        "mld report 2": ICMPv6MLReport2(),
    }
    for name, body in reports.items():
        head = IPv6(src=ME.local, dst="ff02::16", hlim=1) / IPv6ExtHdrHopByHop()
        yield blocked(name, eth("33:33:00:00:00:16") / head / body)
    for there in ("255.255.255.255", "10.0.0.255", "10.0.0.0"):
        yield blocked(f"broadcast {there}", eth(ALL) / IP(src=ME.ip4, dst=there) / udp(137, 137))
    for there in ("10.0.0.99", "192.0.2.1"):
        yield blocked(f"flood for {there}", eth(ALL) / IP(src=ME.ip4, dst=there) / udp())
    yield blocked("flood for a stranger of ipv6", eth(ALL) / IPv6(src=ME.ip6, dst="2001:db8::1") / udp())


def _amplified() -> Kinds:
    for to in OPEN:
        for there in ("255.255.255.255", "10.0.0.255"):
            echo = IP(src=to.ip4, dst=there) / ICMP()
            yield blocked(f"smurf {there} on {to.port}", eth(ALL) / echo)
            yield blocked(f"fraggle {there} on {to.port}", eth(ALL) / IP(src=to.ip4, dst=there) / udp(19, 7))
        frame = eth(NODES_MAC) / IPv6(src=to.ip6, dst=NODES) / ICMPv6EchoRequest()
        yield blocked(f"smurf of ipv6 on {to.port}", frame)
    yield blocked("echo to all", eth(ALL) / IP(src=ME.ip4, dst="255.255.255.255") / ICMP())
    yield blocked("echo to all nodes", eth(NODES_MAC) / IPv6(src=ME.ip6, dst=NODES) / ICMPv6EchoRequest())
