"""ADMISSION (0): who sent the frame.

From a local port: the frame must be untagged and every source address in it the port's own: MAC, and the
IPv4 address, the ARP sender's MAC and IPv4 address, or the IPv6 address. Then it gets its network and its
sender's number. A tagged frame, an address that is not its own, any other EtherType: no flow, so dropped.
From the network's VXLAN device: the device decides the network, nothing in the frame does.

A guest at 10.0.0.5 asks for 10.0.0.6: its ARP flow matches (sender MAC and address are its own) and
sends the request on to ADDRESSING.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controller.compiler.headers import ETH_ARP, ETH_IPV4, ETH_IPV6, UNTAGGED
from controller.compiler.pipeline import ADDRESSING, ADMISSION, FORWARD, ND_GUARD, Table
from controller.compiler.registers import FROM_PORT, NETWORK, ORIGIN, ORIGIN_LOCAL, ORIGIN_OVERLAY
from controller.compiler.view import NetworkView, PortView
from controller.flows import Flow, match

ADMIT = 100


def port_flows(port: PortView) -> Iterator[Flow]:
    """One flow per address and way to claim it: IPv4 and ARP, or IPv6."""
    for address in port.addresses4:
        yield _admit(port, ADDRESSING, eth_type=ETH_IPV4, ipv4_src=int(address))
        yield _admit(port, ADDRESSING, eth_type=ETH_ARP, arp_sha=port.mac, arp_spa=int(address))
    for address6 in port.addresses6:
        yield _admit(port, ND_GUARD, eth_type=ETH_IPV6, ipv6_src=int(address6))


def network_flows(network: NetworkView) -> Iterator[Flow]:
    """What comes out of the network's VXLAN device is in that network, whatever it says itself."""
    if network.tunnel_ofport is None:
        return
    yield ADMISSION.flow(
        ADMIT,
        match(in_port=network.tunnel_ofport, vlan_vid=UNTAGGED),
        NETWORK.load(network.vni),
        ORIGIN.load(ORIGIN_OVERLAY),
        goto=FORWARD,
        cookie=network.cookie,
    )


def _admit(port: PortView, goto: Table, **claims: Any) -> Flow:
    return ADMISSION.flow(
        ADMIT,
        match(in_port=port.ofport, vlan_vid=UNTAGGED, eth_src=port.mac, **claims),
        NETWORK.load(port.vni),
        FROM_PORT.load(port.port_number),
        ORIGIN.load(ORIGIN_LOCAL),
        goto=goto,
        cookie=port.cookie,
    )
