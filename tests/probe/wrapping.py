"""Kinds: tags, other ethertypes, LLC, and tunnels into the provider's network."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, GRE, LLC, SNAP, Ether
from scapy.packet import Packet, Raw

from tests.probe.actors import ALL, HIM, ME, OPEN, ROGUE, Actor, Frame, Kinds, blocked, eth, ip, udp

TAGS = {
    "VLAN 0": [(0x8100, 0)], "VLAN 5": [(0x8100, 5)], "priority tag": [(0x8100, 0xE000)],
    "tag with DEI": [(0x8100, 0x1000)], "VLAN 4095": [(0x8100, 4095)], "two tags": [(0x8100, 5), (0x8100, 6)],
    "two zero tags": [(0x8100, 0), (0x8100, 0)], "three tags": [(0x8100, 0)] * 3,
    "QinQ": [(0x88A8, 5), (0x8100, 6)], "QinQ 0": [(0x88A8, 0)], "old QinQ": [(0x9100, 0), (0x8100, 0)],
    "older QinQ": [(0x9200, 5)],
}  # fmt: skip
ETHERTYPES = {
    "LLDP": 0x88CC,
    "LACP": 0x8809,
    "CFM": 0x8902,
    "EAPOL": 0x888E,
    "PPPoE discovery": 0x8863,
    "PPPoE": 0x8864,
    "MPLS": 0x8847,
    "MPLS multicast": 0x8848,
    "MACsec": 0x88E5,
    "FCoE": 0x8906,
    "FIP": 0x8914,
    "PTP": 0x88F7,
    "RARP": 0x8035,
    "loopback": 0x9000,
    "TRILL": 0x22F3,
    "NSH": 0x894F,
    "PBB": 0x88E7,
    "flow control": 0x8808,
    "MVRP": 0x88F5,
    "AoE": 0x88A2,
    "RoCE": 0x8915,
    "IPX": 0x8137,
    "AppleTalk": 0x809B,
    "Profinet": 0x8892,
    "transparent bridging": 0x6558,
    "experimental": 0x88B5,
    "ERSPAN": 0x88BE,
    "length 1500": 0x05DC,
    "zero": 0,
    "IPv6 that holds IPv4": 0x86DD,
    "ARP that holds IPv4": 0x0806,
}
GROUPS = {
    "STP": "01:80:c2:00:00:00",
    "LLDP": "01:80:c2:00:00:0e",
    "LACP": "01:80:c2:00:00:02",
    "EAPOL": "01:80:c2:00:00:03",
    "CFM": "01:80:c2:00:00:31",
    "MVRP": "01:80:c2:00:00:21",
    "PTP": "01:1b:19:00:00:00",
}
SNAPS = {"SNAP": 0, "SNAP bridged": 0x80C2, "SNAP 0000f8": 0xF8}
_TYPES = {IP: 0x0800, IPv6: 0x86DD, ARP: 0x0806}


@dataclass(frozen=True)
class Provider:
    """What a guest might have learned of the provider: VTEPs, VNIs of tenants, and MACs of its host."""

    vteps: dict[str, str]
    controller: str
    vnis: dict[str, int]
    macs: dict[str, str]


def kinds(provider: Provider) -> Kinds:
    for to in OPEN:
        where = f"to {to.port}"
        yield from _tagged(to, where)
        yield from _ethertypes(to, where)
        yield from _overlay_macs(to, where)
    yield from _groups()
    yield from _tunnels(provider)


def _inner(to: Actor) -> dict[str, Packet]:
    claim = ICMPv6ND_NA(tgt=HIM.ip6, R=0) / ICMPv6NDOptDstLLAddr(lladdr=ME.mac)
    return {
        "right ipv4": ip(4, to) / udp(),
        "right ipv6": ip(6, to) / udp(),
        "ipv4": ip(4, to, HIM.ip4) / udp(),
        "ipv6": ip(6, to, HIM.ip6) / udp(),
        "arp": ARP(hwsrc=ME.mac, psrc=HIM.ip4, pdst=to.ip4, op=2),
        "na": ip(6, to, hlim=255) / claim,
    }


def _tagged(to: Actor, where: str) -> Kinds:
    for name, inner in _inner(to).items():
        kind = _TYPES[type(inner)]
        for tag, tags in TAGS.items():
            kinds_ = [tpid for tpid, _ in tags[1:]] + [kind]
            body = b"".join(struct.pack("!HH", tci, n) for (_, tci), n in zip(tags, kinds_, strict=True))
            yield blocked(f"{tag} {name} {where}", eth(to.mac, kind=tags[0][0]) / (body + bytes(inner)))
        for snap, oui in SNAPS.items():
            if (snap, name) in (("SNAP", "right ipv4"), ("SNAP", "right ipv6")):
                continue  # Open vSwitch reads it as IP, checks it like IP, and lets it through
            frame = eth(to.mac) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=oui, code=kind) / inner
            yield blocked(f"{snap} {name} {where}", frame)


def _ethertypes(to: Actor, where: str) -> Kinds:
    for name, number in ETHERTYPES.items():
        frame = eth(to.mac, kind=number) / bytes(ip(4, to) / udp())
        yield blocked(f"{name} {number:#06x} {where}", frame)
    yield blocked(f"IPv4 that holds IPv6 {where}", eth(to.mac, kind=0x0800) / bytes(ip(6, to) / udp()))
    short = b"\x44" + bytes(ip(4, to) / udp())[1:]
    yield blocked(f"IPv4 with a short header {where}", eth(to.mac, kind=0x0800) / short)
    later = b"\x55" + bytes(ip(4, to) / udp())[1:]
    yield blocked(f"IPv5 {where}", eth(to.mac, kind=0x0800) / later)
    for name, sap in {"STP": 0x42, "ISO": 0xFE, "NetBIOS": 0xF0, "IPX": 0xE0, "null": 0}.items():
        frame = eth(to.mac) / LLC(dsap=sap, ssap=sap, ctrl=3) / Raw(bytes(40))
        yield blocked(f"LLC {name} {where}", frame)


def _overlay_macs(to: Actor, where: str) -> Kinds:
    """MACs that mean something between hosts and nothing to a guest, to where no address leads."""
    doors = {"profile": "0a:f4:00:00:00:10", "profile open": "0a:f4:00:00:00:01", "wire": to.wire4,
             "wire 6": to.wire6, "services": "0a:f3:00:00:00:01", "service": "0a:f3:00:00:00:02"}  # fmt: skip
    for name, mac in doors.items():
        yield blocked(f"outside by {name} MAC {where}", eth(mac) / IP(src=ME.ip4, dst="192.0.2.1") / udp())
        frame = eth(mac) / IPv6(src=ME.ip6, dst="2001:db8::1") / udp()
        yield blocked(f"outside of ipv6 by {name} MAC {where}", frame)
        yield blocked(f"another ethertype by {name} MAC {where}", eth(mac, kind=0x88B5) / bytes(40))
        yield blocked(
            f"tagged by {name} MAC {where}",
            eth(mac, kind=0x8100) / (b"\0\0\x08\0" + bytes(ip(4, to) / udp())),
        )


def _groups() -> Kinds:
    for name, mac in GROUPS.items():
        number = ETHERTYPES.get(name, 0x0026)
        yield blocked(f"{name} to its group", eth(mac, kind=number) / bytes(60))
    stp = eth(GROUPS["STP"]) / LLC(dsap=0x42, ssap=0x42, ctrl=3) / Raw(bytes(35))
    yield blocked("STP", stp)
    yield blocked("PVST", eth("01:00:0c:cc:cc:cd") / LLC() / SNAP(OUI=0xC, code=0x10B) / Raw(bytes(40)))
    yield blocked("CDP", eth("01:00:0c:cc:cc:cc") / LLC() / SNAP(OUI=0xC, code=0x2000) / Raw(bytes(30)))


def vxlan(vni: int) -> bytes:
    return struct.pack("!II", 0x08000000, vni << 8)


def _tunnels(provider: Provider) -> Kinds:
    for host, vtep in provider.vteps.items():
        wire = "0a:f0:" + ":".join(f"{int(b):02x}" for b in vtep.split("."))
        doors = {**provider.macs, "all": ALL, "nobody": ROGUE, "its wire MAC": wire}
        for door, mac in doors.items():
            frames = [_vxlan_in(mac, vtep, vni) for vni in provider.vnis.values()]
            yield blocked(f"vxlan to {host} by {door}", *frames)
            outer = eth(mac) / IP(src=ME.ip4, dst=vtep)
            yield blocked(f"geneve to {host} by {door}", outer / UDP(sport=5000, dport=6081) / Raw(bytes(8)))
            yield blocked(f"gre to {host} by {door}", outer / GRE(proto=0x6558) / Ether(src=HIM.mac, dst=ALL))
            yield blocked(f"ip in ip to {host} by {door}", outer / IP(src=HIM.ip4, dst=HIM.ip4) / udp())
            yield blocked(f"ssh to {host} by {door}", outer / TCP(sport=5000, dport=22, flags="S"))
        forged = eth(ROGUE) / IP(src=next(v for h, v in provider.vteps.items() if h != host), dst=vtep)
        inner = Ether(src=HIM.mac, dst=ME.mac) / IP(src=HIM.ip4, dst=ME.ip4) / udp()
        vni = next(iter(provider.vnis.values()))
        frame = forged / UDP(sport=5000, dport=4789, chksum=0) / Raw(vxlan(vni)) / inner
        yield blocked(f"vxlan to {host} as its peer", frame)
    for name, port in {"openflow": 6653, "controller": 7443, "etcd": 2379}.items():
        for door, mac in {**provider.macs, "all": ALL}.items():
            frame = (
                eth(mac) / IP(src=ME.ip4, dst=provider.controller) / TCP(sport=5000, dport=port, flags="S")
            )
            yield blocked(f"{name} by {door}", frame)


def _vxlan_in(mac: str, vtep: str, vni: int) -> Frame:
    inner = Ether(src=HIM.mac, dst=OPEN[0].mac) / IP(src=HIM.ip4, dst=OPEN[0].ip4) / udp()
    return (
        eth(mac) / IP(src=ME.ip4, dst=vtep) / UDP(sport=50000, dport=4789, chksum=0) / Raw(vxlan(vni)) / inner
    )
