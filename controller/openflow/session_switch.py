"""The real implementation of the seam: a Switch whose calls are exchanges of a session in another thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import structlog

from controller.flows import Flow
from controller.flows.delta import FlowDelta, InstalledFlows
from controller.flows.meters import MeterDelta, Meters
from controller.openflow import wire
from controller.openflow.bundle import ApplyExchange
from controller.openflow.commands import (
    Command,
    CommandsExchange,
    flush_commands,
    meter_commands,
    meters_exchange,
)
from controller.openflow.exchange import Exchange, MonitorExchange, ReadExchange
from controller.openflow.fragments import FragmentsExchange
from controller.openflow.ports import ports_exchange
from controller.openflow.refusal import FlowError, SwitchRefused
from controller.openflow.session import Session
from controller.openflow.statistics import (
    MeterCounters,
    PortCounters,
    meter_counters_exchange,
    port_counters_exchange,
)
from controller.openflow.switch import Change, Drift, DriftBuffer

log = structlog.get_logger(__name__)

# How often a switch without flow monitors (Open vSwitch before 3.0) is said to have perhaps changed.
BLIND_DRIFT_INTERVAL_S = 5.0
# How much longer reading a table may take than a small exchange: how much comes is not known beforehand.
READ_FACTOR = 3


class SessionSwitch:
    """Implements Switch over a session."""

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop, answer_s: float) -> None:
        self.dpid: int = session.id
        self.host_id = session.host_id
        self.drift = DriftBuffer(self.dpid)
        self._session = session
        self._loop = loop
        self._answer_s = answer_s
        self._blind: asyncio.TimerHandle | None = None
        self.ports: dict[int, str] = {}
        self.on_port_changed: Callable[[int], None] | None = None
        # Before anything else: what the flows rely on. It ends the session itself, before the next exchange.
        session.submit(FragmentsExchange(allowed_s=answer_s), self._fit_or_ended)
        # Before the first read, so that no change is missed between it and the watch.
        self._monitor = MonitorExchange(allowed_s=answer_s)
        self._session.submit(self._monitor, lambda error: call_in(loop, self._monitored, error))

    async def read_flows(
        self,
        *,
        expected: Iterable[Flow] = (),
        table: int = wire.ALL_TABLES,
        cookie: int = 0,
        cookie_mask: int = 0,
    ) -> InstalledFlows:
        """See Switch."""
        exchange = ReadExchange(
            self._session.known,
            expected=expected,
            table=table,
            cookie=cookie,
            cookie_mask=cookie_mask,
            allowed_s=READ_FACTOR * self._answer_s,
        )
        await self._run(exchange)
        return exchange.result

    async def read_ports(self) -> None:
        """See Switch."""
        exchange = ports_exchange(allowed_s=self._answer_s)
        await self._run(exchange)
        self.ports = dict(exchange.result)

    async def read_port_counters(self) -> dict[int, PortCounters]:
        """See Switch."""
        exchange = port_counters_exchange(allowed_s=self._answer_s)
        await self._run(exchange)
        return dict(exchange.result)

    async def read_meter_counters(self) -> dict[int, MeterCounters]:
        """See Switch."""
        exchange = meter_counters_exchange(allowed_s=self._answer_s)
        await self._run(exchange)
        return dict(exchange.result)

    async def read_meters(self) -> Meters:
        """See Switch."""
        exchange = meters_exchange(allowed_s=self._answer_s)
        await self._run(exchange)
        return dict(exchange.result)

    async def apply_meters(self, delta: MeterDelta) -> None:
        """See Switch."""
        if delta:
            await self._run(CommandsExchange(meter_commands(delta), allowed_s=self._answer_s))

    async def flush_zones(self, zones: Iterable[int]) -> None:
        """See Switch."""
        commands = flush_commands(zones)
        if commands:
            await self._run(CommandsExchange(commands, allowed_s=self._answer_s))

    async def ping(self) -> None:
        """See Switch."""
        await self._run(CommandsExchange((), allowed_s=self._answer_s))

    def port_changed(self, ofport: int, name: str | None) -> None:
        """The switch said so."""
        if name is None:
            self.ports.pop(ofport, None)
        else:
            self.ports[ofport] = name
        if self.on_port_changed is not None:
            self.on_port_changed(ofport)

    async def carry_out(self, change: Change) -> tuple[FlowError, ...]:
        """See Switch."""
        before = [*meter_commands(change.meters), *flush_commands(change.zones)]
        if not change.flows:
            return await self._command(before)
        exchange = ApplyExchange(change.flows, self._session.known, before=before, allowed_s=self._answer_s)
        await self._run(exchange)
        return exchange.refused_meters

    async def _command(self, commands: Sequence[Command]) -> tuple[FlowError, ...]:
        """Carry out commands; return the errors of meters. Raises SwitchRefused for any other."""
        if commands:
            try:
                await self._run(CommandsExchange(commands, allowed_s=self._answer_s))
            except SwitchRefused as refused:
                if any(error.change is None for error in refused.errors):
                    raise
                return refused.errors
        return ()

    async def apply(self, delta: FlowDelta) -> None:
        """See Switch."""
        await self.carry_out(Change(delta))

    def watch_drift(self) -> AsyncIterator[Drift]:
        """See Switch."""
        return self.drift.watch()

    def ended(self) -> None:
        """The session is over."""
        self.drift.end()
        if self._blind is not None:
            self._blind.cancel()

    async def _run(self, exchange: Exchange) -> None:
        future: asyncio.Future[None] = self._loop.create_future()

        def settle(error: Exception | None) -> None:
            if future.done():  # the caller was cancelled; the exchange was carried out all the same
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self._session.submit(exchange, lambda error: call_in(self._loop, settle, error))
        await future

    def _fit_or_ended(self, error: Exception | None) -> None:
        """In the session's thread."""
        if error is not None and self._session.end_reason is None:
            log.warning("refused a switch", dpid=self.dpid, host=self.host_id, reason=str(error))
            self._session.end(f"the switch cannot show fragments: {error}")

    def _monitored(self, error: Exception | None) -> None:
        if error is None and not self._monitor.supported:
            log.warning("no flow monitor: drift is found by reading", dpid=self.dpid, host=self.host_id)
            self._blind_drift()

    def _blind_drift(self) -> None:
        self.drift.add(set(), complete=False)
        self._blind = self._loop.call_later(BLIND_DRIFT_INTERVAL_S, self._blind_drift)


def call_in(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in the loop, from any thread; a loop that is closed needs no news."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        pass
