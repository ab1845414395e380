"""The concrete switch and the grammar of flows: each rule once."""

from __future__ import annotations

import pytest

from controller.flows import Flow, Load, Move, Output, OutputField, SetField, field, match
from controller.verify.grammar import Refused, fault
from controller.verify.packet import ETH_IPV4, ETH_IPV6, Packet, present_fields
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


def test_good_flows_have_no_fault() -> None:
    assert fault(flow(eth_type=ETH_IPV6, ip_proto=58, icmpv6_type=136, ipv6_nd_tll=1, icmpv6_code=0)) is None
    assert fault(flow(0, 1, 10, eth_type=ETH_IPV4, ip_frag=0, ip_ttl=3)) is None


def test_canonical_packets_and_their_numbers() -> None:
    odd = Packet(eth_src=1, eth_dst=2, eth_type=ETH_IPV4, ipv4_src=3, ipv6_src=4, arp_op=1)
    assert odd.canonical() == Packet(eth_src=1, eth_dst=2, eth_type=ETH_IPV4, ipv4_src=3)
    assert Packet.unpack(PING.pack()) == PING
    for region in PACKETS:
        made = Packet.unpack(region.value)
        assert made.canonical() == made
        assert "eth_src" in present_fields(made)
