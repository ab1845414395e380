"""Damage to what the rules of security groups became: EGRESS and INGRESS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cloison.names import HostName
from controller.flows import Conjunction, Flow, MatchTerm, ct_state, match
from tests.support.mutations.base import States, Subject, a_profile, add, edit, mutation, pick, with_flows
from tests.support.mutations.matches import change_term
from tests.support.mutations.policing import (
    COMMIT,
    DELIVER,
    DIRECTION,
    EGRESS,
    INGRESS,
    OUTPUT,
    has,
    matches,
    one_action,
)

_PORTS = ("ct_nw_proto", "ct_tp_src", "ct_tp_dst")
_REMOTES = ("ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst")


def _without(*names: str) -> Callable[[Subject, HostName, Flow], Flow]:
    return lambda s, h, f: replace(f, match=tuple(t for t in f.match if t.field.name not in names))


edit("rule-of-any-protocol", matches("ct_nw_proto"), _without("ct_nw_proto"))
edit("rule-of-any-port", matches("ct_tp_src", "ct_tp_dst"), _without("ct_tp_src", "ct_tp_dst"))
edit("rule-of-any-traffic", matches("ct_nw_proto"), _without(*_PORTS))
edit("rule-of-any-remote", matches(*_REMOTES), _without(*_REMOTES))
edit(
    "rule-of-any-subject",
    lambda f: f.table in (EGRESS, INGRESS) and matches("reg6", "reg7")(f),
    _without("reg6", "reg7"),
)
edit(
    "rule-dropped",
    lambda f: f.table in (EGRESS, INGRESS) and f.priority in (100, 200),
    lambda s, h, f: replace(f, goto=None, actions=()),
)
edit(
    "egress-alone-decides",
    lambda f: f.table == EGRESS and f.goto is not None,
    lambda s, h, f: replace(f, goto=COMMIT),
)
edit(
    "conjunction-of-another",
    has(Conjunction),
    lambda s, h, f: one_action(s, f, Conjunction, lambda a: replace(a, id=a.id ^ 1 << s.rng.randrange(20))),
)
edit(
    "conjunction-clause",
    has(Conjunction),
    lambda s, h, f: one_action(s, f, Conjunction, lambda a: replace(a, clause=a.clause % a.clauses + 1)),
)
edit(
    "conjunction-clauses",
    has(Conjunction),
    lambda s, h, f: one_action(
        s, f, Conjunction, lambda a: replace(a, clauses=max(2, a.clauses - 1), clause=min(2, a.clause))
    ),
)
edit(
    "conjunction-lost",
    has(Conjunction),
    lambda s, h, f: replace(f, actions=f.actions[1:] if len(f.actions) > 1 else f.actions),
)
edit(
    "match-wrong-conjunction",
    matches("conj_id"),
    lambda s, h, f: change_term(
        s, f, lambda t: t._replace(value=t.value ^ 1 << s.rng.randrange(20)), "conj_id"
    ),
)
add(
    "everything-allowed",
    lambda s, h: Flow(
        table=s.rng.choice((EGRESS, INGRESS)),
        priority=s.rng.choice((1, 150, 250)),
        match=match(),
        goto=COMMIT,
    ),
)
add(
    "replies-always-allowed",
    lambda s, h: Flow(table=EGRESS, priority=250, match=match(ct_state=ct_state("+est+trk")), goto=COMMIT),
)
add(
    "profile-allowed",
    lambda s, h: Flow(table=INGRESS, priority=250, match=match(reg7=a_profile(s)), goto=COMMIT),
)
add(
    "ethertype-delivered",
    lambda s, h: Flow(
        table=DELIVER, priority=150, match=match(eth_type=s.rng.choice((0x0800, 0x86DD, 0x88CC))), goto=OUTPUT
    ),
)


# --- parts of rules ---------------------------------------------------------------------------------------


def _wider_ports(s: Subject, _: HostName, f: Flow) -> Flow | None:
    """The lowest bit of the ports that is looked at is not looked at any more."""

    def wider(t: MatchTerm) -> MatchTerm | None:
        mask = t.mask & t.mask - 1
        return MatchTerm(t.field, t.value & mask, mask) if mask else None

    name = s.rng.choice([t.field.name for t in f.match if t.field.name in ("ct_tp_src", "ct_tp_dst")])
    return change_term(s, f, wider, name)


edit("ports-widened", matches("ct_tp_src", "ct_tp_dst"), _wider_ports)
edit("fragments-as-the-rest", matches("ip_frag"), _without("ip_frag"))
edit(
    "first-fragments-too",
    lambda f: f.table in (EGRESS, INGRESS) and matches("ip_frag")(f),
    lambda s, h, f: change_term(s, f, lambda t: MatchTerm(t.field, 1, 1), "ip_frag"),
)
edit(
    "egress-skipped",
    lambda f: f.table == DIRECTION and f.goto == EGRESS,
    lambda s, h, f: replace(f, goto=INGRESS),
)
edit(
    "both-skipped",
    lambda f: f.table in (DIRECTION, EGRESS) and f.goto in (EGRESS, INGRESS),
    lambda s, h, f: replace(f, goto=COMMIT),
)


def _of_one_conjunction(s: Subject, host: HostName) -> tuple[int, int] | None:
    """Some conjunction of a host: its table and number."""
    found = sorted(
        {(f.table, a.id) for f in s.states[host].flows for a in f.actions if isinstance(a, Conjunction)}
    )
    return s.rng.choice(found) if found else None


def _recast(s: Subject, change: Callable[[Conjunction], Conjunction | None]) -> States | None:
    """Change (None: take away) all parts of one conjunction."""
    host = s.rng.choice(sorted(s.states))
    spot = _of_one_conjunction(s, host)
    if spot is None:
        return None
    flows: list[Flow] = []
    for f in s.states[host].flows:
        if f.table != spot[0] or not any(isinstance(a, Conjunction) and a.id == spot[1] for a in f.actions):
            flows.append(f)
            continue
        changed = (change(a) if isinstance(a, Conjunction) and a.id == spot[1] else a for a in f.actions)
        actions = tuple(a for a in changed if a is not None)
        if actions:
            flows.append(replace(f, actions=actions))
    return with_flows(s, host, flows)


@mutation("conjunction-clauses-swapped")
def _clauses_swapped(s: Subject) -> States | None:
    """Two clauses of one conjunction under each other's number: says the same."""
    return _recast(s, lambda a: replace(a, clause={1: 2, 2: 1}.get(a.clause, a.clause)))


@mutation("conjunction-clause-dropped")
def _clause_dropped(s: Subject) -> States | None:
    """All flows of one clause are gone."""
    gone = s.rng.randint(1, 3)
    return _recast(s, lambda a: None if a.clause == gone else a)


@mutation("conjunction-clause-ignored")
def _clause_ignored(s: Subject) -> States | None:
    """One clause less is needed: the others decide."""

    def less(a: Conjunction) -> Conjunction | None:
        return replace(a, clauses=a.clauses - 1) if a.clauses > 2 and a.clause < a.clauses else None

    return _recast(s, less)


@mutation("conjunction-clause-of-another-flow")
def _clauses_exchanged(s: Subject) -> States | None:
    """Two flows of one table exchange what they are a part of."""
    picked = pick(s, has(Conjunction))
    if picked is None:
        return None
    host, flows, at = picked
    others = [i for i, f in enumerate(flows) if f.table == flows[at].table and has(Conjunction)(f)]
    other = s.rng.choice(others)
    if flows[other].actions == flows[at].actions:
        return None
    one, two = flows[at], flows[other]
    flows[at], flows[other] = replace(one, actions=two.actions), replace(two, actions=one.actions)
    return with_flows(s, host, flows)
