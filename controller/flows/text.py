"""Flows in the syntax of ovs-ofctl(8), for people, golden files and ofproto/trace. Output only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from cloison.addresses import format_mac
from controller.flows.actions import Action, Load, Move, Output, OutputField, SetField
from controller.flows.flow import Flow, Match, MatchTerm

_MAC_FIELDS = {"eth_src", "eth_dst", "arp_sha", "arp_tha", "ipv6_nd_sll", "ipv6_nd_tll"}
_IPV4_FIELDS = {"ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa"}
_IPV6_FIELDS = {"ipv6_src", "ipv6_dst", "ipv6_nd_target"}
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


def action_text(action: Action) -> str:
    """One action as ovs-ofctl prints it."""
    match action:
        case Output(port):
            return f"output:{port}"
        case OutputField(field, start, bits, _):
            return f"output:{field_text(field.name)}[{start}..{start + bits - 1}]"
        case SetField(field, value):
            return f"set_field:{value_text(field.name, value)}->{field_text(field.name)}"
        case Load(field, start, bits, value):
            return f"load:{value:#x}->{field_text(field.name)}[{start}..{start + bits - 1}]"
        case Move(src, src_start, dst, dst_start, bits):
            return (
                f"move:{field_text(src.name)}[{src_start}..{src_start + bits - 1}]"
                f"->{field_text(dst.name)}[{dst_start}..{dst_start + bits - 1}]"
            )


def flow_text(flow: Flow, table_names: Mapping[int, str] | None = None) -> str:
    """One flow on one line; tables by name if names are given, else by number (what ovs-ofctl takes)."""

    def table(number: int) -> str:
        return table_names.get(number, str(number)) if table_names else str(number)

    head = f"cookie={flow.cookie:#x},table={table(flow.table)},priority={flow.priority}"
    done = [action_text(a) for a in flow.actions]
    if flow.goto is not None:
        done.append(f"goto_table:{table(flow.goto)}")
    matched = match_text(flow.match)
    return f"{head}{',' + matched if matched else ''},actions={','.join(done) or 'drop'}"


def flows_text(flows: Iterable[Flow], table_names: Mapping[int, str] | None = None) -> str:
    """Flows, one a line, by table, priority (highest first), match: the same set, the same text."""
    ordered = sorted(flows, key=lambda f: (f.table, -f.priority, match_text(f.match)))
    return "".join(flow_text(f, table_names) + "\n" for f in ordered)
