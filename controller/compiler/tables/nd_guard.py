"""ND_GUARD (5): neighbour discovery from a local port may speak only for its own addresses.

A solicitation names the sender's own MAC as source link-layer address, or none; an advertisement is for
one of its addresses and names its own MAC, or none. Hop limit 255, code 0. A router is solicited from the
link-local address; router advertisements and redirects never. All other IPv6 passes: its source was checked
in ADMISSION. What is said here of a port's addresses and MAC holds for its allowed address pairs; but an
advertisement for one of these that does not live here announces that it does from now on, to the agent alone.

Nothing may hide behind fragmentation. No neighbour discovery in fragments (RFC 6980), no first fragment that
ends before the ICMPv6 type, no header chain that breaks off (RFC 7112): what comes after could be anything.
Later fragments of what passed do pass. This needs a bridge that shows layer 4 of first fragments
(OFPC_FRAG_NX_MATCH, which the session sets); one that does not shows type 0, and no fragment passes.

A ping of 3000 bytes: its first fragment shows type 128 and passes, the others show protocol 44 and pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv6Network
from typing import Any

from controller.compiler.cookies import STATIC
from controller.compiler.headers import (
    DESTINATION_OPTIONS,
    ETH_IPV6,
    FRAGMENT,
    FRAGMENT_HEADER,
    HOP_BY_HOP,
    IP_PROTO_ICMPV6,
    LINK_LOCAL_6,
    ND_HOP_LIMIT,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    NOT_A_LATER_FRAGMENT,
    REDIRECT,
    ROUTER_ADVERTISEMENT,
    ROUTER_SOLICITATION,
    ROUTING,
    prefix,
)
from controller.compiler.pipeline import METER, ND_GUARD, SERVICES, Table
from controller.compiler.registers import FROM_PORT
from controller.compiler.view import Claim, PortView
from controller.flows import Flow, Match, match

HIDDEN = 300
OWN = 200
ANNOUNCE = 150
REFUSE = 100
PASS = 10

# Open vSwitch shows an absent link-layer address option as zero (ovs-fields(7), nd_sll and nd_tll).
NO_OPTION = 0
# What Open vSwitch shows where the packet ends before the type. RFC 4443 reserves it: nobody sends it.
NO_TYPE = 0
# No router has forwarded it.
_DIRECT: dict[str, Any] = {"icmpv6_code": 0, "ip_ttl": ND_HOP_LIMIT}
_DISCOVERY = (
    ROUTER_SOLICITATION,
    ROUTER_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    NEIGHBOUR_ADVERTISEMENT,
    REDIRECT,
)


def static_flows() -> Iterator[Flow]:
    """Refuse what no guest may say; let through what is not neighbour discovery."""
    anonymous = _nd(NEIGHBOUR_SOLICITATION, **_DIRECT, ipv6_nd_sll=NO_OPTION)
    router = _nd(ROUTER_SOLICITATION, **_DIRECT, ipv6_src=prefix(LINK_LOCAL_6))
    for allowed in (anonymous, router):
        yield ND_GUARD.flow(OWN, allowed, goto=SERVICES, cookie=STATIC)
    for kind in (NO_TYPE, *_DISCOVERY):
        yield ND_GUARD.flow(HIDDEN, _nd(kind, ip_frag=FRAGMENT), cookie=STATIC)
    for header in (HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS):
        yield ND_GUARD.flow(HIDDEN, match(eth_type=ETH_IPV6, ip_proto=header), cookie=STATIC)
    broken = match(eth_type=ETH_IPV6, ip_proto=FRAGMENT_HEADER, ip_frag=NOT_A_LATER_FRAGMENT)
    yield ND_GUARD.flow(HIDDEN, broken, cookie=STATIC)
    for kind in _DISCOVERY:
        yield ND_GUARD.flow(REFUSE, _nd(kind), cookie=STATIC)
    yield ND_GUARD.flow(PASS, match(eth_type=ETH_IPV6), goto=SERVICES, cookie=STATIC)


def port_flows(port: PortView) -> Iterator[Flow]:
    """What this port may solicit and advertise."""
    if not port.port_security:
        return
    claims = [claim for claim in port.claims if isinstance(claim.prefix, IPv6Network)]
    own: dict[str, Any] = {**FROM_PORT.equals(port.port_number), **_DIRECT}
    for mac in sorted({claim.mac for claim in claims}):
        solicit = _nd(NEIGHBOUR_SOLICITATION, ipv6_nd_sll=mac, **own)
        yield ND_GUARD.flow(OWN, solicit, goto=SERVICES, cookie=port.cookie)
    yield from _advertising(port, port.held, SERVICES, OWN)
    yield from _advertising(port, port.announced, METER, ANNOUNCE)


def _advertising(port: PortView, claims: Iterable[Claim], goto: Table, priority: int) -> Iterator[Flow]:
    own: dict[str, Any] = {**FROM_PORT.equals(port.port_number), **_DIRECT}
    said = {
        (prefix(claim.prefix), mac)
        for claim in claims
        if isinstance(claim.prefix, IPv6Network)
        for mac in (claim.mac, NO_OPTION)
    }
    for target, mac in sorted(said):
        advertise = _nd(NEIGHBOUR_ADVERTISEMENT, ipv6_nd_target=target, ipv6_nd_tll=mac, **own)
        yield ND_GUARD.flow(priority, advertise, goto=goto, cookie=port.cookie)


def _nd(kind: int, **terms: Any) -> Match:
    return match(eth_type=ETH_IPV6, ip_proto=IP_PROTO_ICMPV6, icmpv6_type=kind, **terms)
