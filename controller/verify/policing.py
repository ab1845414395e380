"""Do EGRESS and INGRESS admit exactly the connections that a tenant's security groups allow?

Both sides are brought into one form and compared: for each profile whose rules are asked, the set of remotes
(anyone, profiles, ranges of addresses) for each kind of traffic (family, protocol, ports). From the flows
it is read off (admitting.py), clause by clause, so that a conjunction is never multiplied out; every flow of
these tables only admits, so together they admit the union, whatever their priorities; the default alone
drops, and is below all of them. Flows of another form rulings.py decides. Where the forms differ,
`difference` decides exactly, by regions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from cloison.model import Direction
from controller.verify.grammar import Refused
from controller.verify.packet import ETH_IPV4, ETH_IPV6, FRAGMENT_LATER, INVALID, OFFSETS, TRACKED, Cube, cube
from controller.verify.policy import (
    PROFILE_OPEN,
    REMOTE_FIELDS,
    GroupName,
    PolicyIntent,
    RuleIntent,
    families,
    layer4,
    masks,
    remote_prefixes,
)
from controller.verify.rules import Rule
from controller.verify.space import Region, member
from controller.verify.stages import COMMIT, EGRESS, INGRESS, INITIATOR, RESPONDER, TENANT

Atom = tuple[str, int, int]
"""Who a remote is: ("any", 0, 0), ("profile", number, 0), or ("prefix", address, mask)."""
ANYONE: Atom = ("any", 0, 0)
ALL_PORTS = (0, 0xFFFF)


class Traffic(NamedTuple):
    """A protocol (None: any) and intervals of the tuple's ports; later: of later fragments only."""

    protocol: int | None = None
    later: bool = False
    source: tuple[int, int] = ALL_PORTS
    target: tuple[int, int] = ALL_PORTS


class Piece(NamedTuple):
    """What is admitted: all of this traffic, of this family, with all of these remotes."""

    family: int
    remotes: frozenset[Atom]
    traffic: frozenset[Traffic]


class Judged(NamedTuple):
    """A table that judges: whose rules it asks, by which registers, and where it leads what it admits."""

    table: int
    direction: Direction
    subject: str
    remote: str
    onward: int


JUDGES = (
    Judged(EGRESS, Direction.EGRESS, INITIATOR, RESPONDER, INGRESS),
    Judged(INGRESS, Direction.INGRESS, RESPONDER, INITIATOR, COMMIT),
)
Admitted = Mapping[int, frozenset[Piece]]
"""Pieces by the profile whose rules are asked."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One connection that a table judges otherwise than is meant. number: its fields, and the remote.

    admitted: the flows admit it.
    """

    judge: Judged
    subject: int
    admitted: bool
    number: int | None = None


# --- what is meant ----------------------------------------------------------------------------------------


def meant(policy: PolicyIntent, direction: Direction) -> Admitted:
    """Return what the groups of each profile admit in one direction."""
    members = members_of(policy)
    by_group = {group: pieces_of(policy, rules, members, direction) for group, rules in policy.groups.items()}
    return by_profile(policy, by_group)


Members = Mapping[GroupName, frozenset[int]]


def members_of(policy: PolicyIntent) -> Members:
    """Return the profiles that are in each group, as PolicyIntent.members_of, for all at once."""
    found: dict[GroupName, set[int]] = defaultdict(set)
    for number, groups in policy.profiles.items():
        for group in groups:
            found[group].add(number)
    return {group: frozenset(numbers) for group, numbers in found.items()}


def pieces_of(
    policy: PolicyIntent, rules: Iterable[RuleIntent], members: Members, direction: Direction
) -> frozenset[Piece]:
    """Return what a group's rules admit in one direction."""
    return frozenset(
        piece for rule in rules if rule.direction is direction for piece in _pieces(policy, rule, members)
    )


def by_profile(policy: PolicyIntent, by_group: Mapping[GroupName, frozenset[Piece]]) -> Admitted:
    """Return what each profile's groups admit, given what each group's rules do."""
    found = {}
    for profile, groups in policy.profiles.items():
        pieces: frozenset[Piece] = frozenset().union(*(by_group.get(group, ()) for group in groups))
        if pieces:
            found[profile] = pieces
    return found


def _pieces(policy: PolicyIntent, rule: RuleIntent, members: Members) -> Iterator[Piece]:
    for family in families(rule):
        prefixes = remote_prefixes(policy, rule, family)
        if rule.remote_group is not None:
            remotes = frozenset(("profile", number, 0) for number in members.get(rule.remote_group, ()))
        elif prefixes is not None:
            remotes = frozenset(("prefix", *prefix) if prefix[1] else ANYONE for prefix in prefixes)
        else:
            remotes = frozenset((ANYONE,))
        if remotes:
            yield Piece(family, remotes, frozenset(_traffic_of(rule)))


