"""ADMISSION (0): who sent the frame.

From a local port: the frame must be untagged and every source address in it the port's own or one of its
allowed address pairs: MAC, and the IPv4 address, the ARP sender's MAC and IPv4 address, or the IPv6 address.
ARP that speaks for an address of the pairs that does not live here announces that it does from now on: nobody
hears it but the agent, until the port is known to have the address.
Then it gets its network, tenant, its sender's number and policy profile. A tagged frame, an address that is
not its own, any other EtherType: dropped, by a flow of the port, so that it is known of whom it was not
believed. What IPv4 and ARP claim is put in one place before it is looked at, in CLAIMED (1): so one flow for
an address does, and not two. (A port with pairs has two: what it may say in ARP depends on where an address
lives.) One more thing is believed: a guest without an address that asks for one (DHCPv4). A port without
port security is believed in everything but a tag.
A port that lives on another host and is plugged here as well (live migration) is believed in nothing but that
it is here: RARP, a gratuitous ARP or a neighbour advertisement for its own addresses goes to the agent, which
alone hears it.
From the network's VXLAN device: the device decides the network, nothing in the frame does; the sender's
profile stands in the source MAC of IP packets, where TAG of the sending host wrote it.
From the services of this host: the source MAC says which network.

A guest at 10.0.0.5 asks for 10.0.0.6: its ARP flow matches (sender MAC and address are its own) and
sends the request on to SERVICES.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from cloison.service_link import FROM_AGENT, SERVICE_MAC
from controller.compiler.cookies import STATIC
from controller.compiler.headers import (
    DHCP_CLIENT,
    DHCP_SERVER,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_RARP,
    IP_PROTO_ICMPV6,
    IP_PROTO_UDP,
    LIMITED_BROADCAST,
    ND_HOP_LIMIT,
    NEIGHBOUR_ADVERTISEMENT,
    UNTAGGED,
    prefix,
)
from controller.compiler.pipeline import ADMISSION, CLAIMED, FORWARD, METER, ND_GUARD, SERVICES, Table
from controller.compiler.registers import (
    CLAIMED_HIGH,
    CLAIMED_IP,
    CLAIMED_LOW,
    CLAIMS_IPV4_BIT,
    FROM_PORT,
    FROM_PROFILE,
    NETWORK,
    ORIGIN,
    ORIGIN_LOCAL,
    ORIGIN_OVERLAY,
    ORIGIN_SERVICE,
    TENANT,
)
from controller.compiler.view import Claim, HostUnitView, NetworkView, PortView
from controller.flows import Action, Flow, Load, Move, SetField, field, match

ADMIT = 100
ANNOUNCE = 90
SPOKEN = 50
REFUSE = 10
NOT_ADMITTED = 1

_ETH_SRC = field("eth_src")
# Asking for an address: the only thing a guest may send without one (RFC 2131, section 4.1).
_ADDRESS_REQUEST: dict[str, Any] = {
    "eth_type": ETH_IPV4,
    "ipv4_src": 0,
    "ipv4_dst": LIMITED_BROADCAST,
    "ip_proto": IP_PROTO_UDP,
    "udp_src": DHCP_CLIENT,
    "udp_dst": DHCP_SERVER,
}

_ADVERTISEMENT: dict[str, Any] = {
    "eth_type": ETH_IPV6,
    "ip_proto": IP_PROTO_ICMPV6,
    "ip_ttl": ND_HOP_LIMIT,
    "icmpv6_type": NEIGHBOUR_ADVERTISEMENT,
    "icmpv6_code": 0,
}


def static_flows() -> Iterator[Flow]:
    """What IPv4 and ARP say of their sender is put where CLAIMED looks; all that nobody admits goes there."""
    for eth_type, mac, address in ((ETH_IPV4, "eth_src", "ipv4_src"), (ETH_ARP, "arp_sha", "arp_spa")):
        yield ADMISSION.flow(
            SPOKEN,
            match(vlan_vid=UNTAGGED, eth_type=eth_type),
            Move(field(address), 0, CLAIMED_IP.field, 0, 32),
            Move(field(mac), 0, CLAIMED_LOW.field, 0, 32),
            Move(field(mac), 32, CLAIMED_HIGH.field, 0, 16),
            Load(CLAIMED_HIGH.field, CLAIMS_IPV4_BIT, 1, 1),
            goto=CLAIMED,
            cookie=STATIC,
        )
    yield ADMISSION.flow(NOT_ADMITTED, match(), goto=CLAIMED, cookie=STATIC)


def port_flows(port: PortView) -> Iterator[Flow]:
    """One flow per address, one to ask for an address, and one that drops all else; with pairs, two per IPv4
    range besides, and one per own address: what a port may say in ARP then depends on where that lives.
    """
    yield CLAIMED.flow(REFUSE, match(in_port=port.ofport), cookie=port.cookie)
    if not port.port_security:
        yield _admit(port, SERVICES)
        return
    own = {IPv4Network(int(address)) for address in port.addresses4}
    for mac, addresses in port.claims:
        range_ = prefix(addresses)
        if isinstance(addresses, IPv6Network):
            yield _admit(port, ND_GUARD, eth_src=mac, eth_type=ETH_IPV6, ipv6_src=range_)
        elif mac == port.mac and addresses in own:
            yield _admit_at_once(port, addresses)
        else:
            yield _admit(port, SERVICES, eth_src=mac, eth_type=ETH_IPV4, ipv4_src=range_)
    if port.allowed_address_pairs:
        yield from _resolution(port, port.held, SERVICES, ADMIT)
        yield from _resolution(port, port.announced, METER, ANNOUNCE)
    if port.addresses4:
        yield _admit(port, SERVICES, eth_src=port.mac, **_ADDRESS_REQUEST)


def standby_flows(port: PortView) -> Iterator[Flow]:
    """What announces that the guest runs here: RARP (RFC 903, what hypervisors send), gratuitous ARP, an
    advertisement (the agent sees to it that it is unsolicited). All else is dropped.
    """
    yield CLAIMED.flow(REFUSE, match(in_port=port.ofport), cookie=port.cookie)
    yield _admit(port, METER, eth_src=port.mac, eth_type=ETH_RARP)
    for address in port.addresses4:
        said = {"arp_sha": port.mac, "arp_spa": int(address), "arp_tpa": int(address)}
        yield _admit(port, METER, eth_src=port.mac, eth_type=ETH_ARP, **said)
    for address6 in port.addresses6:
        yield _admit(port, METER, eth_src=port.mac, ipv6_nd_target=int(address6), **_ADVERTISEMENT)


def network_flows(network: NetworkView) -> Iterator[Flow]:
    """What comes out of the network's VXLAN device is in that network, whatever it says itself."""
    if network.tunnel_ofport is None:
        return
    yield ADMISSION.flow(
        ADMIT,
        match(in_port=network.tunnel_ofport, vlan_vid=UNTAGGED),
        NETWORK.load(network.vni),
        TENANT.load(network.tenant_number),
        ORIGIN.load(ORIGIN_OVERLAY),
        Move(_ETH_SRC, 0, FROM_PROFILE.field, 0, 32),
        goto=FORWARD,
        cookie=network.cookie,
    )


