"""How much one tenant's policy may cost every host that has a port of it. Pure.

Rules become flows, and each different mask of a match is a table that the switch must look into for each
new packet (tuple space search): so flows and masks of a tenant are limited, by what compiling its rules would
give; and how many rules meet in one flow, since a flow must fit into one message. Two changes at the same
moment may together end a little above the limit; the next one is then refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from cloison.errors import Exhausted
from cloison.model import AddressGroup, SecurityGroup, SecurityGroupRule
from cloison.names import SecurityGroupName, TenantName
from controller.compiler import CONJUNCTIONS_MAX, PolicyView, policy_cost
from controller.store.state import State

PROFILES_MAX = 1000
# Parts of rules: what working them out, and one transaction with a switch, takes time for.
PARTS_MAX = 10_000
FLOWS_MAX = 10_000
MASKS_MAX = 128


def check(
    state: State,
    tenant: TenantName,
    field: str,
    *,
    groups: Iterable[SecurityGroup] = (),
    address_groups: Iterable[AddressGroup] = (),
    profiles: Mapping[int, tuple[SecurityGroupName, ...]] | None = None,
) -> None:
    """Raise Exhausted if a tenant's policy with these changes would be too much; field: what to change."""
    view = PolicyView(
        tenant_number=0,
        profiles={p.number: p.groups for p in state.profiles_of(tenant)} | dict(profiles or {}),
        groups={g.name: g for g in (*state.groups_of(tenant), *groups)},
        address_groups={g.name: g for g in (*state.address_groups_of(tenant), *address_groups)},
    )
    if len(view.profiles) > PROFILES_MAX:
        raise Exhausted(
            f"{field}: the ports of {tenant} would be in {len(view.profiles)} different sets of security "
            f"groups, and may be in no more than {PROFILES_MAX}; use sets that are there already"
        )
    parts = _parts(view)
    if parts > PARTS_MAX:
        raise Exhausted(
            f"{field}: the rules of {tenant} would come to {parts} parts, and may come to no more than "
            f"{PARTS_MAX}; each rule counts as many as its group and its remote group are in different sets, "
            "and its ranges and blocks of ports; use fewer or wider ranges"
        )
    cost = policy_cost(view)
    if cost.masks > MASKS_MAX:
        raise Exhausted(
            f"{field}: the rules of {tenant} would need {cost.masks} different masks in every switch, and "
            f"may need no more than {MASKS_MAX}; use fewer different prefix lengths, port ranges that begin "
            "and end at multiples of powers of two (1024-2047), or groups in place of ranges"
        )
    if cost.flows > FLOWS_MAX:
        raise Exhausted(
            f"{field}: the rules of {tenant} would need {cost.flows} flows in every switch, and may need no "
            f"more than {FLOWS_MAX}; use fewer ranges, or groups in place of ranges"
        )
    if cost.conjunctions > CONJUNCTIONS_MAX:
        raise Exhausted(
            f"{field}: {cost.conjunctions} rules of {tenant} would meet in one flow of every switch, and no "
            f"more than {CONJUNCTIONS_MAX} may; use fewer rules with one and the same remote or ports"
        )


def _parts(view: PolicyView) -> int:
    """Return how many parts all rules in use have together; far cheaper to tell than what they come to."""
    sets = Counter(group for groups in view.profiles.values() for group in groups)
    prefixes = {name: len(group.prefixes) for name, group in view.address_groups.items()}
    total = 0
    for name, subjects in sets.items():
        group = view.groups.get(name)
        for rule in group.rules if group is not None else ():
            remotes = 1
            if rule.remote_group is not None:
                remotes = sets[rule.remote_group]
            elif rule.remote_address_group is not None:
                remotes = prefixes.get(rule.remote_address_group, 0)
            total += subjects + remotes + _blocks(rule)
    return total


def _blocks(rule: SecurityGroupRule) -> int:
    """Return how many masked matches a rule's range of ports takes, at the most."""
    if rule.port_min is None or rule.port_max is None or rule.port_min == rule.port_max:
        return 1
    return 2 * (rule.port_max - rule.port_min + 1).bit_length()
