"""A packet as a vector of header fields, as Open vSwitch parses it (ovs-fields(7)). No payload, no bytes.

With it goes what is true of the packet although no header says it, its context: the connection that
connection tracking finds it to be of (ct_*), in every zone the same, and whether it is too long for the
overlay. Flows see the connection only once they have asked for it.

Canonical: a field that the packet does not have is zero, so two packets that no switch can tell apart are
one value. `OFFSETS` lays all fields, and the registers of the pipeline, side by side in one big integer: a
packet is then one number, and a match is a value and a mask of the same width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from cloison.addresses import format_mac
from controller.flows.conntrack import CT_STATE, ct_state_text
from controller.flows.fields import FIELDS
from controller.flows.text import field_text, value_text

ETH_IPV4, ETH_ARP, ETH_IPV6 = 0x0800, 0x0806, 0x86DD
ETH_RARP = 0x8035
UNTAGGED, VLAN_PRESENT = 0, 0x1000
PROTO_ICMPV4, PROTO_TCP, PROTO_UDP, PROTO_ICMPV6 = 1, 6, 17, 58
PROTO_IPV6_FRAGMENT = 44
# Protocols that Open vSwitch steps over: the last one of a chain that breaks off, which it shows as 0.
PROTO_HOP_BY_HOP, PROTO_ROUTING, PROTO_DESTINATION_OPTIONS = 0, 43, 60
ND_ROUTER_SOLICITATION, ND_ROUTER_ADVERTISEMENT = 133, 134
ND_SOLICITATION, ND_ADVERTISEMENT, ND_REDIRECT = 135, 136, 137
# ip_frag: 1 says "a fragment", 2 "not the first one" (ovs-fields(7)). A first fragment shows its layer 4, a
# later one has none: so it is with OFPC_FRAG_NX_MATCH, which every session sets (controller/openflow).
FRAGMENT, FRAGMENT_LATER = 1, 2
NEW, REPLY, INVALID, TRACKED = (CT_STATE[name] for name in ("new", "rpl", "inv", "trk"))
# What a packet may be found to be; Open vSwitch has more bits, of address translation, which nobody uses.
CT_STATES = sum(CT_STATE[name] for name in ("new", "est", "rel", "rpl", "inv", "trk"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """Header fields, named as in controller.flows.fields; numbers, zero where the packet has no such field.

    vlan_vid is 0 for an untagged frame, else 0x1000 | VID. ipv6_nd_sll and ipv6_nd_tll are zero where the
    option is absent. ct_state is 0 if nothing is said about the connection: then the packet begins one of its
    own (see connected).
    """

    eth_dst: int
    eth_src: int
    eth_type: int
    vlan_vid: int = UNTAGGED
    arp_op: int = 0
    arp_spa: int = 0
    arp_tpa: int = 0
    arp_sha: int = 0
    arp_tha: int = 0
    ipv4_src: int = 0
    ipv4_dst: int = 0
    ipv6_src: int = 0
    ipv6_dst: int = 0
    ip_proto: int = 0
    ip_ttl: int = 0
    ip_frag: int = 0
    icmpv6_type: int = 0
    icmpv6_code: int = 0
    ipv6_nd_target: int = 0
    ipv6_nd_sll: int = 0
    ipv6_nd_tll: int = 0
    tcp_src: int = 0
    tcp_dst: int = 0
    udp_src: int = 0
    udp_dst: int = 0
    icmpv4_type: int = 0
    icmpv4_code: int = 0
    # The context.
    oversize: int = 0
    ct_state: int = 0
    ct_nw_src: int = 0
    ct_nw_dst: int = 0
    ct_ipv6_src: int = 0
    ct_ipv6_dst: int = 0
    ct_nw_proto: int = 0
    ct_tp_src: int = 0
    ct_tp_dst: int = 0

    def has(self, name: str, value: int, mask: int = -1) -> bool:
        """Tell whether the field, under the mask, is value."""
        field: int = getattr(self, name)
        return field & mask == value

    def find(self, name: str, values: Mapping[int, object]) -> int | None:
        """Return the field's value if values has it as a key."""
        field: int = getattr(self, name)
        return field if field in values else None

    def canonical(self) -> Packet:
        """Return the packet with every field cleared that it cannot have."""
        present = present_fields(self)
        absent = {name: 0 for name in FIELD_NAMES if name not in present and getattr(self, name)}
        return connected(replace(self, **absent) if absent else self)

    def pack(self) -> int:
        """Return the packet as one number, see OFFSETS."""
        return sum(getattr(self, name) << OFFSETS[name] for name in FIELD_NAMES)

    @classmethod
    def unpack(cls, number: int) -> Packet:
        """The inverse of pack; registers are ignored."""
        return cls(**{name: number >> OFFSETS[name] & (1 << WIDTHS[name]) - 1 for name in FIELD_NAMES})

    def __str__(self) -> str:
        """The fields that are set, in the syntax of ovs-ofctl: can be given to ofproto/trace."""
        parts = [f"dl_src={format_mac(self.eth_src)}", f"dl_dst={format_mac(self.eth_dst)}"]
        parts.append(f"dl_type={self.eth_type:#06x}")
        if self.vlan_vid:
            parts.append(f"vlan_vid={self.vlan_vid:#06x}")
        present = present_fields(self)
        for name in HEADER_FIELDS:
            value = getattr(self, name)
            if name == "ip_frag":
                if value:
                    parts.append("ip_frag=" + ("later" if value & FRAGMENT_LATER else "first"))
            elif name in present and name not in WITH_ETHERNET and (value or name not in _OPTIONS):
                parts.append(f"{field_text(name)}={value_text(name, value)}")
        return ",".join(parts)

    def connection_text(self) -> str:
        """What it is to connection tracking, unless it begins a connection of its own."""
        own = connected(replace(self, **dict.fromkeys(CT_FIELDS, 0)))
        if not self.ct_state or self == own:
            return ""
        parts = [ct_state_text(self.ct_state, self.ct_state)]
        for name in CT_FIELDS:
            if name != "ct_state" and name in present_fields(self) and getattr(self, name):
                parts.append(f"{name}={value_text(name, getattr(self, name))}")
        return ",".join(parts)


