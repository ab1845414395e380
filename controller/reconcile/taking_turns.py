"""Long work in the event loop, a slice at a time: in between everybody else gets as long a turn."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from time import perf_counter
from typing import TypeVar

from controller.turns import Work

T = TypeVar("T")

SLICE_S = 0.01
"""How long the loop is held, and a piece of work more."""
IDLE_S = 0.0005
"""A round of the loop that takes less had nothing to do."""
FREEZE_INTERVAL_S = 1.0
"""What is worked out stays: the garbage collector need not walk it again and again, while all wait."""


async def in_turns(
    work: Work[T],
    between: Callable[[], None] = lambda: None,
    first_s: float | None = None,
    *,
    stays: bool = True,
) -> T:
    """Do all of it, and return what it returns.

    between: called after each slice; first_s: how long the first slice is, None for as long as any; stays:
    whether what is worked out is there for good.
    """
    started_s = frozen_s = perf_counter()
    slice_s = SLICE_S if first_s is None else first_s
    while True:
        begun_s = perf_counter()
        try:
            next(work)
            while (now_s := perf_counter()) - begun_s < slice_s:
                next(work)
        except StopIteration as end:
            if stays and perf_counter() - started_s >= FREEZE_INTERVAL_S:
                gc.freeze()
            result: T = end.value
            return result
        if stays and now_s - frozen_s >= FREEZE_INTERVAL_S:
            gc.freeze()
            frozen_s = now_s
        between()
        slice_s = SLICE_S
        await give_way()


async def give_way(most_s: float = SLICE_S) -> None:
    """Let the loop do what is waiting, as long as there is anything, and for so long at the most."""
    begun_s = now_s = perf_counter()
    while now_s - begun_s < most_s:
        before_s = now_s
        await asyncio.sleep(0)
        now_s = perf_counter()
        if now_s - before_s < IDLE_S:
            return
