"""Stores what agents report: bindings of ports and tunnel ports, for one host at a time.

Level-triggered: a report, a new port, a changed schedule only mark iface-ids or the host as unsettled; the
worker compares the session's inventory with the state and commits the difference. Without a session
nothing is touched: a host that cannot be asked keeps its bindings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set

import structlog

from cloison.errors import CloisonError
from cloison.model import PortBinding, TunnelPort, Vni
from cloison.names import HostName, PortName
from controller.reconcile.binding import Verdict, binding_changes
from controller.reconcile.session import AgentSession
from controller.store.state import State
from controller.store.store import Store
from controller.store.txn import Txn

_log = structlog.get_logger(__name__)

# Settled in one transaction, which etcd allows 128 operations: a binding takes three compares, and one more
# if its number was another's.
BATCH_IFACES = 25
BATCH_TUNNELS = 30
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
            _, (verdicts, displaced) = await self._store.transact(
                lambda state: self._binding_txn(state, batch)
            )
        except CloisonError:
            self._ifaces |= batch
            raise
        self._ifaces |= displaced
        self._on_verdicts(verdicts)

    def _binding_txn(self, state: State, iface_ids: set[str]) -> tuple[Txn, tuple[list[Verdict], set[str]]]:
        session, host, txn = self._session, self._session.host, Txn()
        stores, deletes, verdicts = binding_changes(
            state, host, session.plugged, iface_ids, session.shared_numbers
        )
        numbers = {b.ofport for b in stores}
        displaced = self._displace(txn, state, numbers, keep={b.port for b in (*stores, *deletes)})
        for number in numbers:
            for tunnel in state.tunnel_ports_at(host, number):
                txn.delete(tunnel)
        for binding in stores:
            old = state.bindings.get((binding.port, host))
            txn.require(state.ports[binding.port])
            _put(txn, old, binding)
        for binding in deletes:
            txn.delete(binding)
        return txn, (verdicts, displaced)

    def _displace(
        self, txn: Txn, state: State, numbers: Set[int], keep: Set[PortName] = frozenset()
    ) -> set[str]:
        """Take bindings away whose OpenFlow port is another's now; return the iface-ids to settle again.

        At no revision has one number two owners: nobody could say to whom its flows belong.
        """
        displaced = set()
        for binding in (b for number in numbers for b in state.bindings_at(self._session.host, number)):
            if binding.port not in keep:
                txn.delete(binding)
                port = state.ports.get(binding.port)
                displaced |= {port.iface_id} if port is not None else set()
        return displaced

    async def _settle_tunnels(self) -> bool:
        """Commit one batch; return True when nothing was left to do."""
        _, (done, displaced) = await self._store.transact(self._tunnel_txn)
        self._ifaces |= displaced
        return done

    def _tunnel_txn(self, state: State) -> tuple[Txn, tuple[bool, set[str]]]:
        host, txn, shared = self._session.host, Txn(), self._session.shared_numbers
        stored = {t.vni: t for t in state.tunnel_ports_on(host)}
        reported = {v: number for v, number in self._session.tunnel_ports.items() if number not in shared}
        gone = [t for vni, t in stored.items() if vni not in reported]
        changed = [
            (stored.get(vni), TunnelPort(host=host, vni=vni, ofport=ofport))
            for vni, ofport in reported.items()
            if (vni not in stored or stored[vni].ofport != ofport) and _carries(state, host, vni)
        ]
        done = max(len(gone), len(changed)) <= BATCH_TUNNELS
        gone, changed = gone[:BATCH_TUNNELS], changed[:BATCH_TUNNELS]
        numbers, settled = {new.ofport for _, new in changed}, {new.vni for _, new in changed}
        for tunnel in gone:
            txn.delete(tunnel)
        for tunnel in set(stored.values()) - set(gone):
            if tunnel.ofport in numbers and tunnel.vni not in settled:
                txn.delete(tunnel)
                done = False
        for old, new in changed:
            _put(txn, old, new)
        return txn, (done, self._displace(txn, state, numbers))


def _carries(state: State, host: HostName, vni: Vni) -> bool:
    """Tell whether the host carries the network: it reports devices of such networks only."""
    network = state.network_by_vni(vni)
    return network is not None and host in state.span(network.name)


def _put(txn: Txn, old: PortBinding | TunnelPort | None, new: PortBinding | TunnelPort) -> None:
    if old is None:
        txn.create(new)
    else:
        txn.update(old, new)
