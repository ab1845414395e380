"""Who waits for receipts, and is woken by them: callers for a resource, watchers for the status of ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from typing import NamedTuple

from cloison.names import PortName, ResourceName
from controller.reconcile.tracker import Condition


class Lack(NamedTuple):
    """What is missing: the condition to show, and whether looking again would find just this.

    lasts is cheap, and True only if it is sure: thousands may wait, and each receipt ends the wait of a few.
    """

    condition: Condition
    lasts: Callable[[], bool] = lambda: False


class Pulse:
    """Lets any number of waiters look again after something was confirmed: once for all that comes together,
    and none whose receipt is still not there.
    """

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], tuple[ResourceName | None, Lack]] = {}
        self._touched: set[PortName] = set()
        self._beating = False

    def beat(self, then: Callable[[], None], touched: Set[PortName] = frozenset()) -> None:
        """Wake waiters soon, all of those for touched ports; then: what else is to be done, once."""
        self._touched |= touched
        if not self._beating:
            self._beating = True
            asyncio.get_running_loop().call_soon(self._beat, then)

    def _beat(self, then: Callable[[], None]) -> None:
        self._beating = False
        touched, self._touched = self._touched, set()
        for future, (name, lack) in self._waiting.items():
            if not future.done() and (name in touched or not lack.lasts()):
                future.set_result(None)
        then()

    async def wait(self, name: ResourceName | None, lack: Lack) -> None:
        """Return at the next beat after which something else may be missing, or nothing."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = name, lack
        try:
            await future
        finally:
            del self._waiting[future]


class StatusFeed:
    """Names of ports whose status changed, each once, oldest first."""

    def __init__(self, on_close: Callable[[StatusFeed], None]) -> None:
        self._names: dict[PortName, None] = {}
        self._wake = asyncio.Event()
        self._closed = False
        self._on_close = on_close

    def add(self, name: PortName) -> None:
        """The status of this port changed."""
        self._names[name] = None
        self._wake.set()

    def close(self) -> None:
        """End the subscription."""
        self._closed = True
        self._wake.set()
        self._on_close(self)

    def __aiter__(self) -> StatusFeed:
        return self

    async def __anext__(self) -> PortName:
        while not self._names and not self._closed:
            self._wake.clear()
            await self._wake.wait()
        if self._closed:
            raise StopAsyncIteration
        name = next(iter(self._names))
        del self._names[name]
        return name
