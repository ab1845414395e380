"""Kinds: around a security group. To guests that admit TCP 22 and UDP 4000 and nothing else, and broken ones.

They may cross to the receiver's host, where policy is judged.
"""

from __future__ import annotations

from scapy.layers.inet import (
    ICMP,
    IP,
    TCP,
    UDP,
    IPOption_LSRR,
    IPOption_NOP,
    IPOption_RR,
    IPOption_Timestamp,
)
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6NIQueryIPv6,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.packet import Packet, Raw

from tests.probe.actors import (
    ADMITTED_TCP,
    ADMITTED_UDP,
    CLOSED,
    CLOSED_PORT,
    HIM,
    ME,
    MUTE,
    OPEN,
    Actor,
    Frame,
    Kind,
    Kinds,
    blocked,
    eth,
    ip,
    udp,
)

IPOPTIONS = {
    "nop": [IPOption_NOP()] * 4,
    "record route": [IPOption_RR(routers=["0.0.0.0"] * 3)],
    "source route": [IPOption_LSRR(routers=["10.0.0.1"])],
    "timestamp": [IPOption_Timestamp()],
}
FLAGS = {"null": "", "xmas": "FPU", "fin": "F", "syn fin": "SF", "syn rst": "SR", "syn ack": "SA", "urg": "U"}
PROTOCOLS = {"IP in IP": 4, "IPv6 in IP": 41, "GRE": 47, "ESP": 50, "AH": 51, "SCTP": 132, "DCCP": 33,
             "UDP-Lite": 136, "L2TP": 115, "none": 253}  # fmt: skip


def kinds() -> Kinds:
    for to in CLOSED:
        for version in (4, 6):
            where = f"ipv{version} to {to.port}"
            yield from _ports(to, version, where)
        yield from _options(to)
        yield from _extensions(to)
    for to in (*CLOSED, *OPEN):
        yield from _broken(to)
        yield from _errors(to)
    for version in (4, 6):
        for port in (ADMITTED_TCP, CLOSED_PORT):
            frame = eth(MUTE.mac) / ip(version, MUTE) / TCP(sport=5001, dport=port, flags="S")
            yield _refused(f"to a port without groups tcp {port} ipv{version}", frame)
        frame = eth(MUTE.mac) / ip(version, MUTE) / udp(ADMITTED_UDP)
        yield _refused(f"to a port without groups udp ipv{version}", frame)


def _refused(name: str, *frames: Frame, filler: tuple[Packet, ...] = ()) -> Kind:
    return blocked(name, *frames, stays=False, filler=filler)


def _ports(to: Actor, version: int, where: str) -> Kinds:
    head = eth(to.mac) / ip(version, to)
    for port in (CLOSED_PORT, ADMITTED_TCP - 1, ADMITTED_TCP + 1, ADMITTED_UDP, 65535, ADMITTED_TCP + 256):
        yield _refused(f"tcp {port} {where}", head / TCP(sport=5000, dport=port, flags="S"))
    for port in (CLOSED_PORT, ADMITTED_TCP, ADMITTED_UDP - 1, ADMITTED_UDP + 1, 65535):
        yield _refused(f"udp {port} {where}", head / udp(port))
    for source in (ADMITTED_TCP, 53, 80, 123):
        # As if it were an answer.
        yield _refused(f"tcp from {source} {where}", head / TCP(sport=source, dport=CLOSED_PORT, flags="A"))
        yield _refused(f"udp from {source} {where}", head / udp(CLOSED_PORT + 1, source))
    for name, flags in {"ack": "A", "push": "PA", "rst": "R", "rst ack": "RA", "fin ack": "FA"}.items():
        frame = head / TCP(sport=5000, dport=CLOSED_PORT, flags=flags, seq=1, ack=1)
        yield _refused(f"tcp {name} without connection {where}", frame)
    yield _refused(f"echo {where}", head / (ICMP() if version == 4 else ICMPv6EchoRequest()))
    reply = ICMP(type=0) if version == 4 else ICMPv6EchoReply()
    yield _refused(f"echo reply without request {where}", head / reply)
    for name, number in PROTOCOLS.items():
        fields = {"proto": number} if version == 4 else {"nh": number}
        bare = eth(to.mac) / ip(version, to, **fields) / Raw(bytes(24))
        yield _refused(f"protocol {name} {where}", bare)
    if version == 4:
        for kind in (13, 15, 17):
            yield _refused(f"icmp {kind} {where}", head / ICMP(type=kind))
    else:
        yield _refused(f"node information {where}", head / ICMPv6NIQueryIPv6())


