"""Flows in the syntax of ovs-ofctl(8), for people, golden files and ofproto/trace. Output only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from cloison.addresses import format_mac
from controller.flows.actions import (
    Action,
    CheckPacketLarger,
    Conjunction,
    Ct,
    DecTtl,
    Load,
    Move,
    Output,
    OutputField,
    Resubmit,
    SetField,
)
from controller.flows.conntrack import ct_state_text
from controller.flows.fields import Field
from controller.flows.flow import Flow, Match, MatchTerm

_MAC_FIELDS = {"eth_src", "eth_dst", "arp_sha", "arp_tha", "ipv6_nd_sll", "ipv6_nd_tll"}
_IPV4_FIELDS = {"ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa", "ct_nw_src", "ct_nw_dst"}
_IPV6_FIELDS = {"ipv6_src", "ipv6_dst", "ipv6_nd_target", "ct_ipv6_src", "ct_ipv6_dst"}
_HEX_FIELDS = {"eth_type", "vlan_vid", "metadata", "tunnel_id"}
_OVS_NAMES = {
    "ipv4_src": "nw_src",
    "ipv4_dst": "nw_dst",
    "ip_proto": "nw_proto",
    "icmpv4_type": "icmp_type",
    "icmpv4_code": "icmp_code",
    "ip_ttl": "nw_ttl",
    "ipv6_nd_target": "nd_target",
    "ipv6_nd_sll": "nd_sll",
    "ipv6_nd_tll": "nd_tll",
    "tunnel_id": "tun_id",
    "eth_src": "dl_src",
    "eth_dst": "dl_dst",
    "eth_type": "dl_type",
}
# In an action a field's width matters: to ovs-ofctl, in_port is the one of 16 bits.
_OVS_ACTION_NAMES = _OVS_NAMES | {"in_port": "in_port_oxm", "nxm_in_port": "in_port"}
# (value, mask) of the two bits of ip_frag (ovs-fields(7)).
_FRAGMENTS = {(0, 1): "no", (1, 1): "yes", (0, 2): "not_later", (2, 2): "later"}
_FRAGMENTS |= {(0, 3): "no", (1, 3): "first", (3, 3): "later"}


def field_text(name: str) -> str:
    """The name of a field in ovs-ofctl matches and actions."""
    return _OVS_NAMES.get(name, name)


def value_text(name: str, value: int) -> str:
    """A value of the named field as people write it."""
    if name in _MAC_FIELDS:
        return format_mac(value)
    if name in _IPV4_FIELDS:
        return str(IPv4Address(value))
    if name in _IPV6_FIELDS:
        return str(IPv6Address(value))
    if name in _HEX_FIELDS or name.startswith("reg"):
        return f"{value:#x}"
    return str(value)


def _term_text(term: MatchTerm) -> str:
    name = term.field.name
    if name == "ct_state":
        return f"ct_state={ct_state_text(term.value, term.mask)}"
    fragment = _FRAGMENTS.get((term.value, term.mask & 3)) if name == "ip_frag" else None
    if fragment is not None:
        return f"{field_text(name)}={fragment}"
    text = f"{field_text(name)}={value_text(name, term.value)}"
    if term.mask == term.field.all_ones:
        return text
    ones = term.mask.bit_count()
    prefix = term.field.all_ones ^ ((1 << (term.field.width - ones)) - 1)
    if name in _IPV4_FIELDS | _IPV6_FIELDS and term.mask == prefix:
        return f"{text}/{ones}"
    return f"{text}/{value_text(name, term.mask)}"


def match_text(match: Match) -> str:
    """'in_port=1,dl_type=0x800,...'; empty for a match of everything."""
    return ",".join(_term_text(t) for t in match)


def _bits_text(field: Field, start: int, bits: int) -> str:
    """Bits of a field in an action: 'reg0[0..15]', 'reg3[3]'."""
    name = _OVS_ACTION_NAMES.get(field.name, field.name)
    return f"{name}[{start}]" if bits == 1 else f"{name}[{start}..{start + bits - 1}]"


def action_text(action: Action, table_names: Mapping[int, str] | None = None) -> str:
    """One action as ovs-ofctl prints it; the table of a ct action by name if names are given."""
    match action:
        case Output(port):
            return f"output:{port}"
        case OutputField(field, start, bits, _):
            return f"output:{_bits_text(field, start, bits)}"
        case SetField(field, value):
            return f"set_field:{value_text(field.name, value)}->{field_text(field.name)}"
        case Load(field, start, bits, value):
            return f"load:{value:#x}->{_bits_text(field, start, bits)}"
        case Move(src, src_start, dst, dst_start, bits):
            return f"move:{_bits_text(src, src_start, bits)}->{_bits_text(dst, dst_start, bits)}"
        case Conjunction(number, clause, clauses):
            return f"conjunction({number},{clause}/{clauses})"
        case CheckPacketLarger(length_bytes, field, bit):
            return f"check_pkt_larger({length_bytes})->{_bits_text(field, bit, 1)}"
        case DecTtl():
            return "dec_ttl"
        case Resubmit(table):
            return f"resubmit(,{_table_text(table, table_names)})"
        case Ct():
            return _ct_text(action, table_names)


def _ct_text(action: Ct, table_names: Mapping[int, str] | None) -> str:
    parts = ["commit"] if action.commit else []
    if action.table is not None:
        parts.append(f"table={_table_text(action.table, table_names)}")
    if isinstance(action.zone, tuple):
        parts.append(f"zone={_bits_text(*action.zone)}")
    elif action.zone:
        parts.append(f"zone={action.zone}")
    return f"ct({','.join(parts)})" if parts else "ct"


def _table_text(number: int, names: Mapping[int, str] | None) -> str:
    return names.get(number, str(number)) if names else str(number)


def flow_text(flow: Flow, table_names: Mapping[int, str] | None = None) -> str:
    """One flow on one line; tables by name if names are given, else by number (what ovs-ofctl takes)."""
    head = f"cookie={flow.cookie:#x},table={_table_text(flow.table, table_names)},priority={flow.priority}"
    done = [f"meter:{flow.meter}"] if flow.meter is not None else []
    done += [action_text(a, table_names) for a in flow.actions]
    if flow.goto is not None:
        done.append(f"goto_table:{_table_text(flow.goto, table_names)}")
    matched = match_text(flow.match)
    return f"{head}{',' + matched if matched else ''},actions={','.join(done) or 'drop'}"


def flows_text(flows: Iterable[Flow], table_names: Mapping[int, str] | None = None) -> str:
    """Flows, one a line, by table, priority (highest first), match: the same set, the same text."""
    ordered = sorted(flows, key=lambda f: (f.table, -f.priority, match_text(f.match)))
    return "".join(flow_text(f, table_names) + "\n" for f in ordered)
