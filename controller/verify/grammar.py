"""Which flows the proof understands. What a switch would refuse, or what is not modelled here, is a fault.

A match or action on a header field needs a match on what makes the field exist (OpenFlow 1.4.1, section
7.2.3.6; ovs-fields(7), "Prerequisites"); so a field is never looked at in a packet that lacks it. Of a
connection Open vSwitch looks at the ports only if the protocol is matched too, and else matches every port
without a word: such a flow is a fault. Connection tracking, conjunctions, meters and what makes the TTL
less may be in their own tables only (stages.py), in the form used there.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.flows import (
    CheckPacketLarger,
    Conjunction,
    Ct,
    DecTtl,
    Field,
    Flow,
    Load,
    Move,
    Output,
    OutputField,
    Resubmit,
    SetField,
)
from controller.verify import stages
from controller.verify.packet import (
    CT_FIELDS,
    CT_STATES,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    INVALID,
    ND_ADVERTISEMENT,
    ND_SOLICITATION,
    PROTO_ICMPV4,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
    TRACKED,
    WIDTHS,
)

OFPORT_MAX = 0xFEFF
TABLE_MAX = 254
LOAD_BITS_MAX = 64


class Refused(Exception):
    """A flow, or what it does with some packet, that the proof does not understand; never taken for fine."""

    def __init__(self, message: str, flow: Flow | None = None) -> None:
        super().__init__(message)
        self.flow = flow


_ICMPV6 = {"eth_type": {ETH_IPV6}, "ip_proto": {PROTO_ICMPV6}}
_IP = {"eth_type": {ETH_IPV4, ETH_IPV6}}
_NEEDS: dict[str, dict[str, set[int]]] = {
    **{n: {"eth_type": {ETH_ARP}} for n in ("arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha")},
    **{n: {"eth_type": {ETH_IPV4}} for n in ("ipv4_src", "ipv4_dst")},
    **{n: {"eth_type": {ETH_IPV6}} for n in ("ipv6_src", "ipv6_dst")},
    **dict.fromkeys(("ip_proto", "ip_ttl", "ip_frag", "ct_nw_proto", "ct_tp_src", "ct_tp_dst"), _IP),
    **{n: {"eth_type": {ETH_IPV4}} for n in ("ct_nw_src", "ct_nw_dst")},
    **{n: {"eth_type": {ETH_IPV6}} for n in ("ct_ipv6_src", "ct_ipv6_dst")},
    **{n: {**_IP, "ip_proto": {PROTO_TCP}} for n in ("tcp_src", "tcp_dst")},
    **{n: {**_IP, "ip_proto": {PROTO_UDP}} for n in ("udp_src", "udp_dst")},
    **{n: {"eth_type": {ETH_IPV4}, "ip_proto": {PROTO_ICMPV4}} for n in ("icmpv4_type", "icmpv4_code")},
    **dict.fromkeys(("icmpv6_type", "icmpv6_code"), _ICMPV6),
    "ipv6_nd_target": {**_ICMPV6, "icmpv6_type": {ND_SOLICITATION, ND_ADVERTISEMENT}, "icmpv6_code": {0}},
    "ipv6_nd_sll": {**_ICMPV6, "icmpv6_type": {ND_SOLICITATION}, "icmpv6_code": {0}},
    "ipv6_nd_tll": {**_ICMPV6, "icmpv6_type": {ND_ADVERTISEMENT}, "icmpv6_code": {0}},
}
# Open vSwitch takes a match on these for granted where it needs them (lib/meta-flow.c, MFP_ND): the fields
# of a message with another code are zero, and so they are in canonical packets.
_IMPLIED = frozenset({"icmpv6_code"})
_TUPLE = frozenset(CT_FIELDS) - {"ct_state"}
_PORTS = ("ct_tp_src", "ct_tp_dst")
# Fields that a flow can name and that are no header of a packet.
_UNREAL = frozenset({"oversize"})


_ONES = {name: (1 << width) - 1 for name, width in WIDTHS.items() if name not in _UNREAL}
_SPECIAL = frozenset((*CT_FIELDS, "conj_id"))


def fault(flow: Flow) -> str | None:
    """Return why a flow is not acceptable, None if it is."""
    exact: dict[str, int] = {}
    needing, special = [], False
    for field, value, mask in flow.match:
        name = field.name
        ones = _ONES.get(name)
        if ones is None:
            return f"uses {name}, which the proof does not know"
        if mask == ones:
            exact[name] = value
        elif not field.maskable:
            return f"masks {name}, which takes no mask"
        if value & ~mask or mask & ~ones:
            return f"matches {name} with bits outside its mask"
        if name in _NEEDS:
            needing.append(name)
        special = special or name in _SPECIAL
    found = None
    for name in needing:
        found = found or _need_fault(name, exact)
    if flow.goto is not None and not flow.table < flow.goto <= TABLE_MAX:
        found = found or f"goes to table {flow.goto}, which is not a later one"
    if flow.meter is not None and flow.table not in stages.METERED:
        found = found or "has a meter, in a table where none may be"
    if special:
        found = found or _connection_fault(flow, exact)
    if flow.table == stages.ROUTE:
        found = found or _abroad_fault(flow)
    for n, action in enumerate(flow.actions):
        found = found or _action_fault(flow, n, action, exact)
    return found


def _connection_fault(flow: Flow, exact: Mapping[str, int]) -> str | None:
    """Return what is wrong with how a flow matches on the connection, or on a conjunction."""
    named = {term.field.name: term for term in flow.match}
    if "conj_id" in named and flow.table not in stages.POLICY:
        return "matches conj_id, in a table without conjunctions"
    if named.keys().isdisjoint(CT_FIELDS):
        return None
    if flow.table not in stages.CONNECTED:
        return "looks at the connection, in a table where nobody has asked for it"
    state = named.get("ct_state")
    if state is not None and state.mask & ~CT_STATES:
        return "matches bits of ct_state that the proof does not know"
    if not named.keys().isdisjoint(_TUPLE):
        valid = state is not None and state.mask & (TRACKED | INVALID) == TRACKED | INVALID
        if state is None or not valid or state.value & (TRACKED | INVALID) != TRACKED:
            return "looks at a connection's tuple without ct_state=+trk-inv"
    if not named.keys().isdisjoint(_PORTS) and "ct_nw_proto" not in exact:
        return "looks at a connection's ports without ct_nw_proto, so that the switch looks at none"
    return None


def _field_fault(field: Field, exact: Mapping[str, int]) -> str | None:
    if field.name not in _ONES:
        return f"uses {field.name}, which the proof does not know"
    return _need_fault(field.name, exact) if field.name in _NEEDS else None


def _need_fault(name: str, exact: Mapping[str, int]) -> str | None:
    for needed, values in _NEEDS[name].items():
        if needed in _IMPLIED and needed not in exact:
            continue
        if exact.get(needed) not in values:
            return f"uses {name} in packets that may not have it"
    return None


def _action_fault(flow: Flow, n: int, action: object, exact: Mapping[str, int]) -> str | None:
    match action:
        case Load(field, start, bits, value):
            if bits > LOAD_BITS_MAX:
                return f"loads {bits} bits"
            if _is_abroad(field, start, bits) and not _says_abroad(flow, start, value):
                return "says what crosses to another tenant, or no longer does, where it may not"
            if (
                field.name == stages.TO_PORT
                and (start, bits) == (0, stages.TO_PORT_BITS)
                and value > OFPORT_MAX
            ):
                return f"would send to the reserved port {value:#x}"
            return _write_fault(field, start, bits, value, exact)
        case Output(port):
            return None if 1 <= port <= OFPORT_MAX else f"sends to the reserved port {port:#x}"
        case OutputField(field, start, bits, _):
            return _field_fault(field, exact) or _bits_fault(field, start, bits)
        case SetField(field, value):
            if field.name == stages.ORIGIN:
                return "writes all of where a frame is from at once"
            return _write_fault(field, 0, field.width, value, exact)
        case Move(src, src_start, dst, dst_start, bits):
            if _is_abroad(dst, dst_start, bits):
                return "copies something to what says what crosses to another tenant"
            read = _field_fault(src, exact) or _bits_fault(src, src_start, bits)
            return read or _write_fault(dst, dst_start, bits, 0, exact)
        case Ct():
            return _ct_fault(flow, n, action, exact)
        case Conjunction():
            alone = flow.goto is None and all(isinstance(a, Conjunction) for a in flow.actions)
            here = alone and flow.table in stages.POLICY and "conj_id" not in exact
            return None if here else "has a conjunction that is not alone, or in a table without them"
        case Resubmit(table):
            crosses = flow.table == stages.COMMIT
            return _crossing_fault(flow, n, table) if crosses else _copy_fault(flow, table, exact)
        case CheckPacketLarger(_, field, bit):
            if flow.table != stages.EXIT or (field.name, bit) != (stages.ORIGIN, stages.OVERSIZE_BIT):
                return "asks for a packet's length where it may not"
            return (
                None if exact.get("eth_type") in (ETH_IPV4, ETH_IPV6) else "asks for the length of any frame"
            )
        case DecTtl():
            ages = flow.table == stages.ROUTE and flow.actions.count(action) == 1
            there = exact.get("eth_type") in (ETH_IPV4, ETH_IPV6)
            return None if ages and there else "makes a TTL less where it may not"
        case _:
            return f"has an action the proof does not know: {action!r}"


def _ct_fault(flow: Flow, n: int, action: Ct, exact: Mapping[str, int]) -> str | None:
    zone = action.zone
    if isinstance(zone, int) or (zone[0].name, *zone[1:]) != (
        stages.ZONES.get(flow.table),
        0,
        stages.ZONE_BITS,
    ):
        return "tracks a connection in a zone that is not due in this table"
    if exact.get("eth_type") not in (ETH_IPV4, ETH_IPV6):
        return "tracks connections of packets that may have none"
    if action.commit != (flow.table in stages.COMMITS) or action.commit != (action.table is None):
        return "remembers a connection where it may not, or does not where it must"
    last = n == len(flow.actions) - 1 and flow.goto is None
    if action.table is not None and not (last and flow.table < action.table <= TABLE_MAX):
        return "does more after it has asked for the connection, or goes back"
    return None


def _copy_fault(flow: Flow, table: int, exact: Mapping[str, int]) -> str | None:
    """Return what is wrong with a copy that goes to another table.

    What the stages of one copy write, the next copy begins with. So they may be told apart only by what this
    flow writes; the source MAC of IP is written anew for each (SOURCE, TAG) before it is looked at.
    """
    if flow.table != stages.COPIES or table not in stages.COPIED_TO or flow.goto is not None:
        return "makes copies where it may not, or of what goes on itself"
    if exact.get("eth_type") not in (ETH_IPV4, ETH_IPV6):
        return "makes copies of what is not IP"
    for action in flow.actions:
        match action:
            case Resubmit():
                continue
            case Load(field) | SetField(field) | Move(dst=field) if field.name in stages.COPIED_WRITES:
                continue
        return "does more with copies than to say where they go"
    return None


def _is_abroad(field: Field, start: int, bits: int) -> bool:
    return field.name == stages.ORIGIN and start <= stages.ABROAD_BIT < start + bits


def _says_abroad(flow: Flow, start: int, value: int) -> bool:
    """ROUTE says it, and COMMIT, which comes after, that it is no longer so."""
    return flow.table == stages.ROUTE or (
        flow.table == stages.COMMIT and not value << start & 1 << stages.ABROAD_BIT
    )


def _abroad_fault(flow: Flow) -> str | None:
    """Return what is wrong with a flow that lets something cross to another tenant: all of it, or none."""
    loads = [a for a in flow.actions if isinstance(a, Load)]
    at = 1 << stages.ABROAD_BIT
    says = any(_is_abroad(a.field, a.start, a.bits) and a.value << a.start & at for a in loads)
    told = {stages.TO_PROFILE, stages.ABROAD_AS, stages.ABROAD_TO} <= {a.field.name for a in loads}
    asks = [a.table for a in flow.actions if isinstance(a, Ct)]
    crosses = stages.DIRECTION in (flow.goto, *asks)
    if crosses and asks != [stages.DIRECTION]:
        return "judges what crosses to another tenant without having asked for its connection"
    if says == crosses and (told or not says):
        return None
    return "lets something cross to another tenant without asking its own, or without saying as whom"


def _crossing_fault(flow: Flow, n: int, table: int) -> str | None:
    """Return what is wrong with what goes back to be sent on in another tenant's network.

    It goes back once: only ROUTE, which lies before, says ABROAD, and who goes back says so no longer.
    """
    at = 1 << stages.ABROAD_BIT
    abroad = any(t.field.name == stages.ORIGIN and t.value & t.mask & at for t in flow.match)
    home = any(isinstance(a, Load) and _is_abroad(a.field, a.start, a.bits) for a in flow.actions[:n])
    last = n == len(flow.actions) - 1 and flow.goto is None
    if table == stages.COPIES and abroad and home and last and flow.actions.count(flow.actions[n]) == 1:
        return None
    return "goes back to an earlier table, and may do so again"


def _write_fault(field: Field, start: int, bits: int, value: int, exact: Mapping[str, int]) -> str | None:
    if not field.writable:
        return f"writes {field.name}, which cannot be written"
    if value >> bits or value < 0:
        return f"writes {value:#x} to {bits} bits of {field.name}"
    return _field_fault(field, exact) or _bits_fault(field, start, bits)


def _bits_fault(field: Field, start: int, bits: int) -> str | None:
    if start < 0 or bits < 1 or start + bits > field.width:
        return f"uses bits {start} to {start + bits - 1} of {field.name}, which has {field.width}"
    return None
