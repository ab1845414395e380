"""How much random testing to do: a quick look by default, all of it where EFFORT=full (`make test`)."""

from __future__ import annotations

import os

FULL = os.environ.get("EFFORT") == "full"


def examples(full: int) -> int:
    """Return how many random examples to try, of the number that a full run tries."""
    return full if FULL else max(10, full // 8)
