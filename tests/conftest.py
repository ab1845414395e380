"""What holds for all tests."""

from __future__ import annotations

import gc

from hypothesis import settings

# Examples are not timed: how long one takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Modules and test items stay to the end: the collector need not look through them again and again."""
    gc.collect()
    gc.freeze()
