"""DELIVER (22): to a local port; what is subject to policy is looked up among that port's connections.

What the services of this host say is always heard. ARP and neighbour discovery were guarded where they were
sent, and listener discovery to a group is no connection to judge. What one port without port security says to
another passes. All other IP is judged, here at the receiver's host and nowhere else; for a port without port
security too, since the sender's egress rules hold whoever gets it. Anything else is for ports without port
security only.

A ping from another host to 10.0.0.6: looked up in the zone of 10.0.0.6's port -> DIRECTION.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloison.model import PROFILE_OPEN
from controller.compiler.cookies import STATIC
from controller.compiler.headers import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    IP_PROTO_ICMPV6,
    LISTENING,
    MULTICAST_6,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    NOT_A_FRAGMENT,
)
from controller.compiler.pipeline import DELIVER, DIRECTION, OUTPUT, SOURCE
from controller.compiler.registers import FROM_PROFILE, ORIGIN, ORIGIN_SERVICE, TO_PROFILE
from controller.flows import Flow, match

SERVICE_SAYS = 300
RESOLUTION = 250
UNCHECKED = 200
JUDGED = 100
REST = 50


def static_flows() -> Iterator[Flow]:
    """All of the table: what differs from port to port stands in registers."""
    service = match(**ORIGIN.has(ORIGIN_SERVICE, ORIGIN_SERVICE))
    yield DELIVER.flow(SERVICE_SAYS, service, goto=OUTPUT, cookie=STATIC)
    yield DELIVER.flow(RESOLUTION, match(eth_type=ETH_ARP), goto=OUTPUT, cookie=STATIC)
    for kind in (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT):
        discovery = match(eth_type=ETH_IPV6, ip_proto=IP_PROTO_ICMPV6, icmpv6_type=kind)
        yield DELIVER.flow(RESOLUTION, discovery, goto=OUTPUT, cookie=STATIC)
    for kind in LISTENING:
        said = match(
            eth_type=ETH_IPV6,
            ip_proto=IP_PROTO_ICMPV6,
            icmpv6_type=kind,
            ipv6_dst=MULTICAST_6,
            ip_frag=NOT_A_FRAGMENT,
        )
        yield DELIVER.flow(UNCHECKED, said, goto=SOURCE, cookie=STATIC)
    takes_all = TO_PROFILE.equals(PROFILE_OPEN)
    unchecked = match(**FROM_PROFILE.equals(PROFILE_OPEN), **takes_all)
    yield DELIVER.flow(UNCHECKED, unchecked, goto=SOURCE, cookie=STATIC)
    for eth_type in (ETH_IPV4, ETH_IPV6):
        yield DELIVER.flow(JUDGED, match(eth_type=eth_type), DELIVER.track(DIRECTION), cookie=STATIC)
    yield DELIVER.flow(REST, match(**takes_all), goto=SOURCE, cookie=STATIC)
