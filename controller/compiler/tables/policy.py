"""EGRESS (24) and INGRESS (25): may this connection be?

Both judge the connection's original tuple, never the packet: replies, and errors that relate to it, are as
allowed as what opened it. EGRESS asks the groups of the initiator, INGRESS those of the responder; a rule
only allows, and what no rule allows is dropped. A port without port security may open and take anything. The
compiling of rules is the business of controller/compiler/policy; here its entries become flows.

Profile 16 may be reached by ssh: in INGRESS RESPONDER=16, tcp, ct_tp_dst=22 -> COMMIT.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from cloison.model import PROFILE_OPEN, Direction
from controller.compiler.cookies import STATIC
from controller.compiler.pipeline import COMMIT, EGRESS, INGRESS, Table
from controller.compiler.policy import Entry, entries
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
    for direction in _JUDGES:
        for entry in entries(policy, direction):
            yield _flow(direction, entry, cookie)


# What changes a policy leaves most of its flows as they were: those are the very same objects then, which is
# seen without looking into them.
@lru_cache(maxsize=1 << 14)
def _flow(direction: Direction, entry: Entry, cookie: int) -> Flow:
    table, allowed = _JUDGES[direction]
    goto = None if entry.conjunctions else allowed
    return table.flow(entry.priority, entry.match, *entry.conjunctions, goto=goto, cookie=cookie)
