"""Stores what guests announce: addresses of allowed address pairs, or themselves at another place (live
migration), one after the other as agents report them.

What the last one to announce an address says counts, so that order is kept; what is waiting is bounded.
"""

from __future__ import annotations

import asyncio

import structlog

from cloison.addresses import IpAddress
from cloison.errors import CloisonError
from cloison.names import HostName
from controller.reconcile.claims import ClaimRefused, binding_on, claim_txn
from controller.reconcile.moves import move_txn
from controller.store.state import State
from controller.store.store import Store
from controller.store.txn import Txn

_log = structlog.get_logger(__name__)

WAITING_MAX = 4096
ATTEMPTS_MAX = 5
RETRY_DELAY_S = 0.2

_Claim = tuple[HostName, int, IpAddress | None]


class ClaimWorker:
    """Settles the claims of all hosts. Nothing is lost by its end: a guest announces itself again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # In the order in which they came; one that comes again is the latest.
        self._waiting: dict[_Claim, None] = {}
        self._wake = asyncio.Event()

    def add(self, host: HostName, number: int, address: IpAddress | None) -> None:
        """The guest of the port of that number on a host announced an address; None: that it runs there."""
        claim = (host, number, address)
        self._waiting.pop(claim, None)
        if len(self._waiting) >= WAITING_MAX:
            _log.warning("an announcement was dropped: too many are waiting", host=host.host)
            return
        self._waiting[claim] = None
        self._wake.set()

    async def run(self) -> None:
        """Settle for ever; ends by being cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                claim = next(iter(self._waiting))
                del self._waiting[claim]
                await self._settle(claim)

    async def _settle(self, claim: _Claim) -> None:
        host, number, address = claim
        log = _log.bind(host=host.host, port_number=number, address=str(address or "itself"))

        def build(state: State) -> tuple[Txn, None]:
            if address is None:
                if state.edge_at(binding_on(state, host, number).port) is not None:
                    raise ClaimRefused("where a way out of a router lives is not for it to say")
                return move_txn(state, host, number), None
            return claim_txn(state, host, number, address), None

        for _ in range(ATTEMPTS_MAX):
            try:
                await self._store.transact(build)
            except ClaimRefused as refused:
                log.info("an announcement was refused", reason=str(refused))
                return
            except CloisonError as error:
                log.warning("could not store an announcement, will retry", error=str(error))
                await asyncio.sleep(RETRY_DELAY_S)
            else:
                return
        log.error("an announcement was not stored")
