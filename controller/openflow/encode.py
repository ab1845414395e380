"""Flow -> bytes of OpenFlow 1.4. Pure, and fast: one look-up of a template and a few shifts a flow.

Owns how a flow looks on the wire. Must never send, wait or build message objects. Equal flows give equal
bytes, and terms are written in the order in which Open vSwitch itself writes them (`OVS_ORDER`): every
prerequisite then stands before the field that needs it (OpenFlow 1.4.1, 7.2.3.6), and a table read back can
be compared byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from controller.flows import (
    FIELDS,
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
)
from controller.flows.fields import REGISTER_COUNT
from controller.openflow import wire

# lib/nx-match.c of OVS, nx_put_raw(): the order of the terms in what the switch sends. Property-tested
# against OVS.
OVS_ORDER = (
    "conj_id",
    "in_port",
    "eth_src",
    "eth_dst",
    "eth_type",
    "vlan_vid",
    "ipv4_src",
    "ipv4_dst",
    "ipv6_src",
    "ipv6_dst",
    "ip_frag",
    "ip_ttl",
    "ip_proto",
    "tcp_src",
    "tcp_dst",
    "udp_src",
    "udp_dst",
    "icmpv4_type",
    "icmpv4_code",
    "icmpv6_type",
    "icmpv6_code",
    "ipv6_nd_target",
    "ipv6_nd_sll",
    "ipv6_nd_tll",
    "arp_op",
    "arp_spa",
    "arp_tpa",
    "arp_sha",
    "arp_tha",
    "tunnel_id",
    *(f"reg{n}" for n in range(REGISTER_COUNT)),
    "ct_state",
    "ct_zone",
    "ct_nw_src",
    "ct_nw_dst",
    "ct_ipv6_src",
    "ct_ipv6_dst",
    "ct_nw_proto",
    "ct_tp_src",
    "ct_tp_dst",
    "metadata",
)
_RANK = {name: rank for rank, name in enumerate(OVS_ORDER)}
TEMPLATES_MAX = 4096


def oxm_header(field: Field, *, masked: bool = False) -> int:
    """The 32-bit header of a field (7.2.3.2): class, number, mask bit, bytes of the payload."""
    length = field.length * 2 if masked else field.length
    return field.oxm_class << 16 | field.number << 9 | masked << 8 | length


def nicira_header(field: Field) -> int:
    """The header of a field in a Nicira action: its older NXM name where it has one, as OVS writes it."""
    if field.name not in wire.NXM_NAMES:
        return oxm_header(field)
    nxm_class, number = wire.NXM_NAMES[field.name]
    return nxm_class << 16 | number << 9 | field.length


_HEADERS = {field.name: oxm_header(field) for field in FIELDS.values()}
_NICIRA_HEADERS = {field.name: nicira_header(field) for field in FIELDS.values()}


class _Template(NamedTuple):
    """An encoded match with holes: constant | value << shift, for each value in the order of the match's
    terms.
    """

    constant: int
    shifts: tuple[int, ...]
    size: int
    fields: tuple[Field, ...]  # kept alive: the templates are found by the identity of these objects


def _template(fields: tuple[Field, ...], masks: tuple[int, ...]) -> _Template:
    terms = sorted(range(len(fields)), key=lambda i: _RANK[fields[i].name])
    exact = [mask == field.all_ones for field, mask in zip(fields, masks, strict=True)]
    length = 4 + sum(4 + fields[i].length * (1 if exact[i] else 2) for i in terms)
    size = (length + 7) // 8 * 8
    at = 8 * (size - 4)  # bits still to the right
    constant = (wire.MATCH_OXM << 16 | length) << at
    shifts = [0] * len(fields)
    for i in terms:
        at -= 32
        constant |= oxm_header(fields[i], masked=not exact[i]) << at
        at -= 8 * fields[i].length
        shifts[i] = at
        if not exact[i]:
            at -= 8 * fields[i].length
            constant |= masks[i] << at
    return _Template(constant, tuple(shifts), size, fields)


_templates: dict[tuple[tuple[int, ...], tuple[int, ...]], _Template] = {}


def encode_match(match: Match) -> bytes:
    """ofp_match with its padding (7.2.3.1)."""
    if not match:
        return wire.EMPTY_MATCH
    fields, values, masks = zip(*match, strict=True)
    key = tuple(map(id, fields)), masks
    template = _templates.get(key)
    if template is None:
        if len(_templates) >= TEMPLATES_MAX:  # masks are chosen by tenants: no unbounded memory
            _templates.clear()
        template = _templates[key] = _template(fields, masks)
    return sum(map(int.__lshift__, values, template.shifts), template.constant).to_bytes(template.size)


def _head(subtype: int, size: int) -> bytes:
    """What never changes of a Nicira action: bytes, as packing is where the time goes."""
    return wire.NICIRA_HEAD.pack(wire.ACTION_EXPERIMENTER, size, wire.NICIRA, subtype)


_OUTPUT_HEAD = wire.TYPE_LENGTH.pack(wire.ACTION_OUTPUT, wire.OUTPUT_ACTION.size)
_OUTPUT_REG_HEAD = _head(wire.NXAST_OUTPUT_REG, wire.OUTPUT_REG.size)
_LOAD_HEAD = _head(wire.NXAST_REG_LOAD, wire.REG_LOAD.size)
_MOVE_HEAD = _head(wire.NXAST_REG_MOVE, wire.REG_MOVE.size)
_CT_HEAD = _head(wire.NXAST_CT, wire.CT.size)
_CONJUNCTION_HEAD = _head(wire.NXAST_CONJUNCTION, wire.CONJUNCTION.size)
_CHECK_LARGER_HEAD = _head(wire.NXAST_CHECK_PKT_LARGER, wire.CHECK_LARGER.size)
_RESUBMIT_HEAD = _head(wire.NXAST_RESUBMIT_TABLE, wire.RESUBMIT.size)


def _output(action: Output) -> bytes:
    return wire.OUTPUT_ACTION.pack(_OUTPUT_HEAD, action.port, 0)


def _output_field(action: OutputField) -> bytes:
    where, header = action.start << 6 | (action.bits - 1), _NICIRA_HEADERS[action.field.name]
    return wire.OUTPUT_REG.pack(_OUTPUT_REG_HEAD, where, header, action.max_len)


def _set_field(action: SetField) -> bytes:
    field = action.field
    size = (8 + field.length + 7) // 8 * 8
    head = (wire.ACTION_SET_FIELD << 16 | size) << 32 | _HEADERS[field.name]
    return (head << 8 * (size - 8) | action.value << 8 * (size - 8 - field.length)).to_bytes(size)


def _load(action: Load) -> bytes:
    where, header = action.start << 6 | (action.bits - 1), _NICIRA_HEADERS[action.field.name]
    return wire.REG_LOAD.pack(_LOAD_HEAD, where, header, action.value)


def _move(action: Move) -> bytes:
    src, dst = _NICIRA_HEADERS[action.src.name], _NICIRA_HEADERS[action.dst.name]
    return wire.REG_MOVE.pack(_MOVE_HEAD, action.bits, action.src_start, action.dst_start, src, dst)


def _ct(action: Ct) -> bytes:
    flags = wire.CT_COMMIT if action.commit else 0
    table = wire.ALL_TABLES if action.table is None else action.table
    header, zone = 0, action.zone
    if isinstance(zone, tuple):
        field, start, bits = zone
        header, zone = _NICIRA_HEADERS[field.name], start << 6 | (bits - 1)
    return wire.CT.pack(_CT_HEAD, flags, header, zone, table, 0)


def _conjunction(action: Conjunction) -> bytes:
    return wire.CONJUNCTION.pack(_CONJUNCTION_HEAD, action.clause - 1, action.clauses, action.id)


def _check_larger(action: CheckPacketLarger) -> bytes:
    header = _NICIRA_HEADERS[action.field.name]
    return wire.CHECK_LARGER.pack(_CHECK_LARGER_HEAD, action.length_bytes, action.bit, header)


def _dec_ttl(_: DecTtl) -> bytes:
    return wire.DEC_TTL.pack(wire.ACTION_DEC_NW_TTL, wire.DEC_TTL.size)


def _resubmit(action: Resubmit) -> bytes:
    return wire.RESUBMIT.pack(_RESUBMIT_HEAD, wire.PORT_IN_PORT, action.table)


_ENCODERS: dict[type, Callable[..., bytes]] = {
    Output: _output,
    OutputField: _output_field,
    SetField: _set_field,
    Load: _load,
    Move: _move,
    Ct: _ct,
    Conjunction: _conjunction,
    CheckPacketLarger: _check_larger,
    DecTtl: _dec_ttl,
    Resubmit: _resubmit,
}


def encode_actions(actions: Iterable[Action]) -> bytes:
    """The action list, each action padded to 8 bytes (7.2.4)."""
    return b"".join([_ENCODERS[type(action)](action) for action in actions])


_GOTO = tuple(wire.GOTO_TABLE.pack(wire.INSTRUCTION_GOTO_TABLE, 8, table) for table in range(256))


def encode_instructions(flow: Flow) -> bytes:
    """Meter, apply-actions, goto-table (7.2.4); nothing at all for a flow that drops."""
    encoded = (
        b"" if flow.meter is None else wire.METER.pack(wire.INSTRUCTION_METER, wire.METER.size, flow.meter)
    )
    if flow.actions:
        actions = encode_actions(flow.actions)
        encoded += wire.INSTRUCTION_ACTIONS.pack(wire.INSTRUCTION_APPLY_ACTIONS, 8 + len(actions)) + actions
    return encoded if flow.goto is None else encoded + _GOTO[flow.goto]


def encode_flow(flow: Flow) -> bytes:
    """Match and instructions: all of a flow that has no fixed size."""
    return encode_match(flow.match) + encode_instructions(flow)