FIELD_NAMES: tuple[str, ...] = tuple(f.name for f in fields(Packet))
CT_FIELDS: tuple[str, ...] = tuple(name for name in FIELD_NAMES if name.startswith("ct_"))
CONTEXT_FIELDS: tuple[str, ...] = ("oversize", *CT_FIELDS)
HEADER_FIELDS: tuple[str, ...] = tuple(name for name in FIELD_NAMES if name not in CONTEXT_FIELDS)
REGISTERS: tuple[str, ...] = tuple(f"reg{n}" for n in range(14))
# What a bridge keeps beside the packet, all 0 when it enters.
STATE_FIELDS: tuple[str, ...] = (*REGISTERS, "conj_id")
WITH_ETHERNET = frozenset({"eth_dst", "eth_src", "eth_type", "vlan_vid"})
_OPTIONS = frozenset({"ipv6_nd_sll", "ipv6_nd_tll"})
WITH_ARP = frozenset({"arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"})
WITH_IPV4 = frozenset({"ipv4_src", "ipv4_dst", "ip_proto", "ip_ttl", "ip_frag"})
WITH_IPV6 = frozenset({"ipv6_src", "ipv6_dst", "ip_proto", "ip_ttl", "ip_frag"})
WITH_ICMPV6 = frozenset({"icmpv6_type", "icmpv6_code"})
WITH_ICMPV4 = frozenset({"icmpv4_type", "icmpv4_code"})
WITH_TCP = frozenset({"tcp_src", "tcp_dst"})
WITH_UDP = frozenset({"udp_src", "udp_dst"})
_WITH_CONNECTION = frozenset({"oversize", "ct_state", "ct_nw_proto", "ct_tp_src", "ct_tp_dst"})
CONNECTION4 = _WITH_CONNECTION | {"ct_nw_src", "ct_nw_dst"}
CONNECTION6 = _WITH_CONNECTION | {"ct_ipv6_src", "ct_ipv6_dst"}


def _width(name: str) -> int:
    return 1 if name == "oversize" else FIELDS[name].width


def _offsets() -> dict[str, int]:
    """What most flows match comes first, what is of IPv6 alone last: a number ends with its highest bit."""
    offsets, at = {}, 0
    names = ("in_port", *STATE_FIELDS[:4], *HEADER_FIELDS, *STATE_FIELDS[4:], *CONTEXT_FIELDS)
    for name in sorted(names, key=lambda name: "ipv6" in name):
        offsets[name] = at
        at += _width(name)
    return offsets


