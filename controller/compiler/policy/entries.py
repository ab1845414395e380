"""From dimensions to entries: direct, or conjunctive (ovs-fields(7), "Conjunctive Match Fields").

Entries of several rules that match the same are one entry. Every entry matches a profile or the tenant, and
profiles are of one tenant, so the entries of two tenants never meet in one packet: their conjunction numbers
need not differ. Within a tenant a number is the group's index and the rule's number, and does not change
when other rules do.

Two profiles that may ssh to three others, both families: 2 + 3 + 4 entries and the one that admits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import product
from operator import attrgetter
from typing import NamedTuple

from cloison.model import AddressGroup, Direction, SecurityGroup, SecurityGroupRule
from cloison.names import AddressGroupName, SecurityGroupName
from controller.compiler.headers import ETH_IPV4, ETH_IPV6
from controller.compiler.policy.dimensions import ANYTHING, Dimensions, Terms, dimensions
from controller.compiler.registers import INITIATOR, RESPONDER, TENANT
from controller.compiler.view import PolicyView
from controller.flows import Conjunction, Match, match

DIRECT = 200
CONJUNCTIVE = 100

_RULE_BITS = 12
_INDEX_BITS = 20
_PLACE = attrgetter("id", "clause")


class Entry(NamedTuple):
    """What one flow matches. With conjunctions it is a dimension of these rules; without, it admits."""

    priority: int
    match: Match
    conjunctions: tuple[Conjunction, ...] = ()


def entries(policy: PolicyView, direction: Direction) -> list[Entry]:
    """Return the entries of a tenant's rules of one direction, each match once."""
    direct: dict[Match, None] = {}
    admitting: list[Match] = []
    clauses: dict[Match, set[Conjunction]] = defaultdict(set)
    indices, profiles = _indices(policy.groups), _profiles(policy)
    for name in sorted(policy.groups):
        subjects = profiles.get(name, ())
        for rule in policy.groups[name].rules if subjects else ():
            if rule.direction is not direction:
                continue
            remotes = profiles.get(rule.remote_group, ()) if rule.remote_group is not None else ()
            addresses = _named(policy.address_groups, rule.remote_address_group)
            number = indices[name] << _RULE_BITS | rule.number
            make = _known if len(subjects) + len(remotes) <= FEW else _made
            made = make(rule, subjects, remotes, addresses, number, policy.tenant_number)
            direct.update(dict.fromkeys(made.direct))
            admitting += made.admitting
            for matched, conjunction in made.clauses:
                clauses[matched].add(conjunction)
    return [
        *(Entry(DIRECT, m) for m in direct),
        *(Entry(CONJUNCTIVE, m) for m in admitting),
        *(Entry(CONJUNCTIVE, m, _in_order(c)) for m, c in clauses.items()),
    ]


class _Made(NamedTuple):
    """What one rule makes: matches that admit, those of its conjunction, and the parts of that."""

    direct: tuple[Match, ...] = ()
    admitting: tuple[Match, ...] = ()
    clauses: tuple[tuple[Match, Conjunction], ...] = ()


def _made(
    rule: SecurityGroupRule,
    subjects: tuple[int, ...],
    remotes: tuple[int, ...],
    addresses: AddressGroup | None,
    number: int,
    tenant_number: int,
) -> _Made:
    """Return what a rule makes for these profiles."""
    made = dimensions(rule, subjects, remotes, addresses)
    if not all(made):
        return _Made()
    if _is_direct(made):
        return _Made(direct=tuple(_products(made)))
    leading = match(conj_id=number, **TENANT.equals(tenant_number))
    return _Made((), (leading,), tuple(_clauses(made, number, tenant_number)))


# A change of a policy touches a few rules. Rules that many profiles are in change with each of these, and are
# large: of them single matches are remembered.
_known = lru_cache(maxsize=1 << 14)(_made)
FEW = 8


def _named(
    groups: Mapping[AddressGroupName, AddressGroup], name: AddressGroupName | None
) -> AddressGroup | None:
    return groups.get(name) if name is not None else None


def _indices(groups: Mapping[SecurityGroupName, SecurityGroup]) -> dict[SecurityGroupName, int]:
    """A number of 20 bits for each group of a tenant: its own, or the next that is free."""
    taken: set[int] = set()
    indices = {}
    for name, group in sorted(groups.items(), key=lambda item: (item[1].number, item[0])):
        index = group.number & ((1 << _INDEX_BITS) - 1)
        while index in taken:
            index = (index + 1) & ((1 << _INDEX_BITS) - 1)
        taken.add(index)
        indices[name] = index
    return indices


def _profiles(policy: PolicyView) -> dict[SecurityGroupName, tuple[int, ...]]:
    """The profiles that have a group, by group, in order."""
    having = defaultdict(list)
    for number in sorted(policy.profiles):
        for group in set(policy.profiles[number]):
            having[group].append(number)
    return {group: tuple(numbers) for group, numbers in having.items()}


def _is_direct(made: Dimensions) -> bool:
    """Tell whether in each family at most one dimension has several alternatives."""
    counts = [_counts(alternatives) for alternatives in made]
    return all(sum(count > 1 for count in family) <= 1 for family in zip(*counts, strict=True))


def _counts(alternatives: tuple[Terms, ...]) -> tuple[int, int]:
    """How many are of each family."""
    if len(alternatives) == 1:
        return 1, 1
    families = [terms.get("eth_type") for terms in alternatives]
    return len(families) - families.count(ETH_IPV6), len(families) - families.count(ETH_IPV4)


def _products(made: Dimensions) -> Iterator[Match]:
    """Every combination of alternatives, but of two families."""
    for chosen in product(*made):
        if len({t["eth_type"] for t in chosen if "eth_type" in t}) <= 1:
            yield _matched(tuple(_joined(chosen).items()))


def _clauses(made: Dimensions, number: int, tenant_number: int) -> Iterator[tuple[Match, Conjunction]]:
    """Each alternative of the dimensions that matter, as clause of the conjunction of that number."""
    mattering = [alternatives for alternatives in made if alternatives != ANYTHING]
    for clause, alternatives in enumerate(mattering, 1):
        conjunction = _conjunction(number, clause, len(mattering))
        for terms in alternatives:
            yield _matched(tuple(_bound(terms, tenant_number).items())), conjunction


# The same object each time: equal ones need not be compared then.
_conjunction = lru_cache(maxsize=1 << 14)(Conjunction)


@lru_cache(maxsize=1 << 14)
def _matched(terms: tuple[tuple[str, int | tuple[int, int]], ...]) -> Match:
    """Return a match; the rules of a tenant have most of theirs in common."""
    return match(**dict(terms))


def _bound(terms: Terms, tenant_number: int) -> Terms:
    """Terms that match nothing of another tenant."""
    if INITIATOR.field.name in terms or RESPONDER.field.name in terms:
        return terms
    return _joined((TENANT.equals(tenant_number), terms))


def _joined(chosen: Iterable[Terms]) -> dict[str, int | tuple[int, int]]:
    return {name: value for terms in chosen for name, value in terms.items()}


def _in_order(conjunctions: Iterable[Conjunction]) -> tuple[Conjunction, ...]:
    return tuple(sorted(conjunctions, key=_PLACE))
