"""METER (31): how much of its host's services one port may use.

One meter for each local port, which must be in the switch before this flow is: what
exceeds its rate is dropped, so that a port that floods the services with questions takes nothing from others.

A guest that asks for an address 50,000 times a second: 100 questions a second reach SERVICE.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.compiler.pipeline import METER, SERVICE
from controller.compiler.registers import FROM_PORT
from controller.compiler.view import PortView
from controller.flows import Flow, match


def port_flows(port: PortView) -> Iterator[Flow]:
    """The one flow of a port."""
    mine = match(**FROM_PORT.equals(port.port_number))
    yield METER.flow(100, mine, goto=SERVICE, meter=port.meter_of_services, cookie=port.cookie)
