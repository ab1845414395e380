"""SERVICE (32): to the services of this host.

They get the guest's frame as it is but for the destination MAC, which says who asks: 0a:f3 and the number of
the port, which no guest can choose. Without a service port nothing is answered.

Port 77 asks for an address: eth_dst becomes 0a:f3:00:00:00:4d, sent to the service port.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloison.service_link import TO_AGENT
from controller.compiler.cookies import STATIC
from controller.compiler.pipeline import SERVICE
from controller.compiler.registers import FROM_PORT
from controller.compiler.view import HostUnitView
from controller.flows import Flow, Load, Move, Output, field, match

_ETH_DST = field("eth_dst")


def host_flows(host: HostUnitView) -> Iterator[Flow]:
    """The one flow that sends to the service port."""
    if host.service_ofport is None:
        return
    asker = Move(FROM_PORT.field, FROM_PORT.start, _ETH_DST, 0, 32)
    yield SERVICE.flow(
        100,
        match(),
        asker,
        Load(_ETH_DST, 32, 16, TO_AGENT),
        Output(host.service_ofport),
        cookie=STATIC,
    )
