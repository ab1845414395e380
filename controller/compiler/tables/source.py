"""SOURCE (28): what a guest sees as source MAC of an IP packet.

The wire MAC of the source address, wherever the sender is: in the overlay the source MAC had to say something
else (TAG), and a guest shall not see by MACs which ports are on its own host. It learns MACs by ARP and
neighbour discovery, which keep the real ones.

A packet from 10.0.0.5: eth_src becomes 0a:f0:0a:00:00:05 -> OUTPUT.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloison.addresses import WIRE4_PREFIX, WIRE6_PREFIX
from controller.compiler.cookies import STATIC
from controller.compiler.headers import ETH_IPV4, ETH_IPV6
from controller.compiler.pipeline import OUTPUT, SOURCE
from controller.flows import Flow, Load, Move, field, match

IP = 100
OTHER = 10

_ETH_SRC = field("eth_src")


def static_flows() -> Iterator[Flow]:
    """All of the table."""
    for eth_type, address, wire_prefix in (
        (ETH_IPV4, "ipv4_src", WIRE4_PREFIX),
        (ETH_IPV6, "ipv6_src", WIRE6_PREFIX),
    ):
        wire = (Move(field(address), 0, _ETH_SRC, 0, 32), Load(_ETH_SRC, 32, 16, wire_prefix))
        yield SOURCE.flow(IP, match(eth_type=eth_type), *wire, goto=OUTPUT, cookie=STATIC)
    yield SOURCE.flow(OTHER, match(), goto=OUTPUT, cookie=STATIC)
