"""Stores what agents report: bindings of ports and tunnel ports, for one host at a time.

Level-triggered: a report, a new port, a changed schedule only mark iface-ids or the host as unsettled; the
worker compares the session's inventory with the state and commits the difference. Without a session
nothing is touched: a host that cannot be asked keeps its bindings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from cloison.errors import CloisonError
from cloison.model import PortBinding, TunnelPort
from controller.reconcile.binding import Verdict, binding_changes
from controller.reconcile.session import AgentSession
from controller.store.state import State
from controller.store.store import Store
from controller.store.txn import Txn

_log = structlog.get_logger(__name__)

# iface-ids settled in one transaction: a binding takes two compares and a put, etcd takes 128 operations.
BATCH_IFACES = 25
BATCH_TUNNELS = 50
RETRY_DELAY_S = 0.5


class PlugWorker:
    """Settles what one session reports. Lives as long as the session."""

    def __init__(
        self, store: Store, session: AgentSession, on_verdicts: Callable[[Sequence[Verdict]], None]
    ) -> None:
        self._store = store
        self._session = session
        self._on_verdicts = on_verdicts
        self._ifaces: set[str] = set()
        self._tunnels = False
        self._wake = asyncio.Event()
        self._log = _log.bind(host=session.host.host)

    def mark(self, iface_ids: set[str], *, tunnels: bool = False) -> None:
        """These iface-ids (and the tunnel ports) may not be stored as they are."""
        self._ifaces |= iface_ids
        self._tunnels |= tunnels
        if iface_ids or tunnels:
            self._wake.set()

    def mark_all(self) -> None:
        """The whole inventory came: what is stored for the host and was not reported is gone."""
        state = self._store.state
        stored = {
            port.iface_id
            for binding in state.bindings_on(self._session.host)
            if (port := state.ports.get(binding.port)) is not None
        }
        reported = {i.iface_id for i in self._session.interfaces.values()}
        self.mark(stored | reported, tunnels=True)

    async def run(self) -> None:
        """Settle for ever; ends by being cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._ifaces or self._tunnels:
                try:
                    await self._settle_some()
                except CloisonError as error:
                    self._log.warning("could not store what the agent reports, will retry", error=str(error))
                    await asyncio.sleep(RETRY_DELAY_S)

    async def _settle_some(self) -> None:
        if self._tunnels:
            self._tunnels = False
            try:
                while not await self._settle_tunnels():
                    pass
            except CloisonError:
                self._tunnels = True
                raise
        batch = {self._ifaces.pop() for _ in range(min(BATCH_IFACES, len(self._ifaces)))}
        if not batch:
            return
        try:
            _, verdicts = await self._store.transact(lambda state: self._binding_txn(state, batch))
        except CloisonError:
            self._ifaces |= batch
            raise
        self._on_verdicts(verdicts)

    def _binding_txn(self, state: State, iface_ids: set[str]) -> tuple[Txn, list[Verdict]]:
        host, txn = self._session.host, Txn()
        stores, deletes, verdicts = binding_changes(state, host, self._session.interfaces, iface_ids)
        for binding in stores:
            old = state.bindings.get((binding.port, host))
            txn.require(state.ports[binding.port])
            _put(txn, old, binding)
        for binding in deletes:
            txn.delete(binding)
        return txn, verdicts

    async def _settle_tunnels(self) -> bool:
        """Commit one batch; return True when nothing was left to do."""
        _, done = await self._store.transact(self._tunnel_txn)
        return done

    def _tunnel_txn(self, state: State) -> tuple[Txn, bool]:
        host, txn = self._session.host, Txn()
        stored = {t.vni: t for t in state.tunnel_ports_on(host)}
        reported = self._session.tunnel_ports
        gone = [t for vni, t in stored.items() if vni not in reported]
        changed = [
            (stored.get(vni), TunnelPort(host=host, vni=vni, ofport=ofport))
            for vni, ofport in reported.items()
            if (vni not in stored or stored[vni].ofport != ofport) and state.network_by_vni(vni) is not None
        ]
        for tunnel in gone[:BATCH_TUNNELS]:
            txn.delete(tunnel)
        for old, new in changed[:BATCH_TUNNELS]:
            _put(txn, old, new)
        return txn, max(len(gone), len(changed)) <= BATCH_TUNNELS


def _put(txn: Txn, old: PortBinding | TunnelPort | None, new: PortBinding | TunnelPort) -> None:
    if old is None:
        txn.create(new)
    else:
        txn.update(old, new)
