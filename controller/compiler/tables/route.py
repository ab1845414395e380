"""ROUTE (12): what a guest sent to the MAC of a router, at the guest's own host.

For one of the router's addresses, with a TTL that is used up, or with no route: to the services of this host,
which answer as the router. Else the route with the longest prefix says into which network it goes: under the
wire MAC of its destination if the router is connected there, under the MAC of the next hop's port otherwise.
Its TTL is one less, and FORWARD goes on as if it had been sent in that network. A port may have a way out of
its own, to the edge on its host: it wins over a default route, and over no longer prefix. What never leaves
its link is dropped: groups, link-local addresses, neighbour advertisements. No redirect is ever sent.

A ping from 10.0.0.5 to 10.1.0.9: NETWORK becomes the VNI of the network of 10.1.0.0/24, eth_dst
0a:f0:0a:01:00:09, nw_ttl 63 -> FORWARD.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

from cloison.addresses import WIRE4_PREFIX, WIRE6_PREFIX, IpAddress, IpNetwork
from controller.compiler.cookies import STATIC
from controller.compiler.headers import (
    ETH_IPV4,
    ETH_IPV6,
    GROUPS_4,
    GROUPS_6,
    IP_PROTO_ICMPV6,
    LINK_LOCAL_4,
    LINK_LOCAL_6,
    NEIGHBOUR_ADVERTISEMENT,
    prefix,
)
from controller.compiler.pipeline import FORWARD, METER, ROUTE
from controller.compiler.registers import FROM_PORT, NETWORK
from controller.compiler.view import NetworkView, PortView, RouterView, RouteView
from controller.flows import Action, DecTtl, Flow, Load, Move, SetField, field, match

NEVER = 400
ITS_OWN = 380
USED_UP = 370
# Plus the length of its prefix.
ROUTED = 100
# Of one port (and one more for one of its addresses), then of all; no prefix is shorter.
EXIT = 90
DEFAULT = 80
NO_ROUTE = 50

_ETH_DST = field("eth_dst")


def static_flows() -> Iterator[Flow]:
    """What no router forwards (RFC 3927, section 2.6.2; RFC 4291, section 2.5.6; RFC 4861, section 7.1.2)."""
    for range_ in (GROUPS_4, LINK_LOCAL_4, GROUPS_6, LINK_LOCAL_6):
        yield ROUTE.flow(NEVER, match(**_to(range_)), cookie=STATIC)
    yield ROUTE.flow(NEVER, match(eth_type=ETH_IPV6, ipv6_src=prefix(LINK_LOCAL_6)), cookie=STATIC)
    advertised = match(eth_type=ETH_IPV6, ip_proto=IP_PROTO_ICMPV6, icmpv6_type=NEIGHBOUR_ADVERTISEMENT)
    yield ROUTE.flow(NEVER, advertised, cookie=STATIC)


def network_flows(network: NetworkView) -> Iterator[Flow]:
    """For each router of the network: one flow per address and route of it, and six more."""
    for router in network.routers:
        yield from _router_flows(network, router)


def _router_flows(network: NetworkView, router: RouterView) -> Iterator[Flow]:
    at: dict[str, Any] = {**NETWORK.equals(network.vni), "eth_dst": router.mac}
    for address in router.addresses:
        yield ROUTE.flow(ITS_OWN, match(**at, **_at(address)), goto=METER, cookie=network.cookie)
    for eth_type in (ETH_IPV4, ETH_IPV6):
        for ttl in (0, 1):
            last = match(**at, eth_type=eth_type, ip_ttl=ttl)
            yield ROUTE.flow(USED_UP, last, goto=METER, cookie=network.cookie)
        yield ROUTE.flow(NO_ROUTE, match(**at, eth_type=eth_type), goto=METER, cookie=network.cookie)
    for route in router.routes:
        yield _route_flow(at, route, network.cookie)


def _route_flow(at: dict[str, Any], route: RouteView, cookie: int) -> Flow:
    length = route.prefix.prefixlen
    priority, led = ROUTED + length if length else DEFAULT, match(**at, **_to(route.prefix))
    whom = _next_mac(route)
    if not whom:
        return ROUTE.flow(priority, led, cookie=cookie)
    into = NETWORK.load(route.vni)
    return ROUTE.flow(priority, led, DecTtl(), into, *whom, goto=FORWARD, cookie=cookie)


def port_flows(port: PortView) -> Iterator[Flow]:
    """One flow for each way out of the port's own."""
    for way in port.exits:
        at: dict[str, Any] = {**NETWORK.equals(port.vni), **FROM_PORT.equals(port.port_number)}
        at |= {"eth_dst": way.router_mac, "eth_type": ETH_IPV4 if way.version == 4 else ETH_IPV6}
        priority = EXIT
        if way.source is not None:
            at["ipv4_src" if way.version == 4 else "ipv6_src"] = int(way.source)
            priority += 1
        if way.mac is None:
            yield ROUTE.flow(priority, match(**at), cookie=port.cookie)
            continue
        onward = (DecTtl(), NETWORK.load(way.vni), SetField(_ETH_DST, way.mac))
        yield ROUTE.flow(priority, match(**at), *onward, goto=FORWARD, cookie=port.cookie)


def _next_mac(route: RouteView) -> tuple[Action, ...]:
    """What writes the MAC that the packet goes on with; nothing if the next hop is nobody."""
    if route.next_hop is not None:
        return () if route.next_hop.mac is None else (SetField(_ETH_DST, route.next_hop.mac),)
    four = isinstance(route.prefix, IPv4Network)
    address, wire = ("ipv4_dst", WIRE4_PREFIX) if four else ("ipv6_dst", WIRE6_PREFIX)
    return Move(field(address), 0, _ETH_DST, 0, 32), Load(_ETH_DST, 32, 16, wire)


def _to(range_: IpNetwork) -> dict[str, Any]:
    if isinstance(range_, IPv4Network):
        return {"eth_type": ETH_IPV4, "ipv4_dst": prefix(range_)}
    return {"eth_type": ETH_IPV6, "ipv6_dst": prefix(range_)}


def _at(address: IpAddress) -> dict[str, Any]:
    if address.version == 4:
        return {"eth_type": ETH_IPV4, "ipv4_dst": int(address)}
    return {"eth_type": ETH_IPV6, "ipv6_dst": int(address)}
