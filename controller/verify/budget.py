"""How far the judge may go: steps, not seconds, so that what it says depends on the state alone.

Where the budget ends nothing is taken for proved: what was not looked at is a violation by itself.
"""

from __future__ import annotations

# What one packet on its way through the concrete switches counts.
WALK_STEPS = 20
# For one change, in a loop that serves others too; for all there is, where somebody waits for the answer.
CHANGE_STEPS, WHOLE_STEPS = 4_000, 200_000


class Exhausted(Exception):
    """There is no budget left."""


class Budget:
    """Steps that are left, each about as much work as one flow that one part of the packets meets."""

    __slots__ = ("_left",)

    def __init__(self, steps: int | None = None) -> None:
        """None: no end."""
        self._left = steps

    def spend(self, steps: int = 1) -> None:
        """Raises Exhausted, from then on every time."""
        if self._left is None:
            return
        self._left -= steps
        if self._left < 0:
            raise Exhausted
