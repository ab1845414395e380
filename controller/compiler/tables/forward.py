"""FORWARD (20): where the frame goes.

A wire MAC of a port plugged here, or its real one, where that leads to it (PortView.reached_by_mac): its real
MAC is put back, its ofport chosen, and its policy profile noted for the judges. For IPv6 the whole address is
compared, since a wire MAC holds only its low 32 bits: for a neighbour solicitation the target, and never its
destination address. Anything else that a local port sent goes to the network's VXLAN device, whose
forwarding database knows the host or drops it; what came out of the overlay, or from the services of this
host, never goes into it.

What is for all of a network with multicast is copied: to each local port, each copy judged by itself, and, if
it was sent here, once to each other host that has ports of the network, under the MAC of that host, so that
the forwarding database needs no second kind of entry. What comes out of the overlay stays. (Open vSwitch
sends nobody his own frame back.)

The ARP request at its owner's host: eth_dst 0a:f0:0a:00:00:06 -> the guest's own MAC -> DELIVER.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cloison.addresses import TO_ALL_MAC, wire_mac
from controller.compiler.cookies import STATIC
from controller.compiler.headers import (
    BROADCAST_MAC,
    ETH_IPV4,
    ETH_IPV6,
    IP_PROTO_ICMPV6,
    MULTICAST_4,
    MULTICAST_6,
    MULTICAST_BITS_4,
    MULTICAST_BITS_6,
    MULTICAST_MAC_4,
    MULTICAST_MAC_6,
    NEIGHBOUR_SOLICITATION,
)
from controller.compiler.pipeline import DELIVER, EXIT, FORWARD
from controller.compiler.registers import (
    NETWORK,
    ORIGIN,
    ORIGIN_LOCAL,
    ORIGIN_OVERLAY,
    TO_PORT,
    TO_PROFILE,
)
from controller.compiler.view import Everyone, NetworkView, PortView
from controller.flows import Action, Flow, Match, Move, Resubmit, SetField, field, match

GROUP = 140
ALL = 130
SOLICITED = 120
SOLICITED_OVERLAY = 116
SOLICITED_NOBODY = 115
BY_ADDRESS = 110
BY_MAC = 100
OVERLAY = 10

# More copies no flow makes. A message of OpenFlow 1.4 (section 7.1.1) has at most 65,535 bytes, of which a
# local copy takes 64; Open vSwitch 3.1 refused 900. The API keeps networks with multicast below that.
COPIES_MAX = 600

_ETH_DST = field("eth_dst")


_SOLICITATION: dict[str, Any] = {
    "eth_type": ETH_IPV6,
    "ip_proto": IP_PROTO_ICMPV6,
    "icmpv6_type": NEIGHBOUR_SOLICITATION,
}


# Priority, what it matches, and the MAC that guests see it under. (What is for all of IPv4 and no group is
# a broadcast: ADDRESSING lets nothing else get this far.)
_GROUPS: tuple[tuple[int, dict[str, Any], tuple[Action, ...]], ...] = (
    (
        GROUP,
        {"eth_type": ETH_IPV4, "ipv4_dst": MULTICAST_4},
        (
            SetField(_ETH_DST, MULTICAST_MAC_4),
            Move(field("ipv4_dst"), 0, _ETH_DST, 0, MULTICAST_BITS_4),
        ),
    ),
    (ALL, {"eth_type": ETH_IPV4}, (SetField(_ETH_DST, BROADCAST_MAC),)),
    (
        GROUP,
        {"eth_type": ETH_IPV6, "ipv6_dst": MULTICAST_6},
        (
            SetField(_ETH_DST, MULTICAST_MAC_6),
            Move(field("ipv6_dst"), 0, _ETH_DST, 0, MULTICAST_BITS_6),
        ),
    ),
)


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
    if port.reached_by_mac:
        yield _deliver(port, BY_MAC, match(**here, eth_dst=port.mac))


def network_flows(network: NetworkView) -> Iterator[Flow]:
    """What no local port is meant by goes out to the other hosts, once."""
    if network.everyone is not None:
        yield from _to_all(network, network.everyone)
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


def _to_all(network: NetworkView, everyone: Everyone) -> Iterator[Flow]:
    """A copy for each local port, under the group's MAC, and of what was sent here for each other host.

    Raises ValueError for more copies than a switch takes.
    """
    count = len(everyone.ports) + len(everyone.other_macs)
    if count > COPIES_MAX:
        raise ValueError(f"{count} copies of what is for all of network {network.vni}: {COPIES_MAX} at most")
    sources = [(ORIGIN_LOCAL, TO_ALL_MAC, everyone.other_macs)]
    if everyone.own_mac is not None:
        sources.append((ORIGIN_OVERLAY, everyone.own_mac, ()))
    for origin, mac, hosts in sources:
        come: dict[str, Any] = {**NETWORK.equals(network.vni), **ORIGIN.has(origin, origin), "eth_dst": mac}
        for priority, group, shown in _GROUPS:
            copies = [*_away(network, hosts), *shown, *_here(everyone)]
            yield FORWARD.flow(priority, match(**come, **group), *copies, cookie=network.cookie)


def _away(network: NetworkView, hosts: Iterable[int]) -> Iterator[Action]:
    if network.tunnel_ofport is None or not hosts:
        return
    yield TO_PORT.load(network.tunnel_ofport)
    for mac in hosts:
        yield SetField(_ETH_DST, mac)
        yield Resubmit(EXIT.number)


def _here(everyone: Everyone) -> Iterator[Action]:
    for ofport, profile, _ in everyone.ports:
        yield TO_PORT.load(ofport)
        yield TO_PROFILE.load(profile)
        yield Resubmit(DELIVER.number)


def _deliver(port: PortView, priority: int, matched: Match) -> Flow:
    actions = (SetField(_ETH_DST, port.mac), TO_PORT.load(port.ofport), TO_PROFILE.load(port.profile))
    return FORWARD.flow(priority, matched, *actions, goto=DELIVER, cookie=port.cookie)
