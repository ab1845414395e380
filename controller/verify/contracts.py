"""Local contracts: what each stage of one bridge owes, proved stage by stage for all packets.

admission.py, addressing.py, forwarding.py and copies.py have the stages that differ from port to port and
from network to network; stations.py has those that are the same for all, policing.py those of security
groups. They meet at these tables: a frame leaves for METER, TRACK or ADDRESSING with its sender's network,
tenant, number and profile in the registers, unchanged, if and only if its sender may send it and that is
where it is to go; it enters FORWARD with the MAC of whom it is meant for,
in that one's network, or goes to METER if the services answer it for a router;
there it goes to DELIVER for the local port that this is, with that port's profile, or to EXIT for the
network's VXLAN device; and what is for all, as a copy each, to all ports here and to all other hosts. With
unique identifiers and exact forwarding databases the contracts of all hosts imply that every packet is
received as semantics.py says (the argument is in isolation.py). They are stricter than that: a contract that
does not hold is a reason to look closer (exact.py), not yet a violation. A contract is checked for what a
change can touch and no more.

Here is what they share.
"""

from __future__ import annotations

from collections.abc import Mapping

from cloison.addresses import WIRE4_PREFIX, WIRE6_PREFIX
from controller.verify.frame import Frame
from controller.verify.intent import NetworkIntent
from controller.verify.packet import (
    FIELD_MASKS,
    FRAGMENT,
    FRAGMENT_LATER,
    HEADER_MASK,
    OFFSETS,
    UNTAGGED,
    WIDTHS,
    Cube,
    cube,
)
from controller.verify.rules import Rule
from controller.verify.space import Region
from controller.verify.stages import (
    CLAIMED,
    COMMIT,
    FROM_PORT,
    FROM_PROFILE,
    NETWORK,
    ORIGIN,
    ORIGIN_BITS,
    ROUTE,
    TENANT,
)
from controller.verify.symbolic import Leaf

_ETH_DST = OFFSETS["eth_dst"]
_PREFIX_AT = _ETH_DST + 32

# More than all packets: the fields of all kinds side by side. A contract that holds for these holds for the
# real ones (shapes.py), and a flow looks at no field that its packets may lack (grammar.py).
ANYTHING = Region(*cube(ip_frag=(0, 0xFF & ~(FRAGMENT | FRAGMENT_LATER))))


def untagged(eth_type: int, *holes: Cube, **fixed: int) -> Region:
    """Frames of an EtherType without a VLAN tag, with these values of fields, and outside of the holes."""
    return Region(*cube(vlan_vid=UNTAGGED, eth_type=eth_type, **fixed), holes)


_PREFIX = {
    "ipv4_dst": WIRE4_PREFIX,
    "arp_tpa": WIRE4_PREFIX,
    "ipv6_dst": WIRE6_PREFIX,
    "ipv6_nd_target": WIRE6_PREFIX,
}


def regular(rule: Rule) -> bool:
    """Tell whether a rule leaves the registers alone that say who sent a frame, and in which network.

    Only ADMISSION and CLAIMED write them, but for the network, which ROUTE changes for what it matches by
    network, and for the tenant and the profile of what crosses to another tenant, which COMMIT changes: of
    the tables that such a frame comes to after that only those of policy (policed.py) match these, and those
    that are the same for all (stations.py). So a rule that matches on one of them is met only by frames of
    that sender or network, and of a network by what routers lead into it; a change of the rule concerns
    nobody else. contracts.py and isolation.py rest on that.
    """
    if rule.table <= CLAIMED:
        return True
    kept = {ROUTE: _SENDER_MASK, COMMIT: _CROSSING_MASK}.get(rule.table, _IDENTITY_MASK)
    return not rule.form.writes & kept


_ORIGIN_MASK = ((1 << ORIGIN_BITS) - 1) << OFFSETS[ORIGIN]
_SENDER_MASK = _ORIGIN_MASK | sum(FIELD_MASKS[name] for name in ("in_port", FROM_PORT, FROM_PROFILE, TENANT))
_IDENTITY_MASK = _SENDER_MASK | FIELD_MASKS[NETWORK]
_CROSSING_MASK = _IDENTITY_MASK & ~(FIELD_MASKS[FROM_PROFILE] | FIELD_MASKS[TENANT])


def dropped(leaf: Leaf) -> bool:
    """Tell whether nothing comes of a part of the packets."""
    return leaf.stopped is None and not leaf.sent and not leaf.copies


def untouched(frame: Frame, placed: Mapping[str, int]) -> bool:
    """Tell whether a frame is as it came in, and registers say what they should."""
    return not frame.written & HEADER_MASK and all(
        frame.field(name) == value for name, value in placed.items()
    )


def in_network(region: Region, network: NetworkIntent, origin: int) -> Frame:
    """A frame in a network, whatever the other registers and in_port are."""
    frame = Frame(region).write(OFFSETS[NETWORK], WIDTHS[NETWORK], network.vni)
    return frame.write(OFFSETS[ORIGIN], WIDTHS[ORIGIN], origin)


def on_wire(frame: Frame, aimed: str) -> Frame:
    """The frame with the wire MAC of the address in a field."""
    prefix = _PREFIX.get(aimed)
    if prefix is None:
        return frame
    return frame.write(_PREFIX_AT, 16, prefix).copy(OFFSETS[aimed], _ETH_DST, 32)


def same_header(frame: Frame, wanted: Frame) -> bool:
    """Tell whether two frames of one region have the same header; False if that needs a closer look."""
    if frame.aged != wanted.aged:
        return False
    if frame.written & HEADER_MASK != wanted.written & HEADER_MASK:
        return False
    mine, theirs = frame.known(), wanted.known()
    mask = mine[1] & HEADER_MASK
    if mask != theirs[1] & HEADER_MASK or (mine[0] ^ theirs[0]) & mask:
        return False
    open_bits = ~mask & HEADER_MASK & frame.written
    return not open_bits or _cut_slices(frame, open_bits) == _cut_slices(wanted, open_bits)


def _cut_slices(frame: Frame, bits: int) -> dict[int, int]:
    """For each of the bits, the bit of the input it is."""
    return {
        at + n: source + n for at, source, width in frame.slices for n in range(width) if bits >> (at + n) & 1
    }
