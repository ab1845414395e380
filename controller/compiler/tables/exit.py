"""EXIT (27) and TAG (29): to another host.

An IP packet that does not fit into the overlay goes to the services of this host, which answer that it is too
big (RFC 792, RFC 4443): the sender learns the size instead of losing its packets silently. What is for all of
a network is not answered (RFC 1122, section 3.2.2): it is dropped. One that fits says in its source MAC which
policy profile its sender has, which is what the receiver's host judges by: 0a:f4 and the number. ARP,
neighbour discovery and other EtherTypes are not judged and keep their source MAC.

A ping to 10.0.0.9, on another host, from a port with profile 16: eth_src 0a:f4:00:00:00:10 -> OUTPUT.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.compiler.cookies import STATIC
from controller.compiler.headers import (
    ETH_IPV4,
    ETH_IPV6,
    ETHERNET_HEADER_BYTES,
    HOST_RANGE,
    IP_PROTO_ICMPV6,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    PROFILE_MAC_PREFIX,
)
from controller.compiler.pipeline import EXIT, METER, OUTPUT, TAG
from controller.compiler.registers import FROM_PROFILE, OVERSIZE
from controller.compiler.view import HostUnitView
from controller.flows import CheckPacketLarger, Flow, Load, Move, field, match

RESOLUTION = 200
JUDGED = 100
OTHER = 10

UNANSWERED = 300
TOO_BIG = 200
FITS = 100

_ETH_SRC = field("eth_src")


def host_flows(host: HostUnitView) -> Iterator[Flow]:
    """All of EXIT. Without them nothing goes to another host."""
    larger = CheckPacketLarger(host.mtu + ETHERNET_HEADER_BYTES, OVERSIZE.field, OVERSIZE.start)
    for kind in (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT):
        discovery = match(eth_type=ETH_IPV6, ip_proto=IP_PROTO_ICMPV6, icmpv6_type=kind)
        yield EXIT.flow(RESOLUTION, discovery, goto=OUTPUT, cookie=STATIC)
    for eth_type in (ETH_IPV4, ETH_IPV6):
        yield EXIT.flow(JUDGED, match(eth_type=eth_type), larger, goto=TAG, cookie=STATIC)
    yield EXIT.flow(OTHER, match(), goto=OUTPUT, cookie=STATIC)


def static_flows() -> Iterator[Flow]:
    """All of TAG."""
    to_all = match(**OVERSIZE.equals(1), eth_dst=HOST_RANGE)
    yield TAG.flow(UNANSWERED, to_all, cookie=STATIC)
    yield TAG.flow(TOO_BIG, match(**OVERSIZE.equals(1)), goto=METER, cookie=STATIC)
    profile = Move(FROM_PROFILE.field, FROM_PROFILE.start, _ETH_SRC, 0, 32)
    says = (profile, Load(_ETH_SRC, 32, 16, PROFILE_MAC_PREFIX))
    yield TAG.flow(FITS, match(), *says, goto=OUTPUT, cookie=STATIC)
