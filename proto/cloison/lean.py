"""Libraries import what they can use if it is there, and all they have. What a process of ours has no use for
is not to fill its memory.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import cast

_M_ARENA_MAX = -8


def share_memory() -> None:
    """Let all threads take memory from one place (mallopt(3)): one of its own each is megabytes a thread."""
    _ask_the_c_library("mallopt", _M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the system what is free between what stays (malloc_trim(3)); some milliseconds."""
    _ask_the_c_library("malloc_trim", 0)


def _ask_the_c_library(name: str, *values: int) -> None:
    """Nothing happens where it knows no such thing."""
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*values)


def as_if_absent(*modules: str) -> AbstractContextManager[None]:
    """Let imports of these modules fail inside the block as if they were not installed."""
    # None stands for a module that cannot be found (importlib, "The module cache").
    return _standing_in(cast("dict[str, ModuleType]", dict.fromkeys(modules)))


def as_if_empty(*modules: str) -> AbstractContextManager[None]:
    """Let imports of these modules inside the block find nothing in them, unless they are there already."""
    return _standing_in({name: ModuleType(name) for name in modules if name not in sys.modules})


@contextmanager
def _standing_in(others: dict[str, ModuleType]) -> Iterator[None]:
    known = {name: sys.modules[name] for name in others if name in sys.modules}
    sys.modules.update(others)
    try:
        yield
    finally:
        for name in others:
            del sys.modules[name]
        sys.modules.update(known)
