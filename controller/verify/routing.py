"""What routers of a network mean for one packet: whom they answer, what they send on, and where. No tables.

A part of semantics.py, to be read and believed as that.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from controller.verify.intent import ExitIntent, NetworkIntent, RouteIntent, RouterIntent
from controller.verify.packet import ETH_ARP, ETH_IPV4, ETH_IPV6, ND_ADVERTISEMENT, ND_SOLICITATION
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
    default: RouteIntent | Services = Services.THEY
    for route in router.ways(version):
        if not route.prefix.prefixlen:
            default = route
        elif seen.has(target, *route.range):
            return route
    source = "ipv4_src" if version == 4 else "ipv6_src"
    for way in leave(router, version):
        if way.source is None or seen.has(source, int(way.source)):
            return way.route
    return default
