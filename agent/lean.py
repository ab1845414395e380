"""Libraries import what they can use if it is there. What the agent has no use for is not to fill the memory
of every host.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast

_M_ARENA_MAX = -8


def share_memory() -> None:
    """Let all threads take memory from one place (mallopt(3)): one of its own each is megabytes a thread.

    Nothing happens where the C library knows no such thing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


@contextmanager
def as_if_absent(*modules: str) -> Iterator[None]:
    """Let imports of these modules fail inside the block as if they were not installed."""
    known = {name: sys.modules[name] for name in modules if name in sys.modules}
    # None stands for a module that cannot be found (importlib, "The module cache").
    sys.modules.update(cast("dict[str, ModuleType]", dict.fromkeys(modules)))
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        sys.modules.update(known)
