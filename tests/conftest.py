"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# Examples are not timed: how long one takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
