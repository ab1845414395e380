"""Contract of forwarding: FORWARD leads each frame to the local port it is for, else to the network's device.

What is for all of a network is in copies.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cloison.addresses import WIRE4_PREFIX, WIRE6_PREFIX
from cloison.names import HostName
from controller.verify import semantics
from controller.verify.contracts import ANYTHING, dropped, in_network, on_wire, same_header, untagged
from controller.verify.explore import explore
from controller.verify.frame import Frame
from controller.verify.intent import NetworkIntent, PortIntent
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ND_SOLICITATION,
    OFFSETS,
    PROTO_ICMPV6,
    UNTAGGED,
    cube,
)
from controller.verify.space import Region, member, within
from controller.verify.stages import (
    DELIVER,
    EXIT,
    FORWARD,
    FROM_SERVICE,
    LOCAL,
    OVERLAY,
    TO_PORT,
    TO_PORT_BITS,
    TO_PROFILE,
)
from controller.verify.symbolic import Bridge, Leaf
from controller.verify.world import Members

_ETH_DST = OFFSETS["eth_dst"]
_LOW32 = 0xFFFFFFFF

_SOLICITED = {"ip_proto": PROTO_ICMPV6, "icmpv6_type": ND_SOLICITATION}
_NOT_A_MAC = tuple(cube(eth_dst=r) for r in (semantics.GROUP_MAC, *semantics.WIRE_MACS))
_OF_A_KIND = tuple(cube(eth_type=kind) for kind in (ETH_ARP, ETH_IPV4, ETH_IPV6))
# Answers of the local services to the wire MAC of an IPv4 address, whatever is in them.
ANSWERED = "answered"
_WIRE4 = (WIRE4_PREFIX << 32, 0xFFFF << 32)
# Admitted frames by the field that says whom they are meant for (semantics.aim).
KINDS: dict[str, tuple[Region, ...]] = {
    "ipv4_dst": (untagged(ETH_IPV4),),
    "arp_tpa": (untagged(ETH_ARP),),
    "ipv6_nd_target": (untagged(ETH_IPV6, **_SOLICITED),),
    "ipv6_dst": (untagged(ETH_IPV6, cube(**_SOLICITED)),),
    "eth_dst": (
        untagged(ETH_IPV4, *_NOT_A_MAC),
        untagged(ETH_ARP, *_NOT_A_MAC),
        untagged(ETH_IPV6, cube(**_SOLICITED), *_NOT_A_MAC),
        Region(*cube(vlan_vid=UNTAGGED), (*_OF_A_KIND, *_NOT_A_MAC)),
    ),
    ANSWERED: (Region(*cube(vlan_vid=UNTAGGED, eth_dst=_WIRE4), (cube(eth_type=ETH_IPV6, **_SOLICITED),)),),
}


class Place(NamedTuple):
    """One network on one host."""

    members: Members
    host: HostName
    network: NetworkIntent


def forwarding(
    bridge: Bridge, place: Place, macs: Iterable[int] | None = None, *, loss: bool = False
) -> bool:
    """Tell whether FORWARD leads frames to the local port they are for, else from a local port to the device.

    macs: only frames that come to FORWARD with these destination MACs; None for all frames. loss: tell
    whether it does, or loses them.
    """
    if macs is None:
        local = place.members.by_host.get(place.host, {})
        for aimed in KINDS:
            owners = {value: port for port in local.values() for value in addressed_by(port, aimed)}
            if not all(_forwards(bridge, place, kind, aimed, owners, loss) for kind in KINDS[aimed]):
                return False
        return contained(bridge, place, ANYTHING) is None
    return all(_forwards_mac(bridge, place, mac, loss) for mac in macs)


def _forwards_mac(bridge: Bridge, place: Place, mac: int, loss: bool) -> bool:
    port = place.members.by_frame_mac.get(mac)
    for aimed, value, bits in aims_of(mac):
        owners = {}
        if port is not None and port.host == place.host:
            owners = {v: port for v in addressed_by(port, aimed) if v & bits == value}
        for kind in KINDS[aimed]:
            region = within(kind, cube(**{aimed: (value, bits)}))
            if region is not None and not _forwards(bridge, place, region, aimed, owners, loss):
                return False
    if mac >> 32 == WIRE4_PREFIX and not _answers(bridge, place, mac, loss):
        return False
    return contained(bridge, place, Region(*cube(eth_dst=mac))) is None


def aims_of(mac: int) -> tuple[tuple[str, int, int], ...]:
    """Return (field, value, mask) of the packets that come to FORWARD with a destination MAC."""
    low = mac & _LOW32
    if mac >> 32 == WIRE4_PREFIX:
        return ("ipv4_dst", low, _LOW32), ("arp_tpa", low, _LOW32)
    if mac >> 32 == WIRE6_PREFIX:
        return ("ipv6_dst", low, _LOW32), ("ipv6_nd_target", low, _LOW32)
    return (("eth_dst", mac, (1 << 48) - 1),)


def _answers(bridge: Bridge, place: Place, mac: int, loss: bool) -> bool:
    """As _forwards, of what the local services send to the wire MAC of an IPv4 address."""
    port = place.members.by_answer_mac.get(mac)
    owners = {mac: port} if port is not None and port.host == place.host else {}
    region = within(KINDS[ANSWERED][0], cube(eth_dst=mac))
    assert region is not None, mac
    return _forwards(bridge, place, region, ANSWERED, owners, loss)


def contained(bridge: Bridge, place: Place, region: Region) -> Region | None:
    """Return frames, of any kind, not from a local port, that do not stay with the network's local ports.

    None if there are none: not even another host, or the local services, can make this one reach further, or
    be taken for somebody with another profile.
    """
    here = {(port.ofport, port.profile) for port in place.members.by_host.get(place.host, {}).values()}
    for origin in (OVERLAY, FROM_SERVICE):
        for leaf in bridge.run(in_network(region, place.network, origin), FORWARD, stop_at=FORWARD + 1):
            arrived = leaf.copies if leaf.stopped is None else (*leaf.copies, leaf.stopped)
            stays = all(table == DELIVER and _to(frame) in here for table, frame in arrived)
            if (leaf.sent or not stays) and member(leaf.region) is not None:
                return leaf.region
    return None


def _to(frame: Frame) -> tuple[int | None, int | None]:
    """The OpenFlow port and the profile that a frame is for."""
    return frame.bits(OFFSETS[TO_PORT], TO_PORT_BITS), frame.field(TO_PROFILE)


def addressed_by(port: PortIntent, aimed: str) -> tuple[int, ...]:
    """Return the values of a field that semantics.aim names by which frames are meant for a port."""
    if aimed == "eth_dst":
        return (port.mac,) if port.by_mac else ()
    if aimed == ANSWERED:
        return tuple(WIRE4_PREFIX << 32 | address for address in port.addresses4)
    return port.addresses4 if aimed in ("ipv4_dst", "arp_tpa") else port.addresses6


_ORIGINS = {"eth_dst": (LOCAL, OVERLAY, FROM_SERVICE), ANSWERED: (FROM_SERVICE,)}


def _forwards(
    bridge: Bridge, place: Place, region: Region, aimed: str, owners: Mapping[int, PortIntent], loss: bool
) -> bool:
    # The services name ports by MAC; what else they send is seen to in `contained`.
    asked = "eth_dst" if aimed == ANSWERED else aimed
    for origin in _ORIGINS.get(aimed, (LOCAL, OVERLAY)):
        start = on_wire(in_network(region, place.network, origin), aimed)
        for leaf in bridge.run(start, FORWARD, stop_at=FORWARD + 1):
            if loss and dropped(leaf):
                continue
            for part, found in explore(leaf.region, lambda seen: seen.find(asked, owners)):
                port = None if found is None else owners[found]
                begun = start._replace(region=part)
                good = _forwarded(place, leaf, begun, port, origin)
                # Sent to the overlay it is lost, too: who is here has no entry here (fdb.py).
                if loss and origin == LOCAL and port is not None and not good:
                    good = _forwarded(place, leaf, begun, None, origin)
                if not good and member(part) is not None:
                    return False
    return True


def _forwarded(place: Place, leaf: Leaf, start: Frame, port: PortIntent | None, origin: int) -> bool:
    tunnel = place.network.tunnels.get(place.host)
    if port is None and (origin != LOCAL or tunnel is None):
        return dropped(leaf)
    if leaf.stopped is None or leaf.sent or leaf.copies:
        return False
    table, frame = leaf.stopped[0], leaf.stopped[1]._replace(region=start.region)
    if port is None:
        return (table, _to(frame)[0]) == (EXIT, tunnel) and same_header(frame, start)
    wanted = start.write(_ETH_DST, 48, port.mac)
    return (table, _to(frame)) == (DELIVER, (port.ofport, port.profile)) and same_header(frame, wanted)
