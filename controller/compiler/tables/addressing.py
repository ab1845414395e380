"""ADDRESSING (10): whom the frame is meant for, decided by address and not by MAC, unless that is a router's.

For a destination inside one of the network's subnets the address itself (for ARP the target, for a
neighbour solicitation the target) is copied into the destination MAC under the wire prefix, whatever MAC
the guest had put there: one flow per subnet reaches any number of ports. Resolution thus becomes unicast
to the owner, and a poisoned cache still reaches the right one. A destination outside the subnets keeps
the real MAC the guest chose (a guest that routes), unless that is multicast or pretends to be a wire MAC.
IP to the MAC of one of the network's routers goes to ROUTE, and who asks for a router's address gets the
answer from the services of its host.
Broadcast and multicast end here, unless the network has multicast: then they get one MAC of ours, for FORWARD
to copy, so much a second of each port (SPREADING). Other EtherTypes have no flow, but from a port without
port security, for which they are addressed by the real MAC.

The ARP request for 10.0.0.6: eth_dst ff:ff:ff:ff:ff:ff becomes 0a:f0:0a:00:00:06 -> FORWARD.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Network
from typing import Any

from cloison.addresses import TO_ALL_MAC, WIRE4_PREFIX, WIRE6_PREFIX
from cloison.model import PROFILE_OPEN
from controller.compiler.cookies import STATIC
from controller.compiler.headers import (
    ARP_REPLY,
    ARP_REQUEST,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    GROUPS_4,
    GROUPS_6,
    HOST_RANGE,
    IP_PROTO_ICMPV6,
    LIMITED_BROADCAST,
    LINK_LOCAL_6,
    MULTICAST_4,
    MULTICAST_6,
    MULTICAST_MAC,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    WIRE4_RANGE,
    WIRE6_RANGE,
    prefix,
)
from controller.compiler.pipeline import ADDRESSING, FORWARD, METER, ROUTE, SPREADING
from controller.compiler.registers import FROM_PROFILE, NETWORK
from controller.compiler.view import NetworkView, RouterView
from controller.flows import Action, Flow, Load, Match, Move, SetField, field, match

ROUTER_ASKED = 410
SOLICITED = 400
SOLICITED_ELSEWHERE = 390
TO_ALL = 350
ROUTED = 310
INSIDE = 300
NEVER = 200
OUTSIDE = 100
ANYTHING = 50

_ETH_DST = field("eth_dst")
_SOLICITATION = {
    "eth_type": ETH_IPV6,
    "ip_proto": IP_PROTO_ICMPV6,
    "icmpv6_type": NEIGHBOUR_SOLICITATION,
}

_ADVERTISEMENT: dict[str, Any] = {**_SOLICITATION, "icmpv6_type": NEIGHBOUR_ADVERTISEMENT}


def static_flows() -> Iterator[Flow]:
    """What holds for every network: link-local, what never passes, and the way out of the subnets."""
    link_local = prefix(LINK_LOCAL_6)
    yield _solicited(match(**_SOLICITATION, ipv6_nd_target=link_local), STATIC)
    yield ADDRESSING.flow(SOLICITED_ELSEWHERE, match(**_SOLICITATION), cookie=STATIC)
    yield _inside("ipv6_dst", match(eth_type=ETH_IPV6, ipv6_dst=link_local), STATIC)
    advertised = match(**_ADVERTISEMENT, ipv6_dst=MULTICAST_6)
    yield ADDRESSING.flow(SOLICITED_ELSEWHERE, advertised, cookie=STATIC)
    for reserved in (MULTICAST_MAC, WIRE4_RANGE, WIRE6_RANGE, HOST_RANGE):
        yield ADDRESSING.flow(NEVER, match(eth_dst=reserved), cookie=STATIC)
    for group in _GROUPS:
        yield ADDRESSING.flow(NEVER, match(**group), cookie=STATIC)
    for eth_type in (ETH_IPV4, ETH_IPV6):
        yield ADDRESSING.flow(OUTSIDE, match(eth_type=eth_type), goto=FORWARD, cookie=STATIC)
    yield ADDRESSING.flow(ANYTHING, match(**FROM_PROFILE.equals(PROFILE_OPEN)), goto=FORWARD, cookie=STATIC)


def network_flows(network: NetworkView) -> Iterator[Flow]:
    """One flow per subnet and kind of packet that names an address of it."""
    here: dict[str, Any] = {**NETWORK.equals(network.vni)}
    if network.everyone is not None:
        for group in _everyone(network):
            to_all = SetField(_ETH_DST, TO_ALL_MAC)
            yield ADDRESSING.flow(
                TO_ALL, match(**here, **group), to_all, goto=SPREADING, cookie=network.cookie
            )
    for subnet in network.subnets:
        range_ = prefix(subnet)
        if isinstance(subnet, IPv6Network):
            yield _inside("ipv6_dst", match(**here, eth_type=ETH_IPV6, ipv6_dst=range_), network.cookie)
            yield _solicited(match(**here, **_SOLICITATION, ipv6_nd_target=range_), network.cookie)
            continue
        yield _inside("ipv4_dst", match(**here, eth_type=ETH_IPV4, ipv4_dst=range_), network.cookie)
        for op in (ARP_REQUEST, ARP_REPLY):
            asked = match(**here, eth_type=ETH_ARP, arp_op=op, arp_tpa=range_)
            yield _inside("arp_tpa", asked, network.cookie)
    for router in network.routers:
        yield from _to_router(router, here, network.cookie)


def _to_router(router: RouterView, here: dict[str, Any], cookie: int) -> Iterator[Flow]:
    for address in router.here:
        if isinstance(address, IPv4Address):
            asked = match(**here, eth_type=ETH_ARP, arp_op=ARP_REQUEST, arp_tpa=int(address))
        else:
            asked = match(**here, **_SOLICITATION, ipv6_nd_target=int(address))
        yield ADDRESSING.flow(ROUTER_ASKED, asked, goto=METER, cookie=cookie)
    for eth_type in (ETH_IPV4, ETH_IPV6):
        routed = match(**here, eth_dst=router.mac, eth_type=eth_type)
        yield ADDRESSING.flow(ROUTED, routed, goto=ROUTE, cookie=cookie)


# Group addresses to a unicast MAC: no member may be reached by a way round the rules for groups.
_GROUPS: tuple[dict[str, Any], ...] = (
    {"eth_type": ETH_IPV4, "ipv4_dst": prefix(GROUPS_4)},
    {"eth_type": ETH_IPV6, "ipv6_dst": prefix(GROUPS_6)},
)


def _everyone(network: NetworkView) -> Iterator[dict[str, Any]]:
    """What is for all ports of a network with multicast: groups, the broadcast addresses of its subnets."""
    yield {"eth_type": ETH_IPV4, "ipv4_dst": MULTICAST_4}
    yield {"eth_type": ETH_IPV6, "ipv6_dst": MULTICAST_6}
    # (RFC 3021: a subnet of two addresses has none for broadcast.)
    wide = (subnet for subnet in network.subnets4 if subnet.prefixlen < 31)
    for address in sorted({LIMITED_BROADCAST, *(int(subnet.broadcast_address) for subnet in wide)}):
        yield {"eth_type": ETH_IPV4, "ipv4_dst": address}


@lru_cache(maxsize=8)
def _to_wire(address: str, wire_prefix: int) -> tuple[Action, ...]:
    """Copy the low 32 bits of an address field into the destination MAC, under the prefix of its family."""
    return (Move(field(address), 0, _ETH_DST, 0, 32), Load(_ETH_DST, 32, 16, wire_prefix))


def _inside(address: str, matched: Match, cookie: int) -> Flow:
    wire_prefix = WIRE6_PREFIX if address == "ipv6_dst" else WIRE4_PREFIX
    return ADDRESSING.flow(INSIDE, matched, *_to_wire(address, wire_prefix), goto=FORWARD, cookie=cookie)


def _solicited(matched: Match, cookie: int) -> Flow:
    actions = _to_wire("ipv6_nd_target", WIRE6_PREFIX)
    return ADDRESSING.flow(SOLICITED, matched, *actions, goto=FORWARD, cookie=cookie)
