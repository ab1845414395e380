"""Frames a guest may send and frames it may not, by name; made with scapy, an independent writer.

The sender is red/p1 (ME), the target red/p2 (YOU), a third one red/p3 (HIM). PURE: no I/O.
"""

from __future__ import annotations

import struct

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.layers.l2 import ARP, LLC, SNAP, Ether
from scapy.packet import Packet, Raw

ME, ME4, ME6, MELL = "52:54:00:00:00:11", "10.0.0.11", "fd00:10::11", "fe80::5054:ff:fe00:11"
YOU, YOU4, YOU6, YOULL = "52:54:00:00:00:12", "10.0.0.12", "fd00:10::12", "fe80::5054:ff:fe00:12"
HIM, HIM4, HIM6, HIMLL = "52:54:00:00:00:13", "10.0.0.13", "fd00:10::13", "fe80::5054:ff:fe00:13"
GATEWAY4, GATEWAY6 = "10.0.0.1", "fd00:10::1"
ROGUE = "52:54:00:66:66:66"
YOU_WIRE4, YOU_WIRE6 = "0a:f0:0a:00:00:0c", "0a:f6:00:00:00:12"

Named = dict[str, Packet | bytes]


def eth(source: str = ME, to: str = YOU) -> Packet:
    return Ether(src=source, dst=to)


def ip4(source: str = ME4, to: str = YOU4) -> Packet:
    return IP(src=source, dst=to)


def ip6(source: str = ME6, to: str = YOU6, hops: int = 64) -> Packet:
    return IPv6(src=source, dst=to, hlim=hops)


def nd(source: str = ME6, to: str = YOU6, hops: int = 255) -> Packet:
    return ip6(source, to, hops)


def data() -> Packet:
    return UDP(sport=9, dport=9)


def sll(mac: str) -> Packet:
    return ICMPv6NDOptSrcLLAddr(lladdr=mac)


def tll(mac: str) -> Packet:
    return ICMPv6NDOptDstLLAddr(lladdr=mac)


def advertisement(target: str, mac: str = ME, **fields: int) -> Packet:
    return ICMPv6ND_NA(tgt=target, R=0, S=1, O=1, **fields) / tll(mac)


def routers_word() -> Packet:
    return ICMPv6ND_RA() / sll(ME) / ICMPv6NDOptPrefixInfo(prefix="2001:db8:bad::", prefixlen=64)


def arp(sender: str, address: str, target: str = YOU4, operation: int = 1, **fields: int) -> Packet:
    return ARP(hwsrc=sender, psrc=address, pdst=target, op=operation, **fields)


def first_fragment(follows: int = 58) -> Packet:
    """The header of a fragment after which more will come."""
    return IPv6ExtHdrFragment(m=1, id=7, nh=follows)


def vxlan(vni: int) -> Packet:
    """RFC 7348's header; scapy's own is that of an extension, which the kernel turns away."""
    return Raw(struct.pack("!II", 0x08000000, vni << 8))


def padded(size: int) -> Packet:
    """Destination options that fill a first fragment, so that what follows is in the next one."""
    return IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(size - 4))])


LEGITIMATE: Named = {
    "arp request": eth(to="ff:ff:ff:ff:ff:ff") / arp(ME, ME4),
    "arp reply": eth() / arp(ME, ME4, operation=2, hwdst=YOU),
    "solicitation": eth(to="33:33:ff:00:00:12") / nd(to="ff02::1:ff00:12") / ICMPv6ND_NS(tgt=YOU6) / sll(ME),
    "solicitation without option": eth() / nd() / ICMPv6ND_NS(tgt=YOU6),
    "solicitation between link-local addresses": eth() / nd(MELL, YOULL) / ICMPv6ND_NS(tgt=YOULL) / sll(ME),
    "advertisement": eth() / nd() / advertisement(ME6),
    "advertisement without option": eth() / nd() / ICMPv6ND_NA(tgt=ME6, R=0),
    "advertisement of the link-local address": eth() / nd(MELL) / advertisement(MELL),
    "echo 4": eth() / ip4() / ICMP(),
    "echo 6": eth() / ip6() / ICMPv6EchoRequest(),
    "udp 4": eth() / ip4() / data(),
    "udp 6": eth() / ip6() / data(),
    "udp link-local": eth() / ip6(MELL, YOULL) / data(),
    "tcp 4": eth() / ip4() / TCP(sport=9, dport=9, flags="A"),
    "tcp 6": eth() / ip6() / TCP(sport=9, dport=9, flags="A"),
    "ip options": eth() / IP(src=ME4, dst=YOU4, options=[IPOption_NOP()] * 4) / data(),
    "hop-by-hop options": eth() / ip6() / IPv6ExtHdrHopByHop() / data(),
    "to a stale MAC": eth(to=ROGUE) / ip4() / data(),
    "to the wire MAC": eth(to=YOU_WIRE4) / ip4() / data(),
    "to the wire MAC 6": eth(to=YOU_WIRE6) / ip6() / data(),
    "another protocol": eth() / IP(src=ME4, dst=YOU4, proto=132),
}

