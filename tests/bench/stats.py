"""Percentiles and growth. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], rank: float) -> float:
    """The value below which `rank` percent of all lie, interpolated linearly. Raises ValueError if empty."""
    if not values:
        raise ValueError("a percentile of nothing")
    ordered = sorted(values)
    at = (len(ordered) - 1) * rank / 100
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def median(values: Sequence[float]) -> float:
    """The 50th percentile."""
    return percentile(values, 50)


def growth(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """The exponent k of cost ~ size^k: the least-squares slope in log-log. None with fewer than two sizes."""
    if len(set(sizes)) < 2 or min((*sizes, *costs)) <= 0:
        return None
    xs, ys = [math.log(s) for s in sizes], [math.log(c) for c in costs]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
