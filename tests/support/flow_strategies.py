"""Hypothesis strategies for flows: every field and action of controller.flows, in combinations that OVS
takes.
"""

from __future__ import annotations

from hypothesis import strategies as st

from controller.flows import (
    FIELDS,
    Action,
    Field,
    Flow,
    Load,
    Match,
    MatchTerm,
    Move,
    Output,
    OutputField,
    SetField,
    match,
)

REGISTERS = [f"reg{n}" for n in range(8)]
ANYWHERE = ["in_port", "eth_src", "eth_dst", "metadata", "tunnel_id", *REGISTERS]
# A family: the terms that its fields need, and the fields that it brings along.
FAMILIES: list[tuple[dict[str, int], list[str]]] = [
    ({}, []),
    ({"eth_type": 0x0800}, ["ipv4_src", "ipv4_dst", "ip_ttl"]),
    ({"eth_type": 0x0800, "ip_proto": 6}, ["ipv4_src", "ipv4_dst", "ip_ttl", "tcp_src", "tcp_dst"]),
    ({"eth_type": 0x0800, "ip_proto": 17}, ["ipv4_src", "ipv4_dst", "udp_src", "udp_dst"]),
    ({"eth_type": 0x0800, "ip_proto": 1}, ["ipv4_dst", "icmpv4_type", "icmpv4_code"]),
    ({"eth_type": 0x86DD}, ["ipv6_src", "ipv6_dst", "ip_ttl"]),
    ({"eth_type": 0x86DD, "ip_proto": 6}, ["ipv6_src", "ipv6_dst", "tcp_src", "tcp_dst"]),
    ({"eth_type": 0x86DD, "ip_proto": 17}, ["ipv6_dst", "udp_src", "udp_dst"]),
    ({"eth_type": 0x86DD, "ip_proto": 58}, ["ipv6_src", "ipv6_dst", "icmpv6_type", "icmpv6_code"]),
    (
        {"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135, "icmpv6_code": 0},
        ["ipv6_src", "ip_ttl", "ipv6_nd_target", "ipv6_nd_sll"],
    ),
    (
        {"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 136, "icmpv6_code": 0},
        ["ipv6_src", "ipv6_nd_target", "ipv6_nd_tll"],
    ),
    ({"eth_type": 0x0806}, ["arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"]),
]
# Untagged, tagged, one VLAN; and of fragments: none, first or later, later.
VLANS = [(0, 0x1FFF), (0x1000, 0x1000), (0x1005, 0x1FFF)]
FRAGMENTS = [(0, 1), (1, 1), (0, 2), (1, 0xFF), (0, 0xFF)]
LATER_FRAGMENTS = [(3, 0xFF), (2, 2)]  # have no ports and no ICMP type: OVS refuses these together
# OVS keeps 8 bits of an ARP operation, and port numbers of OpenFlow 1.0 (ovs-fields(7)).
_VALUES_MAX = {"arp_op": 0xFF, "in_port": 0xFEFF}


@st.composite
def terms(draw: st.DrawFn, field: Field) -> MatchTerm:
    masks = [st.just(field.all_ones)]
    if field.maskable:
        prefixes = st.integers(1, field.width).map(lambda n: field.all_ones ^ (field.all_ones >> n))
        masks += [prefixes, st.integers(1, field.all_ones)]
    mask = draw(st.one_of(masks))
    value = draw(st.integers(0, _VALUES_MAX.get(field.name, field.all_ones)))
    return MatchTerm(field, value & mask, mask)


@st.composite
def matches(draw: st.DrawFn, family: tuple[dict[str, int], list[str]]) -> Match:
    needed, offered = family
    made: dict[str, int | tuple[int, int]] = dict(needed)
    names = draw(st.lists(st.sampled_from([*ANYWHERE, *offered]), unique=True, max_size=8))
    for name in names:
        term = draw(terms(FIELDS[name]))
        made[name] = (term.value, term.mask)
    if draw(st.booleans()):
        made["vlan_vid"] = draw(st.sampled_from(VLANS))
    if needed.get("eth_type") in (0x0800, 0x86DD) and draw(st.booleans()):
        later = [] if "ip_proto" in needed else LATER_FRAGMENTS
        made["ip_frag"] = draw(st.sampled_from(FRAGMENTS + later))
    return match(**made)


@st.composite
def actions(draw: st.DrawFn, names: list[str]) -> Action:
    readable = [FIELDS[name] for name in names]
    writable = [field for field in readable if field.writable]
    kind = draw(st.sampled_from([Output, OutputField, SetField, Load, Move]))
    if kind is Output:
        return Output(draw(st.integers(1, 0xFEFF)))
    if kind is OutputField:
        field = FIELDS[draw(st.sampled_from(REGISTERS))]
        bits = draw(st.integers(1, field.width))
        return OutputField(field, draw(st.integers(0, field.width - bits)), bits)
    target = draw(st.sampled_from(writable))
    if kind is SetField:
        return SetField(target, draw(st.integers(0, target.all_ones)))
    if kind is Load:
        bits = draw(st.integers(1, min(64, target.width)))
        value = draw(st.integers(0, (1 << bits) - 1))
        return Load(target, draw(st.integers(0, target.width - bits)), bits, value)
    source = draw(st.sampled_from(readable))
    bits = draw(st.integers(1, min(source.width, target.width)))
    source_start = draw(st.integers(0, source.width - bits))
    return Move(source, source_start, target, draw(st.integers(0, target.width - bits)), bits)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    family = draw(st.sampled_from(FAMILIES))
    names = [*ANYWHERE, *family[1]]
    table = draw(st.integers(0, 100))
    return Flow(
        table=table,
        priority=draw(st.integers(0, 0xFFFF)),
        match=draw(matches(family)),
        actions=tuple(draw(st.lists(actions(names), max_size=4))),
        goto=draw(st.none() | st.integers(table + 1, 200)),
        cookie=draw(st.integers(0, (1 << 64) - 2)),  # all ones means "leave the cookie" to OVS
    )


def flow_lists(max_size: int = 30) -> st.SearchStrategy[list[Flow]]:
    """Flows that can stand in one switch: no two of one key."""
    return st.lists(flows(), min_size=1, max_size=max_size, unique_by=lambda flow: flow.key)
