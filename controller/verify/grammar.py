"""Which flows the proof understands. What a switch would refuse, or what is not modelled here, is a fault.

A match or action on a header field needs a match on what makes the field exist (OpenFlow 1.4.1, section
7.2.3.6; ovs-fields(7), "Prerequisites"); so a field is never looked at in a packet that lacks it.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.flows import Field, Flow, Load, Move, Output, OutputField, SetField
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ND_ADVERTISEMENT,
    ND_SOLICITATION,
    OFFSETS,
    PROTO_ICMPV6,
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
_NEEDS: dict[str, dict[str, set[int]]] = {
    **{n: {"eth_type": {ETH_ARP}} for n in ("arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha")},
    **{n: {"eth_type": {ETH_IPV4}} for n in ("ipv4_src", "ipv4_dst")},
    **{n: {"eth_type": {ETH_IPV6}} for n in ("ipv6_src", "ipv6_dst")},
    **{n: {"eth_type": {ETH_IPV4, ETH_IPV6}} for n in ("ip_proto", "ip_ttl", "ip_frag")},
    **dict.fromkeys(("icmpv6_type", "icmpv6_code"), _ICMPV6),
    "ipv6_nd_target": {**_ICMPV6, "icmpv6_type": {ND_SOLICITATION, ND_ADVERTISEMENT}, "icmpv6_code": {0}},
    "ipv6_nd_sll": {**_ICMPV6, "icmpv6_type": {ND_SOLICITATION}, "icmpv6_code": {0}},
    "ipv6_nd_tll": {**_ICMPV6, "icmpv6_type": {ND_ADVERTISEMENT}, "icmpv6_code": {0}},
}
# Open vSwitch takes a match on these for granted where it needs them (lib/meta-flow.c, MFP_ND): the fields
# of a message with another code are zero, and so they are in canonical packets.
_IMPLIED = frozenset({"icmpv6_code"})


def fault(flow: Flow) -> str | None:
    """Return why a flow is not acceptable, None if it is."""
    exact = {t.field.name: t.value for t in flow.match if t.mask == t.field.all_ones}
    for term in flow.match:
        found = _field_fault(term.field, exact)
        if found is None and (term.value & ~term.mask or term.mask & ~term.field.all_ones):
            found = f"matches {term.field.name} with bits outside its mask"
        if found is None and term.mask != term.field.all_ones and not term.field.maskable:
            found = f"masks {term.field.name}, which takes no mask"
        if found is not None:
            return found
    for action in flow.actions:
        found = _action_fault(action, exact)
        if found is not None:
            return found
    if flow.goto is not None and not flow.table < flow.goto <= TABLE_MAX:
        return f"goes to table {flow.goto}, which is not a later one"
    return None


def _field_fault(field: Field, exact: Mapping[str, int]) -> str | None:
    if field.name not in OFFSETS:
        return f"uses {field.name}, which the proof does not know"
    for name, values in _NEEDS.get(field.name, {}).items():
        if name in _IMPLIED and name not in exact:
            continue
        if exact.get(name) not in values:
            return f"uses {field.name} in packets that may not have it"
    return None


def _action_fault(action: object, exact: Mapping[str, int]) -> str | None:
    match action:
        case Output(port):
            return None if 1 <= port <= OFPORT_MAX else f"sends to the reserved port {port:#x}"
        case OutputField(field, start, bits, _):
            return _field_fault(field, exact) or _bits_fault(field, start, bits)
        case SetField(field, value):
            return _write_fault(field, 0, field.width, value, exact)
        case Load(field, start, bits, value):
            if bits > LOAD_BITS_MAX:
                return f"loads {bits} bits"
            return _write_fault(field, start, bits, value, exact)
        case Move(src, src_start, dst, dst_start, bits):
            read = _field_fault(src, exact) or _bits_fault(src, src_start, bits)
            return read or _write_fault(dst, dst_start, bits, 0, exact)
        case _:
            return f"has an action the proof does not know: {action!r}"


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
