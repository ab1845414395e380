"""Meters of one switch: there before the flows that name them, gone after those, repaired like flows.

A meter bounds what one port may ask of the local services; its number is the port's OpenFlow port.
"""

from __future__ import annotations

from collections.abc import Set

import structlog

from controller.flows.meters import Meter, MeterDelta, Meters, meter_delta
from controller.openflow.refusal import SwitchRefused
from controller.openflow.switch import Switch

_log = structlog.get_logger(__name__)

# What a guest asks of DHCP, DNS and metadata in earnest is far less; what it gets beyond, all guests pay for.
RATE_PACKETS_S = 100
BURST_PACKETS = 100


class HostMeters:
    """The meters a switch is believed to have, and what makes them those that flows name."""

    def __init__(self) -> None:
        self._installed: Meters = {}

    async def read(self, switch: Switch) -> None:
        """Learn what the switch has."""
        self._installed = await switch.read_meters()

    def differs(self, named: Set[int]) -> bool:
        """Tell whether the switch has other meters than those that flows name."""
        return bool(self._delta(named))

    async def prepare(self, switch: Switch, named: Set[int]) -> None:
        """Put in what is missing or altered, before flows name it.

        Flows whose meter the switch does not take are refused by themselves, and nobody else's.
        """
        delta = self._delta(named)
        wanted = MeterDelta(add=delta.add, modify=delta.modify)
        if not wanted:
            return
        try:
            await switch.apply_meters(wanted)
        except SwitchRefused as refused:
            _log.error("the switch does not take some meters", error=str(refused))
            await self.read(switch)
            return
        self._installed = {**self._installed, **{m.id: m for m in (*wanted.add, *wanted.modify)}}

    async def tidy(self, switch: Switch, named: Set[int]) -> None:
        """Take away what no flow names any more."""
        unused = self._delta(named).delete
        if unused:
            await switch.apply_meters(MeterDelta(delete=unused))
            self._installed = {n: meter for n, meter in self._installed.items() if n not in unused}

    def _delta(self, named: Set[int]) -> MeterDelta:
        return meter_delta({n: Meter(n, RATE_PACKETS_S, BURST_PACKETS) for n in named}, self._installed)
