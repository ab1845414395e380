"""What we write equals what os-ken's message objects write; what we read back is what we wrote; bad bytes
end.
"""

import struct
import time
from ipaddress import IPv4Address, IPv6Address
from types import SimpleNamespace
from typing import Any

import os_ken.base.app_manager  # noqa: F401  # os_ken.controller cannot be imported before it
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from os_ken.lib import type_desc
from os_ken.ofproto import ofproto_v1_4 as ofp
from os_ken.ofproto import ofproto_v1_4_parser as parser
from os_ken.ofproto import oxm_fields
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

from cloison.addresses import format_mac
from controller.flows import (
    Action,
    CheckPacketLarger,
    Conjunction,
    Ct,
    DecTtl,
    Field,
    Flow,
    Load,
    Match,
    Move,
    Output,
    OutputField,
    Resubmit,
    SetField,
    field,
    match,
)
from controller.flows.delta import FlowDelta, ForeignFlow
from controller.openflow import wire
from controller.openflow.bundle import ApplyExchange
from controller.openflow.decode import (
    FlowUpdate,
    Malformed,
    decode_flow_stats,
    decode_match,
    decode_updates,
    identity,
    iter_flow_stats,
)
from controller.openflow.encode import OVS_ORDER, encode_flow, encode_match
from controller.openflow.exchange import KnownFlows, MonitorExchange, ReadExchange
from controller.openflow.framing import Framer, Message, check_for_os_ken
from tests.support.effort import examples
from tests.support.flow_strategies import flow_lists, flows

# os-ken knows the state of a connection, not its original tuple: numbers of ovs-fields(7).
ofp.oxm_types += [
    oxm_fields.NiciraExtended1(name, number, kind)
    for name, number, kind in (
        ("ct_nw_proto", 119, type_desc.Int1),
        ("ct_nw_src", 120, type_desc.IPv4Addr),
        ("ct_nw_dst", 121, type_desc.IPv4Addr),
        ("ct_ipv6_src", 122, type_desc.IPv6Addr),
        ("ct_ipv6_dst", 123, type_desc.IPv6Addr),
        ("ct_tp_src", 124, type_desc.Int2),
        ("ct_tp_dst", 125, type_desc.Int2),
    )
]
oxm_fields.generate(ofp.__name__)

DATAPATH = ProtocolDesc(ofp.OFP_VERSION)
IPV4_FIELDS = {"ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa", "ct_nw_src", "ct_nw_dst"}
IPV6_FIELDS = {"ipv6_src", "ipv6_dst", "ipv6_nd_target", "ct_ipv6_src", "ct_ipv6_dst"}
MAC_FIELDS = {"eth_src", "eth_dst", "arp_sha", "arp_tha", "ipv6_nd_sll", "ipv6_nd_tll"}
OS_KEN_NAMES = {"ip_ttl": "nw_ttl", "nxm_in_port": "in_port_nxm"}
OS_KEN_NICIRA_NAMES = {"ipv6_nd_target": "nd_target", "ipv6_nd_sll": "nd_sll", "ipv6_nd_tll": "nd_tll"}


def os_ken_value(field: Field, value: int) -> Any:
    if field.name in IPV4_FIELDS:
        return str(IPv4Address(value))
    if field.name in IPV6_FIELDS:
        return str(IPv6Address(value))
    return format_mac(value) if field.name in MAC_FIELDS else value


def os_ken_match(match: Match) -> parser.OFPMatch:
    made = []
    for term in sorted(match, key=lambda t: OVS_ORDER.index(t.field.name)):
        value = os_ken_value(term.field, term.value)
        if term.mask != term.field.all_ones:
            value = (value, os_ken_value(term.field, term.mask))
        made.append((OS_KEN_NAMES.get(term.field.name, term.field.name), value))
    return parser.OFPMatch(_ordered_fields=made)


def os_ken_nicira_name(field: Field) -> str:
    name = (OS_KEN_NICIRA_NAMES | OS_KEN_NAMES).get(field.name, field.name)
    return name if name != field.name or field.name not in wire.NXM_NAMES else f"{name}_nxm"


