"""EGRESS (24) and INGRESS (25): may this connection be?

Both judge the connection's original tuple, never the packet: replies, and errors that relate to it, are as
allowed as what opened it. EGRESS asks the groups of the initiator, INGRESS those of the responder; a rule
only allows, and what no rule allows is dropped. A port without port security may open and take anything. The
compiling of rules is the business of controller/compiler/policy; here its entries become flows.

Profile 16 may be reached by ssh: in INGRESS RESPONDER=16, tcp, ct_tp_dst=22 -> COMMIT.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloison.model import PROFILE_OPEN, Direction
from controller.compiler.cookies import STATIC
from controller.compiler.pipeline import COMMIT, EGRESS, INGRESS, Table
from controller.compiler.policy import entries
from controller.compiler.registers import INITIATOR, RESPONDER
from controller.compiler.view import PolicyView
from controller.flows import Flow, match

UNCHECKED = 300

_JUDGES: dict[Direction, tuple[Table, Table]] = {
    Direction.EGRESS: (EGRESS, INGRESS),
    Direction.INGRESS: (INGRESS, COMMIT),
}


def static_flows() -> Iterator[Flow]:
    """Ports without port security."""
    opens, takes = match(**INITIATOR.equals(PROFILE_OPEN)), match(**RESPONDER.equals(PROFILE_OPEN))
    yield EGRESS.flow(UNCHECKED, opens, goto=INGRESS, cookie=STATIC)
    yield INGRESS.flow(UNCHECKED, takes, goto=COMMIT, cookie=STATIC)


def policy_flows(policy: PolicyView) -> Iterator[Flow]:
    """The rules of a tenant."""
    cookie = policy.cookie
    for direction, (table, allowed) in _JUDGES.items():
        for entry in entries(policy, direction):
            goto = None if entry.conjunctions else allowed
            yield table.flow(entry.priority, entry.match, *entry.conjunctions, goto=goto, cookie=cookie)
