"""The meaning, of all packets at once: a question about a field splits a region into its answers.

`explore` runs plain Python (semantics.py) over a region, again and again, until every part has one answer
to every question it asked; so the text that people read is the text that is proved against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TypeVar

from controller.verify.packet import FIELD_MASKS, OFFSETS, Cube
from controller.verify.space import Region, within, without

T = TypeVar("T")
NoneOf = frozenset[tuple[str, int]]
"""Look-ups that a region has answered with "none of them", by field and identity of the index."""


@lru_cache(maxsize=1 << 16)
def cut_of(name: str, value: int, mask: int) -> Cube:
    """Return the packets of which a question (Question.has) is true."""
    at = OFFSETS[name]
    return value << at, FIELD_MASKS[name] if mask == -1 else mask << at


class Question:
    """Packets of a region, seen as one packet: semantics.Seen. What it answers holds for all of `region`."""

    __slots__ = ("none_of", "others", "region")

    def __init__(self, region: Region, none_of: NoneOf) -> None:
        self.region = region
        self.none_of = none_of
        self.others: list[tuple[Region, NoneOf]] = []

    def has(self, name: str, value: int, mask: int = -1) -> bool:
        """Tell whether the field, under the mask, is value; where that differs, go on with those that do."""
        cut = cut_of(name, value, mask)
        region = self.region
        if (region.value ^ cut[0]) & region.mask & cut[1]:
            return False
        if not cut[1] & ~region.mask:
            return True
        inside = within(region, cut)
        if inside is None:
            return False
        if inside is not self.region:
            outside = without(self.region, cut)
            if outside is not None:
                self.others.append((outside, self.none_of))
            self.region = inside
        return True

    def find(self, name: str, values: Mapping[int, object]) -> int | None:
        """Return the field's value if values has it as a key; where that differs, go on without."""
        at, wanted = OFFSETS[name], FIELD_MASKS[name]
        if not wanted & ~self.region.mask:
            known = (self.region.value & wanted) >> at
            return known if known in values else None
        token = (name, id(values))
        if token in self.none_of:
            return None
        holes = []
        for value in values:
            cut = (value << at, wanted)
            inside = within(self.region, cut)
            if inside is not None:
                self.others.append((inside, self.none_of))
                holes.append(cut)
        self.region = Region(self.region.value, self.region.mask, (*self.region.holes, *holes))
        self.none_of |= {token}
        return None


def explore(region: Region, ask: Callable[[Question], T]) -> Iterator[tuple[Region, T]]:
    """Yield the parts of a region with the answer that ask gives for each; together they are the region.

    A part may turn out empty (space.member decides); none is left out.
    """
    pending: list[tuple[Region, NoneOf]] = [(region, frozenset())]
    while pending:
        question = Question(*pending.pop())
        answer = ask(question)
        yield question.region, answer
        pending += question.others