def os_ken_action(action: Action) -> Any:
    match action:
        case Output(port):
            return parser.OFPActionOutput(port, max_len=0)
        case OutputField(register, start, bits, max_len):
            return parser.NXActionOutputReg(start << 6 | (bits - 1), register.name, max_len)
        case SetField(target, value):
            return parser.OFPActionSetField(**{target.name: os_ken_value(target, value)})
        case Load(target, start, bits, value):
            return parser.NXActionRegLoad(start << 6 | (bits - 1), os_ken_nicira_name(target), value)
        case Move(src, src_start, dst, dst_start, bits):
            names = os_ken_nicira_name(src), os_ken_nicira_name(dst)
            return parser.NXActionRegMove(*names, bits, src_start, dst_start)
        case Ct(commit, (register, start, bits), table):
            zone = os_ken_nicira_name(register), start << 6 | (bits - 1)
            return parser.NXActionCT(int(commit), *zone, 255 if table is None else table, 0, [])
        case Ct(commit, number, table):
            return parser.NXActionCT(int(commit), "", number, 255 if table is None else table, 0, [])
        case Conjunction(number, clause, clauses):
            return parser.NXActionConjunction(clause - 1, clauses, number)
        case DecTtl():
            return parser.OFPActionDecNwTtl()
        case Resubmit(table):
            return parser.NXActionResubmitTable(0xFFF8, table)
        case CheckPacketLarger(length_bytes, register, bit):
            header = 0x0001 << 16 | register.number << 9 | 4
            return OsKenCheckLarger(length_bytes, bit, header)


class OsKenCheckLarger(parser.OFPAction):  # type: ignore[misc]  # os_ken is untyped
    """os-ken has no such action: struct nx_action_check_pkt_larger as ovs-ofctl writes it."""

    def __init__(self, length_bytes: int, bit: int, header: int) -> None:
        self.type, self.len = ofp.OFPAT_EXPERIMENTER, 24
        self._bytes = struct.pack(">HHIHHHI6x", 0xFFFF, 24, 0x2320, 49, length_bytes, bit, header)

    def serialize(self, buffer: bytearray, offset: int) -> None:
        buffer.extend(bytes(max(0, offset - len(buffer))))
        buffer[offset : offset + 24] = self._bytes


def os_ken_instructions(flow: Flow) -> list[Any]:
    instructions: list[Any] = []
    if flow.meter is not None:
        instructions.append(parser.OFPInstructionMeter(flow.meter))
    if flow.actions:
        actions = [os_ken_action(a) for a in flow.actions]
        instructions.append(parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, actions))
    if flow.goto is not None:
        instructions.append(parser.OFPInstructionGotoTable(flow.goto))
    return instructions


def os_ken_flow_mod(flow: Flow) -> Any:
    return parser.OFPFlowMod(
        DATAPATH,
        cookie=flow.cookie,
        table_id=flow.table,
        command=ofp.OFPFC_ADD,
        priority=flow.priority,
        buffer_id=ofp.OFP_NO_BUFFER,
        out_port=ofp.OFPP_ANY,
        out_group=ofp.OFPG_ANY,
        match=os_ken_match(flow.match),
        instructions=os_ken_instructions(flow),
    )


def os_ken_delete(table: int, priority: int, match: Match) -> Any:
    return parser.OFPFlowMod(
        DATAPATH,
        table_id=table,
        command=ofp.OFPFC_DELETE_STRICT,
        priority=priority,
        buffer_id=ofp.OFP_NO_BUFFER,
        out_port=ofp.OFPP_ANY,
        out_group=ofp.OFPG_ANY,
        match=os_ken_match(match),
    )


def serialized(message: Any, xid: int) -> bytes:
    message.set_xid(xid)
    message.serialize()
    return bytes(message.buf)


def os_ken_bundle(messages: list[Any], xid: int) -> bytes:
    flags = ofp.OFPBF_ATOMIC | ofp.OFPBF_ORDERED
    control = parser.OFPBundleCtrlMsg
    out = serialized(control(DATAPATH, xid, ofp.OFPBCT_OPEN_REQUEST, flags, []), xid)
    for n, message in enumerate(messages, xid + 1):
        out += serialized(parser.OFPBundleAddMsg(DATAPATH, xid, flags, message, []), n)
    last = xid + len(messages) + 1
    return out + serialized(control(DATAPATH, xid, ofp.OFPBCT_CLOSE_REQUEST, flags, []), last)


