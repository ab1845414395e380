"""A program: send frames of a kind from an interface, as fast as told, for some seconds; print how many.

python -m tests.lab.flooder eth0 dhcp|tcp|dns SECONDS RATE_PPS SOURCE_MAC SOURCE_IP TARGET_IP
"""

from __future__ import annotations

import itertools
import random
import socket
import struct
import sys
import time
from ipaddress import IPv4Address

BURST = 100
_VARIANTS = 65536


def _sum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data + bytes(len(data) % 2)[: len(data) % 2]))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _ip(protocol: int, source: bytes, target: bytes, payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, source, target)
    return head[:10] + struct.pack("!H", _sum(head)) + head[12:] + payload


def dhcp(mac: bytes, source: bytes, target: bytes) -> list[bytes]:
    """DISCOVER after DISCOVER, each of its own transaction."""
    frames = []
    for xid in range(1024):
        body = struct.pack(
            "!BBBBIHH16x6s10x192x4s3sB", 1, 1, 6, 0, xid, 0, 0, mac, b"\x63\x82\x53\x63", b"\x35\1\1", 255
        )
        datagram = struct.pack("!HHHH", 68, 67, 8 + len(body), 0) + body
        packet = _ip(17, bytes(4), b"\xff" * 4, datagram)
        frames.append(b"\xff" * 6 + mac + b"\x08\0" + packet)
    return frames


def dns(mac: bytes, source: bytes, target: bytes) -> list[bytes]:
    """Questions to the local resolver for names that nobody has."""
    frames = []
    for number in range(4096):
        name = f"n{number:05d}".encode()
        body = (
            struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0)
            + bytes([len(name)])
            + name
            + b"\7example\3org\0\0\1\0\1"
        )
        datagram = struct.pack("!HHHH", 1024 + number, 53, 8 + len(body), 0) + body
        packet = _ip(17, source, IPv4Address("169.254.169.253").packed, datagram)
        frames.append(bytes.fromhex("0af300000001") + mac + b"\x08\0" + packet)
    return frames


def tcp(mac: bytes, source: bytes, target: bytes) -> list[bytes]:
    """SYNs, each of another connection."""
    frames = []
    for sport, dport in itertools.islice(itertools.product(range(1024, 65536), (80, 81, 82, 83)), _VARIANTS):
        head = struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 0x50, 2, 65535, 0, 0)
        check = _sum(source + target + struct.pack("!BBH", 0, 6, len(head)) + head)
        packet = _ip(6, source, target, head[:16] + struct.pack("!H", check) + head[18:])
        frames.append(b"\x0a\xf0" + target + mac + b"\x08\0" + packet)
    random.Random(0).shuffle(frames)
    return frames


def main(interface: str, kind: str, seconds: float, rate_pps: int, mac: str, source: str, target: str) -> int:
    """How many frames were sent."""
    raw = bytes.fromhex(mac.replace(":", ""))
    frames = {"dhcp": dhcp, "tcp": tcp, "dns": dns}[kind](
        raw, IPv4Address(source).packed, IPv4Address(target).packed
    )
    sent, turn = 0, itertools.cycle(frames)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((interface, 0))
        start = time.monotonic()
        while (now := time.monotonic() - start) < seconds:
            due = int(now * rate_pps) - sent
            if due <= 0:
                time.sleep(0.0005)
                continue
            for _ in range(min(due, BURST)):
                try:
                    wire.send(next(turn))
                except OSError:
                    break  # the queue is full: as fast as it goes
                sent += 1
    return sent


if __name__ == "__main__":
    interface, kind, seconds, rate, mac, source, target = sys.argv[1:]
    print(main(interface, kind, float(seconds), int(rate), mac, source, target))
