"""Reads what a switch has counted of one port. What follows from it is worked out in counting.py.

Looks only: nothing is sent to a switch but questions, and no more at once than it can answer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from cloison.errors import Unavailable
from cloison.model import Port
from cloison.names import HostName
from cloison.v1 import port_pb2
from controller.compiler.cookies import STATIC
from controller.reconcile.counting import ADMITTING, Count, Drop, Fate, Readings, fate_of
from controller.reconcile.host import HostActor
from controller.reconcile.views import port_view
from controller.store.store import Store

WHOLE_COOKIE = (1 << 64) - 1
TIMEOUT_S = 10.0
# Of one host: who asks faster than its switch answers is turned away, and changes go on.
AT_ONCE_MAX = 16


class CounterReader:
    """Reads the counters of ports from the switches of a reconciler's hosts."""

    def __init__(self, store: Store, hosts: Mapping[HostName, HostActor]) -> None:
        self._store, self._hosts = store, hosts
        self._asked: Counter[HostName] = Counter()

    async def port_statistics(self, port: Port, host: HostName) -> port_pb2.PortStatistics:
        """Return what the switch of the host where a port is plugged has counted.

        Raises Unavailable if the switch does not answer, or does not have the port (yet).
        """
        if self._asked[host] >= AT_ONCE_MAX:
            raise Unavailable(f"{host} is asked for too many statistics at once; try again")
        self._asked[host] += 1
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return _message(fate_of(await self._read(port, host)))
        except TimeoutError as error:
            raise Unavailable(f"the switch of {host} gave no answer within {TIMEOUT_S:g} s") from error
        finally:
            self._asked[host] -= 1
            if not self._asked[host]:
                del self._asked[host]

    async def _read(self, port: Port, host: HostName) -> Readings:
        actor = self._hosts.get(host)
        if actor is None or actor.switch is None:
            raise Unavailable(f"the switch of {host} is not connected")
        switch = actor.switch
        view = port_view(self._store.state, port.name, host)
        binding = self._store.state.bindings.get((port.name, host))
        if view is None or binding is None or not actor.has_port(view.ofport, binding.interface):
            raise Unavailable(f"the switch of {host} does not have {port.name} yet")
        own = await switch.read_flows(cookie=view.cookie, cookie_mask=WHOLE_COOKIE)
        bridge = await switch.read_flows(cookie=STATIC, cookie_mask=WHOLE_COOKIE)
        admission = [await switch.read_flows(table=table.number) for table in ADMITTING]
        meters = await switch.read_meter_counters()
        port_counters = (await switch.read_port_counters()).get(view.ofport)
        if port_counters is None:
            raise Unavailable(f"the switch does not have {port.name} any more")
        everything = {**bridge.flows, **admission[0].flows, **admission[1].flows}
        return Readings(
            tuple(own.flows.values()),
            tuple(everything.values()),
            meters.get(view.meter_of_services),
            port_counters,
            meters.get(view.meter_of_connections),
            meters.get(view.meter_of_spreading),
        )


def _message(fate: Fate) -> port_pb2.PortStatistics:
    return port_pb2.PortStatistics(
        received_from_guest=_count(fate.received),
        admitted=_count(fate.admitted),
        delivered=_count(fate.delivered),
        drops=[_drop(drop) for drop in fate.drops],
    )


def _drop(drop: Drop) -> port_pb2.DropCount:
    return port_pb2.DropCount(
        reason=drop.reason, table=drop.table, count=_count(drop.count), of_port=drop.of_port
    )


def _count(count: Count) -> port_pb2.Count:
    return port_pb2.Count(packets=count.packets, bytes=count.bytes)