def stats_entry(flow: Flow, packets: int = 0, octets: int = 0) -> bytes:
    """One entry of a flow reply, built by os-ken, as a switch sends it."""
    os_match = os_ken_match(flow.match)
    buffer = bytearray()
    os_match.serialize(buffer, 0)
    for instruction in os_ken_instructions(flow):
        instruction.serialize(buffer, len(buffer))
    fixed = (48 + len(buffer), flow.table, 7, 8, flow.priority, 0, 0, 0, 0, flow.cookie, packets, octets)
    return struct.pack(">HBxIIHHHHHxxQQQ", *fixed) + bytes(buffer)


@pytest.mark.slow
@given(flow_lists(8), st.integers(1, 1 << 30))
def test_bundle_equals_os_ken(wanted: list[Flow], xid: int) -> None:
    delta = FlowDelta(add=tuple(wanted[1:]), modify=tuple(wanted[:1]), delete=tuple(f.key for f in wanted))
    expected = [os_ken_delete(*flow.key) for flow in wanted]
    expected += [os_ken_flow_mod(flow) for flow in (*wanted[1:], *wanted[:1])]
    assert b"".join(ApplyExchange(delta, KnownFlows()).start(xid)) == os_ken_bundle(expected, xid)


def test_requests_equal_os_ken() -> None:
    everything = parser.OFPMatch()
    read = parser.OFPFlowStatsRequest(DATAPATH, 0, 7, ofp.OFPP_ANY, ofp.OFPG_ANY, 5, 0xFF, everything)
    ours = ReadExchange(KnownFlows(), table=7, cookie=5, cookie_mask=0xFF)
    assert b"".join(ours.start(9)) == serialized(read, 9)
    flags = ofp.OFPFMF_ADD | ofp.OFPFMF_REMOVED | ofp.OFPFMF_MODIFY
    arguments = (0, 1, ofp.OFPP_ANY, ofp.OFPG_ANY, flags, ofp.OFPTT_ALL, ofp.OFPFMC_ADD, everything)
    monitor = parser.OFPFlowMonitorRequest(DATAPATH, *arguments)
    barrier = parser.OFPBarrierRequest(DATAPATH)
    assert b"".join(MonitorExchange().start(9)) == serialized(monitor, 9) + serialized(barrier, 10)


@pytest.mark.slow
@given(flow_lists(8), st.integers(0, (1 << 64) - 1))
def test_what_a_switch_shows_is_read_as_it_was_written(wanted: list[Flow], packets: int) -> None:
    body = b"".join(stats_entry(flow, packets, 5) for flow in wanted)
    read = decode_flow_stats(body)
    assert [(entry.flow, entry.packets, entry.bytes) for entry in read] == [(f, packets, 5) for f in wanted]
    # The bytes are those that were sent, so the flow would be known without decoding.
    assert [name for name, _, _ in iter_flow_stats(body)] == [identity(f, encode_flow(f)) for f in wanted]


@pytest.mark.slow
@given(flows())
def test_prerequisites_stand_before_the_fields_that_need_them(flow: Flow) -> None:
    raw = encode_match(flow.match)
    order, at, end = [], 4, int.from_bytes(raw[2:4])
    while at < end:
        order.append(int.from_bytes(raw[at : at + 4]) >> 9)
        at += 4 + raw[at + 3]
    rank = {number: place for place, number in enumerate(order)}
    names = {t.field.oxm_class << 7 | t.field.number: t.field.name for t in flow.match}
    for number, name in names.items():
        if name not in ("eth_type", "ip_proto") and name.startswith(("ip", "tcp", "udp", "icmp", "arp")):
            needs = [n for n, other in names.items() if other in ("eth_type", "ip_proto") and name != other]
            needs = [n for n in needs if names[n] == "eth_type" or name.startswith(("tcp", "udp", "icmp"))]
            assert all(rank[n] < rank[number] for n in needs)


def test_a_foreign_match_can_be_deleted_by_its_bytes() -> None:
    raw = bytes.fromhex("0001000a80000a0288470000 00000000")  # eth_type of MPLS, then mpls_label
    foreign = ForeignFlow(3, 5, 0, raw)
    sent = b"".join(ApplyExchange(FlowDelta(purge=(foreign,)), KnownFlows()).start(1))
    assert raw in sent
    assert bytes((3, ofp.OFPFC_DELETE_STRICT)) in sent


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b[:14] + b"\x00\x09" + b[16:],  # an idle timeout
        lambda b: b[:18] + b"\x00\x01" + b[20:],  # a flag
        lambda b: b.replace(bytes.fromhex("80000a020800"), bytes.fromhex("800012020800")),  # another field
        lambda b: b.replace(bytes.fromhex("00002320000f"), bytes.fromhex("000023200024")),  # another action
    ],
)
def test_what_is_not_our_language_is_foreign(change: Any) -> None:
    actions = (OutputField(field("reg0"), 0, 16),)
    flow = Flow(table=1, priority=2, cookie=3, match=match(eth_type=0x800), actions=actions)
    (entry,) = decode_flow_stats(change(stats_entry(flow)))
    assert isinstance(entry.flow, ForeignFlow)
    assert (entry.flow.table, entry.flow.priority, entry.flow.cookie) == (1, 2, 3)