def _traffic_of(rule: RuleIntent) -> Iterator[Traffic]:
    """A later fragment does not show ports: it is judged without them (policy.py)."""
    if rule.protocol is None:
        yield Traffic()
        return
    source, target = layer4(rule)
    yield Traffic(rule.protocol, False, source, target)
    if (source, target) != (ALL_PORTS, ALL_PORTS):
        yield Traffic(rule.protocol, True)


# --- what the flows say -----------------------------------------------------------------------------------


class Terms(NamedTuple):
    """The match of a flow: parts that it does not mention are None (traffic: everything)."""

    tenant: int | None = None
    subject: int | None = None
    remote: Atom | None = None
    family: int | None = None
    traffic: Traffic | None = None
    conjunction: int | None = None


def terms_of(judge: Judged, rule: Rule) -> Terms:
    """Return the match of a flow; raises Refused if it says anything else."""
    named = {term.field.name: (term.value, term.mask) for term in rule.flow.match}
    family = _taken(named, "eth_type")
    remote = _remote(judge, named, family, rule)
    if named.pop("ct_state", (TRACKED, TRACKED | INVALID)) != (TRACKED, TRACKED | INVALID):
        raise Refused("a flow of policy depends on more of the connection than its tuple", rule.flow)
    found = Terms(
        _taken(named, TENANT), _taken(named, judge.subject), remote, family, _traffic(named, rule),
        _taken(named, "conj_id"),
    )  # fmt: skip
    if named:
        raise Refused(f"a flow of policy matches {', '.join(sorted(named))}", rule.flow)
    return found


def _taken(named: dict[str, tuple[int, int]], name: str) -> int | None:
    """Take out the value of a term that matches all bits; other terms stay, and are found left over."""
    term = named.get(name)
    full = {"eth_type": 0xFFFF, "ct_nw_proto": 0xFF}.get(name, 0xFFFFFFFF)
    if term is None or term[1] != full:
        return None
    del named[name]
    return term[0]


def _remote(judge: Judged, named: dict[str, tuple[int, int]], family: int | None, rule: Rule) -> Atom | None:
    profile = _taken(named, judge.remote)
    field = REMOTE_FIELDS.get((judge.direction, family)) if family is not None else None
    prefix = named.pop(field, None) if field is not None else None
    if profile is not None and prefix is not None:
        raise Refused("a flow of policy names a remote twice", rule.flow)
    if profile is not None:
        return "profile", profile, 0
    if prefix is None:
        return None
    inverse = ~prefix[1] & ((1 << _BITS[family]) - 1)
    if inverse & (inverse + 1):
        raise Refused("a flow of policy matches addresses that are no range", rule.flow)
    return "prefix", *prefix


_BITS: dict[int | None, int] = {ETH_IPV4: 32, ETH_IPV6: 128}


def _traffic(named: dict[str, tuple[int, int]], rule: Rule) -> Traffic | None:
    protocol = _taken(named, "ct_nw_proto")
    later = named.pop("ip_frag", None)
    if later not in (None, (FRAGMENT_LATER, FRAGMENT_LATER)):
        raise Refused("a flow of policy matches fragments in an unknown way", rule.flow)
    source, target = _interval(named, "ct_tp_src", rule), _interval(named, "ct_tp_dst", rule)
    found = Traffic(protocol, later is not None, source, target)
    return None if found == Traffic() else found


def _interval(named: dict[str, tuple[int, int]], name: str, rule: Rule) -> tuple[int, int]:
    value, mask = named.pop(name, (0, 0))
    size = (~mask & 0xFFFF) + 1
    if size & (size - 1):
        raise Refused("a flow of policy matches ports that are no range", rule.flow)
    return value, value + size - 1


def is_static(judge: Judged, rule: Rule) -> bool:
    """Tell whether a rule is of no tenant: the default, below all, or for ports without port security."""
    return is_open(judge, rule) if rule.priority else rule.cube == (0, 0) and rule.drops


def is_open(judge: Judged, rule: Rule) -> bool:
    """Tell whether a rule admits what a port without port security opens, or takes."""
    asked = rule.cube == cube(**{judge.subject: PROFILE_OPEN})
    return asked and not rule.steps and rule.goto == judge.onward


# --- comparison -------------------------------------------------------------------------------------------

Form = frozenset[tuple[Hashable, ...]]


def form(pieces: Iterable[Piece]) -> Form:
    """Return the one form of what pieces admit together.

    For each family, protocol and source ports: the target ports cut where the remotes change, and the fewest
    remotes that say who they are. Unions over protocols, and over fragments, are left as they are.
    """
    by_kind: dict[tuple[int, int | None, bool, tuple[int, int]], list[tuple[int, int, frozenset[Atom]]]]
    by_kind = defaultdict(list)
    for piece in pieces:
        for t in piece.traffic:
            key = piece.family, t.protocol, t.later, t.source
            by_kind[key].append((*t.target, piece.remotes))
    found: set[tuple[Hashable, ...]] = set()
    for key, spans in by_kind.items():
        found.update((*key, *slab) for slab in _slabs(spans, _BITS[key[0]]))
    return frozenset(found)


