"""Frames on their way, all packets of a region at once. Exact.

A frame is the bits that came in plus what was written since: constants, and slices of the input. So a copied
field keeps its relation to the one it was copied from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from controller.verify.packet import CT_FIELDS, CT_MASK, FIELD_MASKS, OFFSETS, STATE_FIELDS, WIDTHS, Cube
from controller.verify.space import Region

Slice = tuple[int, int, int]
"""(where in the frame, where in the input, bits): a part of the frame that is a part of the input."""


class Frame(NamedTuple):
    """A frame on its way, for every packet of a region.

    written: the bits of the frame that are no longer those of the input; each is in const_mask (then
    const_value has it) or in one of the slices. aged: its TTL is that of the input less so much.
    """

    region: Region
    written: int = 0
    const_value: int = 0
    const_mask: int = 0
    slices: tuple[Slice, ...] = ()
    aged: int = 0

    def known(self) -> Cube:
        """Return the bits of the frame that are the same for all of the region."""
        keep = ~self.written
        value = self.region.value & keep | self.const_value
        mask = self.region.mask & keep | self.const_mask
        for at, source, bits in self.slices:
            ones = (1 << bits) - 1
            value |= (self.region.value >> source & ones) << at
            mask |= (self.region.mask >> source & ones) << at
        return self._aged(value, mask) if self.aged else (value, mask)

    def _aged(self, value: int, mask: int) -> Cube:
        """What is known when the TTL is less than that of the input."""
        ttl = ((value & _TTL_MASK) >> _TTL_AT) - self.aged
        value, known = value & ~_TTL_MASK, mask & _TTL_MASK == _TTL_MASK and ttl >= 0
        return (value | ttl << _TTL_AT, mask) if known else (value, mask & ~_TTL_MASK)

    def source_of(self, cut: Cube) -> Cube | None:
        """Return the input cube for which the frame lies in cut; None if it never does."""
        cut_value, cut_mask = cut
        if self.aged and cut_mask & _TTL_MASK:
            # A match on the TTL is one on all of it (grammar.py).
            ttl = ((cut_value & _TTL_MASK) >> _TTL_AT) + self.aged
            if ttl > _TTL_MAX:
                return None
            cut_value = cut_value & ~_TTL_MASK | ttl << _TTL_AT
            cut = cut_value, cut_mask
        if not cut_mask & self.written:
            return cut
        if (cut_value ^ self.const_value) & cut_mask & self.const_mask:
            return None
        mask = cut_mask & ~self.written
        value = cut_value & mask
        for at, source, bits in self.slices:
            ones = (1 << bits) - 1
            part_mask = (cut_mask >> at & ones) << source
            part_value = (cut_value >> at & ones) << source
            if (value ^ part_value) & mask & part_mask:
                return None
            value, mask = value | part_value, mask | part_mask
        return value, mask

    def field(self, name: str) -> int | None:
        """Return the value of a field if it is the same for all of the region."""
        return self.bits(OFFSETS[name], WIDTHS[name])

    def bits(self, at: int, width: int) -> int | None:
        """Return the value of bits [at, at + width) if it is the same for all of the region."""
        value, mask = self.known()
        ones = (1 << width) - 1
        return value >> at & ones if mask >> at & ones == ones else None

    def origins(self, name: str) -> dict[int, int]:
        """Return, for each bit of a field that is a bit of the input, which one it is."""
        wanted = FIELD_MASKS[name]
        found = {
            at + n: source + n
            for at, source, width in self.slices
            for n in range(width)
            if wanted >> (at + n) & 1
        }
        kept = (
            bit for bit in range(OFFSETS[name], OFFSETS[name] + WIDTHS[name]) if not self.written >> bit & 1
        )
        return {**found, **{bit: bit for bit in kept}}

    def write(self, at: int, bits: int, value: int) -> Frame:
        """Return the frame with a constant written to bits [at, at + bits)."""
        ones = ((1 << bits) - 1) << at
        return self._replaced(at, bits, value << at, ones, ())

    def copy(self, source: int, at: int, bits: int) -> Frame:
        """Return the frame with its bits [source, +bits) copied to [at, +bits)."""
        ones = (1 << bits) - 1
        const_mask = self.const_mask >> source & ones
        const_value = self.const_value >> source & const_mask
        taken = [
            (at + low - source, origin + low - start, high - low)
            for start, origin, width in self.slices
            if (low := max(start, source)) < (high := min(start + width, source + bits))
        ]
        untouched = ~(self.written >> source) & ones
        while untouched:
            low = (untouched & -untouched).bit_length() - 1
            run = untouched >> low
            width = (~run & (run + 1)).bit_length() - 1
            taken.append((at + low, source + low, width))
            untouched &= ~(((1 << width) - 1) << low)
        return self._replaced(at, bits, const_value << at, const_mask << at, tuple(taken))

    def tracked(self) -> Frame:
        """Return the frame when connection tracking has said what it is: ct_* are what the input says."""
        keep = ~CT_MASK
        return self._replace(
            written=self.written & keep,
            const_value=self.const_value & keep,
            const_mask=self.const_mask & keep,
        )

    def untracked(self) -> Frame:
        """Return the frame when connection tracking was told of it: nothing is known of its connection."""
        return self.tracked()._replace(
            written=self.written | CT_MASK, const_value=self.const_value & ~CT_MASK,
            const_mask=self.const_mask | CT_MASK,
        )  # fmt: skip

    def older(self) -> Frame:
        """Return the frame with a TTL one less."""
        return self._replace(aged=self.aged + 1)

    def _replaced(self, at: int, bits: int, value: int, mask: int, slices: tuple[Slice, ...]) -> Frame:
        ones = ((1 << bits) - 1) << at
        kept = [piece for old in self.slices for piece in _outside(old, at, bits)]
        return self._replace(
            written=self.written | ones,
            const_value=self.const_value & ~ones | value,
            const_mask=self.const_mask & ~ones | mask,
            slices=(*kept, *slices),
        )


def _outside(piece: Slice, at: int, bits: int) -> Iterator[Slice]:
    """Yield what is left of a slice when bits [at, at + bits) of the frame are overwritten."""
    start, source, width = piece
    if start < at:
        yield start, source, min(width, at - start)
    end = at + bits
    if start + width > end:
        cut = max(0, end - start)
        yield start + cut, source + cut, width - cut


def entering(region: Region, in_port: int | None) -> Frame:
    """Return the frame of packets that come into a bridge: registers are 0; in_port None is any of region."""
    frame = Frame(region, _CLEARED, 0, _CLEARED)
    if in_port is not None:
        frame = frame.write(OFFSETS["in_port"], WIDTHS["in_port"], in_port)
    return frame


_TTL_AT, _TTL_MASK = OFFSETS["ip_ttl"], FIELD_MASKS["ip_ttl"]
_TTL_MAX = (1 << WIDTHS["ip_ttl"]) - 1
_CLEARED = sum(FIELD_MASKS[name] for name in (*STATE_FIELDS, *CT_FIELDS))
