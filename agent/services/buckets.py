"""A budget for each port: the second line, behind the switch's own meters. Pure; the caller has the clock."""

from __future__ import annotations

from collections.abc import Collection

RATE_PPS, BURST_PACKETS = 200.0, 300.0
"""Above what the switch lets through, so that a guest never meets this limit unless that one is missing."""


class Buckets:
    """Token buckets by port number; only ports that are served have one."""

    def __init__(self, rate_pps: float = RATE_PPS, burst_packets: float = BURST_PACKETS) -> None:
        self._rate_pps, self._burst = rate_pps, burst_packets
        self._levels: dict[int, tuple[float, float]] = {}

    def take(self, number: int, now_s: float) -> bool:
        """Tell whether a port may send one more packet now, and note that it did."""
        level, at_s = self._levels.get(number, (self._burst, now_s))
        level = min(self._burst, level + (now_s - at_s) * self._rate_pps)
        granted = level >= 1.0
        self._levels[number] = (level - 1.0 if granted else level, now_s)
        return granted

    def keep(self, numbers: Collection[int]) -> None:
        """Forget all other ports."""
        for number in self._levels.keys() - set(numbers):
            del self._levels[number]
