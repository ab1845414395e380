"""Flows as values: what cannot be said is refused when it is said, and text says what the value means."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.flows import (
    CT_STATE,
    CheckPacketLarger,
    Conjunction,
    Ct,
    DecTtl,
    Flow,
    Load,
    Move,
    Output,
    Resubmit,
    ct_state,
    field,
    match,
)
from controller.flows.conntrack import CT_STATE_BITS, ct_state_text, has_connection
from controller.flows.meters import Meter, MeterDelta, meter_delta
from controller.flows.text import action_text, flow_text, match_text

TRACKED = {"ct_state": ct_state("+trk-inv"), "eth_type": 0x800}
TCP = TRACKED | {"ct_nw_proto": 6}
STATES = st.integers(0, CT_STATE_BITS).flatmap(
    lambda mask: st.tuples(st.integers(0, CT_STATE_BITS).map(lambda value: value & mask), st.just(mask))
)


@given(STATES.filter(lambda state: state[1] > 0))
def test_a_state_is_read_as_it_was_written(state: tuple[int, int]) -> None:
    assert ct_state(ct_state_text(*state)) == state


@pytest.mark.parametrize("flags", ["", "trk", "+trk inv", "+trk-trk", "+new+new", "+old", "+trk-", "+TRK"])
def test_no_state(flags: str) -> None:
    with pytest.raises(ValueError):
        ct_state(flags)


@given(STATES)
def test_what_has_a_connection_is_tracked_and_never_invalid(state: tuple[int, int]) -> None:
    """Every packet that such a match lets through, among those there can be, has a connection."""
    value, mask = state
    tracked = [
        ct_state(f"+trk{rest}")[0] for rest in ("+new", "+est", "+est+rpl", "+rel", "+rel+rpl", "+inv")
    ]
    let_through = [packet for packet in (0, *tracked) if packet & mask == value]
    if has_connection(value, mask):
        assert all(p & CT_STATE["trk"] and not p & CT_STATE["inv"] for p in let_through)


@pytest.mark.parametrize(
    "terms",
    [
        {"eth_type": 0x800, "ct_nw_src": 1},
        {"eth_type": 0x800, "ct_nw_src": 1, "ct_state": ct_state("+trk")},
        {"eth_type": 0x800, "ct_nw_src": 1, "ct_state": ct_state("-inv")},
        {"eth_type": 0x800, "ct_nw_src": 1, "ct_state": ct_state("-trk-inv")},
        {"eth_type": 0x800, "ct_nw_src": 1, "ct_state": ct_state("+trk+inv")},
        {"ct_nw_src": 1, "ct_state": ct_state("+trk-inv")},
        {"eth_type": 0x86DD, "ct_nw_dst": 1, "ct_state": ct_state("+trk-inv")},
        TRACKED | {"ct_ipv6_src": 1},
        TRACKED | {"ct_tp_src": 80},
        TRACKED | {"ct_tp_dst": (80, 0xFFF0)},
        {"eth_type": 0x806, "ct_state": ct_state("+trk-inv"), "ct_nw_proto": 6, "ct_tp_dst": 80},
        {"ct_state": ct_state("+trk-inv"), "ct_nw_proto": 6},
        {"ct_state": 0x21},
        {"ct_state": (0x100, 0x100)},
        {"nxm_in_port": 1},
        {"ct_nw_proto": (6, 7)} | TRACKED,
        {"conj_id": (1, 1)},
        {"ct_zone": (1, 1)},
    ],
    ids=str,
)
def test_a_match_without_what_it_needs_is_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        match(**terms)


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        (TCP | {"ct_tp_dst": 80}, "ct_state=+trk-inv,ct_nw_proto=6,ct_tp_dst=80,dl_type=0x800"),
        (
            TRACKED | {"ct_nw_src": (0x0A000000, 0xFF000000), "reg8": 5},
            "reg8=0x5,ct_state=+trk-inv,ct_nw_src=10.0.0.0/8,dl_type=0x800",
        ),
        (
            {"eth_type": 0x86DD, "ct_state": ct_state("+est+trk"), "ct_ipv6_dst": 1},
            "ct_state=+est+trk,ct_ipv6_dst=::1,dl_type=0x86dd",
        ),
        ({"conj_id": 9, "ct_zone": 7}, "conj_id=9,ct_zone=7"),
        (TCP | {"ip_frag": (2, 2)}, "nw_frag=later"),
    ],
)
def test_a_match_with_what_it_needs(terms: dict[str, Any], text: str) -> None:
    assert text.replace("nw_frag", "ip_frag") in match_text(match(**terms))


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (Ct(), "ct"),
        (Ct(commit=True), "ct(commit)"),
        (Ct(table=9, zone=(field("nxm_in_port"), 0, 16)), "ct(table=9,zone=in_port[0..15])"),
        (Ct(True, (field("reg2"), 0, 16), 23), "ct(commit,table=23,zone=reg2[0..15])"),
        (Ct(True, 5), "ct(commit,zone=5)"),
        (Conjunction(77, 2, 3), "conjunction(77,2/3)"),
        (DecTtl(), "dec_ttl"),
        (Resubmit(22), "resubmit(,22)"),
        (CheckPacketLarger(1464, field("reg3"), 3), "check_pkt_larger(1464)->reg3[3]"),
        (Move(field("nxm_in_port"), 0, field("reg1"), 0, 16), "move:in_port[0..15]->reg1[0..15]"),
        (Move(field("in_port"), 0, field("reg1"), 0, 32), "move:in_port_oxm[0..31]->reg1[0..31]"),
        (Load(field("reg3"), 3, 1, 1), "load:0x1->reg3[3]"),
    ],
)
def test_text_of_an_action(action: Any, text: str) -> None:
    assert action_text(action) == text


def test_text_names_the_tables_of_ct_and_the_meter() -> None:
    flow = Flow(table=8, priority=1, match=match(eth_type=0x800), actions=(Ct(table=9),), goto=31, meter=4)
    names = {8: "TRACK", 9: "TRACKED", 31: "METER"}
    expected = "table=TRACK,priority=1,dl_type=0x800,actions=meter:4,ct(table=TRACKED),goto_table:METER"
    assert flow_text(flow, names) == f"cookie=0x0,{expected}"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ct(zone=0x10000),
        lambda: Ct(zone=(field("reg2"), 0, 15)),
        lambda: Ct(zone=(field("reg2"), 17, 16)),
        lambda: Ct(table=255),
        lambda: Resubmit(255),
        lambda: Conjunction(1, 0, 2),
        lambda: Conjunction(1, 3, 2),
        lambda: Conjunction(1, 1, 1),
        lambda: Conjunction(1, 1, 65),
        lambda: Conjunction(1 << 32, 1, 2),
        lambda: CheckPacketLarger(1 << 16, field("reg3"), 3),
        lambda: CheckPacketLarger(1500, field("reg3"), 32),
        lambda: Meter(0, 1, 1),
        lambda: Meter(1, 0, 1),
        lambda: Meter(1, 1, 0),
        lambda: Meter(262_145, 1, 1),
    ],
)
def test_values_that_no_switch_takes(make: Any) -> None:
    with pytest.raises(ValueError):
        make()


def test_a_meter_makes_another_flow() -> None:
    flow = Flow(table=1, priority=1, match=(), actions=(Output(1),))
    assert flow != Flow(table=1, priority=1, match=(), actions=(Output(1),), meter=1)


METERS = st.dictionaries(st.integers(1, 6), st.integers(1, 3)).map(
    lambda rates: {number: Meter(number, rate, 1) for number, rate in rates.items()}
)


@given(METERS, METERS, st.sets(st.integers(1, 8)))
def test_meters_end_as_desired(desired: dict[int, Meter], there: dict[int, Meter], alien: set[int]) -> None:
    actual: dict[int, Meter | None] = {**there, **dict.fromkeys(alien)}
    delta = meter_delta(desired, actual)
    result = {number: meter for number, meter in actual.items() if number not in delta.delete}
    assert not {meter.id for meter in delta.add} & result.keys()
    assert {meter.id for meter in delta.modify} <= result.keys()
    result |= {meter.id: meter for meter in (*delta.add, *delta.modify)}
    assert result == desired
    assert bool(delta) == (desired != actual)
    assert not meter_delta(desired, desired)
    assert meter_delta({}, {}) == MeterDelta()
