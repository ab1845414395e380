"""What is asked of ofproto/trace, and what its answers (of Open vSwitch 3.1, shortened) are taken to say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloison.addresses import parse_mac
from cloison.names import HostName
from controller.api.switch_trace import questions, same_outputs
from controller.flows import CT_STATE, Ct, Flow, ct_state, match
from controller.verify.packet import Packet, replied
from controller.verify.path import Hop
from controller.verify.switch import Run, Sent

GUEST, PEER = parse_mac("02:ce:29:ff:b1:b3"), parse_mac("02:3f:aa:ed:53:fe")
WIRE, PROFILE = parse_mac("0a:f0:0a:00:00:50"), parse_mac("0a:f4:00:a7:60:fc")
TO_SERVICE = parse_mac("0a:f3:15:6a:d7:4f")
PACKET = Packet(
    eth_src=GUEST, eth_dst=PEER, eth_type=0x0800, ipv4_src=0x0A00000A, ipv4_dst=0x0A000050,
    ip_proto=6, ip_ttl=64, tcp_src=50000, tcp_dst=80,
).canonical()  # fmt: skip
TUNNEL, SERVICE, LOCAL = 3, 1, 4

LOOK_UP = Flow(table=8, priority=100, match=match(eth_type=0x0800), actions=(Ct(table=9),))
COMMIT = Flow(
    table=9,
    priority=200,
    match=match(ct_state=ct_state("+new+trk-inv"), eth_type=0x0800),
    actions=(Ct(commit=True),),
    goto=10,
)
PASS = Flow(table=9, priority=100, match=match(ct_state=ct_state("+trk-inv")), goto=10)
LOOK_UP_THERE = Flow(table=22, priority=100, match=match(eth_type=0x0800), actions=(Ct(table=23),))

ENTERS = "Flow: tcp,in_port=2,vlan_tci=0x0000,dl_src=02:ce:29:ff:b1:b3,dl_dst=02:3f:aa:ed:53:fe,nw_ttl=64\n"
RECIRC = f"\n{'=' * 79}\nrecirc(0x5) - resume conntrack with ct_state=new|trk\n{'=' * 79}\n\n"
FIRST = f"""{ENTERS}
bridge("br-int")
----------------
 8. ip, priority 100, cookie 0x1000000000000000
    ct(table=9,zone=NXM_OF_IN_PORT[])
    drop
     -> A clone of the packet is forked to recirculate. The forked pipeline will be resumed at table 9.

Final flow: unchanged
Megaflow: recirc_id=0,eth,tcp,in_port=2
Datapath actions: ct(zone=2),recirc(0x5)
"""
OVERLAY = f"""{FIRST}{RECIRC}{ENTERS}
27. ip, priority 100, cookie 0x1000000000000000
    check_pkt_larger(1464)->NXM_NX_REG3[3]
    goto_table:29
    29. reg3=0x8/0x8, priority 200, cookie 0x1000000000000000
            goto_table:31
        31. reg1=0x156ad74f, priority 100, cookie 0x3ea6ec156ad74f00
            meter:2
            goto_table:32
        32. priority 100, cookie 0x1000000000000000
             -> NXM_OF_ETH_DST[0..31] is now 0x156ad74f
            output:1
    goto_table:29
29. priority 100, cookie 0x1000000000000000
    goto_table:30
30. priority 10, cookie 0x1000000000000000
    output:NXM_NX_REG2[0..15]
     -> output port is 3

