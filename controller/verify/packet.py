"""A packet as a vector of header fields, as Open vSwitch parses it (ovs-fields(7)). No payload, no bytes.

Canonical: a field that the packet does not have is zero, so two packets that no switch can tell apart are
one value. `OFFSETS` lays all fields, and the registers of the pipeline, side by side in one big integer: a
packet is then one number, and a match is a value and a mask of the same width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from cloison.addresses import format_mac
from controller.flows.fields import FIELDS
from controller.flows.text import field_text, value_text

ETH_IPV4, ETH_ARP, ETH_IPV6 = 0x0800, 0x0806, 0x86DD
UNTAGGED, VLAN_PRESENT = 0, 0x1000
PROTO_ICMPV6 = 58
PROTO_IPV6_FRAGMENT = 44
# Protocols that Open vSwitch steps over: the last one of a chain that breaks off, which it shows as 0.
PROTO_HOP_BY_HOP, PROTO_ROUTING, PROTO_DESTINATION_OPTIONS = 0, 43, 60
ND_ROUTER_SOLICITATION, ND_ROUTER_ADVERTISEMENT = 133, 134
ND_SOLICITATION, ND_ADVERTISEMENT, ND_REDIRECT = 135, 136, 137
# ip_frag: 1 says "a fragment", 2 "not the first one" (ovs-fields(7)). A first fragment shows its layer 4, a
# later one has none: so it is with OFPC_FRAG_NX_MATCH, which every session sets (controller/openflow).
FRAGMENT, FRAGMENT_LATER = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """Header fields, named as in controller.flows.fields; numbers, zero where the packet has no such field.

    vlan_vid is 0 for an untagged frame, else 0x1000 | VID. ipv6_nd_sll and ipv6_nd_tll are zero where the
    option is absent.
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
        absent = {name: 0 for name in HEADER_FIELDS if name not in present and getattr(self, name)}
        return replace(self, **absent) if absent else self

    def pack(self) -> int:
        """Return the packet as one number, see OFFSETS."""
        return sum(getattr(self, name) << OFFSETS[name] for name in HEADER_FIELDS)

    @classmethod
    def unpack(cls, number: int) -> Packet:
        """The inverse of pack; registers are ignored."""
        return cls(**{name: number >> OFFSETS[name] & FIELDS[name].all_ones for name in HEADER_FIELDS})

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


HEADER_FIELDS: tuple[str, ...] = tuple(f.name for f in fields(Packet))
REGISTERS: tuple[str, ...] = tuple(f"reg{n}" for n in range(8))
WITH_ETHERNET = frozenset({"eth_dst", "eth_src", "eth_type", "vlan_vid"})
_OPTIONS = frozenset({"ipv6_nd_sll", "ipv6_nd_tll"})
WITH_ARP = frozenset({"arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"})
WITH_IPV4 = frozenset({"ipv4_src", "ipv4_dst", "ip_proto", "ip_ttl", "ip_frag"})
WITH_IPV6 = frozenset({"ipv6_src", "ipv6_dst", "ip_proto", "ip_ttl", "ip_frag"})
WITH_ICMPV6 = frozenset({"icmpv6_type", "icmpv6_code"})


def _offsets() -> dict[str, int]:
    offsets, at = {}, 0
    for name in (*HEADER_FIELDS, "in_port", *REGISTERS):
        offsets[name] = at
        at += FIELDS[name].width
    return offsets


OFFSETS: dict[str, int] = _offsets()
"""Where each field begins, in bits from the low end: header fields, then in_port, then the registers."""

WIDTHS: dict[str, int] = {name: FIELDS[name].width for name in OFFSETS}
FIELD_MASKS: dict[str, int] = {name: ((1 << WIDTHS[name]) - 1) << OFFSETS[name] for name in OFFSETS}
HEADER_MASK = sum(FIELD_MASKS[name] for name in HEADER_FIELDS)

Cube = tuple[int, int]
"""(value, mask) in the layout of OFFSETS: the packets that agree with value on the bits of mask."""


def cube(**values: int | tuple[int, int]) -> Cube:
    """Return the cube of field=value or field=(value, mask)."""
    value = mask = 0
    for name, given in values.items():
        field_value, field_mask = given if isinstance(given, tuple) else (given, FIELDS[name].all_ones)
        value |= field_value << OFFSETS[name]
        mask |= field_mask << OFFSETS[name]
    return value, mask


def present_fields(packet: Packet) -> frozenset[str]:
    """Return which fields a packet of this kind has."""
    if packet.eth_type == ETH_ARP:
        return WITH_ETHERNET | WITH_ARP
    if packet.eth_type == ETH_IPV4:
        return WITH_ETHERNET | WITH_IPV4
    if packet.eth_type != ETH_IPV6:
        return WITH_ETHERNET
    there = WITH_ETHERNET | WITH_IPV6
    if packet.ip_proto != PROTO_ICMPV6 or packet.ip_frag & FRAGMENT_LATER:
        return there
    there |= WITH_ICMPV6
    if packet.icmpv6_code == 0 and packet.icmpv6_type == ND_SOLICITATION:
        there |= {"ipv6_nd_target", "ipv6_nd_sll"}
    if packet.icmpv6_code == 0 and packet.icmpv6_type == ND_ADVERTISEMENT:
        there |= {"ipv6_nd_target", "ipv6_nd_tll"}
    return there