def host_flows(host: HostUnitView) -> Iterator[Flow]:
    """What the services of this host answer, to the network that they name."""
    if host.service_ofport is None:
        return
    from_agent = (FROM_AGENT << 24, 0xFFFFFF << 24)
    yield ADMISSION.flow(
        ADMIT,
        match(in_port=host.service_ofport, vlan_vid=UNTAGGED, eth_src=from_agent),
        Move(_ETH_SRC, 0, NETWORK.field, 0, 24),
        ORIGIN.load(ORIGIN_SERVICE),
        SetField(_ETH_SRC, SERVICE_MAC),
        goto=FORWARD,
        cookie=STATIC,
    )


def _resolution(port: PortView, claims: Iterable[Claim], goto: Table, priority: int) -> Iterator[Flow]:
    for mac, addresses in claims:
        if isinstance(addresses, IPv4Network):
            said = {"eth_src": mac, "arp_sha": mac, "arp_spa": prefix(addresses)}
            yield _admit(port, goto, priority, eth_type=ETH_ARP, **said)


def _admit(port: PortView, goto: Table, priority: int = ADMIT, **claims: Any) -> Flow:
    said = match(in_port=port.ofport, vlan_vid=UNTAGGED, **claims)
    return ADMISSION.flow(priority, said, *_placed(port), goto=goto, cookie=port.cookie)


def _admit_at_once(port: PortView, address: IPv4Network) -> Flow:
    """Admit IPv4 and ARP from an own address (a range of one)."""
    said = match(
        in_port=port.ofport,
        eth_src=port.mac,
        **CLAIMED_IP.equals(int(address.network_address)),
        **CLAIMED_LOW.equals(port.mac & 0xFFFF_FFFF),
        **CLAIMED_HIGH.equals(1 << CLAIMS_IPV4_BIT | port.mac >> 32),
    )
    return CLAIMED.flow(ADMIT, said, *_placed(port), goto=SERVICES, cookie=port.cookie)


def _placed(port: PortView) -> tuple[Action, ...]:
    """Who sent it, and in which network."""
    return (
        NETWORK.load(port.vni),
        TENANT.load(port.tenant_number),
        FROM_PORT.load(port.port_number),
        FROM_PROFILE.load(port.profile),
        ORIGIN.load(ORIGIN_LOCAL),
    )
