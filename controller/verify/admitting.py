"""What flows of EGRESS and INGRESS admit, read off them share by share.

A share are the rules of one owner (policed.py): of a tenant's number, or of one profile. Most changes of a
policy touch a few shares; what the others say is known, and only put together anew. A conjunction may be
spread over shares: of each share it is known what its clauses say, not one entry after the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from controller.verify.grammar import Refused
from controller.verify.packet import ETH_IPV4, ETH_IPV6
from controller.verify.policing import ANYONE, Admitted, Atom, Judged, Piece, Terms, Traffic, terms_of
from controller.verify.rules import Rule

_FAMILIES = (ETH_IPV4, ETH_IPV6)
_KINDS = ("subject", "remote", "traffic")


class Clause(NamedTuple):
    """What entries of one clause say, those of one family: which parts of the match they are about, and which
    values these have; where an entry leaves a part open, what stands for that.
    """

    about: frozenset[str]
    subjects: frozenset[int | None]
    remotes: frozenset[Atom]
    traffic: frozenset[Traffic]


class Conjoined(NamedTuple):
    """A conjunction, as far as one share has it. modes: priorities and sizes of its entries.

    clauses: by number, then by family; a family that no entry is of is not there.
    """

    modes: frozenset[tuple[int, int]]
    clauses: Mapping[int, Mapping[int, Clause]]
    first: Rule


class Parsed(NamedTuple):
    """What one share says. opened: conjunctions that lead on."""

    direct: Mapping[int, frozenset[Piece]]
    opened: frozenset[int]
    conjoined: Mapping[int, Conjoined]


def admitted(judge: Judged, rules: Iterable[Rule], tenant: int) -> Admitted:
    """Return what the rules of one tenant, in one table, admit; raises Refused if one is not understood."""
    return joined((parsed(judge, rules, tenant),))


def parsed(judge: Judged, rules: Iterable[Rule], tenant: int) -> Parsed:
    """Read one share of a tenant's rules in one table; raises Refused for a rule that is not understood."""
    direct: dict[int, set[Piece]] = defaultdict(set)
    entries: dict[int, list[tuple[Rule, int, int, Terms]]] = defaultdict(list)
    opened: set[int] = set()
    for rule in rules:
        if not rule.priority:
            raise Refused("a flow of policy has the priority of the default", rule.flow)
        terms = terms_of(judge, rule)
        if terms.tenant not in (None, tenant):
            raise Refused("a flow of policy is of two tenants", rule.flow)
        parts = [step for step in rule.steps if step[0] == "conjunction"]
        if parts:
            if terms.conjunction is not None:
                raise Refused("a conjunction is part of another", rule.flow)
            for _, number, clause, size in parts:
                entries[number].append((rule, clause, size, terms))
            continue
        if rule.steps or rule.goto != judge.onward:
            raise Refused("a flow of policy does not just admit", rule.flow)
        if terms.conjunction is not None:
            if terms != Terms(tenant=tenant, conjunction=terms.conjunction):
                raise Refused("a conjunction holds for other than one tenant's packets", rule.flow)
            opened.add(terms.conjunction)
        elif terms.subject is None:
            raise Refused("a flow of policy is of no profile", rule.flow)
        else:
            direct[terms.subject].update(_direct(terms))
    return Parsed(
        {subject: frozenset(pieces) for subject, pieces in direct.items()},
        frozenset(opened),
        {number: _conjunction(found) for number, found in entries.items()},
    )


def _direct(terms: Terms) -> Iterator[Piece]:
    traffic = frozenset((terms.traffic or Traffic(),))
    for family in _FAMILIES:
        if terms.family in (None, family):
            yield Piece(family, frozenset((terms.remote or ANYONE,)), traffic)


