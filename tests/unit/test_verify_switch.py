"""The concrete switch and the grammar of flows: each rule once."""

from __future__ import annotations

import pytest

from controller.flows import (
    Conjunction,
    Ct,
    Flow,
    Load,
    MatchTerm,
    Move,
    Output,
    OutputField,
    SetField,
    ct_state,
    field,
    match,
)
from controller.verify.grammar import Refused, fault
from controller.verify.packet import ETH_IPV4, ETH_IPV6, TRACKED, Packet, connected, present_fields
from controller.verify.shapes import PACKETS
from controller.verify.switch import Ambiguous, Switch

PING = Packet(eth_src=2, eth_dst=4, eth_type=ETH_IPV4, ipv4_src=0x0A000001, ipv4_dst=0x0A000002, ip_proto=1)
TO_REG2 = OutputField(field("reg2"), 0, 16)


def flow(
    table: int = 0, priority: int = 1, goto: int | None = None, *actions: object, **terms: object
) -> Flow:
    return Flow(table=table, priority=priority, match=match(**terms), actions=actions, goto=goto)  # type: ignore[arg-type]


def test_highest_priority_wins_and_a_miss_drops() -> None:
    switch = Switch([flow(0, 5, None, Output(7), in_port=1), flow(0, 9, None, Output(8), eth_src=2)])
    assert [s.ofport for s in switch.run(PING, 1).sent] == [8]
    missed = Switch([flow(0, 1, 5)]).run(PING, 1)
    assert (missed.sent, missed.missed_table) == ((), 5)


def test_actions_in_order_on_the_packet_as_it_is() -> None:
    actions = (
        Output(3),
        Move(field("ipv4_dst"), 0, field("eth_dst"), 0, 32),
        Load(field("eth_dst"), 32, 16, 0x0AF0),
        Load(field("reg2"), 0, 16, 9),
        TO_REG2,
        SetField(field("eth_dst"), 5),
    )
    run = Switch([flow(0, 1, 20, *actions, eth_type=ETH_IPV4), flow(20, 1, None, Output(4))]).run(PING, 1)
    assert [(s.ofport, s.packet.eth_dst) for s in run.sent] == [(3, 4), (9, 0x0AF00A000002), (4, 5)]


def test_never_back_and_never_to_port_0() -> None:
    assert Switch([flow(0, 1, None, Output(1), TO_REG2)]).run(PING, 1).sent == ()


def test_what_is_not_defined_is_not_guessed() -> None:
    rivals = [flow(0, 5, None, Output(7), in_port=1), flow(0, 5, None, Output(8), eth_src=2)]
    with pytest.raises(Ambiguous):
        Switch(rivals).run(PING, 1)
    assert Switch([*rivals, flow(0, 6)]).run(PING, 1).sent == ()
    with pytest.raises(Refused):
        Switch([flow(0, 1, None, Load(field("reg2"), 0, 16, 0xFFFB), TO_REG2)]).run(PING, 1)
    with pytest.raises(Refused):
        Switch([flow(0, 5), flow(0, 5, 10)])


@pytest.mark.parametrize(
    "bad",
    [
        flow(ipv4_src=1),
        flow(eth_type=ETH_IPV6, ipv4_src=1),
        flow(eth_type=ETH_IPV6, ip_proto=58, icmpv6_type=136, ipv6_nd_sll=1),
        flow(eth_type=(0x0800, 0xFFFF), tcp_dst=80),
        flow(metadata=1),
        flow(0, 1, None, Output(0xFFFB)),
        flow(0, 1, None, Output(0)),
        flow(0, 1, None, Move(field("ipv4_dst"), 0, field("eth_dst"), 0, 32)),
        flow(0, 1, None, Move(field("ipv4_dst"), 8, field("eth_dst"), 0, 32), eth_type=ETH_IPV4),
        flow(0, 1, None, SetField(field("eth_type"), 1)),
        flow(0, 1, None, Load(field("reg0"), 0, 2, 4)),
        flow(5, 1, 5),
    ],
)
def test_faults(bad: Flow) -> None:
    assert fault(bad) is not None


CONNECTED = {"eth_type": ETH_IPV4, "ct_state": ct_state("+trk-inv")}
NO_PROTOCOL = tuple(sorted((*match(**CONNECTED), MatchTerm(field("ct_tp_dst"), 22, 0xFFFF))))


