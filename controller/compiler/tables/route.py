"""ROUTE (12): what a guest sent to the MAC of a router, at the guest's own host.

For one of the router's addresses, with a TTL that is used up, or with no route: to the services of this host,
which answer as the router. Else the route with the longest prefix says into which network it goes: under the
wire MAC of its destination if the router is connected there, under the MAC of the next hop's port otherwise.
Its TTL is one less, and FORWARD goes on as if it had been sent in that network. A port may have a way out of
its own, to the edge on its host: it wins over a default route, and over no longer prefix. What never leaves
its link is dropped: groups, link-local addresses, neighbour advertisements. No redirect is ever sent.

Several next hops of a route have a share each of what goes by it, told by the last bits of the port, else of
the address, of who opened the connection: so a connection stays with one of them, its answers too where they
come by the same next hops. One that no port has is left out, and what the others had stays theirs.
Into a network of another tenant, by a peering, goes only what comes from the prefixes of its own side; and
before it goes, policy of its own tenant is asked, to which the other side is one profile (DIRECTION to
COMMIT, which then sends it on to FORWARD as what the other tenant knows it as).

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
    IP_PROTO_TCP,
    IP_PROTO_UDP,
    LINK_LOCAL_4,
    LINK_LOCAL_6,
    NEIGHBOUR_ADVERTISEMENT,
    NOT_A_FRAGMENT,
    prefix,
)
from controller.compiler.pipeline import DIRECTION, FORWARD, METER, ROUTE
from controller.compiler.registers import ABROAD, ABROAD_AS, ABROAD_TO, FROM_PORT, NETWORK, TO_PROFILE
from controller.compiler.view import NetworkView, PortView, RouterView, RouteView
from controller.flows import Action, DecTtl, Flow, Load, Match, Move, SetField, ct_state, field, match

NEVER = 400
ITS_OWN = 380
USED_UP = 370
# Plus twice the length of its prefix, and one for a share by ports.
ROUTED = 100
# Of one port (and one more for one of its addresses), then (with one more for a share by ports) of all; no
# prefix is shorter.
EXIT = 90
DEFAULT = 80
NO_ROUTE = 50

# What goes by a route with several next hops is cut into so many parts. A power of two.
SHARES = 16

Terms = dict[str, tuple[int, int]]
"""(value, mask) of fields to match on."""

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
        for extra, terms, whom in _ways(route):
            led = _both(_to(route.prefix), terms)
            if led is not None:
                length = route.prefix.prefixlen
                priority = (ROUTED + 2 * length if length else DEFAULT) + extra
                yield _route_flow(priority, match(**at, **led), route, whom, network.cookie)


def _route_flow(priority: int, led: Match, route: RouteView, whom: tuple[Action, ...], cookie: int) -> Flow:
    if not whom:
        return ROUTE.flow(priority, led, cookie=cookie)
    into = NETWORK.load(route.vni)
    if route.crossing is None:
        return ROUTE.flow(priority, led, DecTtl(), into, *whom, goto=FORWARD, cookie=cookie)
    crossing = route.crossing
    as_whom = (
        TO_PROFILE.load(crossing.own_number),
        ABROAD_AS.load(crossing.their_number),
        ABROAD_TO.load(crossing.their_tenant),
        ABROAD.load(1),
    )
    # TRACKED has forgotten what it told connection tracking to remember: it is looked up again.
    return ROUTE.flow(priority, led, DecTtl(), into, *whom, *as_whom, ROUTE.track(DIRECTION), cookie=cookie)


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


def _both(one: Terms, other: Terms) -> Terms | None:
    """Return the terms that say both, None if nothing is both: a range and a share may be of one field."""
    terms = {**one, **other}
    for name in one.keys() & other.keys():
        (value, mask), (more, more_mask) = one[name], other[name]
        if (value ^ more) & mask & more_mask:
            return None
        terms[name] = (value | more, mask | more_mask)
    return terms


def _ways(route: RouteView) -> Iterator[tuple[int, Terms, tuple[Action, ...]]]:
    """Yield whom a route leads to: of what more, with what more priority, and what writes their MAC.

    Nothing writes it if the next hop is nobody.
    """
    if route.next_hop is None:
        yield 0, ({} if route.crossing is None else _from(route.crossing.source)), _to_itself(route)
        return
    shares = _shares((route.next_hop.mac, *route.next_hop.others))
    if len(set(shares)) < 2:
        yield 0, {}, tuple(SetField(_ETH_DST, mac) for mac in shares[:1])
        return
    for (value, mask), mac in _split(shares):
        for extra, terms in _of_share(isinstance(route.prefix, IPv4Network), value, mask):
            yield extra, terms, (SetField(_ETH_DST, mac),)


def _shares(macs: tuple[int | None, ...]) -> tuple[int, ...]:
    """Return whose each share is, none if nobody is there; those of who is not there the others have."""
    there = [mac for mac in macs if mac is not None]
    if not there:
        return ()
    rounds, found = len(macs), []
    for share in range(SHARES):
        own = macs[share % rounds]
        found.append(there[share // rounds % len(there)] if own is None else own)
    return tuple(found)


def _split(shares: tuple[int, ...], value: int = 0, mask: int = 0) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield the owners of shares, with the (value, mask) of the shares' numbers: by as few bits as can be."""
    if len(set(shares)) == 1:
        yield (value, mask), shares[0]
        return
    bit = mask + 1
    for half in (0, 1):
        yield from _split(shares[half::2], value | bit * half, mask | bit)


def _of_share(four: bool, value: int, mask: int) -> Iterator[tuple[int, Terms]]:
    """Yield what tells the packets of a share, with its extra priority: ports of TCP and UDP, or the address.

    Of a port the last bit is left out: Linux connects from even ones, as long as there are any.
    """
    for flags, end in (("-rpl", "src"), ("+rpl", "dst")):
        at: Terms = {"ct_state": ct_state(flags)}
        for protocol, name in ((IP_PROTO_TCP, "tcp"), (IP_PROTO_UDP, "udp")):
            port: Terms = {
                "ip_proto": (protocol, 0xFF),
                "ip_frag": NOT_A_FRAGMENT,
                f"{name}_{end}": (value << 1, mask << 1),
            }
            yield 1, {**at, **port}
        yield 0, {**at, f"{'ipv4' if four else 'ipv6'}_{end}": (value, mask)}


def _to_itself(route: RouteView) -> tuple[Action, ...]:
    """What writes the wire MAC of the destination."""
    four = isinstance(route.prefix, IPv4Network)
    address, wire = ("ipv4_dst", WIRE4_PREFIX) if four else ("ipv6_dst", WIRE6_PREFIX)
    return Move(field(address), 0, _ETH_DST, 0, 32), Load(_ETH_DST, 32, 16, wire)


def _to(range_: IpNetwork) -> Terms:
    if isinstance(range_, IPv4Network):
        return {"eth_type": (ETH_IPV4, 0xFFFF), "ipv4_dst": prefix(range_)}
    return {"eth_type": (ETH_IPV6, 0xFFFF), "ipv6_dst": prefix(range_)}


def _from(range_: IpNetwork) -> dict[str, Any]:
    return {"ipv4_src" if isinstance(range_, IPv4Network) else "ipv6_src": prefix(range_)}


def _at(address: IpAddress) -> dict[str, Any]:
    if address.version == 4:
        return {"eth_type": ETH_IPV4, "ipv4_dst": int(address)}
    return {"eth_type": ETH_IPV6, "ipv6_dst": int(address)}
