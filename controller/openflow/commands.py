"""Commands that no bundle takes: changes of meters, and forgetting the connections of a zone.

Open vSwitch takes only flow-mods, group-mods and port-mods into a bundle. So these are sent one by one, and a
barrier after them: some may have been carried out when another is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from controller.flows.meters import Meter, MeterDelta
from controller.openflow import wire
from controller.openflow.decode import Malformed, decode_error
from controller.openflow.exchange import BRIEF_MESSAGES, control_message
from controller.openflow.framing import Message
from controller.openflow.multipart import MultipartExchange
from controller.openflow.refusal import FlowError, SwitchRefused, flow_error


class Command(NamedTuple):
    """One message: type and body; about: what an error is about."""

    type: int
    body: bytes
    about: Meter | None = None


def commands_then_barrier(commands: Sequence[Command], xid: int) -> list[bytes]:
    """The messages, with the xids from this one on."""
    messages = [control_message(c.type, n, c.body) for n, c in enumerate(commands, xid)]
    return [*messages, control_message(wire.BARRIER_REQUEST, xid + len(commands))]


class CommandsExchange:
    """Commands in order, then a barrier (7.3.8): all of them are in force when it is done."""

    def __init__(self, commands: Sequence[Command], *, allowed_s: float = 10.0) -> None:
        self.allowed_s = allowed_s
        self.done = False
        self.brief = len(commands) <= BRIEF_MESSAGES
        self.xids = len(commands) + 1
        self._commands = commands
        self._xid = 0
        self._errors: list[FlowError] = []

    def start(self, xid: int) -> Iterator[bytes]:
        """Everything at once: these are few."""
        self._xid = xid
        yield b"".join(commands_then_barrier(self._commands, xid))

    def receive(self, message: Message) -> Iterable[bytes]:
        """Errors of commands; the barrier."""
        if message.type == wire.ERROR:
            place = message.xid - self._xid
            about = self._commands[place].about if place < len(self._commands) else None
            self._errors.append(flow_error(about, decode_error(message.body)))
        self.done |= message.type == wire.BARRIER_REPLY
        return ()

    def failure(self) -> Exception | None:
        """SwitchRefused if any command was."""
        return SwitchRefused(self._errors) if self._errors else None


def meter_commands(delta: MeterDelta) -> list[Command]:
    """Deletions first (7.3.4.5); deleting what is not there is no error."""
    return [
        *(_meter_mod(wire.METER_DELETE, number) for number in delta.delete),
        *(_meter_mod(wire.METER_ADD, meter.id, meter) for meter in delta.add),
        *(_meter_mod(wire.METER_MODIFY, meter.id, meter) for meter in delta.modify),
    ]


def _meter_mod(command: int, number: int, meter: Meter | None = None) -> Command:
    body = wire.METER_HEAD.pack(command, wire.METER_PACKETS_BURST if meter else 0, number)
    if meter is not None:
        size = wire.METER_BAND.size
        body += wire.METER_BAND.pack(wire.BAND_DROP, size, meter.packets_per_s, meter.burst)
    return Command(wire.METER_MOD, body, meter)


def flush_commands(zones: Iterable[int]) -> list[Command]:
    """Forget every connection of these zones (NXT_CT_FLUSH_ZONE, nicira-ext.h)."""
    return [
        Command(wire.EXPERIMENTER, wire.FLUSH_ZONE.pack(wire.NICIRA, wire.NXT_CT_FLUSH_ZONE, zone))
        for zone in zones
    ]


def decode_meters(body: bytes) -> Iterator[tuple[int, Meter | None]]:
    """Id and meter of each configuration (7.3.5.14), None if it is not one of ours; raises Malformed."""
    at = 0
    while at < len(body):
        if len(body) - at < wire.METER_HEAD.size:
            raise Malformed("a meter is cut off")
        length, flags, number = wire.METER_HEAD.unpack_from(body, at)
        if length < wire.METER_HEAD.size or length > len(body) - at:
            raise Malformed(f"a meter of {length} bytes")
        yield number, _meter(number, flags, body[at + wire.METER_HEAD.size : at + length])
        at += length


# Meters are read every few seconds, and are what they were.
@lru_cache(maxsize=1 << 14)
def _meter(number: int, flags: int, bands: bytes) -> Meter | None:
    if flags & wire.METER_FLAGS != wire.METER_PACKETS_BURST or len(bands) != wire.METER_BAND.size:
        return None
    kind, _, rate, burst = wire.METER_BAND.unpack(bands)
    try:
        return Meter(number, rate, burst) if kind == wire.BAND_DROP else None
    except ValueError:
        return None


def meters_exchange(*, allowed_s: float = 10.0) -> MultipartExchange[tuple[int, Meter | None]]:
    """All meters of a switch."""
    request = wire.METER_REQUEST.pack(wire.ANY)
    return MultipartExchange(wire.MP_METER_CONFIG, request, decode_meters, allowed_s=allowed_s)