FORGED: dict[str, Named] = {
    "mac": {
        f"{name} {kind}": eth(source=source) / packet / data()
        for name, source in {
            "a neighbour's": HIM, "the target's": YOU, "nobody's": ROGUE, "broadcast": "ff:ff:ff:ff:ff:ff",
            "multicast": "01:00:5e:00:00:01", "zero": "00:00:00:00:00:00", "a wire MAC": YOU_WIRE4,
            "own wire MAC": "0a:f0:0a:00:00:0b",
        }.items()
        for kind, packet in {"4": ip4(), "6": ip6()}.items()
    },
    "ipv4": {
        source: eth() / ip4(source) / data()
        for source in (HIM4, YOU4, GATEWAY4, "0.0.0.0", "255.255.255.255", "127.0.0.1", "10.0.0.77",
                       "10.0.1.11", "192.0.2.1", "224.0.0.1", "100.64.64.1")
    },
    "ipv6": {
        source: eth() / ip6(source) / data()
        for source in (HIM6, YOU6, HIMLL, GATEWAY6, "::", "::1", "ff02::1", "fd00:10::77", "2001:db8::11",
                       "::ffff:10.0.0.11", "fe80::11", "fe80::5054:ff:fe00:1100")
    },
    "arp": {
        "sender MAC": eth() / arp(HIM, ME4),
        "sender address": eth() / arp(ME, HIM4),
        "both": eth() / arp(HIM, HIM4),
        "both and the frame": eth(source=HIM) / arp(HIM, HIM4),
        "frame of another": eth(source=HIM) / arp(ME, ME4),
        "gateway": eth(to="ff:ff:ff:ff:ff:ff") / arp(ME, GATEWAY4, operation=2),
        "the target's own address": eth() / arp(ME, YOU4, operation=2),
        "probe": eth(to="ff:ff:ff:ff:ff:ff") / arp(ME, "0.0.0.0"),
        "gratuitous of another": eth(to="ff:ff:ff:ff:ff:ff") / arp(ME, HIM4, HIM4),
        "reverse": eth() / arp(ME, ME4, operation=3),
        "inverse": eth() / arp(ME, ME4, operation=8),
        "operation 0": eth() / arp(ME, ME4, operation=0),
        "another hardware": eth() / arp(ME, ME4, hwtype=6),
        "another protocol": eth() / arp(ME, ME4, ptype=0x86DD),
        "as RARP": Ether(src=ME, dst=YOU, type=0x8035) / bytes(arp(ME, ME4)),
    },
    "nd": {
        "solicitation: link-layer": eth() / nd() / ICMPv6ND_NS(tgt=YOU6) / sll(HIM),
        "solicitation: source": eth() / nd(HIM6) / ICMPv6ND_NS(tgt=YOU6) / sll(ME),
        "solicitation: hop limit": eth() / nd(hops=64) / ICMPv6ND_NS(tgt=YOU6) / sll(ME),
        "solicitation: code": eth() / nd() / ICMPv6ND_NS(tgt=YOU6, code=1) / sll(ME),
        "solicitation: two options": eth() / nd() / ICMPv6ND_NS(tgt=YOU6) / sll(ME) / sll(HIM),
        "solicitation: from nobody": eth() / nd("::", "ff02::1:ff00:12") / ICMPv6ND_NS(tgt=YOU6),
        "advertisement: target": eth() / nd() / advertisement(HIM6),
        "advertisement: target without option": eth() / nd() / ICMPv6ND_NA(tgt=HIM6, R=0),
        "advertisement: target gateway": eth() / nd() / advertisement(GATEWAY6),
        "advertisement: the receiver's own": eth() / nd() / advertisement(YOU6),
        "advertisement: link-local target": eth() / nd(MELL, YOULL) / advertisement(HIMLL),
        "advertisement: link-layer": eth() / nd() / advertisement(ME6, HIM),
        "advertisement: source": eth() / nd(HIM6) / advertisement(HIM6),
        "advertisement: hop limit": eth() / nd(hops=64) / advertisement(ME6),
        "advertisement: to all": eth(to="33:33:00:00:00:01") / nd(to="ff02::1") / advertisement(HIM6),
        "advertisement: behind options": eth() / nd() / IPv6ExtHdrHopByHop() / advertisement(HIM6),
        "advertisement: behind destination options": eth() / nd() / padded(8) / advertisement(HIM6),
        "redirect": eth() / nd(MELL) / ICMPv6ND_Redirect(tgt=MELL, dst=HIM6) / tll(ME),
        "redirect as the gateway": eth() / nd("fe80::1") / ICMPv6ND_Redirect(tgt=MELL, dst=HIM6),
    },
    "router": {
        "to all": eth(to="33:33:00:00:00:01") / nd(MELL, "ff02::1") / routers_word(),
        "to one": eth() / nd(MELL, YOULL) / routers_word(),
        "to one from the global address": eth() / nd() / routers_word(),
        "hop limit": eth() / nd(MELL, YOULL, 64) / routers_word(),
        "behind options": eth() / nd(MELL, YOULL) / IPv6ExtHdrHopByHop() / routers_word(),
        "behind destination options": eth() / nd(MELL, YOULL) / padded(8) / routers_word(),
        "in an atomic fragment": eth() / nd(MELL, YOULL) / IPv6ExtHdrFragment(nh=58) / routers_word(),
    },
    "fragments": {
        "advertisement: in a first fragment": eth() / nd() / first_fragment() / advertisement(HIM6),
        "solicitation: in a first fragment": eth() / nd() / first_fragment()
        / ICMPv6ND_NS(tgt=YOU6) / sll(HIM),
        "redirect: in a first fragment": eth() / nd(MELL) / first_fragment()
        / ICMPv6ND_Redirect(tgt=MELL, dst=HIM6),
        "router: in a first fragment": eth() / nd(MELL, YOULL) / first_fragment() / routers_word(),
        "router: in a first fragment behind options": eth() / nd(MELL, YOULL) / first_fragment(60) / padded(8)
        / routers_word(),
        "router: in the fragment after its own headers": eth() / nd(MELL, YOULL) / first_fragment(60)
        / Raw(bytes([58, 7]) + bytes(6)),
    },
    "ethertypes": {
        name: Ether(src=ME, dst=YOU, type=number) / bytes(ip4() / data())
        for name, number in {
            "LLDP": 0x88CC, "EAPOL": 0x888E, "MPLS": 0x8847, "PPPoE": 0x8864, "NSH": 0x894F, "PBB": 0x88E7,
            "MACsec": 0x88E5, "loopback": 0x9000, "slow protocols": 0x8809, "experimental": 0x88B5,
            "ERSPAN": 0x88BE, "IPX": 0x8137, "IPv6 that holds IPv4": 0x86DD, "ARP that holds IPv4": 0x0806,
        }.items()
    } | {
        "IPv4 that holds IPv6": Ether(src=ME, dst=YOU, type=0x0800) / bytes(ip6() / data()),
        "IPv4 cut short": Ether(src=ME, dst=YOU, type=0x0800) / (b"\x44" + bytes(ip4() / data())[1:]),
        "spanning tree": eth(to="01:80:c2:00:00:00") / LLC(dsap=0x42, ssap=0x42, ctrl=3) / Raw(bytes(35)),
        "CDP": eth(to="01:00:0c:cc:cc:cc") / LLC() / SNAP(OUI=0xC, code=0x2000) / Raw(bytes(30)),
    },
    "destinations": {
        "broadcast": eth(to="ff:ff:ff:ff:ff:ff") / ip4(to="255.255.255.255") / data(),
        "the subnet's broadcast": eth(to="ff:ff:ff:ff:ff:ff") / ip4(to="10.0.0.255") / data(),
        "multicast 4": eth(to="01:00:5e:00:00:fb") / ip4(to="224.0.0.251") / data(),
        "multicast 6": eth(to="33:33:00:00:00:fb") / ip6(to="ff02::fb") / data(),
        "multicast to a unicast MAC": eth() / ip4(to="224.0.0.251") / data(),
        "multicast 6 to a unicast MAC": eth() / ip6(to="ff02::1") / data(),
        "nobody": eth() / ip4(to="10.0.0.99") / data(),
        "wire MAC of another address": eth(to=YOU_WIRE4) / ip4(to="192.0.2.1") / data(),
        "wire MAC 6 of another address": eth(to=YOU_WIRE6) / ip6(to="2001:db8::1") / data(),
        "outside to a guest without address pairs": eth() / ip4(to="192.0.2.1") / data(),
        "outside to nobody's MAC": eth(to=ROGUE) / ip4(to="192.0.2.1") / data(),
        "outside to all": eth(to="ff:ff:ff:ff:ff:ff") / ip4(to="192.0.2.1") / data(),
        "himself": eth() / ip4(to=ME4) / data(),
    },
}  # fmt: skip

