"""Hypothesis strategies for flows: every field and action of controller.flows, in combinations that OVS
takes.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

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
    MatchTerm,
    Move,
    Output,
    OutputField,
    Resubmit,
    SetField,
    ct_state,
    match,
)
from controller.flows.conntrack import CT_STATE, CT_STATE_BITS
from controller.flows.fields import REGISTER_COUNT

REGISTERS = [f"reg{n}" for n in range(REGISTER_COUNT)]
ANYWHERE = ["in_port", "eth_src", "eth_dst", "metadata", "tunnel_id", "conj_id", *REGISTERS]
TRACKED = ["ct_state", "ct_zone"]
METERS = (1, 2, 7)  # must be in the switch
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
# What a connection's original tuple offers, by ether type; ports only together with the protocol.
TUPLES: dict[int, list[str]] = {
    0x0800: ["ct_nw_src", "ct_nw_dst", "ct_tp_src", "ct_tp_dst"],
    0x86DD: ["ct_ipv6_src", "ct_ipv6_dst", "ct_tp_src", "ct_tp_dst"],
}
# Untagged, tagged, one VLAN; and of fragments: none, first or later, later.
VLANS = [(0, 0x1FFF), (0x1000, 0x1000), (0x1005, 0x1FFF)]
FRAGMENTS = [(0, 1), (1, 1), (0, 2), (1, 0xFF), (0, 0xFF)]
LATER_FRAGMENTS = [(3, 0xFF), (2, 2)]  # have no ports and no ICMP type: OVS refuses these together
# OVS keeps 8 bits of an ARP operation, and port numbers of OpenFlow 1.0 (ovs-fields(7)).
_VALUES_MAX = {"arp_op": 0xFF, "in_port": 0xFEFF}


@st.composite
def terms(draw: st.DrawFn, field: Field) -> MatchTerm:
    masks = [st.just(field.all_ones)]
    if field.name == "ct_state":
        mask = draw(st.integers(1, CT_STATE_BITS))
        # Not +inv: OVS refuses to commit what is invalid.
        return MatchTerm(field, draw(st.integers(0, CT_STATE_BITS)) & mask & ~CT_STATE["inv"], mask)
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
    names = draw(st.lists(st.sampled_from([*ANYWHERE, *TRACKED, *offered]), unique=True, max_size=8))
    if needed.get("eth_type") in TUPLES and draw(st.booleans()):
        names = [name for name in names if name != "ct_state"]
        made["ct_state"] = ct_state(draw(st.sampled_from(["+trk-inv", "+new+trk-inv", "-rpl+est+trk-inv"])))
        made["ct_nw_proto"] = draw(st.integers(1, 255))
        names += draw(st.lists(st.sampled_from(TUPLES[needed["eth_type"]]), unique=True))
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
def actions(draw: st.DrawFn, names: list[str], tracks: bool) -> Action:
    readable = [FIELDS[name] for name in names]
    writable = [field for field in readable if field.writable]
    kinds = [
        Output,
        OutputField,
        SetField,
        Load,
        Move,
        CheckPacketLarger,
        Resubmit,
        *([Ct, DecTtl] if tracks else []),
    ]
    kind = draw(st.sampled_from(kinds))
    if kind is Output:
        return Output(draw(st.integers(1, 0xFEFF)))
    if kind is DecTtl:
        return DecTtl()
    if kind is Resubmit:
        return Resubmit(draw(st.integers(0, 200)))
    if kind is Ct:
        return draw(ct_actions())
    if kind is CheckPacketLarger:
        field = FIELDS[draw(st.sampled_from(REGISTERS))]
        return CheckPacketLarger(draw(st.integers(0, 0xFFFF)), field, draw(st.integers(0, 31)))
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
    source = draw(st.sampled_from([*readable, FIELDS["nxm_in_port"]]))
    bits = draw(st.integers(1, min(source.width, target.width)))
    source_start = draw(st.integers(0, source.width - bits))
    return Move(source, source_start, target, draw(st.integers(0, target.width - bits)), bits)


@st.composite
def ct_actions(draw: st.DrawFn) -> Ct:
    register = st.sampled_from(REGISTERS).map(FIELDS.__getitem__)
    zone = draw(
        st.integers(0, 0xFFFF)
        | st.just((FIELDS["nxm_in_port"], 0, 16))
        | st.tuples(register, st.integers(0, 16), st.just(16))
    )
    return Ct(draw(st.booleans()), zone, draw(st.none() | st.integers(0, 200)))


@st.composite
def conjunctions(draw: st.DrawFn) -> Conjunction:
    clauses = draw(st.integers(2, 64))
    return Conjunction(draw(st.integers(0, 0xFFFFFFFF)), draw(st.integers(1, clauses)), clauses)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    family = draw(st.sampled_from(FAMILIES))
    names = [*ANYWHERE, *TRACKED, *family[1]]
    tracks = family[0].get("eth_type") in TUPLES
    table = draw(st.integers(0, 100))
    made = Flow(
        table=table,
        priority=draw(st.integers(0, 0xFFFF)),
        match=draw(matches(family)),
        cookie=draw(st.integers(0, (1 << 64) - 2)),  # all ones means "leave the cookie" to OVS
    )
    if draw(st.integers(0, 5)) == 0:
        return replace(made, actions=tuple(draw(st.lists(conjunctions(), min_size=1, max_size=4))))
    return replace(
        made,
        actions=tuple(draw(st.lists(actions(names, tracks), max_size=4))),
        goto=draw(st.none() | st.integers(table + 1, 200)),
        meter=draw(st.none() | st.none() | st.sampled_from(METERS)),
    )


def flow_lists(max_size: int = 30) -> st.SearchStrategy[list[Flow]]:
    """Flows that can stand in one switch: no two of one key."""
    return st.lists(flows(), min_size=1, max_size=max_size, unique_by=lambda flow: flow.key)
