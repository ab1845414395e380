"""Changes that wait at the same time, committed together: one transaction of etcd for many of ours.

Each is all or nothing, with its own guards. Together they are committed if they could have happened one after
the other with nothing in between (combine.py); if etcd refuses that, each is sent by itself, and only the one
that is at fault is refused. A change that waits for nobody is sent at once and alone: nothing is gained by
waiting, and under load what comes while others are on their way is the next batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from controller.store.combine import Combination
from controller.store.txn import Condition, Limits, Txn

# Requests to etcd on their way at once, and changes in one: etcd commits one after the other anyway.
REQUESTS_MAX = 2
CHANGES_MAX = 64
# What no change has read: none of them was built on what another one of the batch writes.
_UNREAD = -1


class Outcome(NamedTuple):
    """What became of a transaction: committed at revision, or refused by a comparison as of revision."""

    committed: bool
    revision: int


class _Waiting(NamedTuple):
    txn: Txn
    outcome: asyncio.Future[Outcome]


class Batches:
    """Sends what waits. commit: send one transaction, and know for sure what became of it."""

    def __init__(self, commit: Callable[[Txn], Awaitable[Outcome]], limits: Limits) -> None:
        self._commit, self._limits = commit, limits
        self._waiting: list[_Waiting] = []
        self._sending = 0
        self._senders: set[asyncio.Task[None]] = set()

    async def commit(self, txn: Txn) -> Outcome:
        """Commit one transaction, by itself or with others; raises what commit raises."""
        waiting = _Waiting(txn, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._sending < REQUESTS_MAX:
            self._sending += 1
            sender = asyncio.create_task(self._send_all(), name="commit")
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        return await waiting.outcome

    async def _send_all(self) -> None:
        """Send until nothing waits; a caller that has gone (its call was cancelled) is passed over.

        It is counted out in the very moment in which it finds that nothing waits: who comes then is not left
        to a sender that has ended.
        """
        try:
            while True:
                self._waiting = [waiting for waiting in self._waiting if not waiting.outcome.done()]
                if not self._waiting:
                    return
                batch, together, self._waiting = _first(self._waiting, self._limits)
                await self._send(batch, together)
        finally:
            self._sending -= 1

    async def _send(self, batch: list[_Waiting], together: Txn) -> None:
        try:
            outcome = await self._commit(together)
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.outcome.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it is for those who wait
            for waiting in batch:
                if not waiting.outcome.done():
                    waiting.outcome.set_exception(error)
            return
        if outcome.committed or len(batch) == 1:
            for waiting in batch:
                if not waiting.outcome.done():
                    waiting.outcome.set_result(outcome)
            return
        # (A caller may have gone meanwhile: its change is then not made.)
        left = [waiting for waiting in batch if not waiting.outcome.done()]
        await asyncio.gather(*(self._send([waiting], waiting.txn) for waiting in left))


def _first(waiting: list[_Waiting], limits: Limits) -> tuple[list[_Waiting], Txn, list[_Waiting]]:
    """Return those that are sent together now, their transaction, and those that are left.

    Who does not fit to those before waits for the next batch.
    """
    if len(waiting) == 1:
        return waiting, waiting[0].txn, []
    batch: list[_Waiting] = waiting[:1]
    left: list[_Waiting] = []
    # (From above: parts may have comparisons in common.)
    ops, size_bytes = batch[0].txn.ops, batch[0].txn.size_bytes
    made = combined([batch[0].txn])
    for place, one in enumerate(waiting[1:], 1):
        ops, size_bytes = ops + one.txn.ops, size_bytes + one.txn.size_bytes
        if len(batch) == CHANGES_MAX or ops > limits.ops or size_bytes > limits.request_bytes // 2:
            left += waiting[place:]
            break
        if _may_follow(made, one.txn):
            batch.append(one)
        else:
            left.append(one)
            made = combined(other.txn for other in batch)
    together = made.txn if len(batch) > 1 else batch[0].txn
    if not together:
        # They undo each other, which is no reason not to compare what each demands.
        return waiting[:1], waiting[0].txn, waiting[1:]
    return batch, together, left


def _may_follow(made: Combination, txn: Txn) -> bool:
    """Add a transaction to others, and tell whether it could happen after them."""
    for compare in txn.compares:
        # Of what is written before in the same batch etcd cannot say whether it is newer.
        if compare.condition is Condition.NOT_NEWER and made.writes_in(compare.key, compare.range_end):
            return False
    try:
        made.add(txn)
    except ValueError:
        return False
    return True


def combined(txns: Iterable[Txn]) -> Combination:
    """Return transactions put together, of which it is known that each can follow those before it."""
    made = Combination(_UNREAD)
    for txn in txns:
        made.add(txn)
    return made
