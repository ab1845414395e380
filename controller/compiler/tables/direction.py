"""DIRECTION (23): who opened the connection.

Policy says who may open connections to whom, and a reply is judged by the same rules as what it replies to:
for a reply the sender is the responder, for all else the initiator. So the flows of EGRESS and INGRESS are
those of the connection, and withdrawing one stops both directions at once.

What the receiver's zone finds invalid is dropped, but not for a port without port security: it may route, and
of what goes another way back its zone sees only half. The sender's zone has found it valid.

The answer to a ping, at the port that had pinged: +rpl, so INITIATOR is the receiver's profile -> EGRESS.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloison.model import PROFILE_OPEN
from controller.compiler.cookies import STATIC
from controller.compiler.pipeline import DIRECTION, EGRESS, SOURCE
from controller.compiler.registers import FROM_PROFILE, INITIATOR, RESPONDER, TO_PROFILE, Register
from controller.flows import Flow, ct_state, match

UNCHECKED = 310
INVALID = 300
VALID = 100


def static_flows() -> Iterator[Flow]:
    """All of the table."""
    unchecked = match(**TO_PROFILE.equals(PROFILE_OPEN), ct_state=ct_state("+inv+trk"))
    yield DIRECTION.flow(UNCHECKED, unchecked, goto=SOURCE, cookie=STATIC)
    yield DIRECTION.flow(INVALID, match(ct_state=ct_state("+inv+trk")), cookie=STATIC)
    yield _direction("+trk-inv-rpl", initiator=FROM_PROFILE, responder=TO_PROFILE)
    yield _direction("+rpl+trk-inv", initiator=TO_PROFILE, responder=FROM_PROFILE)


def _direction(state: str, *, initiator: Register, responder: Register) -> Flow:
    actions = (INITIATOR.copy(initiator), RESPONDER.copy(responder))
    return DIRECTION.flow(VALID, match(ct_state=ct_state(state)), *actions, goto=EGRESS, cookie=STATIC)
