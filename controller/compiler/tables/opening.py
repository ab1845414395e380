"""OPENING (8): how many connections one port may open.

Each new one costs its receiver's host, and everybody's on this one, far more than a packet of a known one. So
what belongs to no connection yet passes through a meter of its port, which must be in the switch before this
flow is, and only then TRACKED remembers it. Known connections pass by, however fast they are.

A guest that sends 50,000 first packets a second: a thousand reach TRACKED, the rest are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.compiler.cookies import STATIC
from controller.compiler.pipeline import OPENING, TRACKED
from controller.compiler.registers import FROM_PORT
from controller.compiler.view import PortView
from controller.flows import Flow, ct_state, match

LIMITED = 200
KNOWN = 100


def static_flows() -> Iterator[Flow]:
    """What opens nothing: packets of known connections, and invalid ones, of which TRACKED decides."""
    yield OPENING.flow(KNOWN, match(ct_state=ct_state("+trk-new")), goto=TRACKED, cookie=STATIC)


def port_flows(port: PortView) -> Iterator[Flow]:
    """The one flow of a port, for both families."""
    new = match(**FROM_PORT.equals(port.port_number), ct_state=ct_state("+new+trk"))
    yield OPENING.flow(LIMITED, new, goto=TRACKED, meter=port.meter_of_connections, cookie=port.cookie)
