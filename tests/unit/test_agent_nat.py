"""The translation of guests' TCP, judged by dpkt's checksums and by what must come back."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, ip_address

import dpkt
import pytest

from agent.services.nat import ADDRESSES_PER_PORT_MAX, INTERNAL4, INTERNAL6, Guest, Nat
from tests.support.effort import examples

META4, META6 = ip_address("169.254.169.254").packed, ip_address("fd00:ec2::254").packed
GUEST4, GUEST6 = ip_address("10.0.0.5").packed, ip_address("fd00:1::5").packed


def nat() -> Nat:
    return Nat([(META4, 80), (META6, 80)])


def packet(
    source: bytes = GUEST4, target: bytes = META4, port: int = 80, data: bytes = b"GET", **ip: int
) -> bytes:
    """A TCP packet with right checksums (dpkt fills them in)."""
    tcp = dpkt.tcp.TCP(sport=4000, dport=port, seq=7, data=data)
    if len(source) == 4:
        made = dpkt.ip.IP(src=source, dst=target, p=6, data=tcp, **ip)
        made.len = len(made)
        return bytes(made)
    made = dpkt.ip6.IP6(src=source, dst=target, nxt=6, hlim=64, plen=len(tcp), data=tcp)
    made.extension_hdrs, made.all_extension_headers = {}, []
    sums = target + source + len(tcp).to_bytes(4) + bytes([0, 0, 0, 6])
    tcp.sum = dpkt.dpkt.in_cksum(sums + bytes(tcp))
    return bytes(made)[:40] + bytes(tcp)


def is_intact(wire: bytes) -> bool:
    """Whether all checksums are right, computed anew."""
    if wire[0] >> 4 == 4:
        pseudo = wire[12:20] + bytes([0, 6]) + (len(wire) - 20).to_bytes(2)
        return dpkt.dpkt.in_cksum(wire[:20]) == 0 and dpkt.dpkt.in_cksum(pseudo + wire[20:]) == 0
    pseudo = wire[8:40] + (len(wire) - 40).to_bytes(4) + bytes([0, 0, 0, 6])
    return dpkt.dpkt.in_cksum(pseudo + wire[40:]) == 0


def turned(wire: bytes) -> bytes:
    """What the other side answers: addresses and ports exchanged, which changes no checksum."""
    at, size, tcp = (12, 4, 20) if wire[0] >> 4 == 4 else (8, 16, 40)
    back = bytearray(wire)
    back[at : at + size], back[at + size : at + 2 * size] = (
        wire[at + size : at + 2 * size],
        wire[at : at + size],
    )
    back[tcp : tcp + 2], back[tcp + 2 : tcp + 4] = wire[tcp + 2 : tcp + 4], wire[tcp : tcp + 2]
    return bytes(back)


@pytest.mark.parametrize(
    ("guest", "service", "inside"), [(GUEST4, META4, INTERNAL4), (GUEST6, META6, INTERNAL6)]
)
def test_the_same_address_of_two_ports_is_two_inside_and_comes_back(
    guest: bytes, service: bytes, inside: object
) -> None:
    table = nat()
    original = packet(guest, service)
    assert is_intact(original)
    seen = set()
    for number in (1, 2):
        inward = table.inward(number, original)
        assert inward is not None
        assert is_intact(inward)
        at, size = (12, 4) if len(guest) == 4 else (8, 16)
        source = ip_address(inward[at : at + size])
        assert source in inside  # type: ignore[operator]
        assert inward[at + size : at + 2 * size] == service
        assert table.guest(source.packed) == Guest(number, guest)
        seen.add(source)
        back = table.outward(turned(inward))
        assert back is not None
        assert back == (Guest(number, guest), turned(original))
        assert is_intact(back[1])
    assert len(seen) == 2
    assert table.inward(1, original) == table.inward(1, original), "a guest address keeps its internal one"


def test_checksums_agree_for_any_addresses_and_damage_stays_damage() -> None:
    chance, table = random.Random(1), nat()
    for _ in range(examples(4000)):
        six = chance.random() < 0.5
        address = chance.choice(
            [
                chance.randbytes(16 if six else 4),
                bytes([0x0A, 0, 0, chance.randrange(256)]) if not six else GUEST6,
            ]
        )
        wire = packet(address, META6 if six else META4, data=chance.randbytes(chance.randrange(40)))
        damaged = bytearray(wire)
        damaged[-1] ^= 0x10
        for sent, intact in ((wire, True), (bytes(damaged), False)):
            inward = table.inward(chance.randrange(5), sent)
            if inward is not None:
                assert is_intact(inward) is intact


@pytest.mark.parametrize(
    "wire",
    [
        packet(port=81),
        packet(target=ip_address("169.254.169.253").packed),
        packet(target=ip_address("10.0.0.9").packed),
        packet(source=META4),
        packet(source=ip_address("0.0.0.0").packed),
        packet(source=ip_address("127.0.0.1").packed),
        packet(source=ip_address("255.255.255.255").packed),
        packet(source=ip_address("::").packed, target=META6),
        packet(source=ip_address("::1").packed, target=META6),
        packet(source=ip_address("ff02::1").packed, target=META6),
        packet(source=META6, target=META6),
        packet()[:6] + b"\x20\x00" + packet()[8:],
        packet()[:6] + b"\x00\x01" + packet()[8:],
        b"\x46" + packet()[1:],
        packet()[:9] + b"\x11" + packet()[10:],
        packet()[:30],
        packet()[:2] + b"\xff\xff" + packet()[4:],
        packet()[:2] + b"\x00\x14" + packet()[4:],
        packet(GUEST6, META6)[:6] + b"\x00" + packet(GUEST6, META6)[7:],
        packet(GUEST6, META6)[:50],
        b"",
    ],
)  # fmt: skip
def test_what_is_not_let_in(wire: bytes) -> None:
    table = nat()
    assert table.inward(1, wire) is None
    assert len(table) == 0, "and leaves nothing behind"


def test_what_follows_a_packet_in_its_frame_is_not_let_in() -> None:
    assert nat().inward(1, packet() + b"padding") == nat().inward(1, packet())


def test_what_is_not_let_out() -> None:
    table = nat()
    inward = table.inward(1, packet())
    assert inward is not None
    out = turned(inward)
    assert table.outward(out) is not None
    assert table.outward(turned(packet())) is None, "to an address nobody was given"
    assert table.outward(inward) is None
    assert table.outward(out[:9] + b"\x01" + out[10:]) is None
    assert table.outward(out[:12] + bytes(4) + out[16:]) is None, "from no service"
    six = (
        bytes.fromhex("60000000") + bytes(4) + IPv6Address("fe80::1").packed + IPv6Address("ff02::16").packed
    )
    assert table.outward(six + bytes(40)) is None
    table.forget(1)
    assert table.outward(out) is None
    assert len(table) == 0


def test_a_guest_with_many_addresses_keeps_its_latest() -> None:
    table = nat()
    first = table.inward(1, packet())
    other = table.inward(2, packet())
    assert first is not None
    assert other is not None
    for number in range(ADDRESSES_PER_PORT_MAX * 3):
        assert table.inward(1, packet(source=IPv4Address(0x0B000000 + number).packed)) is not None
    assert len(table) == ADDRESSES_PER_PORT_MAX + 1
    assert table.guest(first[12:16]) is None
    assert table.guest(other[12:16]) == Guest(2, GUEST4)
    again = table.inward(1, packet())
    assert again is not None
    assert again[12:16] != first[12:16], "an internal address is not given again at once"


def test_an_internal_address_is_of_one_family() -> None:
    table = nat()
    inward = table.inward(1, packet())
    assert inward is not None
    index = int.from_bytes(inward[12:16]) - int(INTERNAL4.network_address)
    assert table.guest((int(INTERNAL6.network_address) + index).to_bytes(16)) is None


def test_no_bytes_break_the_translation() -> None:
    chance, table = random.Random(2), nat()
    seeds = [packet(), packet(GUEST6, META6)]
    inward = table.inward(1, seeds[0])
    assert inward is not None
    seeds.append(turned(inward))
    for _ in range(examples(10_000)):
        wire = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 5)):
            wire[chance.randrange(len(wire))] = chance.choice([0, 0x45, 0x60, 6, 255, chance.randrange(256)])
        cut = bytes(wire[: chance.randrange(len(wire) + 1)]) if chance.random() < 0.3 else bytes(wire)
        translated = table.inward(chance.randrange(50), cut)
        assert translated is None or len(translated) <= len(cut)
        table.outward(cut)
    assert len(table) <= 50 * ADDRESSES_PER_PORT_MAX