INNER: Named = {
    "right": ip4() / data(),
    "ipv4": ip4(HIM4) / data(),
    "ipv6": ip6(HIM6) / data(),
    "arp": arp(ME, HIM4, operation=2),
    "advertisement": nd() / advertisement(HIM6),
    "router": nd(MELL, YOULL) / routers_word(),
}
_TYPES = {IP: 0x0800, IPv6: 0x86DD, ARP: 0x0806}


def wrapped(kind: str, inner: Packet) -> Packet:
    """The inner packet under tags or headers that hide it from a careless filter (VU#855201)."""
    ethertype = _TYPES[type(inner)]
    snap = {"SNAP": 0, "SNAP bridged": 0x80C2, "SNAP 0000f8": 0xF8}
    if kind in snap:
        return eth() / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=snap[kind], code=ethertype) / inner
    tags = {
        "VLAN 0": [(0x8100, 0)], "VLAN 5": [(0x8100, 5)], "priority tag": [(0x8100, 0xE000)],
        "tag with CFI": [(0x8100, 0x1000)], "QinQ": [(0x88A8, 5), (0x8100, 6)], "QinQ 0": [(0x88A8, 0)],
        "two zero tags": [(0x8100, 0), (0x8100, 0)], "three tags": [(0x8100, 0)] * 3,
        "old QinQ": [(0x9100, 0), (0x8100, 0)],
    }[kind]  # fmt: skip
    kinds = [tpid for tpid, _ in tags[1:]] + [ethertype]
    body = b"".join(struct.pack("!HH", tci, follows) for (_, tci), follows in zip(tags, kinds, strict=True))
    return Ether(src=ME, dst=YOU, type=tags[0][0]) / (body + bytes(inner))


WRAPPINGS = ("VLAN 0", "VLAN 5", "priority tag", "tag with CFI", "QinQ", "QinQ 0", "two zero tags",
             "three tags", "old QinQ", "SNAP", "SNAP bridged", "SNAP 0000f8")  # fmt: skip
# Open vSwitch reads IP in RFC 1042 SNAP as IP: checked like IP, and so let through when it is right.
READ_AS_IP = "SNAP, right"
FORGED["encapsulations"] = {
    f"{kind}, {name}": wrapped(kind, inner)  # type: ignore[arg-type]
    for kind in WRAPPINGS
    for name, inner in INNER.items()
    if f"{kind}, {name}" != READ_AS_IP
}
