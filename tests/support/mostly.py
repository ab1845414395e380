"""How long things take, where one may meet a moment in which the whole machine stands still."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median


def mostly_within(limit_s: float) -> Iterator[list[float]]:
    """For a fixture to yield from: seconds that tests add to; most of them must be less than that."""
    found: list[float] = []
    yield found
    assert not found or median(found) < limit_s
