"""Meters as values, and what must change in a switch so that it holds exactly the desired ones. Pure.

A switch takes meters outside bundles, so their order with flows is the caller's: a meter is there before the
flows that name it, and goes after them (Open vSwitch removes a meter's flows together with it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

METER_ID_MAX = 262_144
"""Open vSwitch's netdev datapath has that many (max_meter in its OFPMP_METER_FEATURES)."""


@dataclass(frozen=True, slots=True)
class Meter:
    """Drops what exceeds so many packets a second, after a burst of so many packets."""

    id: int
    packets_per_s: int
    burst: int

    def __post_init__(self) -> None:
        """Raise ValueError on what a switch refuses (OpenFlow 1.4.1, 7.3.4.5), or takes and does not keep."""
        if not 1 <= self.id <= METER_ID_MAX:
            raise ValueError(f"a meter's id is 1 to {METER_ID_MAX}, got {self.id}")
        if not (1 <= self.packets_per_s <= 0xFFFFFFFF and 1 <= self.burst <= 0xFFFFFFFF):
            raise ValueError(f"a meter needs a rate and a burst of 32 bits: {self}")


Meters = Mapping[int, Meter | None]
"""What a switch holds, by id; None is a meter that can't be ours (other units, other bands)."""


@dataclass(frozen=True, slots=True)
class MeterDelta:
    """The changes of one switch's meters. add: ids that are not there; modify: ids that are; delete: ids."""

    add: tuple[Meter, ...] = ()
    modify: tuple[Meter, ...] = ()
    delete: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.modify or self.delete)


def meter_delta(desired: Mapping[int, Meter], actual: Meters) -> MeterDelta:
    """Return what turns actual into desired. Equal meters are left alone."""
    return MeterDelta(
        add=tuple(meter for number, meter in desired.items() if number not in actual),
        modify=tuple(meter for n, meter in desired.items() if n in actual and actual[n] != meter),
        delete=tuple(number for number in actual if number not in desired),
    )
