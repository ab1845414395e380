"""Sets of packets: cubes (value, mask) in the layout of packet.py, and regions (a cube minus cubes). Exact.

A cube holds the numbers that agree with value on the bits of mask; a region is cut down by intersection and
difference, and only when someone asks is a member searched for. Pure arithmetic on big integers.
"""

from __future__ import annotations

from typing import NamedTuple

from controller.verify.packet import Cube


class Region(NamedTuple):
    """The numbers that agree with value on mask and lie in none of the holes; no hole alone covers all."""

    value: int
    mask: int
    holes: tuple[Cube, ...] = ()


def within(region: Region, cut: Cube) -> Region | None:
    """Return the part of region inside a cube; None if there is none (or one hole covers it)."""
    old_value, old_mask, old_holes = region
    cut_value, cut_mask = cut
    if (old_value ^ cut_value) & old_mask & cut_mask:
        return None
    mask = old_mask | cut_mask
    if mask == old_mask:
        return region
    value = old_value | cut_value
    if not old_holes:
        return Region(value, mask)
    holes = []
    for hole in old_holes:
        common = mask & hole[1]
        if (value ^ hole[0]) & common:
            continue
        if common == hole[1]:
            return None
        holes.append(hole)
    return Region(value, mask, tuple(holes))


def without(region: Region, cut: Cube) -> Region | None:
    """Return the part of region outside a cube; None if there is none by the look of it (see member)."""
    cut_value, cut_mask = cut
    if (region.value ^ cut_value) & region.mask & cut_mask:
        return region
    if not cut_mask & ~region.mask:
        return None
    return Region(region.value, region.mask, (*region.holes, cut))


def member(region: Region) -> int | None:
    """Return a number of region (free bits are 0 where possible), None if it is empty. Complete search."""
    stack = [region]
    while stack:
        value, mask, holes = stack.pop()
        # What is nearest to being covered leaves the fewest ways out: look there first.
        tight: Cube | None = None
        tight_bits = 1 << 30
        open_holes = []
        for hole in holes:
            if (value ^ hole[0]) & mask & hole[1]:
                continue
            open_holes.append(hole)
            bits = (hole[1] & ~mask).bit_count()
            if bits < tight_bits:
                tight, tight_bits = hole, bits
        if tight is None:
            return value
        rest = tuple(open_holes)
        ways = []
        left = tight[1] & ~mask
        # Outside the hole: differs in its first bit, or agrees there and differs in its second, and so on.
        while left:
            bit = left & -left
            left ^= bit
            ways.append(Region(value | (~tight[0] & bit), mask | bit, rest))
            value, mask = value | (tight[0] & bit), mask | bit
        stack.extend(reversed(ways))
    return None
