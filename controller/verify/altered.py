"""Is a frame that comes out the one that should: bit by bit, for all packets of a region at once. Exact."""

from __future__ import annotations

from collections.abc import Iterator

from cloison.addresses import WIRE4_PREFIX, WIRE6_PREFIX
from controller.verify.contracts import same_header
from controller.verify.copies import to_group
from controller.verify.frame import Frame
from controller.verify.packet import ETH_IPV4, HEADER_MASK, OFFSETS
from controller.verify.semantics import Fate
from controller.verify.space import Region, within


def as_wanted(frame: Frame, wanted: Fate) -> Frame:
    """The packet that came in, as it should come out."""
    frame = to_group(frame, (wanted.eth_dst, wanted.copied))._replace(aged=wanted.hops)
    if wanted.source is not None:
        return frame.write(OFFSETS["eth_src"], 48, wanted.source)
    if not wanted.wired:
        return frame
    # Only IP is wired, and explore has asked which: it is the same for all of the region.
    four = frame.field("eth_type") == ETH_IPV4
    prefix, address = (WIRE4_PREFIX, "ipv4_src") if four else (WIRE6_PREFIX, "ipv6_src")
    source = OFFSETS["eth_src"]
    return frame.copy(OFFSETS[address], source, 32).write(source + 32, 16, prefix)


def altered(frame: Frame, wanted: Frame) -> Iterator[Region]:
    """Yield the parts of the region in which two frames are not the same packet."""
    if same_header(frame, wanted):
        return
    if frame.aged != wanted.aged:
        yield frame.region
        return
    bits = (frame.written | wanted.written) & HEADER_MASK
    while bits:
        bit = bits & -bits
        bits ^= bit
        at = bit.bit_length() - 1
        (mine, is_input), (theirs, was_input) = _bit(frame, at), _bit(wanted, at)
        if (mine, is_input) == (theirs, was_input):
            continue
        for value in (0, 1):
            # One of them is value, and the other is not.
            cut: tuple[int, int] | None = (0, 0)
            for number, of_input, wants in ((mine, is_input, value), (theirs, was_input, 1 - value)):
                if of_input and cut is not None:
                    cut = cut[0] | wants << number, cut[1] | 1 << number
                elif number != wants:
                    cut = None
            part = within(frame.region, cut) if cut is not None else None
            if part is not None:
                yield part


def _bit(frame: Frame, at: int) -> tuple[int, bool]:
    """Where one bit of a frame comes from: (bit of the input, True), or (its value, False)."""
    if not frame.written >> at & 1:
        return at, True
    if frame.const_mask >> at & 1:
        return frame.const_value >> at & 1, False
    start, source, _ = next(s for s in frame.slices if s[0] <= at < s[0] + s[2])
    return source + at - start, True
