"""Bytes that a switch sends -> flows, errors, monitor events. Pure.

Trusts no length: a malformed message raises Malformed, and no input makes a loop without progress. A flow in
words we don't speak is not malformed but foreign (ForeignFlow). Flows whose bytes are known are not decoded
again (`known`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from struct import Struct
from struct import error as StructError
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
    FlowKey,
    Load,
    Match,
    MatchTerm,
    Move,
    Output,
    OutputField,
    Resubmit,
    SetField,
)
from controller.flows.delta import ForeignFlow
from controller.openflow import wire
from controller.openflow.encode import nicira_header, oxm_header


class Malformed(ValueError):
    """The bytes are no valid OpenFlow 1.4: the peer is broken or hostile, and the session must end."""


class Foreign(ValueError):
    """Valid, but outside the language of controller.flows."""


class FlowStats(NamedTuple):
    """One entry of a flow table as read. flow is a ForeignFlow if it can't be ours."""

    flow: Flow | ForeignFlow
    packets: int
    bytes: int


class SwitchError(NamedTuple):
    """The body of an OFPT_ERROR (7.5.4): type, code, and the beginning of the message it is about."""

    type: int
    code: int
    data: bytes


class FlowUpdate(NamedTuple):
    """One event of a flow monitor; key is None if it is abbreviated, or the match foreign."""

    event: int
    key: FlowKey | None


# What makes two flows the same flow in the same state: table, and the fixed fields from priority to cookie.
_IDENTITY = Struct(">BHHHHH2xQ")
_FIELD_OF_HEADER = {oxm_header(f): f for f in FIELDS.values()} | {
    nicira_header(f): f for f in FIELDS.values()
}
_MASKED_FIELD_OF_HEADER = {oxm_header(f, masked=True): f for f in FIELDS.values()}


def identity(flow: Flow, encoded: bytes) -> bytes:
    """The bytes by which a flow is known again when it is read, if the switch keeps it as it was sent.

    encoded is encode_flow(flow).
    """
    return _IDENTITY.pack(flow.table, flow.priority, 0, 0, 0, 0, flow.cookie) + encoded


