"""What policy says to a question that flows put to it, also to one that they should never put."""

from __future__ import annotations

from controller.verify.policy import PolicyIntent, Seen, lets_in, lets_out
from controller.verify.stages import INGRESS
from controller.verify.world import World

Asked = tuple[int, int, int, int]
"""A question to policy: the table, and what is in TENANT, INITIATOR and RESPONDER there."""
UNKNOWN = -1


def allows(world: World, asked: Asked, seen: Seen) -> bool:
    """Tell whether a tenant's policy admits a connection; of ends that are not known, that it does."""
    table, tenant, opener, other = asked
    if UNKNOWN in (opener, other):
        return True
    policy = world.policy_of(world.tenant_by_number.get(tenant, ""))
    out = table == INGRESS or lets_out(policy, opener, other, seen)
    return out and lets_in(policy, opener, other, seen)


def allows_whoever(world: World, asked: Asked, seen: Seen) -> bool:
    """As allows, but each end by its own tenant's policy, whatever TENANT says.

    A conjunction asks for TENANT, a flow of one profile does not: of ends of two tenants, or of another one
    than TENANT says, nobody but the flows knows which it is. Of ends of one tenant with its number both are
    the same.
    """
    table, _, opener, other = asked
    if UNKNOWN in (opener, other):
        return True
    out = table == INGRESS or lets_out(_policy_with(world, opener), opener, other, seen)
    return out and lets_in(_policy_with(world, other), opener, other, seen)


def _policy_with(world: World, profile: int) -> PolicyIntent:
    return world.policy_of(world.tenant_by_profile.get(profile, ""))
