"""What a switch counts at its ports, and by its meters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controller.openflow import wire
from controller.openflow.decode import Malformed
from controller.openflow.multipart import MultipartExchange


class PortCounters(NamedTuple):
    """Since the port came, as the switch sees it: received is what the guest sent. None: not counted."""

    received_packets: int | None
    sent_packets: int | None
    received_bytes: int | None
    sent_bytes: int | None
    received_dropped: int | None
    sent_dropped: int | None
    received_errors: int | None
    sent_errors: int | None


def decode_port_counters(body: bytes) -> Iterator[tuple[int, PortCounters]]:
    """Number and counters of each port (7.3.5.6); raises Malformed."""
    at = 0
    while at < len(body):
        if len(body) - at < wire.PORT_STATS.size:
            raise Malformed("counters of a port are cut off")
        length, number, *counters = wire.PORT_STATS.unpack_from(body, at)
        if length < wire.PORT_STATS.size or length > len(body) - at:
            raise Malformed(f"counters of a port in {length} bytes")
        yield number, PortCounters(*(None if c == wire.UNKNOWN_COUNTER else c for c in counters))
        at += length


def port_counters_exchange(*, allowed_s: float = 10.0) -> MultipartExchange[tuple[int, PortCounters]]:
    """The counters of all ports."""
    request = wire.PORT_STATS_REQUEST.pack(wire.ANY)
    return MultipartExchange(wire.MP_PORT_STATS, request, decode_port_counters, allowed_s=allowed_s)


class MeterCounters(NamedTuple):
    """Since the meter came: what it dropped. None: not counted."""

    dropped_packets: int | None
    dropped_bytes: int | None


def decode_meter_counters(body: bytes) -> Iterator[tuple[int, MeterCounters]]:
    """Id and counters of each meter (7.3.5.13), all its bands together; raises Malformed."""
    at, fixed, band = 0, wire.METER_STATS.size, wire.METER_BAND_STATS.size
    while at < len(body):
        if len(body) - at < fixed:
            raise Malformed("counters of a meter are cut off")
        number, length = wire.METER_STATS.unpack_from(body, at)
        if length < fixed or length > len(body) - at or (length - fixed) % band:
            raise Malformed(f"counters of a meter in {length} bytes")
        bands = list(wire.METER_BAND_STATS.iter_unpack(body[at + fixed : at + length]))
        yield number, MeterCounters(_sum(p for p, _ in bands), _sum(b for _, b in bands))
        at += length


def _sum(counters: Iterable[int]) -> int | None:
    """All together; not known if one of them is not."""
    found = list(counters)
    return None if wire.UNKNOWN_COUNTER in found else sum(found)


def meter_counters_exchange(*, allowed_s: float = 10.0) -> MultipartExchange[tuple[int, MeterCounters]]:
    """The counters of all meters."""
    request = wire.METER_REQUEST.pack(wire.ANY)
    return MultipartExchange(wire.MP_METER, request, decode_meter_counters, allowed_s=allowed_s)
