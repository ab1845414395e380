"""What routers of a network mean for one packet: whom they answer, what they send on, and where. No tables.

A part of semantics.py, to be read and believed as that.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import TypeVar

from controller.verify.intent import ExitIntent, NetworkIntent, RouteIntent, RouterIntent
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FRAGMENT,
    ND_ADVERTISEMENT,
    ND_SOLICITATION,
    PROTO_TCP,
    PROTO_UDP,
    REPLY,
)
from controller.verify.seen import (
    ARP_REQUEST,
    GROUPS4,
    GROUPS6,
    LINK_LOCAL4,
    LINK_LOCAL6,
    Seen,
    any_of,
    icmpv6,
    within,
)


class Services(enum.Enum):
    """The local services are meant, in a router's stead."""

    THEY = "they"


def asks_router(network: NetworkIntent, seen: Seen) -> bool:
    """Tell whether a packet asks for the MAC of an address of a router in the network."""
    here = [address for router in network.routers for address in router.here]
    if seen.has("eth_type", ETH_ARP):
        asked = (int(address) for address in here if address.version == 4)
        return seen.has("arp_op", ARP_REQUEST) and any_of(seen, "arp_tpa", asked)
    asked = (int(address) for address in here if address.version == 6)
    return bool(here) and icmpv6(seen, ND_SOLICITATION) and any_of(seen, "ipv6_nd_target", asked)


def router_of(network: NetworkIntent, seen: Seen) -> RouterIntent | None:
    """Return the router that an IP packet is handed to, by its MAC; a solicitation is handed to nobody."""
    if not network.routers or not (seen.has("eth_type", ETH_IPV4) or seen.has("eth_type", ETH_IPV6)):
        return None
    if icmpv6(seen, ND_SOLICITATION):
        return None
    return next((router for router in network.routers if seen.has("eth_dst", router.mac)), None)


Leave = Callable[[RouterIntent, int], tuple[ExitIntent, ...]]
"""The ways out of a sender's own by a router, of a family (PortIntent.exits_by)."""


def turn(router: RouterIntent, seen: Seen, leave: Leave) -> RouteIntent | Services | None:
    """Return where a router sends an IP packet; None for what never leaves its link.

    The longest prefix decides; only a default route, or none, gives way to a way out of the sender's own.
    """
    if seen.has("eth_type", ETH_IPV4):
        version, target, never = 4, "ipv4_dst", within(seen, "ipv4_dst", (GROUPS4, LINK_LOCAL4))
    else:
        version, target, never = 6, "ipv6_dst", within(seen, "ipv6_dst", (GROUPS6, LINK_LOCAL6))
        never = never or seen.has("ipv6_src", *LINK_LOCAL6) or icmpv6(seen, ND_ADVERTISEMENT)
    if never:
        return None
    if any_of(seen, target, router.own(version)) or any_of(seen, "ip_ttl", (0, 1)):
        return Services.THEY
    source = "ipv4_src" if version == 4 else "ipv6_src"
    default: RouteIntent | Services = Services.THEY
    for route in router.ways(version):
        if not route.prefix.prefixlen and route.crossing is None:
            default = route
            continue
        entitled = route.crossing is None or seen.has(source, *route.crossing.range)
        if entitled and seen.has(target, *route.range):
            return route
    source = "ipv4_src" if version == 4 else "ipv6_src"
    for way in leave(router, version):
        if way.source is None or seen.has(source, int(way.source)):
            return way.route
    return default


SHARES = 16
_T = TypeVar("_T")


def shares(hops: Sequence[_T | None]) -> tuple[_T, ...]:
    """Return whose each share is of what goes by these next hops in turn; () if none of them is there (None).

    Each share of one that is not there goes to one of the others, in turn; nobody else's changes hands.
    """
    there = [hop for hop in hops if hop is not None]
    owners = []
    for number in range(SHARES if there else 0):
        turns, whose = divmod(number, len(hops))
        owner = hops[whose]
        owners.append(there[turns % len(there)] if owner is None else owner)
    return tuple(owners)


def share(owners: Sequence[_T], seen: Seen) -> _T | None:
    """Return the next hop that a packet goes by, of those whose the shares are; None if there are none.

    The number of its share is in the last bits of the port (but for the very last), or of the address, of who
    opened its connection: it is the same for all of a connection but its fragments, and for the answers.
    """
    if not owners:
        return None
    if any(owner != owners[0] for owner in owners):
        field, bit = _opener(seen)
        while any(owner != owners[0] for owner in owners):
            # Those whose number has this bit set, or not; then by the next one.
            owners = owners[int(seen.has(field, 1 << bit, 1 << bit)) :: 2]
            bit += 1
    return owners[0]


def _opener(seen: Seen) -> tuple[str, int]:
    """The field that says who opened a connection, and its first bit that counts."""
    end = "dst" if seen.has("ct_state", REPLY, REPLY) else "src"
    if not seen.has("ip_frag", FRAGMENT, FRAGMENT):
        for protocol, name in ((PROTO_TCP, "tcp"), (PROTO_UDP, "udp")):
            if seen.has("ip_proto", protocol):
                return f"{name}_{end}", 1
    return f"{'ipv4' if seen.has('eth_type', ETH_IPV4) else 'ipv6'}_{end}", 0
