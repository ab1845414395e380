"""SPREADING (15): how much one port may send to all of a network with multicast.

Each such packet becomes a copy for every port and every other host. So it passes through a meter of its port,
which must be in the switch before this flow is. Networks without multicast have nothing here.

A guest that sends 50,000 mDNS questions a second: 1,000 are copied, the rest are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.compiler.pipeline import FORWARD, SPREADING
from controller.compiler.registers import FROM_PORT
from controller.compiler.view import METERS_OF_SPREADING, NetworkView
from controller.flows import Flow, match


def network_flows(network: NetworkView) -> Iterator[Flow]:
    """One flow for each local port, if what it sends to all goes anywhere."""
    for ofport, _, number in network.everyone.ports if network.everyone is not None else ():
        mine = match(**FROM_PORT.equals(number))
        meter = METERS_OF_SPREADING + ofport
        yield SPREADING.flow(100, mine, goto=FORWARD, meter=meter, cookie=network.cookie)