def _options(to: Actor) -> Kinds:
    for name, options in IPOPTIONS.items():
        head = eth(to.mac) / ip(4, to, options=options)
        yield _refused(f"ip option {name} udp to {to.port}", head / udp())
        yield _refused(f"ip option {name} tcp to {to.port}", head / TCP(dport=CLOSED_PORT, flags="S"))


def _extensions(to: Actor) -> Kinds:
    pad = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
    chains = {
        "hop-by-hop": IPv6ExtHdrHopByHop(),
        "destination": pad,
        "two destination": pad / pad.copy(),
        "eight destination": pad
        / pad.copy()
        / pad.copy()
        / pad.copy()
        / pad.copy()
        / pad.copy()
        / pad.copy()
        / pad.copy(),
        "routing 0": IPv6ExtHdrRouting(type=0, addresses=[HIM.ip6]),
        "routing 4": IPv6ExtHdrRouting(type=4),
        "hop-by-hop, destination": IPv6ExtHdrHopByHop() / pad.copy(),
        "destination, atomic fragment": pad.copy() / IPv6ExtHdrFragment(),
    }
    for name, chain in chains.items():
        for kind, body in {
            "udp": udp(),
            "tcp": TCP(dport=CLOSED_PORT, flags="S"),
            "echo": ICMPv6EchoRequest(),
        }.items():
            yield _refused(
                f"{name} before {kind} to {to.port}", eth(to.mac) / ip(6, to) / chain.copy() / body
            )
    for name, number in {
        "mobility": 135,
        "HIP": 139,
        "Shim6": 140,
        "experiment": 253,
        "no next header": 59,
    }.items():
        header = Raw(bytes([17, 0]) + bytes(6))
        yield _refused(f"{name} before udp to {to.port}", eth(to.mac) / ip(6, to, nh=number) / header / udp())


def _broken(to: Actor) -> Kinds:
    """No receiver may act on these, and what is never delivered cannot be misread."""
    for version in (4, 6):
        where = f"ipv{version} to {to.port}"
        head = eth(to.mac) / ip(version, to)
        yield _refused(
            f"bad tcp checksum {where}", head / TCP(sport=5002, dport=ADMITTED_TCP, flags="S", chksum=1)
        )
        yield _refused(f"bad udp checksum {where}", head / UDP(sport=5002, dport=ADMITTED_UDP, chksum=1))
        echo = ICMP(chksum=1) if version == 4 else ICMPv6EchoRequest(cksum=1)
        yield _refused(f"bad icmp checksum {where}", head / echo)
        for name, flags in FLAGS.items():
            frame = head / TCP(sport=5003, dport=ADMITTED_TCP, flags=flags, seq=1, ack=1)
            yield _refused(f"tcp {name} {where}", frame)
    yield _refused(f"udp of ipv6 without checksum to {to.port}",
                   eth(to.mac) / ip(6, to) / UDP(sport=5002, dport=ADMITTED_UDP, chksum=0))  # fmt: skip
    head = eth(to.mac) / ip(4, to, chksum=1)
    yield _refused(f"bad ip checksum to {to.port}", head / UDP(sport=5002, dport=ADMITTED_UDP))
    long = eth(to.mac) / ip(4, to) / UDP(sport=5002, dport=ADMITTED_UDP, len=1400)
    yield _refused(f"udp longer than its packet to {to.port}", long)
    yield _refused(
        f"udp shorter than its header to {to.port}", eth(to.mac) / ip(4, to) / UDP(dport=ADMITTED_UDP, len=4)
    )


def _errors(to: Actor) -> Kinds:
    """Errors about connections that do not exist: about the target's, the sender's and a third one's."""
    quotes = {"its own": (to, ME), "to a third": (to, HIM), "of the sender": (ME, to)}
    for name, (a, b) in quotes.items():
        inner4 = IP(src=a.ip4, dst=b.ip4) / UDP(sport=6000, dport=6001)
        for kind, code in ((3, 1), (3, 3), (3, 4), (4, 0), (11, 0), (12, 0)):
            frame = eth(to.mac) / ip(4, to) / ICMP(type=kind, code=code) / inner4
            yield _refused(f"icmp {kind}/{code} about {name} connection to {to.port}", frame)
        inner6 = IPv6(src=a.ip6, dst=b.ip6) / UDP(sport=6000, dport=6001)
        errors = {"unreachable": ICMPv6DestUnreach(), "too big": ICMPv6PacketTooBig(mtu=1280),
                  "time": ICMPv6TimeExceeded(), "parameter": ICMPv6ParamProblem()}  # fmt: skip
        for what, error in errors.items():
            frame = eth(to.mac) / ip(6, to) / error / inner6
            yield _refused(f"icmpv6 {what} about {name} connection to {to.port}", frame)