@pytest.mark.parametrize(
    "bad",
    [
        Flow(table=25, priority=1, match=NO_PROTOCOL, goto=26),
        Flow(table=25, priority=1, match=match(eth_type=ETH_IPV4, ct_state=(0x20, 0x20)), actions=(Ct(),)),
        flow(20, 1, 22, **CONNECTED),
        flow(8, 1, None, Ct(zone=7, table=9), eth_type=ETH_IPV4),
        flow(8, 1, None, Ct(zone=(field("reg2"), 0, 16), table=9), eth_type=ETH_IPV4),
        flow(8, 1, None, Ct(zone=(field("nxm_in_port"), 0, 16), table=9)),
        flow(22, 1, 23, Ct(zone=(field("reg2"), 0, 16), commit=True), eth_type=ETH_IPV4),
        flow(9, 1, 10, Ct(zone=(field("nxm_in_port"), 0, 16), table=10), eth_type=ETH_IPV4),
        flow(20, 1, None, Conjunction(1, 1, 2)),
        flow(24, 1, 25, Conjunction(1, 1, 2)),
        flow(26, 1, 28, conj_id=3),
        Flow(table=20, priority=1, match=match(), goto=22, meter=3),
    ],
)
def test_faults_of_connections_and_conjunctions(bad: Flow) -> None:
    assert fault(bad) is not None


def test_connections_are_looked_at_once_asked_for() -> None:
    """Before ct, ct_state is 0; after it, what the packet is of."""
    ask = flow(7, 1, None, Ct(zone=(field("nxm_in_port"), 0, 16), table=9), eth_type=ETH_IPV4)
    known = flow(9, 1, 24, ct_state=ct_state("+trk"))
    ssh = flow(24, 1, None, Output(5), **CONNECTED, ct_nw_proto=6, ct_tp_dst=22)
    switch = Switch([flow(0, 1, 7), ask, known, ssh])
    to_ssh = Packet(eth_src=2, eth_dst=4, eth_type=ETH_IPV4, ip_proto=6, tcp_dst=22)
    assert [s.ofport for s in switch.run(to_ssh, 1).sent] == [5]
    assert not switch.run(PING, 1).sent
    about = connected(to_ssh)
    tuple_of = {n: getattr(about, n) for n in ("ct_nw_proto", "ct_tp_src", "ct_tp_dst")}
    error = Packet(eth_src=2, eth_dst=4, eth_type=ETH_IPV4, ip_proto=1, ct_state=TRACKED | 4, **tuple_of)
    assert [s.ofport for s in switch.run(error, 1).sent] == [5]


def test_a_conjunction_needs_each_of_its_clauses() -> None:
    one = flow(24, 100, None, Conjunction(7, 1, 2), reg6=16)
    two = flow(24, 100, None, Conjunction(7, 2, 2), eth_type=ETH_IPV4)
    both = flow(24, 100, None, Output(5), conj_id=7)
    below = flow(24, 50, None, Output(6))
    to_table = flow(0, 1, 24)
    of_profile = flow(0, 2, 24, Load(field("reg6"), 0, 32, 16))
    assert [s.ofport for s in Switch([of_profile, one, two, both, below]).run(PING, 1).sent] == [5]
    assert [s.ofport for s in Switch([to_table, one, two, both, below]).run(PING, 1).sent] == [6]
    assert [s.ofport for s in Switch([of_profile, one, two, below]).run(PING, 1).sent] == [6]


def test_good_flows_have_no_fault() -> None:
    assert fault(flow(eth_type=ETH_IPV6, ip_proto=58, icmpv6_type=136, ipv6_nd_tll=1, icmpv6_code=0)) is None
    assert fault(flow(0, 1, 10, eth_type=ETH_IPV4, ip_frag=0, ip_ttl=3)) is None


def test_canonical_packets_and_their_numbers() -> None:
    odd = Packet(eth_src=1, eth_dst=2, eth_type=ETH_IPV4, ipv4_src=3, ipv6_src=4, arp_op=1)
    assert odd.canonical() == connected(Packet(eth_src=1, eth_dst=2, eth_type=ETH_IPV4, ipv4_src=3))
    assert Packet.unpack(PING.pack()) == PING
    for region in PACKETS:
        made = Packet.unpack(region.value)
        assert made.canonical() == made
        assert "eth_src" in present_fields(made)
