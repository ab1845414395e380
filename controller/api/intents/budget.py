"""How much one tenant's policy may cost every host that has a port of it. Pure.

Rules become flows, and each different mask of a match is a table that the switch must look into for each
new packet (tuple space search): so flows and masks of a tenant are limited, by what compiling its rules would
give; and how many rules meet in one flow, since a flow must fit into one message. Two changes at the same
moment may together end a little above the limit; the next one is then refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from itertools import product

from cloison.addresses import IpNetwork
from cloison.errors import Exhausted
from cloison.model import (
    PROFILE_FIRST,
    AddressGroup,
    Direction,
    EtherType,
    Meta,
    SecurityGroup,
    SecurityGroupRule,
)
from cloison.names import SecurityGroupName, TenantName
from controller.compiler import CONJUNCTIONS_MAX, PolicyView, policy_cost
from controller.compiler.policy import entries
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
    if _is_far_below(view, parts):
        return
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


def _is_far_below(view: PolicyView, parts: int) -> bool:
    """Tell whether a policy is surely within all limits; cheap, where to compile it all is not.

    A rule makes at the most three flows for each of its parts: each subject, each remote, and each block of
    ports of both families and of later fragments, once, and the one that admits. A flow has no conjunction
    twice of one rule's three clauses. And a rule makes no other masks than it does where several, or single
    subjects and remotes have it.
    """
    if 3 * parts > FLOWS_MAX or parts > CONJUNCTIONS_MAX:
        return False
    kinds = set()
    for name in {group for groups in view.profiles.values() for group in groups}:
        group = view.groups.get(name)
        for rule in group.rules if group is not None else ():
            if rule.remote_address_group is not None:
                return False
            kinds.add(_kind(rule))
    return len({mask for kind in kinds for mask in _masks(*kind)}) <= MASKS_MAX


# Direction, ether type, whether it names a protocol; first and last port; whether it names ICMP's type, and
# code; IP version and length of its range; whether it names a group.
_Kind = tuple[
    Direction, EtherType, bool, tuple[int, int] | None, tuple[bool, bool], tuple[int, int] | None, bool
]


def _kind(rule: SecurityGroupRule) -> _Kind:
    """Return all of a rule that its masks depend on; it names no address group."""
    ports = None
    if rule.port_min is not None and rule.port_max is not None:
        one = rule.port_min == rule.port_max
        ports = (0, 0) if one else (rule.port_min, rule.port_max)
    prefix = rule.remote_prefix
    return (
        rule.direction,
        rule.ether_type,
        rule.protocol is not None,
        ports,
        (rule.icmp_type is not None, rule.icmp_code is not None),
        (prefix.version, prefix.prefixlen) if prefix is not None else None,
        rule.remote_group is not None,
    )


@lru_cache(maxsize=1 << 12)
def _masks(
    direction: Direction,
    ether_type: EtherType,
    has_protocol: bool,
    ports: tuple[int, int] | None,
    icmp: tuple[bool, bool],
    prefix: tuple[int, int] | None,
    has_group: bool,
) -> frozenset[Hashable]:
    """Return the masks that a rule of a kind can have, whether one or several profiles are on either side."""
    low, high = ports if ports is not None else (None, None)
    rule = SecurityGroupRule(
        id="",
        number=1,
        direction=direction,
        ether_type=ether_type,
        protocol=1 if has_protocol else None,
        port_min=low,
        port_max=high,
        icmp_type=0 if icmp[0] else None,
        icmp_code=0 if icmp[1] else None,
        remote_prefix=_range(*prefix) if prefix is not None else None,
        remote_group=_OTHER if has_group else None,
    )
    group = SecurityGroup(name=_OWN, meta=Meta(uid=""), number=1, rules=(rule,))
    found: set[Hashable] = set()
    for own, others in product((1, 2), (1, 2)):
        sets = [(_OWN,)] * own + [(_OTHER,)] * others
        profiles = dict(enumerate(sets, PROFILE_FIRST))
        view = PolicyView(tenant_number=1, profiles=profiles, groups={_OWN: group}, address_groups={})
        made = entries(view, direction)
        found.update(tuple((term.field.name, term.mask) for term in entry.match) for entry in made)
    return frozenset((direction, mask) for mask in found)


def _range(version: int, length: int) -> IpNetwork:
    return IPv4Network((0, length)) if version == 4 else IPv6Network((0, length))


_OWN, _OTHER = SecurityGroupName("-", "own"), SecurityGroupName("-", "other")


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