def _conjunction(entries: list[tuple[Rule, int, int, Terms]]) -> Conjoined:
    by_clause: dict[int, list[Terms]] = defaultdict(list)
    for _, clause, _, terms in entries:
        by_clause[clause].append(terms)
    return Conjoined(
        frozenset((rule.priority, size) for rule, _, size, _ in entries),
        {number: _clause(terms) for number, terms in by_clause.items()},
        entries[0][0],
    )


def _clause(entries: list[Terms]) -> dict[int, Clause]:
    found = {}
    for family in _FAMILIES:
        here = [terms for terms in entries if terms.family in (None, family)]
        if here:
            found[family] = Clause(
                frozenset(kind for terms in here for kind in _KINDS if getattr(terms, kind) is not None),
                frozenset(terms.subject for terms in here),
                frozenset(terms.remote or ANYONE for terms in here),
                frozenset(terms.traffic or Traffic() for terms in here),
            )
    return found


def joined(shares: Iterable[Parsed], known: Mapping[Piece, Piece] | None = None) -> Admitted:
    """Return what shares admit together; raises Refused for a conjunction that is not understood.

    known: pieces to be taken in the place of equal ones, so that who compares sees at once that they are.
    """
    found: dict[int, frozenset[Piece]] = {}
    numbers: dict[int, list[Conjoined]] = defaultdict(list)
    opened: set[int] = set()
    for share in shares:
        for subject, pieces in share.direct.items():
            found[subject] = found[subject] | pieces if subject in found else pieces
        for number, part in share.conjoined.items():
            numbers[number].append(part)
        opened |= share.opened
    more: dict[int, list[Piece]] = defaultdict(list)
    for number, parts in numbers.items():
        for subjects, piece in _complete(parts, leads=number in opened):
            one = known.get(piece, piece) if known is not None else piece
            for subject in subjects:
                more[subject].append(one)
    for subject, pieces_of in more.items():
        found[subject] = found.get(subject, frozenset()).union(pieces_of)
    return found


def _complete(parts: list[Conjoined], *, leads: bool) -> Iterator[tuple[frozenset[int], Piece]]:
    """Yield what a conjunction admits, and for which profiles. Each clause is about one thing only."""
    flow = parts[0].first.flow
    modes = frozenset().union(*(part.modes for part in parts))
    if len(modes) > 1:
        raise Refused("the flows of a conjunction do not have one priority and size", flow)
    ((_, size),) = modes
    clauses = {number for part in parts for number in part.clauses}
    if len(clauses) != size:
        return
    if not leads:
        raise Refused("a conjunction leads nowhere", flow)
    for family in _FAMILIES:
        here = [_merged([p.clauses[n] for p in parts if n in p.clauses], family) for n in clauses]
        if all(clause is not None for clause in here):
            yield _piece(family, [clause for clause in here if clause is not None], parts[0].first)


def _merged(parts: list[Mapping[int, Clause]], family: int) -> Clause | None:
    """Put together what shares say of one clause; None if no entry is of the family."""
    here = [part[family] for part in parts if family in part]
    if len(here) <= 1:
        return here[0] if here else None
    return Clause(*(frozenset().union(*said) for said in zip(*here, strict=True)))


def _piece(family: int, clauses: list[Clause], first: Rule) -> tuple[frozenset[int], Piece]:
    about: dict[str, Clause] = {}
    for clause in clauses:
        if len(clause.about) > 1:
            raise Refused("a clause of a conjunction is about several things", first.flow)
        for kind in clause.about:
            if kind in about:
                raise Refused("two clauses of a conjunction are about the same", first.flow)
            about[kind] = clause
    subjects = about["subject"].subjects if "subject" in about else frozenset((None,))
    if None in subjects:
        raise Refused("a conjunction is of no profile", first.flow)
    remotes = about["remote"].remotes if "remote" in about else frozenset((ANYONE,))
    traffic = about["traffic"].traffic if "traffic" in about else frozenset((Traffic(),))
    return frozenset(s for s in subjects if s is not None), Piece(family, remotes, traffic)
