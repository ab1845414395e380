"""Who is in the probe, and the layers its frames are made of. PURE: no I/O.

The sender is red/p1 on h1. Blue has the same guests with the same MACs and addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

ROGUE, ALL, NONE = "52:54:00:66:66:66", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"
DNS4, METADATA4, DNS6, METADATA6 = "169.254.169.253", "169.254.169.254", "fd00:ec2::253", "fd00:ec2::254"
SERVICES_LL = "fe80::a9fe:a9fd"
SERVICE_MAC = "0a:f3:00:00:00:01"
GATEWAY4, GATEWAY6 = "10.0.0.1", "fd00:10::1"
ADMITTED_TCP, ADMITTED_UDP, CLOSED_PORT = 22, 4000, 9


@dataclass(frozen=True)
class Actor:
    """A guest of red, as its frames show it."""

    port: str
    number: int

    @property
    def mac(self) -> str:
        return f"52:54:00:00:00:{self.number}"

    @property
    def ip4(self) -> str:
        return f"10.0.0.{self.number}"

    @property
    def ip6(self) -> str:
        return f"fd00:10::{self.number}"

    @property
    def local(self) -> str:
        return f"fe80::5054:ff:fe00:{self.number}"

    @property
    def wire4(self) -> str:
        return f"0a:f0:0a:00:00:{self.number:02x}"

    @property
    def wire6(self) -> str:
        # The address is written in hexadecimal, the guest's number is not.
        return f"0a:f6:00:00:00:{self.number}"

    @property
    def group6(self) -> str:
        return f"ff02::1:ff00:{self.number}"

    @property
    def group_mac6(self) -> str:
        return f"33:33:ff:00:00:{self.number}"


ME, HIM = Actor("p1", 11), Actor("p3", 13)
FAR, NEAR = Actor("p2", 12), Actor("p4", 14)
CLOSED_NEAR, CLOSED_FAR = Actor("p5", 15), Actor("p6", 16)
MUTE = Actor("p7", 17)
OPEN, CLOSED = (FAR, NEAR), (CLOSED_FAR, CLOSED_NEAR)

Frame = Packet | bytes | Callable[[bytes], bytes]
"""A packet to whose end the mark goes, bytes that cannot hold one, or what makes bytes from the mark."""


@dataclass(frozen=True)
class Kind:
    """Frames of one kind. `to`: the red guests (or "tenant/port", or "outside") that must get all of
    them; nobody else may get one.

    `filler`: sent before, unmarked. `stays`: must not even leave the host. `served`: the local services may
    hear it.
    """

    name: str
    frames: tuple[Frame, ...]
    to: frozenset[str] = frozenset()
    filler: tuple[Packet | bytes, ...] = ()
    stays: bool = True
    served: bool = False


Kinds = Iterator[Kind]


def blocked(name: str, *frames: Frame, stays: bool = True, served: bool = False,
            filler: Iterable[Packet | bytes] = ()) -> Kind:  # fmt: skip
    return Kind(name, frames, filler=tuple(filler), stays=stays, served=served)


def passes(name: str, to: Actor, *frames: Frame) -> Kind:
    return Kind(name, frames, frozenset({to.port}), stays=False)


def eth(to: str, source: str = ME.mac, kind: int | None = None) -> Packet:
    return Ether(src=source, dst=to) if kind is None else Ether(src=source, dst=to, type=kind)


def ip(version: int, to: Actor, source: str = "", **fields: object) -> Packet:
    """An IP header of a version from a source, unless told the sender's own, to a guest."""
    if version == 4:
        return IP(src=source or ME.ip4, dst=to.ip4, **fields)
    return IPv6(src=source or ME.ip6, dst=to.ip6, **fields)


def address(version: int, actor: Actor) -> str:
    return actor.ip4 if version == 4 else actor.ip6


def udp(to: int = CLOSED_PORT, source: int = 5000) -> Packet:
    return UDP(sport=source, dport=to)


def text(mark: bytes, size: int = 0) -> Packet:
    return Raw(mark.ljust(size, b"."))