@pytest.mark.slow
@given(flows(), st.data())
def test_damaged_replies_end_at_once(flow: Flow, data: st.DataObject) -> None:
    body = bytearray(stats_entry(flow) * 2)
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))]
    for read in (decode_flow_stats, decode_updates):
        try:
            read(bytes(body))
        except Malformed:
            pass


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for read in (decode_flow_stats, decode_updates):
        try:
            read(raw)
        except Malformed:
            pass


def test_monitor_events() -> None:
    flow = Flow(table=4, priority=9, match=match(in_port=5))
    head = struct.pack(">HHBBHHH4xQ", 24 + 16, ofp.OFPFME_REMOVED, 4, 0, 0, 0, 9, 0)
    abbreviated = struct.pack(">HHI", 8, ofp.OFPFME_ABBREV, 77)
    updates = decode_updates(head + encode_match(flow.match) + abbreviated)
    assert updates == [FlowUpdate(2, flow.key), FlowUpdate(4, None)]
    assert decode_match(encode_match(flow.match)) == flow.match


# Framing


def hello(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return wire.HEADER.pack(wire.VERSION, wire.HELLO, 8 + len(body), 1) + body


VERSIONS = struct.pack(">HHI", 1, 8, 1 << wire.VERSION)


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 50))
def test_messages_come_out_whole_however_they_come_in(bodies: list[bytes], step: int) -> None:
    stream = b"".join(wire.HEADER.pack(5, 2, 8 + len(b), n) + b for n, b in enumerate(bodies))
    framer = Framer()
    pieces = [stream[i : i + step] for i in range(0, len(stream), step)]
    messages = [message for piece in pieces for message in framer.feed(piece)]
    assert [(m.xid, m.body) for m in messages] == list(enumerate(bodies))


@pytest.mark.parametrize(
    "evil",
    [
        hello(struct.pack(">HHI", 0, 0, 0)),  # an element of length 0: os-ken never ends
        hello(struct.pack(">HHI", 1, 0, 0)),
        hello(struct.pack(">HHI", 1, 4, 0)),
        hello(struct.pack(">HHI", 1, 16, 0)),
        hello(VERSIONS, b"\x00\x01"),
        hello(struct.pack(">HH8x", 1, 12)),
        struct.pack(">BBHI", 5, 0, 7, 0),  # shorter than its header
        struct.pack(">BBHI", 5, 0, 0, 0),
        struct.pack(">BBHI", 4, 2, 8, 0),  # OpenFlow 1.3
        struct.pack(">BBHI", 5, 6, 8, 0),  # a features reply without features
        struct.pack(">BBHI", 5, 10, 8, 0),  # a packet-in before the handshake
        struct.pack(">BBHI", 5, 19, 16, 0) + bytes(8),
    ],
)
def test_evil_bytes_are_refused_at_once(evil: bytes) -> None:
    began = time.process_time()
    with pytest.raises(Malformed):
        for message in Framer().feed(evil):
            check_for_os_ken(message)
    assert time.process_time() - began < 0.1


@settings(max_examples=examples(300))
@given(st.binary(max_size=64))
def test_what_passes_the_check_os_ken_can_parse(raw: bytes) -> None:
    """Whatever body a hello has: if we let it through, os-ken's parser ends, and quickly."""
    message = Message(5, wire.HELLO, 1, hello(raw))
    try:
        check_for_os_ken(message)
    except Malformed:
        return
    began = time.process_time()
    try:
        parser.OFPHello.parser(SimpleNamespace(), 5, 0, len(message.data), 1, bytearray(message.data))
    except (struct.error, AssertionError):
        pass  # an exception is caught by os-ken and by the session
    assert time.process_time() - began < 0.1


def test_a_good_hello_passes() -> None:
    check_for_os_ken(Message(5, wire.HELLO, 1, hello(VERSIONS)))
