"""Waiting without sleeping blindly: poll with a deadline, and say what was last seen when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
POLL_INTERVAL_S = 0.02
LOOK_S = 0.01


class WaitTimeoutError(TimeoutError):
    """What was waited for did not come; the text holds the last state seen."""


def wait_until(probe: Callable[[], T], timeout_s: float, what: str) -> T:
    """Call `probe` until it gives something true, and return that.

    An exception of the probe counts as "not yet". Raises WaitTimeoutError naming `what` and the last answer
    (or exception) after `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        cause: Exception | None = None
        try:
            seen = probe()
            if seen:
                return seen
            last = repr(seen)
        except Exception as error:  # noqa: BLE001 -- the probe may fail in any way while things come up
            cause, last = error, f"{type(error).__name__}: {error}"
        if time.monotonic() >= deadline:
            raise WaitTimeoutError(f"{what}: not within {timeout_s:g} s; last seen: {last}") from cause
        time.sleep(POLL_INTERVAL_S)


def looks(timeout_s: float) -> Iterator[None]:
    """Give as many turns as fit into that time, LOOK_S seconds apart.

    For what must *not* come, or has little time to come: while the whole machine stands still nobody can do
    anything, and that is one turn however long it takes.
    """
    for _ in range(max(1, round(timeout_s / LOOK_S))):
        yield
        time.sleep(LOOK_S)