def _slabs(
    spans: list[tuple[int, int, frozenset[Atom]]], bits: int
) -> Iterator[tuple[int, int, frozenset[Atom]]]:
    cuts = sorted({low for low, _, _ in spans} | {high + 1 for _, high, _ in spans})
    last: tuple[int, int, frozenset[Atom]] | None = None
    for low, end in pairwise(cuts):
        remotes = [who for a, b, who in spans if a <= low and end - 1 <= b]
        if not remotes:
            continue
        atoms = _fewest(frozenset().union(*remotes), bits)
        if last is not None and last[1] == low - 1 and last[2] == atoms:
            last = last[0], end - 1, atoms
            continue
        if last is not None:
            yield last
        last = low, end - 1, atoms
    if last is not None:
        yield last


def _fewest(atoms: frozenset[Atom], bits: int) -> frozenset[Atom]:
    """The fewest remotes that are the same ones: ranges in other ranges go, halves become one."""
    if ANYONE in atoms:
        return frozenset((ANYONE,))
    ranges = {(value, mask) for kind, value, mask in atoms if kind == "prefix"}
    if not ranges:
        return atoms
    ones = (1 << bits) - 1
    merged: set[tuple[int, int]] = set()
    for mask in sorted({mask for _, mask in ranges}, reverse=True):
        # From the longest up; what two halves make may be half of something itself.
        while mask:
            level = {r for r in ranges if r[1] == mask}
            step = -mask & mask
            pairs = {(v & ~step, mask & ~step) for v, _ in level if (v ^ step, mask) in level}
            ranges -= {r for r in level if (r[0] & ~step, mask & ~step) in pairs}
            ranges |= pairs
            if not pairs:
                break
            mask = mask & ~step
    for value, mask in ranges:
        wider = mask
        while wider:
            wider &= wider << 1 & ones
            if (value & wider, wider) in ranges:
                break
        else:
            merged.add((value, mask))
    if (0, 0) in ranges:
        return frozenset((ANYONE,))
    return frozenset(a for a in atoms if a[0] != "prefix") | {("prefix", *r) for r in merged}


CUBES_MAX = 4000


def differences(judge: Judged, got: Admitted, wanted: Admitted) -> Iterator[Difference]:
    """Yield, for each profile for which two answers differ, one connection that shows it."""
    for subject in sorted(got.keys() | wanted.keys()):
        here, there = got.get(subject, frozenset()), wanted.get(subject, frozenset())
        if here != there and not _same(here, there):
            yield from _difference(judge, subject, here, there)


def _same(here: frozenset[Piece], there: frozenset[Piece]) -> bool:
    """Tell whether pieces are seen to admit the same: without those that both have, or else all of them."""
    return _form(here - there) == _form(there - here) or _form(here) == _form(there)


@lru_cache(maxsize=1 << 12)
def _form(pieces: frozenset[Piece]) -> Form:
    return form(pieces)


def _difference(
    judge: Judged, subject: int, got: frozenset[Piece], wanted: frozenset[Piece]
) -> Iterator[Difference]:
    mine, theirs = list(cubes(judge, got)), list(cubes(judge, wanted))
    for these, those, more in ((mine, theirs, True), (theirs, mine, False)):
        if len(these) * len(those) > CUBES_MAX**2:
            yield Difference(judge, subject, more)
            return
        for value, mask in these:
            number = member(Region(value, mask, tuple(those)))
            if number is not None:
                yield Difference(judge, subject, more, number)
                return


def cubes(judge: Judged, pieces: Iterable[Piece]) -> Iterator[Cube]:
    """Yield pieces as cubes of the fields that say what a connection is, and of the remote's profile."""
    for piece in pieces:
        field = REMOTE_FIELDS[judge.direction, piece.family]
        for kind, value, mask in piece.remotes:
            remote = {judge.remote: value} if kind == "profile" else {field: (value, mask)}
            for traffic in piece.traffic:
                fixed: dict[str, int | tuple[int, int]] = {"eth_type": piece.family, **remote}
                if traffic.protocol is not None:
                    fixed["ct_nw_proto"] = traffic.protocol
                if traffic.later:
                    fixed["ip_frag"] = (FRAGMENT_LATER, FRAGMENT_LATER)
                for source in masks(*traffic.source):
                    for target in masks(*traffic.target):
                        yield cube(**fixed, ct_tp_src=source, ct_tp_dst=target)


def remote_profile(difference: Difference) -> int:
    """Return the profile of the remote that a difference names; 0 if it may be any."""
    at = OFFSETS[difference.judge.remote]
    return difference.number >> at & 0xFFFFFFFF if difference.number is not None else 0
