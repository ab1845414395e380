"""How far the judge may go: steps, not seconds, so that what it says depends on the state alone.

Where the budget ends nothing is taken for proved: what was not looked at is a violation by itself.
"""

from __future__ import annotations

# What one packet on its way through the concrete switches counts.
WALK_STEPS = 20
# For one change, in a loop that serves others too; for all there is, where somebody waits for the answer.
CHANGE_STEPS, WHOLE_STEPS = 3_000, 200_000
# Once a change is known to be wrong, for each search that is only to say more about it.
MORE_STEPS = 800


class Exhausted(Exception):
    """There is no budget left."""


class Budget:
    """Steps that are left, each about as much work as one flow that one part of the packets meets."""

    __slots__ = ("_each", "_here", "_left")

    def __init__(self, steps: int | None = None) -> None:
        """None: no end."""
        self._left = steps
        # What each search may take, and what is left of that of the one that goes on.
        self._each: int | None = None
        self._here: int | None = None

    def hurry(self, each: int) -> None:
        """From here on no search takes more than so many steps, if there was an end at all."""
        if self._left is not None:
            self._each = each

    def begin(self) -> None:
        """Another search begins: what the last one took up does not keep it from saying what it is about."""
        self._here = self._each

    def spend(self, steps: int = 1) -> None:
        """Raises Exhausted, from then on every time, or until another search begins."""
        if self._left is None:
            return
        self._left -= steps
        if self._here is not None:
            self._here -= steps
        if self._left < 0 or (self._here is not None and self._here < 0):
            raise Exhausted