Final flow: recirc_id=0x5,eth,tcp,dl_src=02:ce:29:ff:b1:b3,dl_dst=0a:f0:0a:00:00:50,nw_ttl=64
Datapath actions: ct(commit,zone=2),set(eth(dst=0a:f0:0a:00:00:50)),check_pkt_len(size=1464,\
gt(meter(0),set(eth(dst=0a:f3:15:6a:d7:4f)),2),le(set(eth(src=0a:f4:00:a7:60:fc)),4))
"""


def hop(packet: Packet, flows: tuple[Flow, ...], *sent: Sent) -> Hop:
    return Hop(HostName("h1"), 2, packet, Run(sent, flows))


def leaves(ofport: int, source: int, target: int, packet: Packet = PACKET) -> Sent:
    return Sent(ofport, replace(packet, eth_src=source, eth_dst=target))


def test_the_tuple_and_what_tracking_finds_are_told() -> None:
    (asked,) = questions(hop(PACKET, (LOOK_UP, COMMIT)))
    flow, *states = asked.split(" ")
    assert flow.startswith("in_port=2,dl_src=02:ce:29:ff:b1:b3,")
    assert flow.endswith(
        "tcp_src=50000,tcp_dst=80,ct_state=new|trk,ct_nw_src=10.0.0.10,ct_nw_dst=10.0.0.80,ct_nw_proto=6,"
        "ct_tp_src=50000,ct_tp_dst=80"
    )
    assert states == ["--ct-next", "new,trk"]


def test_a_reply_is_told_with_the_tuple_of_what_it_answers() -> None:
    (asked,) = questions(hop(replied(PACKET), (LOOK_UP, PASS, LOOK_UP_THERE)))
    assert "ct_state=est|rpl|trk,ct_nw_src=10.0.0.80,ct_nw_dst=10.0.0.10" in asked
    assert asked.endswith(" --ct-next est,rpl,trk --ct-next est,rpl,trk")


def test_what_is_committed_and_looked_up_again_is_asked_twice() -> None:
    first, second = questions(hop(PACKET, (LOOK_UP, COMMIT, LOOK_UP_THERE)))
    assert first.endswith(" --ct-next new,trk --ct-next new,trk")
    assert second.endswith(" --ct-next est,trk --ct-next new,trk")


def test_what_is_invalid_has_no_tuple_and_what_is_no_ip_no_connection() -> None:
    invalid = replace(
        PACKET, ct_state=CT_STATE["inv"] | CT_STATE["trk"], ct_nw_src=0, ct_nw_dst=0, ct_nw_proto=0
    )
    (asked,) = questions(hop(invalid, (LOOK_UP,)))
    assert asked.endswith("ct_state=inv|trk --ct-next inv,trk")
    (asked,) = questions(hop(Packet(eth_src=GUEST, eth_dst=PEER, eth_type=0x88CC), ()))
    assert asked == "in_port=2,dl_src=02:ce:29:ff:b1:b3,dl_dst=02:3f:aa:ed:53:fe,dl_type=0x88cc"


def test_of_two_branches_the_packets_own_counts() -> None:
    long = replace(PACKET, oversize=1)
    tunnel, service = leaves(TUNNEL, PROFILE, WIRE), leaves(SERVICE, GUEST, TO_SERVICE, long)
    flows = (LOOK_UP, COMMIT)
    assert same_outputs(hop(PACKET, flows, tunnel), [OVERLAY])
    assert same_outputs(hop(long, flows, service), [OVERLAY])
    assert not same_outputs(hop(PACKET, flows, service), [OVERLAY])
    assert not same_outputs(hop(long, flows, tunnel), [OVERLAY])
    assert not same_outputs(hop(PACKET, flows), [OVERLAY])


@pytest.mark.parametrize(
    "sent",
    [
        leaves(LOCAL, PROFILE, WIRE),
        leaves(TUNNEL, GUEST, WIRE),
        leaves(TUNNEL, PROFILE, PEER),
    ],
)
def test_port_and_both_macs_must_be_the_same(sent: Sent) -> None:
    assert not same_outputs(hop(PACKET, (LOOK_UP, COMMIT), sent), [OVERLAY])


def test_of_a_packet_asked_twice_the_last_answer_counts_and_the_first_gets_as_far() -> None:
    flows = (LOOK_UP, COMMIT, LOOK_UP_THERE)
    drop = f"{RECIRC}{ENTERS}\nDatapath actions: drop\n"
    again = f"{RECIRC}{ENTERS}\nDatapath actions: ct(zone=4),recirc(0x7)\n"
    actions = "Datapath actions: set(eth(src=0a:f4:00:a7:60:fc)),5\n"
    out = f"{RECIRC}{ENTERS}30. priority 10\n     -> output port is 4\n\n{actions}"
    delivered = hop(PACKET, flows, leaves(LOCAL, PROFILE, PEER))
    assert same_outputs(delivered, [FIRST + again + drop, FIRST + again + out])
    assert not same_outputs(delivered, [FIRST + again + drop, FIRST + again + drop])
    assert not same_outputs(delivered, [FIRST + drop, FIRST + again + out])


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Datapath actions: drop\n",
        f"{ENTERS}Datapath actions: drop\n",
        f"{ENTERS}    output:3\nDatapath actions: push_vlan(vid=7),4\n",
        f"{ENTERS}    output:3\nDatapath actions: set(ipv4(ttl=1)),4\n",
        f"{ENTERS}    output:3\n    output:3\nDatapath actions: 4,4\n",
        f"{ENTERS}    output:3\nDatapath actions: 4,5\n",
        f"{ENTERS}    output:3\n     >> skipping output to input port\nDatapath actions: drop\n",
    ],
)
def test_what_is_not_the_same_or_not_understood_does_not_agree(answer: str) -> None:
    assert not same_outputs(hop(PACKET, (), leaves(TUNNEL, GUEST, PEER)), [answer])
    assert same_outputs(
        hop(PACKET, (), leaves(TUNNEL, GUEST, PEER)), [f"{ENTERS}    output:3\n\nDatapath actions: 4\n"]
    )


def test_a_packet_that_nobody_gets_is_dropped_by_the_switch_too() -> None:
    assert same_outputs(hop(PACKET, ()), [f"{ENTERS}Final flow: unchanged\nDatapath actions: drop\n"])
    back = f"{ENTERS}    output:2\n     >> skipping output to input port\nDatapath actions: drop\n"
    assert same_outputs(hop(PACKET, ()), [back])
