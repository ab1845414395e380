"""Regions against counting: on a few bits every set can be written out."""

from __future__ import annotations

from random import Random

from controller.verify.answers import Answers
from controller.verify.explore import Question, explore
from controller.verify.frame import Frame
from controller.verify.packet import FIELD_MASKS, OFFSETS, cube
from controller.verify.space import Region, member, within, without

BITS = 6
ALL = (1 << BITS) - 1


def numbers(region: Region | None) -> set[int]:
    if region is None:
        return set()
    return {
        n
        for n in range(1 << BITS)
        if not (n ^ region.value) & region.mask and all((n ^ v) & m for v, m in region.holes)
    }


def some_cube(rng: Random) -> tuple[int, int]:
    mask = rng.randrange(1 << BITS) & rng.randrange(1 << BITS)
    return rng.randrange(1 << BITS) & mask, mask


def test_regions_are_the_sets_they_say() -> None:
    rng = Random(1)
    empty = 0
    for _ in range(3000):
        region: Region | None = Region(0, 0)
        wanted = set(range(1 << BITS))
        for _ in range(rng.randrange(8)):
            cut = some_cube(rng)
            inside = {n for n in wanted if not (n ^ cut[0]) & cut[1]}
            keep_inside = rng.random() < 0.3
            wanted = inside if keep_inside else wanted - inside
            if region is not None:
                region = within(region, cut) if keep_inside else without(region, cut)
            assert numbers(region) == wanted
        found = member(region) if region is not None else None
        assert (found in wanted) if wanted else found is None
        empty += not wanted
    assert empty > 100


def test_member_of_what_many_holes_leave() -> None:
    at = OFFSETS["ipv4_dst"]
    holes = tuple((n << at, 0xFF << at) for n in range(256) if n != 0xA5)
    found = member(Region(0, 0, holes))
    assert found is not None
    assert found >> at & 0xFF == 0xA5
    assert member(Region(0, 0, (*holes, (0xA5 << at, 0xFF << at)))) is None


def test_copied_bits_stay_the_bits_they_were_copied_from() -> None:
    low = OFFSETS["eth_dst"]
    frame = Frame(Region(0, 0)).copy(OFFSETS["ipv4_dst"], low, 32).write(low + 32, 16, 0x0AF0)
    cut = frame.source_of(cube(eth_dst=0x0AF00A000006))
    assert cut == cube(ipv4_dst=0x0A000006)
    assert frame.source_of(cube(eth_dst=0x0AF60A000006)) is None
    overwritten = frame.write(low + 8, 8, 0x77)
    assert overwritten.source_of(cube(eth_dst=(0x06, 0xFF))) == cube(ipv4_dst=(0x06, 0xFF))
    assert overwritten.source_of(cube(eth_dst=(0x7700, 0xFF00))) == (0, 0)
    assert overwritten.source_of(cube(eth_dst=(0x050000, 0xFF0000))) == cube(ipv4_dst=(0x050000, 0xFF0000))
    # A copy of the copy is a copy of the first.
    again = frame.copy(low, OFFSETS["eth_src"], 48)
    assert again.source_of(cube(eth_src=0x0AF00A000006)) == cube(ipv4_dst=0x0A000006)


def test_questions_split_a_region_into_their_answers() -> None:
    at = OFFSETS["arp_op"]
    index = {1: "one", 2: "two", 300: "never"}
    start = Region(0, FIELD_MASKS["arp_op"] & (0xFFF8 << at))
    parts = list(
        explore(start, lambda q: (q.find("arp_op", index), q.has("arp_op", 1), q.has("arp_op", 4, 4)))
    )
    for value in range(8):
        number = value << at
        here = [
            answer
            for region, answer in parts
            if not (number ^ region.value) & region.mask and all((number ^ v) & m for v, m in region.holes)
        ]
        assert here == [(value if value in index else None, value == 1, bool(value & 4))]


def test_remembered_answers_are_those_of_the_text() -> None:
    rng = Random(2)
    index = {1: "one", 2: "two", 300: "never"}
    asked = []

    def ask(seen: Question) -> object:
        asked.append(seen)
        if seen.has("arp_op", 4, 4) and seen.has("ip_ttl", 3, 3):
            return seen.find("arp_op", {5: "five", 6: "six"})
        found = seen.find("arp_op", index)
        return found if found is not None else (seen.has("ip_ttl", 1, 1), seen.find("ip_ttl", index))

    answers = Answers(ask)
    low = 7 << OFFSETS["arp_op"] | 7 << OFFSETS["ip_ttl"]
    for _ in range(300):
        region = Region(0, 0)
        for _ in range(rng.randrange(5)):
            mask = rng.getrandbits(low.bit_length()) & low
            cut = rng.getrandbits(low.bit_length()) & mask, mask
            region = (within if rng.random() < 0.5 else without)(region, cut) or region
        assert list(answers.of(region)) == list(explore(region, ask))
    asked.clear()
    assert list(answers.of(region))
    assert not asked, "asked again what is known"
