"""Policy: from the rules of a tenant's security groups to what EGRESS and INGRESS match.

PURE. A rule has three dimensions: whose rule it is (the policy profiles of ports in its group), who the other
side is (anyone, profiles, or addresses), and which traffic (family, protocol, ports). Where at most one of
them has several values the rule is as many direct entries; otherwise it is a conjunctive match, whose entries
are the sum of the dimensions and not their product.

    rule -> dimensions.py -> entries.py -> tables/policy.py (flows)
                 ports.py: a range of ports as the fewest masked matches
"""

from controller.compiler.policy.cost import CONJUNCTIONS_MAX, PolicyCost, policy_cost
from controller.compiler.policy.entries import Entry, entries

__all__ = ["CONJUNCTIONS_MAX", "Entry", "PolicyCost", "entries", "policy_cost"]
