"""A change of flows on the wire: in which pieces it is written, and what keeps it from being committed."""

from __future__ import annotations

import struct

import pytest

from controller.flows import Flow, match
from controller.flows.delta import FlowDelta
from controller.flows.meters import Meter, MeterDelta
from controller.openflow import wire
from controller.openflow.bundle import MESSAGES_PER_CHUNK, ApplyExchange
from controller.openflow.commands import flush_commands, meter_commands
from controller.openflow.exchange import KnownFlows, ReadExchange
from controller.openflow.framing import Framer, Message
from controller.openflow.refusal import SwitchRefused

XID = 10
METER = Meter(3, 100, 50)
FLOW = Flow(table=31, priority=1, match=match(reg1=3), goto=32, meter=3)


def exchange_with(*flows: Flow) -> ApplyExchange:
    before = [*meter_commands(MeterDelta(add=(METER,))), *flush_commands([7])]
    return ApplyExchange(FlowDelta(add=flows), KnownFlows(), before=before)


def answer(exchange: ApplyExchange, asked: Message) -> list[Message]:
    """What is sent after the switch has answered a message that it takes."""
    reply = {wire.BARRIER_REQUEST: wire.BARRIER_REPLY}.get(asked.type, asked.type)
    body = asked.body
    if asked.type == wire.BUNDLE_CONTROL:
        bundle, kind, flags = wire.BUNDLE_BODY.unpack(asked.body)
        body = wire.BUNDLE_BODY.pack(bundle, kind + 1, flags)
    return sent(exchange.receive(Message(5, reply, asked.xid, bytes(8) + body)))


def refuse(exchange: ApplyExchange, xid: int) -> None:
    exchange.receive(Message(5, wire.ERROR, xid, bytes(8) + struct.pack(">HH", 12, 2)))


def sent(chunks: object) -> list[Message]:
    return list(Framer().feed(b"".join(chunks)))  # type: ignore[call-overload]


def controls(messages: list[Message]) -> list[int]:
    found = (wire.BUNDLE_BODY.unpack(m.body)[1] for m in messages if m.type == wire.BUNDLE_CONTROL)
    return list(found)


def test_a_small_change_is_one_write_and_its_commit_another() -> None:
    exchange = exchange_with(FLOW)
    (chunk,) = exchange.start(XID)
    messages = sent([chunk])
    assert [m.type for m in messages] == [
        wire.METER_MOD,
        wire.EXPERIMENTER,
        wire.BARRIER_REQUEST,
        wire.BUNDLE_CONTROL,
        wire.BUNDLE_ADD_MESSAGE,
        wire.BUNDLE_CONTROL,
    ]
    assert [m.xid for m in messages] == list(range(XID, XID + 6))
    assert controls(messages) == [wire.BUNDLE_OPEN_REQUEST, wire.BUNDLE_CLOSE_REQUEST]
    assert not answer(exchange, messages[2])
    assert not answer(exchange, messages[3])
    (commit, barrier) = answer(exchange, messages[5])
    assert controls([commit]) == [wire.BUNDLE_COMMIT_REQUEST]
    assert not answer(exchange, commit)
    assert not exchange.done
    assert not answer(exchange, barrier)
    assert exchange.done
    assert exchange.failure() is None
    assert barrier.xid == XID + exchange.xids - 1


def test_a_large_change_is_written_while_it_is_encoded() -> None:
    flows = [Flow(table=31, priority=n, match=(), goto=32) for n in range(2 * MESSAGES_PER_CHUNK)]
    exchange = ApplyExchange(FlowDelta(add=tuple(flows)), KnownFlows())
    chunks = list(exchange.start(XID))
    assert len(chunks) == 3
    assert not exchange.brief
    assert exchange_with(FLOW).brief
    assert len(sent(chunks)) == len(flows) + 2


def test_reading_a_table_is_not_for_who_asks() -> None:
    """While the switch works on its answer, what is expected is encoded: thousands of flows."""
    assert not ReadExchange(KnownFlows(), expected=[FLOW]).brief


@pytest.mark.parametrize("place", [0, 1, 3, 4, 5], ids=["meter", "zone", "open", "flow", "close"])
def test_nothing_is_committed_after_an_error_but_one_of_a_meter(place: int) -> None:
    exchange = exchange_with(FLOW)
    messages = sent(exchange.start(XID))
    refuse(exchange, XID + place)
    for message in messages[2:5]:
        answer(exchange, message)
    last = answer(exchange, messages[5])
    ended = wire.BUNDLE_COMMIT_REQUEST if place == 0 else wire.BUNDLE_DISCARD_REQUEST
    assert controls(last) == [ended]
    for message in last:
        answer(exchange, message)
    assert exchange.done
    assert [error.change for error in exchange.refused_meters] == ([METER] if place == 0 else [])
    failure = exchange.failure()
    if place == 0:
        assert failure is None
    else:
        assert isinstance(failure, SwitchRefused)
        assert [error.change for error in failure.errors] == [FLOW if place == 4 else None]
