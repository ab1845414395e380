"""SERVICES (6): what is for the services of this host, and what only they may say.

Asking for an address (DHCP of both families), for a router, for the MAC of a service address, and anything to
a service address goes to METER and from there to the agent: it never leaves this host. Guests are no DHCP
servers: what says it comes from one is dropped, and so is a first fragment of UDP too short to show its
ports. A port without port security may say what it wants: all but the services' share passes. ARP and
neighbour discovery were checked before and are not subject to policy. Nor is listener discovery to a group,
of which connection tracking makes nothing; it gets anywhere only in networks with multicast. Other IP is
tracked, whoever sends it.

A guest's `curl http://169.254.169.254/`: ARP request for .254 -> METER; its TCP packets -> METER.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloison.model import PROFILE_OPEN
from cloison.service_link import SERVICES_4, SERVICES_6
from controller.compiler.cookies import STATIC
from controller.compiler.headers import (
    ARP_REQUEST,
    DHCP6_CLIENT,
    DHCP6_SERVER,
    DHCP_CLIENT,
    DHCP_SERVER,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FIRST_FRAGMENT,
    IP_PROTO_ICMPV6,
    IP_PROTO_UDP,
    LISTENING,
    MULTICAST_6,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    NOT_A_FRAGMENT,
    ROUTER_SOLICITATION,
)
from controller.compiler.pipeline import ADDRESSING, METER, SERVICES, TRACK
from controller.compiler.registers import FROM_PROFILE
from controller.flows import Flow, match

FOR_SERVICES = 300
RESOLUTION = 290
UNCHECKED_IP = 260
UNCHECKED = 250
REFUSE = 200
REST = 50

_UDP4: dict[str, Any] = {"eth_type": ETH_IPV4, "ip_proto": IP_PROTO_UDP}
_UDP6: dict[str, Any] = {"eth_type": ETH_IPV6, "ip_proto": IP_PROTO_UDP}
_ICMP6: dict[str, Any] = {"eth_type": ETH_IPV6, "ip_proto": IP_PROTO_ICMPV6}
# What Open vSwitch shows of a first fragment that ends before the ports.
_PORTS_CUT_OFF: dict[str, Any] = {"ip_frag": FIRST_FRAGMENT, "udp_src": 0, "udp_dst": 0}


def static_flows() -> Iterator[Flow]:
    """All of the table: nothing in it depends on who asks."""
    for asked in _for_services():
        yield SERVICES.flow(FOR_SERVICES, match(**asked), goto=METER, cookie=STATIC)
    yield SERVICES.flow(RESOLUTION, match(eth_type=ETH_ARP), goto=ADDRESSING, cookie=STATIC)
    for kind in (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT):
        yield SERVICES.flow(RESOLUTION, match(**_ICMP6, icmpv6_type=kind), goto=ADDRESSING, cookie=STATIC)
    for kind in LISTENING:
        said = {**_ICMP6, "icmpv6_type": kind, "ipv6_dst": MULTICAST_6, "ip_frag": NOT_A_FRAGMENT}
        yield SERVICES.flow(RESOLUTION, match(**said), goto=ADDRESSING, cookie=STATIC)
    unchecked = FROM_PROFILE.equals(PROFILE_OPEN)
    yield SERVICES.flow(UNCHECKED, match(**unchecked), goto=ADDRESSING, cookie=STATIC)
    for said in (
        {**_UDP4, "udp_src": DHCP_SERVER},
        {**_UDP6, "udp_src": DHCP6_SERVER},
        {**_UDP4, **_PORTS_CUT_OFF},
        {**_UDP6, **_PORTS_CUT_OFF},
    ):
        yield SERVICES.flow(REFUSE, match(**said), cookie=STATIC)
    for eth_type in (ETH_IPV4, ETH_IPV6):
        free = match(**unchecked, eth_type=eth_type)
        yield SERVICES.flow(UNCHECKED_IP, free, goto=TRACK, cookie=STATIC)
        yield SERVICES.flow(REST, match(eth_type=eth_type), goto=TRACK, cookie=STATIC)


def _for_services() -> Iterator[dict[str, Any]]:
    yield {**_UDP4, "udp_src": DHCP_CLIENT, "udp_dst": DHCP_SERVER}
    yield {**_UDP6, "udp_src": DHCP6_CLIENT, "udp_dst": DHCP6_SERVER}
    yield {**_ICMP6, "icmpv6_type": ROUTER_SOLICITATION}
    for address in SERVICES_4:
        yield {"eth_type": ETH_ARP, "arp_op": ARP_REQUEST, "arp_tpa": int(address)}
        yield {"eth_type": ETH_IPV4, "ipv4_dst": int(address)}
    for address6 in SERVICES_6:
        yield {**_ICMP6, "icmpv6_type": NEIGHBOUR_SOLICITATION, "ipv6_nd_target": int(address6)}
        yield {"eth_type": ETH_IPV6, "ipv6_dst": int(address6)}
