"""Work in small pieces: a generator that yields wherever somebody else may have a turn. Pure.

What it works on must not change between two pieces, unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
Work = Generator[None, None, T]


def at_once(work: Work[T]) -> T:
    """Do all of it, and return what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of some size, the last one shorter; none if there are none."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
