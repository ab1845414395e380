"""FORWARD (20): where the frame goes.

A wire or real MAC of a port plugged here: its real MAC is put back, its ofport chosen, and its policy profile
noted for the judges. For IPv6 the whole address is compared, since a wire MAC holds only its low 32 bits: for
a neighbour solicitation the target, and never its destination address. Anything else that a local port sent
goes to the network's VXLAN device, whose forwarding database knows the host or drops it; what came out of the
overlay, or from the services of this host, never goes into it.

The ARP request at its owner's host: eth_dst 0a:f0:0a:00:00:06 -> the guest's own MAC -> DELIVER.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloison.addresses import wire_mac
from controller.compiler.cookies import STATIC
from controller.compiler.headers import ETH_IPV6, IP_PROTO_ICMPV6, NEIGHBOUR_SOLICITATION
from controller.compiler.pipeline import DELIVER, EXIT, FORWARD
from controller.compiler.registers import NETWORK, ORIGIN, ORIGIN_LOCAL, TO_PORT, TO_PROFILE
from controller.compiler.view import NetworkView, PortView
from controller.flows import Flow, Match, SetField, field, match

SOLICITED = 120
SOLICITED_OVERLAY = 116
SOLICITED_NOBODY = 115
BY_ADDRESS = 110
BY_MAC = 100
OVERLAY = 10

_ETH_DST = field("eth_dst")


_SOLICITATION: dict[str, Any] = {
    "eth_type": ETH_IPV6,
    "ip_proto": IP_PROTO_ICMPV6,
    "icmpv6_type": NEIGHBOUR_SOLICITATION,
}


def static_flows() -> Iterator[Flow]:
    """A solicitation whose target nobody here has is not delivered for what its destination address says."""
    yield FORWARD.flow(SOLICITED_NOBODY, match(**_SOLICITATION), cookie=STATIC)


def port_flows(port: PortView) -> Iterator[Flow]:
    """Every way a frame can be meant for this port."""
    here: dict[str, Any] = {**NETWORK.equals(port.vni)}
    for address in port.reached4:
        yield _deliver(port, BY_ADDRESS, match(**here, eth_dst=wire_mac(address)))
    for address6 in port.reached6:
        to_wire: dict[str, Any] = {**here, "eth_dst": wire_mac(address6), "eth_type": ETH_IPV6}
        yield _deliver(port, BY_ADDRESS, match(**to_wire, ipv6_dst=int(address6)))
        solicited = match(**to_wire | _SOLICITATION, ipv6_nd_target=int(address6))
        yield _deliver(port, SOLICITED, solicited)
    yield _deliver(port, BY_MAC, match(**here, eth_dst=port.mac))


def network_flows(network: NetworkView) -> Iterator[Flow]:
    """What no local port is meant by goes out to the other hosts, once."""
    if network.tunnel_ofport is None:
        return
    from_here: dict[str, Any] = {
        **NETWORK.equals(network.vni),
        **ORIGIN.has(ORIGIN_LOCAL, ORIGIN_LOCAL),
    }
    out = TO_PORT.load(network.tunnel_ofport)
    yield FORWARD.flow(OVERLAY, match(**from_here), out, goto=EXIT, cookie=network.cookie)
    solicited = match(**from_here, **_SOLICITATION)
    yield FORWARD.flow(SOLICITED_OVERLAY, solicited, out, goto=EXIT, cookie=network.cookie)


def _deliver(port: PortView, priority: int, matched: Match) -> Flow:
    actions = (SetField(_ETH_DST, port.mac), TO_PORT.load(port.ofport), TO_PROFILE.load(port.profile))
    return FORWARD.flow(priority, matched, *actions, goto=DELIVER, cookie=port.cookie)