def iter_flow_stats(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The entries of one OFPMP_FLOW reply (7.3.5.2): identity, packets, bytes; nothing is decoded yet.

    body is what follows the multipart header. Raises Malformed.
    """
    at, end, fixed = 0, len(body), wire.FLOW_STATS.size
    while at < end:
        if end - at < fixed + len(wire.EMPTY_MATCH):
            raise Malformed("a flow entry is cut off")
        length, packets, octets = wire.FLOW_STATS.unpack_from(body, at)
        if length < fixed + len(wire.EMPTY_MATCH) or length > end - at:
            raise Malformed(f"a flow entry of {length} bytes where {end - at} are left")
        # Table, and all from priority to cookie; not the age, nor the counters.
        yield (
            body[at + 2 : at + 3] + body[at + 12 : at + 32] + body[at + fixed : at + length],
            packets,
            octets,
        )
        at += length


def decode_flow_stats(body: bytes) -> list[FlowStats]:
    """The entries of one OFPMP_FLOW reply, decoded; raises Malformed."""
    return [
        FlowStats(decode_identity(name), packets, octets) for name, packets, octets in iter_flow_stats(body)
    ]


def decode_identity(name: bytes) -> Flow | ForeignFlow:
    """The flow of an identity, by full decoding; raises Malformed."""
    table, priority, idle_s, hard_s, flags, importance, cookie = _IDENTITY.unpack_from(name)
    match_size = padded_match_size(name, _IDENTITY.size)
    raw_match = name[_IDENTITY.size : _IDENTITY.size + match_size]
    try:
        if idle_s or hard_s or flags or importance:
            raise Foreign("a timeout, flag or importance")
        meter, actions, goto = decode_instructions(name[_IDENTITY.size + match_size :])
        match = decode_match(raw_match)
    except Foreign:
        return ForeignFlow(table, priority, cookie, raw_match)
    return Flow(
        table=table,
        priority=priority,
        match=match,
        actions=actions,
        goto=goto,
        cookie=cookie,
        meter=meter,
    )


def padded_match_size(data: bytes, at: int = 0) -> int:
    """Bytes that the ofp_match at this place takes, padding included."""
    if len(data) - at < 4:
        raise Malformed("no match")
    kind, length = wire.TYPE_LENGTH.unpack_from(data, at)
    size: int = (length + 7) // 8 * 8
    if kind != wire.MATCH_OXM or length < 4 or size > len(data) - at:
        raise Malformed(f"a match of type {kind} and {length} bytes")
    return size


def decode_match(raw: bytes) -> Match:
    """ofp_match -> Match; raises Malformed, or Foreign for fields the project does not use."""
    length = wire.TYPE_LENGTH.unpack_from(raw)[1]
    at, terms = 4, []
    while at < length:
        header = int.from_bytes(raw[at : at + 4])
        size = header & 0xFF
        if at + 4 + size > length:
            raise Malformed("a match field is cut off")
        field = _FIELD_OF_HEADER.get(header)
        if field is not None:
            value, mask = int.from_bytes(raw[at + 4 : at + 4 + size]), field.all_ones
        else:
            field = _MASKED_FIELD_OF_HEADER.get(header)
            if field is None:
                raise Foreign(f"match field {header:#010x}")
            middle = at + 4 + field.length
            value, mask = int.from_bytes(raw[at + 4 : middle]), int.from_bytes(raw[middle : at + 4 + size])
        terms.append(MatchTerm(field, value, mask))
        at += 4 + size
    return tuple(sorted(terms, key=_match_order))


def _match_order(term: MatchTerm) -> tuple[int, int]:
    return term.field.oxm_class, term.field.number


# The flows of one port come one after the other, and most do the same.
@lru_cache(maxsize=1024)
def decode_instructions(raw: bytes) -> tuple[int | None, tuple[Action, ...], int | None]:
    """Instructions -> meter, actions and next table; raises Malformed, or Foreign."""
    actions: tuple[Action, ...] = ()
    meter: int | None = None
    goto: int | None = None
    for kind, part in _type_length_values(raw, 8):
        if kind == wire.INSTRUCTION_APPLY_ACTIONS:
            actions = tuple(_decode_action(k, a) for k, a in _type_length_values(part[8:], 8))
        elif kind == wire.INSTRUCTION_GOTO_TABLE:
            goto = part[4]
        elif kind == wire.INSTRUCTION_METER:
            meter = int.from_bytes(part[4:8])
        else:
            raise Foreign(f"instruction {kind}")
    return meter, actions, goto


def _type_length_values(raw: bytes, size_min: int) -> Iterator[tuple[int, bytes]]:
    at, end = 0, len(raw)
    while at < end:
        if end - at < size_min:
            raise Malformed("a part is cut off")
        kind, length = wire.TYPE_LENGTH.unpack_from(raw, at)
        if length < size_min or length % 8 or length > end - at:
            raise Malformed(f"a part of type {kind} and {length} bytes where {end - at} are left")
        yield kind, raw[at : at + length]
        at += length


def _field(header: int) -> Field:
    field = _FIELD_OF_HEADER.get(header)
    if field is None:
        raise Foreign(f"field {header:#010x}")
    return field


def _decode_action(kind: int, raw: bytes) -> Action:
    try:
        if kind == wire.ACTION_OUTPUT:
            return _decode_output(raw)
        if kind == wire.ACTION_SET_FIELD:
            field = _field(int.from_bytes(raw[4:8]))
            return SetField(field, int.from_bytes(raw[8 : 8 + field.length]))
        if kind == wire.ACTION_EXPERIMENTER:
            return _decode_nicira(raw)
        if kind == wire.ACTION_DEC_NW_TTL:
            wire.DEC_TTL.unpack(raw)
            return DecTtl()
    except StructError as error:
        raise Malformed(f"an action of type {kind} is cut off") from error
    raise Foreign(f"action {kind}")


def _decode_output(raw: bytes) -> Action:
    port = wire.OUTPUT_ACTION.unpack(raw)[1]
    if port >= wire.PORT_MAX:
        raise Foreign(f"output to the reserved port {port:#x}")
    return Output(port)


def _decode_nicira(raw: bytes) -> Action:
    vendor, subtype = int.from_bytes(raw[4:8]), int.from_bytes(raw[8:10])
    decode = _NICIRA_DECODERS.get(subtype)
    if vendor != wire.NICIRA or decode is None:
        raise Foreign(f"action {subtype} of vendor {vendor:#x}")
    try:
        return decode(raw)
    except (Malformed, Foreign):
        raise
    except ValueError as error:  # the action's own limits
        raise Malformed(f"action {subtype}: {error}") from error


def _decode_load(raw: bytes) -> Action:
    _, where, header, value = wire.REG_LOAD.unpack(raw)
    return Load(_field(header), where >> 6, (where & 0x3F) + 1, value)


def _decode_move(raw: bytes) -> Action:
    _, bits, src_start, dst_start, src, dst = wire.REG_MOVE.unpack(raw)
    return Move(_field(src), src_start, _field(dst), dst_start, bits)


def _decode_output_reg(raw: bytes) -> Action:
    _, where, header, length_max = wire.OUTPUT_REG.unpack(raw)
    return OutputField(_field(header), where >> 6, (where & 0x3F) + 1, length_max)


def _decode_ct(raw: bytes) -> Action:
    if len(raw) > wire.CT.size:
        raise Foreign("ct with actions inside")
    _, flags, header, zone, table, helper = wire.CT.unpack(raw)
    if flags & ~wire.CT_COMMIT or helper:
        raise Foreign(f"ct with flags {flags:#x} and helper {helper}")
    source = (_field(header), zone >> 6, (zone & 0x3F) + 1) if header else zone
    return Ct(bool(flags & wire.CT_COMMIT), source, None if table == wire.ALL_TABLES else table)


def _decode_conjunction(raw: bytes) -> Action:
    _, clause, clauses, number = wire.CONJUNCTION.unpack(raw)
    return Conjunction(number, clause + 1, clauses)


def _decode_check_larger(raw: bytes) -> Action:
    _, length_bytes, bit, header = wire.CHECK_LARGER.unpack(raw)
    return CheckPacketLarger(length_bytes, _field(header), bit)


def _decode_resubmit(raw: bytes) -> Action:
    _, in_port, table = wire.RESUBMIT.unpack(raw)
    if in_port != wire.PORT_IN_PORT or table == wire.ALL_TABLES:
        raise Foreign(f"resubmit to table {table} as from port {in_port:#x}")
    return Resubmit(table)


_NICIRA_DECODERS: dict[int, Callable[[bytes], Action]] = {
    wire.NXAST_REG_LOAD: _decode_load,
    wire.NXAST_REG_MOVE: _decode_move,
    wire.NXAST_OUTPUT_REG: _decode_output_reg,
    wire.NXAST_CT: _decode_ct,
    wire.NXAST_CONJUNCTION: _decode_conjunction,
    wire.NXAST_CHECK_PKT_LARGER: _decode_check_larger,
    wire.NXAST_RESUBMIT_TABLE: _decode_resubmit,
}


def decode_error(body: bytes) -> SwitchError:
    """The body of an OFPT_ERROR."""
    if len(body) < wire.ERROR_BODY.size:
        raise Malformed("an error message without type and code")
    kind, code = wire.ERROR_BODY.unpack_from(body)
    return SwitchError(kind, code, body[wire.ERROR_BODY.size :])


def decode_updates(body: bytes) -> list[FlowUpdate]:
    """The events of one OFPMP_FLOW_MONITOR reply (7.3.5.17.2); raises Malformed."""
    updates, at, end = [], 0, len(body)
    while at < end:
        if end - at < 8:
            raise Malformed("a flow update is cut off")
        length, event = wire.UPDATE_HEADER.unpack_from(body, at)
        if length < 8 or length > end - at:
            raise Malformed(f"a flow update of {length} bytes where {end - at} are left")
        full = event in (wire.EVENT_INITIAL, wire.EVENT_ADDED, wire.EVENT_REMOVED, wire.EVENT_MODIFIED)
        updates.append(FlowUpdate(event, _update_key(body[at : at + length]) if full else None))
        at += length
    return updates


def _update_key(update: bytes) -> FlowKey | None:
    if len(update) < wire.UPDATE_FULL.size + len(wire.EMPTY_MATCH):
        raise Malformed("a full flow update is cut off")
    _, _, table, _, _, _, priority, _ = wire.UPDATE_FULL.unpack_from(update)
    size = padded_match_size(update, wire.UPDATE_FULL.size)
    try:
        return FlowKey(
            table, priority, decode_match(update[wire.UPDATE_FULL.size : wire.UPDATE_FULL.size + size])
        )
    except Foreign:
        return None
