"""Contract of what is for all of a network with multicast: the copies that FORWARD makes, and no others.

One for each local port, of whom the stages after DELIVER judge it alone; of what was sent here, one for each
other host. The rest of FORWARD is in contracts.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from cloison.addresses import TO_ALL_MAC
from controller.verify import semantics
from controller.verify.contracts import dropped, same_header
from controller.verify.explore import explore
from controller.verify.forwarding import Place
from controller.verify.frame import Frame
from controller.verify.intent import NetworkIntent
from controller.verify.packet import (
    ETH_IPV4,
    ETH_IPV6,
    ND_ADVERTISEMENT,
    ND_SOLICITATION,
    OFFSETS,
    PROTO_ICMPV6,
    UNTAGGED,
    WIDTHS,
    cube,
)
from controller.verify.space import Region, member, within
from controller.verify.stages import (
    DELIVER,
    EXIT,
    FORWARD,
    LOCAL,
    NETWORK,
    ORIGIN,
    OVERLAY,
    TO_PORT,
    TO_PORT_BITS,
    TO_PROFILE,
)
from controller.verify.symbolic import Bridge, Leaf

_ETH_DST = OFFSETS["eth_dst"]


def replicates(
    bridge: Bridge, place: Place, others: Iterable[int], own: int | None, *, loss: bool = False
) -> bool:
    """Tell whether FORWARD copies what is for all to each local port, and what comes from one to other hosts.

    others: the MACs of the other hosts; own: that of this one, None if it has none yet. Only of a network
    with multicast. loss: tell whether it does, or makes none at all.
    """
    ports = place.members.by_host.get(place.host, {}).values()
    local = sorted((port.ofport, port.profile) for port in ports)
    tunnel = place.network.tunnels.get(place.host)
    away = sorted(others) if tunnel is not None else []
    for region, group in _groups(place.network):
        starts = (
            [(LOCAL, TO_ALL_MAC, away)] if own is None else [(LOCAL, TO_ALL_MAC, away), (OVERLAY, own, [])]
        )
        for origin, mac, hosts in starts:
            start = _coming(region, place.network, origin, mac)
            for leaf in bridge.run(start, FORWARD, stop_at=FORWARD + 1):
                if loss and dropped(leaf):
                    continue
                good = leaf.stopped is None and not leaf.sent and _copied(leaf, start, group, local)
                good = good and _sent_away(leaf, start, tunnel, hosts)
                if not good and member(leaf.region) is not None:
                    return False
    return True


def _coming(region: Region, network: NetworkIntent, origin: int, mac: int) -> Frame:
    """A frame of a network that comes to FORWARD under a MAC, whatever else is in registers."""
    frame = Frame(region).write(OFFSETS[NETWORK], WIDTHS[NETWORK], network.vni)
    return frame.write(OFFSETS[ORIGIN], WIDTHS[ORIGIN], origin).write(_ETH_DST, 48, mac)


def _groups(network: NetworkIntent) -> Iterator[tuple[Region, semantics.Group]]:
    """What comes to FORWARD for all, and the MAC that guests see it under."""
    four, six = (Region(*cube(vlan_vid=UNTAGGED, eth_type=kind)) for kind in (ETH_IPV4, ETH_IPV6))
    discovery = [
        cube(ip_proto=PROTO_ICMPV6, icmpv6_type=kind) for kind in (ND_SOLICITATION, ND_ADVERTISEMENT)
    ]
    ranges = [(four, cube(ipv4_dst=semantics.MULTICAST4))]
    ranges += [(four, cube(ipv4_dst=address)) for address in semantics.broadcasts(network)]
    ranges.append((six._replace(holes=tuple(discovery)), cube(ipv6_dst=semantics.GROUPS6)))
    for kind, addressed in ranges:
        region = within(kind, addressed)
        if region is None:
            continue
        for part, group in explore(region, partial(semantics.group_of, network)):
            if group is not None:
                yield part, group


def _copied(leaf: Leaf, start: Frame, group: semantics.Group, local: list[tuple[int, int]]) -> bool:
    """Tell whether each local port gets a copy, under the MAC of the group."""
    copies = [frame for table, frame in leaf.copies if table == DELIVER]
    wanted = to_group(start._replace(region=leaf.region), group)
    right = all(same_header(frame._replace(region=leaf.region), wanted) for frame in copies)
    return right and sorted(map(_known_to, copies)) == local


def _sent_away(leaf: Leaf, start: Frame, tunnel: int | None, hosts: list[int]) -> bool:
    """Tell whether each of the other hosts gets a copy, under its MAC."""
    copies = [frame._replace(region=leaf.region) for table, frame in leaf.copies if table != DELIVER]
    macs = sorted(frame.field("eth_dst") or 0 for frame in copies)
    out = all(table in (DELIVER, EXIT) for table, _ in leaf.copies)
    alike = all(
        same_header(
            frame, start._replace(region=leaf.region).write(_ETH_DST, 48, frame.field("eth_dst") or 0)
        )
        for frame in copies
    )
    return out and alike and macs == hosts and all(_known_to(frame)[0] == tunnel for frame in copies)


def _known_to(frame: Frame) -> tuple[int, int]:
    ofport, profile = frame.bits(OFFSETS[TO_PORT], TO_PORT_BITS), frame.field(TO_PROFILE)
    return (-1 if ofport is None else ofport, -1 if profile is None else profile)


def to_group(frame: Frame, group: semantics.Group) -> Frame:
    """Return the frame with the MAC of a group."""
    mac, copied = group
    frame = frame.write(_ETH_DST, 48, mac)
    return frame if copied is None else frame.copy(OFFSETS[copied[0]], _ETH_DST, copied[1])
