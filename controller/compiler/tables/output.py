"""OUTPUT (30): sends the frame to the port that FORWARD chose.

Open vSwitch never sends a frame back to the port it came in by, so a guest's question about its own
address (duplicate address detection) is answered by silence.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.compiler.cookies import STATIC
from controller.compiler.pipeline import OUTPUT
from controller.compiler.registers import TO_PORT
from controller.flows import Flow, OutputField, match


def static_flows() -> Iterator[Flow]:
    """The one flow that sends."""
    send = OutputField(TO_PORT.field, TO_PORT.start, TO_PORT.bits)
    yield OUTPUT.flow(10, match(), send, cookie=STATIC)
