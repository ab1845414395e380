"""How many samples: as many as asked for, or as the time allows. Pure but for the clock it is given.

At 10,000 ports one add takes the peer seconds. A part that has used up its time stops early; the samples in
the result say how many there were.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

LEAST = 5
"""So many are taken whatever they cost: of fewer there is no median worth the name."""
T = TypeVar("T")


@dataclass(frozen=True)
class Pace:
    """A part's time, in s, and the samples that it does not go below."""

    limit_s: float
    least: int = LEAST
    clock: Callable[[], float] = time.monotonic

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """One after another, until the time is up and there were `least`. The clock starts with the first."""
        start = self.clock()
        for count, item in enumerate(items):
            if count >= self.least and self.clock() - start >= self.limit_s:
                return
            yield item
