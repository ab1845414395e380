"""What a tenant's policy costs each host that runs a port of it: what its limits are of.

Masks are what hurts others: a packet may be compared once with each mask in a table, and the switch's cache
may hold one for each combination of them that packets can visit (tuple space explosion). Flows are memory.
Conjunctions are a matter of form: a flow travels in one message of at most 64 KiB, 16 bytes for each.
"""

from __future__ import annotations

from typing import NamedTuple

from cloison.model import Direction
from controller.compiler.policy.entries import entries
from controller.compiler.view import PolicyView

# So many conjunctions fit into one flow, with room for the rest of the message.
CONJUNCTIONS_MAX = 4000


class PolicyCost(NamedTuple):
    """flows: in EGRESS and INGRESS together. masks: distinct sets of matched bits, summed over the two.

    conjunctions: the most that one flow has; above CONJUNCTIONS_MAX no switch can be told.
    """

    flows: int
    masks: int
    conjunctions: int


def policy_cost(policy: PolicyView) -> PolicyCost:
    """Return what the policy of a tenant costs."""
    flows = masks = conjunctions = 0
    for direction in Direction:
        made = entries(policy, direction)
        flows += len(made)
        masks += len({tuple((term.field.name, term.mask) for term in entry.match) for entry in made})
        conjunctions = max([conjunctions, *(len(entry.conjunctions) for entry in made)])
    return PolicyCost(flows, masks, conjunctions)
