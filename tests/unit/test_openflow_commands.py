"""Meters, zones and counters on the wire: as os-ken writes them, and never more than was sent."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_v1_4 as ofp
from os_ken.ofproto import ofproto_v1_4_parser as parser
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

from controller.flows.meters import Meter, MeterDelta
from controller.openflow import wire
from controller.openflow.commands import (
    CommandsExchange,
    decode_meters,
    flush_commands,
    meter_commands,
    meters_exchange,
)
from controller.openflow.decode import Malformed
from controller.openflow.framing import Message
from controller.openflow.refusal import SwitchRefused
from controller.openflow.statistics import (
    MeterCounters,
    PortCounters,
    decode_meter_counters,
    decode_port_counters,
    meter_counters_exchange,
    port_counters_exchange,
)

DATAPATH = ProtocolDesc(ofp.OFP_VERSION)
PACKETS = ofp.OFPMF_PKTPS | ofp.OFPMF_BURST
UNKNOWN = (1 << 64) - 1


def serialized(message: parser.OFPMeterMod, xid: int) -> bytes:
    message.set_xid(xid)
    message.serialize()
    return bytes(message.buf)


def configuration(number: int, flags: int, *bands: tuple[int, int, int]) -> bytes:
    """One meter as a switch tells it (7.3.5.14); a band is type, rate, burst."""
    body = b"".join(struct.pack(">HHII4x", kind, 16, rate, burst) for kind, rate, burst in bands)
    return struct.pack(">HHI", 8 + len(body), flags, number) + body


def test_meter_commands_equal_os_ken() -> None:
    band = parser.OFPMeterBandDrop(100, 50)
    expected = [
        parser.OFPMeterMod(DATAPATH, ofp.OFPMC_DELETE, 0, 9, []),
        parser.OFPMeterMod(DATAPATH, ofp.OFPMC_ADD, PACKETS, 3, [band]),
        parser.OFPMeterMod(DATAPATH, ofp.OFPMC_MODIFY, PACKETS, 4, [band]),
        parser.OFPBarrierRequest(DATAPATH),
    ]
    delta = MeterDelta(add=(Meter(3, 100, 50),), modify=(Meter(4, 100, 50),), delete=(9,))
    sent = b"".join(CommandsExchange(meter_commands(delta)).start(5))
    assert sent == b"".join(serialized(message, xid) for xid, message in enumerate(expected, 5))


def test_requests_equal_os_ken() -> None:
    meters = parser.OFPMeterConfigStatsRequest(DATAPATH, 0, ofp.OFPM_ALL)
    assert b"".join(meters_exchange().start(3)) == serialized(meters, 3)
    ports = parser.OFPPortStatsRequest(DATAPATH, 0, ofp.OFPP_ANY)
    assert b"".join(port_counters_exchange().start(4)) == serialized(ports, 4)
    counters = parser.OFPMeterStatsRequest(DATAPATH, 0, ofp.OFPM_ALL)
    assert b"".join(meter_counters_exchange().start(5)) == serialized(counters, 5)


def test_a_zone_is_flushed_as_ovs_ofctl_does_it() -> None:
    sent = b"".join(CommandsExchange(flush_commands([7])).start(2))
    assert sent[:24] == bytes.fromhex("0504001800000002000023200000001d0000000000000007")


def test_refusals_are_tied_to_their_meters() -> None:
    exchange = CommandsExchange(meter_commands(MeterDelta(delete=(1,), add=(Meter(2, 5, 5),))))
    list(exchange.start(10))
    exchange.receive(Message(5, wire.ERROR, 11, bytes(8) + struct.pack(">HH", 12, 2)))
    assert not exchange.done
    exchange.receive(Message(5, wire.BARRIER_REPLY, 12, bytes(8)))
    assert exchange.done
    failure = exchange.failure()
    assert isinstance(failure, SwitchRefused)
    assert failure.errors[0].change == Meter(2, 5, 5)
    assert "meter=2" in str(failure)


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(1, 1 << 31), st.integers(1, 1 << 31)), max_size=5))
def test_meters_are_read_as_they_were_written(made: list[tuple[int, int, int]]) -> None:
    body = b"".join(configuration(n, PACKETS, (ofp.OFPMBT_DROP, rate, burst)) for n, rate, burst in made)
    assert list(decode_meters(body)) == [(meter[0], Meter(*meter)) for meter in made]


@pytest.mark.parametrize(
    "other",
    [
        configuration(5, PACKETS),
        configuration(5, ofp.OFPMF_KBPS | ofp.OFPMF_BURST, (1, 100, 50)),
        configuration(5, ofp.OFPMF_PKTPS, (1, 100, 0)),
        configuration(5, PACKETS, (2, 100, 50)),
        configuration(5, PACKETS, (1, 100, 50), (1, 200, 50)),
        configuration(5, PACKETS, (1, 0, 50)),
    ],
)
def test_a_meter_that_cannot_be_ours(other: bytes) -> None:
    assert dict(decode_meters(other)) == {5: None}


def test_counting_makes_no_other_meter() -> None:
    assert dict(decode_meters(configuration(5, PACKETS | ofp.OFPMF_STATS, (1, 7, 8)))) == {5: Meter(5, 7, 8)}


def test_counters_of_ports() -> None:
    first = struct.pack(">H2xIII8Q", 80, 1, 9, 9, 1, 2, 3, 4, 0, 0, UNKNOWN, UNKNOWN)
    second = struct.pack(">H2xIII8Q", 96, 2, 9, 9, *range(8)) + bytes(16)  # with a property
    assert dict(decode_port_counters(first + second)) == {
        1: PortCounters(1, 2, 3, 4, 0, 0, None, None),
        2: PortCounters(*range(8)),
    }


def meter_counters(number: int, *bands: tuple[int, int]) -> bytes:
    """What a meter counted, as a switch tells it (7.3.5.13): what came in, then what each band dropped."""
    body = b"".join(struct.pack(">QQ", *band) for band in bands)
    return struct.pack(">IH6xIQQII", number, 40 + len(body), 1, 100, 6400, 9, 9) + body


def test_counters_of_meters() -> None:
    body = meter_counters(3, (5, 320)) + meter_counters(4) + meter_counters(5, (1, 10), (2, 20))
    assert dict(decode_meter_counters(body)) == {
        3: MeterCounters(5, 320),
        4: MeterCounters(0, 0),
        5: MeterCounters(3, 30),
    }
    assert dict(decode_meter_counters(meter_counters(6, (UNKNOWN, 9)))) == {6: MeterCounters(None, 9)}


@given(st.binary(max_size=120))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for read in (decode_meters, decode_port_counters, decode_meter_counters):
        try:
            assert len(list(read(raw))) <= len(raw) // 8
        except Malformed:
            pass


@given(st.data())
def test_damaged_replies_end_at_once(data: st.DataObject) -> None:
    body = bytearray(configuration(5, PACKETS, (1, 7, 8)) * 2)
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        list(decode_meters(bytes(body[: data.draw(st.integers(0, len(body)))])))
    except Malformed:
        pass
