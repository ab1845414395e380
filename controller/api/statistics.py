"""What becomes of a port's frames: where the API gets the counters from, and who may see which. No I/O."""

from __future__ import annotations

from typing import Protocol

from cloison.model import Port
from cloison.names import HostName
from cloison.v1 import port_pb2


class StatisticsSource(Protocol):
    """Reads the counters of the switches."""

    async def port_statistics(self, port: Port, host: HostName) -> port_pb2.PortStatistics:
        """Return what the switch of the host where a port is plugged has counted.

        name and host are filled in by the caller. Raises Unavailable if the switch does not answer.
        """
        ...


def seen_by_tenant(statistics: port_pb2.PortStatistics) -> port_pb2.PortStatistics:
    """Return what a tenant's people may see: not where the port is, nor what was dropped of others there."""
    seen = port_pb2.PortStatistics()
    seen.CopyFrom(statistics)
    seen.ClearField("host")
    del seen.drops[:]
    seen.drops.extend(drop for drop in statistics.drops if drop.of_port)
    return seen