OFFSETS: dict[str, int] = _offsets()
"""Where each field begins, in bits from the low end; of what order they are nothing depends on."""

WIDTHS: dict[str, int] = {name: _width(name) for name in OFFSETS}
FIELD_MASKS: dict[str, int] = {name: ((1 << WIDTHS[name]) - 1) << OFFSETS[name] for name in OFFSETS}
HEADER_MASK = sum(FIELD_MASKS[name] for name in HEADER_FIELDS)
CT_MASK = sum(FIELD_MASKS[name] for name in CT_FIELDS)
STATE_MASK = sum(FIELD_MASKS[name] for name in STATE_FIELDS)

Cube = tuple[int, int]
"""(value, mask) in the layout of OFFSETS: the packets that agree with value on the bits of mask."""


def cube(**values: int | tuple[int, int]) -> Cube:
    """Return the cube of field=value or field=(value, mask)."""
    value = mask = 0
    for name, given in values.items():
        field_value, field_mask = given if isinstance(given, tuple) else (given, (1 << WIDTHS[name]) - 1)
        value |= field_value << OFFSETS[name]
        mask |= field_mask << OFFSETS[name]
    return value, mask


def present_fields(packet: Packet) -> frozenset[str]:
    """Return which fields a packet of this kind has."""
    if packet.eth_type == ETH_ARP:
        return WITH_ETHERNET | WITH_ARP
    if packet.eth_type == ETH_IPV4:
        there = WITH_ETHERNET | WITH_IPV4 | CONNECTION4
    elif packet.eth_type == ETH_IPV6:
        there = WITH_ETHERNET | WITH_IPV6 | CONNECTION6
    else:
        return WITH_ETHERNET
    if packet.ip_frag & FRAGMENT_LATER:
        return there
    if packet.ip_proto in (PROTO_TCP, PROTO_UDP):
        return there | (WITH_TCP if packet.ip_proto == PROTO_TCP else WITH_UDP)
    if packet.eth_type == ETH_IPV4:
        return there | WITH_ICMPV4 if packet.ip_proto == PROTO_ICMPV4 else there
    return there | _icmpv6_fields(packet) if packet.ip_proto == PROTO_ICMPV6 else there


def _icmpv6_fields(packet: Packet) -> frozenset[str]:
    if packet.icmpv6_code == 0 and packet.icmpv6_type == ND_SOLICITATION:
        return WITH_ICMPV6 | {"ipv6_nd_target", "ipv6_nd_sll"}
    if packet.icmpv6_code == 0 and packet.icmpv6_type == ND_ADVERTISEMENT:
        return WITH_ICMPV6 | {"ipv6_nd_target", "ipv6_nd_tll"}
    return WITH_ICMPV6


def connected(packet: Packet) -> Packet:
    """Return the packet as one of a connection: of one that it begins, if nothing is said about it."""
    if packet.ct_state & TRACKED or packet.eth_type not in (ETH_IPV4, ETH_IPV6):
        return packet
    ports = {
        PROTO_TCP: (packet.tcp_src, packet.tcp_dst),
        PROTO_UDP: (packet.udp_src, packet.udp_dst),
        PROTO_ICMPV4: (packet.icmpv4_type, packet.icmpv4_code),
        PROTO_ICMPV6: (packet.icmpv6_type, packet.icmpv6_code),
    }.get(packet.ip_proto, (0, 0))
    return replace(
        packet, ct_state=TRACKED | NEW, ct_nw_proto=packet.ip_proto, ct_tp_src=ports[0], ct_tp_dst=ports[1],
        ct_nw_src=packet.ipv4_src, ct_nw_dst=packet.ipv4_dst,
        ct_ipv6_src=packet.ipv6_src, ct_ipv6_dst=packet.ipv6_dst,
    )  # fmt: skip


def replied(packet: Packet) -> Packet:
    """Return the packet as a reply in the connection of which its tuple, swapped, is the original one."""
    own = connected(replace(packet, **dict.fromkeys(CT_FIELDS, 0)))
    return replace(
        own, ct_state=TRACKED | CT_STATE["est"] | REPLY, ct_tp_src=own.ct_tp_dst, ct_tp_dst=own.ct_tp_src,
        ct_nw_src=own.ct_nw_dst, ct_nw_dst=own.ct_nw_src,
        ct_ipv6_src=own.ct_ipv6_dst, ct_ipv6_dst=own.ct_ipv6_src,
    )  # fmt: skip
