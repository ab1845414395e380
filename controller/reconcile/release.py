"""Gives identifiers back for use, when every host that knew their last owner has confirmed that it is gone.

Until then an address, MAC, VNI or number stays reserved: a frame or flow of its former owner might still
be about. A host that was deleted is fenced off (it is no peer any more) and is not waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from cloison.errors import CloisonError
from cloison.model import Reservation
from cloison.names import HostName
from controller.store.changes import Change
from controller.store.state import State
from controller.store.store import Store
from controller.store.txn import Txn

_log = structlog.get_logger(__name__)

BATCH_KEYS = 50
RETRY_DELAY_S = 1.0


class ReleaseWorker:
    """Follows released reservations and deletes them when their hosts have confirmed."""

    def __init__(self, store: Store, holds: Callable[[HostName, int], bool]) -> None:
        self._store = store
        self._holds = holds
        self._waiting: dict[str, Reservation] = {}
        self._wake = asyncio.Event()

    def load(self, state: State) -> None:
        """Begin with what the state holds already."""
        self._waiting = {r.key: r for r in state.reservations.released()}
        self._wake.set()

    def follow(self, changes: Iterable[Change]) -> None:
        """Follow one revision."""
        for change in changes:
            if isinstance(change.new, Reservation) and change.new.released:
                self._waiting[change.new.key] = change.new
                self._wake.set()
            elif isinstance(change.old, Reservation):
                self._waiting.pop(change.old.key, None)

    def progressed(self) -> None:
        """Some host confirmed something."""
        if self._waiting:
            self._wake.set()

    def missing(self, reservation: Reservation) -> list[HostName]:
        """Return the hosts that have not confirmed the release yet."""
        hosts = self._store.state.hosts
        return [h for h in reservation.hosts if h in hosts and not self._holds(h, reservation.revision)]

    async def run(self) -> None:
        """Free for ever; ends by being cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            ready = [r for r in self._waiting.values() if not self.missing(r)]
            for start in range(0, len(ready), BATCH_KEYS):
                try:
                    await self._free(ready[start : start + BATCH_KEYS])
                except CloisonError as error:
                    _log.warning("could not free identifiers, will retry", error=str(error))
                    asyncio.get_running_loop().call_later(RETRY_DELAY_S, self._wake.set)
                    break
                except Exception:  # noqa: BLE001 - whatever it is, the others must become free
                    _log.exception("could not free identifiers, will retry")
                    asyncio.get_running_loop().call_later(RETRY_DELAY_S, self._wake.set)

    async def _free(self, batch: list[Reservation]) -> None:
        def build(state: State) -> tuple[Txn, None]:
            txn = Txn()
            for reservation in batch:
                current = state.reservations.get(reservation.key)
                if current is not None and current.released and current.revision == reservation.revision:
                    txn.release(current, ())
            return txn, None

        await self._store.transact(build)
        for reservation in batch:
            self._waiting.pop(reservation.key, None)
        _log.debug("identifiers freed", keys=[r.key for r in batch])
