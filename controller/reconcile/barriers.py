"""Which receipts an agent is asked for, and what each of them stands for. Pure.

A barrier is known by its revision only, and an agent answers two of one revision once. So none is sent while
one of the same revision is on its way, and an answer to one that was sent before something of its revision
was asked again stands for no more than what was before that.
"""

from __future__ import annotations


class Barriers:
    """The barriers of one session."""

    __slots__ = ("_open", "_sent", "_void")

    def __init__(self) -> None:
        # The newest that was sent and still counts; the newest that was not answered.
        self._sent = self._open = -1
        # (from, to): answers up to revision `to` stand for what was before `from`.
        self._void: tuple[int, int] | None = None

    def required(self, revision: int) -> None:
        """Something of this revision must be confirmed, perhaps once more."""
        if revision <= self._open:
            self._void = min(revision, self._void[0]) if self._void else revision, self._open
        self._sent = min(self._sent, revision - 1)

    def may_send(self, revision: int) -> bool:
        """Tell whether a barrier of this revision would say something, and would be answered."""
        return revision > max(self._sent, -1 if self._void is None else self._void[1])

    def lacks(self, revision: int) -> bool:
        """Tell whether none was sent yet whose answer confirms this revision."""
        return revision > self._sent

    def sent(self, revision: int) -> None:
        """One was sent."""
        self._sent = self._open = revision

    def answered(self, revision: int) -> int:
        """One was answered; return up to which revision that confirms what was asked."""
        known = revision
        if self._void is not None:
            start, end = self._void
            known = min(revision, start - 1) if revision <= end else revision
            self._void = self._void if revision < end else None
        if revision >= self._open:
            self._open = -1
        return known
