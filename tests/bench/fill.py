"""Many calls at once, by several clients: how a background is filled, and a burst is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

CLIENTS = 8
T = TypeVar("T")


def at_once(work: Callable[[T], object], items: Iterable[T], clients: int = CLIENTS) -> None:
    """Do all of it, by several clients; raises what the first one that failed did."""
    with ThreadPoolExecutor(clients) as pool:
        for _ in pool.map(work, items):
            pass
