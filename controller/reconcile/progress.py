"""Receipts of one kind from one host: revisions that asked something of it, and those it confirmed. Pure."""

from __future__ import annotations

from bisect import insort
from collections import deque


class Progress:
    """Revisions required and confirmed.

    A new Progress has confirmed nothing: a host we know nothing about counts as behind from the start.
    """

    __slots__ = ("_required", "confirmed")

    def __init__(self) -> None:
        self._required: deque[int] = deque([0])
        self.confirmed = -1

    def require(self, revision: int) -> None:
        """The host must do something for this revision, again if it had confirmed it already."""
        if revision <= self.confirmed:
            self.confirmed = revision - 1
        if not self._required or self._required[-1] < revision:
            self._required.append(revision)
        elif revision not in self._required:
            insort(self._required, revision)

    def confirm(self, revision: int) -> None:
        """Everything required up to revision is done."""
        self.confirmed = max(self.confirmed, revision)
        while self._required and self._required[0] <= self.confirmed:
            self._required.popleft()

    def reset(self) -> None:
        """Forget what was confirmed: the host may have lost it (a switch that came up empty)."""
        self.confirmed = -1
        self.require(0)

    @property
    def outstanding(self) -> int | None:
        """The oldest revision still to be confirmed, None if there is none."""
        return self._required[0] if self._required else None

    @property
    def newest(self) -> int | None:
        """The newest revision still to be confirmed, None if there is none."""
        return self._required[-1] if self._required else None

    def holds(self, revision: int) -> bool:
        """Tell whether everything required up to revision is confirmed."""
        return not self._required or self._required[0] > revision
