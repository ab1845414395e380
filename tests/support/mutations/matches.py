"""Damage to whole flows, their matches, priorities and ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from controller.compiler.pipeline import TABLE_NAMES, TABLES
from controller.flows import Flow, MatchTerm
from tests.support.mutations.base import States, Subject, a_vni, an_ofport, edit, mutation, pick, with_flows


@mutation("drop-flow")
def _drop_flow(s: Subject) -> States | None:
    picked = pick(s)
    return with_flows(s, picked[0], picked[1][: picked[2]] + picked[1][picked[2] + 1 :]) if picked else None


@mutation("drop-flow-of-fragments")
def _drop_fragments(s: Subject) -> States | None:
    picked = pick(s, lambda f: f.table == 5 and f.priority == 300)
    return with_flows(s, picked[0], picked[1][: picked[2]] + picked[1][picked[2] + 1 :]) if picked else None


@mutation("swap-actions")
def _swap_actions(s: Subject) -> States | None:
    host = s.rng.choice(sorted(s.states))
    flows = list(s.states[host].flows)
    table = s.rng.choice([t.number for t in TABLES])
    here = [i for i, f in enumerate(flows) if f.table == table]
    if len(here) < 2:
        return None
    a, b = s.rng.sample(here, 2)
    if (flows[a].actions, flows[a].goto) == (flows[b].actions, flows[b].goto):
        return None
    one, two = flows[a], flows[b]
    flows[a] = replace(one, actions=two.actions, goto=two.goto)
    flows[b] = replace(two, actions=one.actions, goto=one.goto)
    return with_flows(s, host, flows)


def change_term(
    s: Subject, flow: Flow, change: Callable[[MatchTerm], MatchTerm | None], only: str = ""
) -> Flow | None:
    at = [i for i, t in enumerate(flow.match) if not only or t.field.name == only]
    if not at:
        return None
    i = s.rng.choice(at)
    term = change(flow.match[i])
    middle = (term,) if term is not None else ()
    return replace(flow, match=(*flow.match[:i], *middle, *flow.match[i + 1 :]))


def _bit(s: Subject, mask: int) -> int:
    return 1 << s.rng.choice([n for n in range(mask.bit_length()) if mask >> n & 1])


def _widened(s: Subject, term: MatchTerm) -> MatchTerm | None:
    if not term.field.maskable:
        return None
    mask = term.mask & ~_bit(s, term.mask)
    return MatchTerm(term.field, term.value & mask, mask) if mask else None


def _narrowed(s: Subject, term: MatchTerm) -> MatchTerm:
    free = term.field.all_ones & ~term.mask
    if not free:
        return term
    bit = _bit(s, free)
    return MatchTerm(term.field, term.value | s.rng.choice((0, bit)), term.mask | bit)


def _flipped(s: Subject, term: MatchTerm) -> MatchTerm:
    return term._replace(value=term.value ^ _bit(s, term.mask))


edit("widen-mask", lambda f: bool(f.match), lambda s, h, f: change_term(s, f, lambda t: _widened(s, t)))
edit("drop-term", lambda f: bool(f.match), lambda s, h, f: change_term(s, f, lambda t: None))
edit("flip-value", lambda f: bool(f.match), lambda s, h, f: change_term(s, f, lambda t: _flipped(s, t)))
edit("narrow-mask", lambda f: bool(f.match), lambda s, h, f: change_term(s, f, lambda t: _narrowed(s, t)))
edit(
    "wrong-in-port",
    lambda f: f.table == 0 and bool(f.match),
    lambda s, h, f: change_term(s, f, lambda t: t._replace(value=an_ofport(s, h)), "in_port"),
)
edit(
    "match-wrong-network",
    lambda f: any(t.field.name == "reg0" for t in f.match),
    lambda s, h, f: change_term(s, f, lambda t: t._replace(value=a_vni(s)), "reg0"),
)
edit(
    "match-wrong-sender",
    lambda f: any(t.field.name == "reg1" for t in f.match),
    lambda s, h, f: change_term(s, f, lambda t: t._replace(value=s.rng.randint(1, 12)), "reg1"),
)
edit(
    "tagged-admitted",
    lambda f: any(t.field.name == "vlan_vid" for t in f.match),
    lambda s, h, f: change_term(s, f, lambda t: None, "vlan_vid"),
)


edit(
    "priority-up",
    lambda f: True,
    lambda s, h, f: replace(f, priority=f.priority + s.rng.choice((1, 100, 300))),
)
edit(
    "priority-down",
    lambda f: f.priority > 0,
    lambda s, h, f: replace(f, priority=s.rng.randrange(f.priority)),
)
edit(
    "goto-elsewhere",
    lambda f: f.goto is not None,
    lambda s, h, f: replace(f, goto=s.rng.choice([t for t in (*TABLE_NAMES, 40) if t > f.table])),
)
edit("goto-removed", lambda f: f.goto is not None, lambda s, h, f: replace(f, goto=None))
edit(
    "drop-made-pass",
    lambda f: not f.actions and f.goto is None and f.table < max(TABLE_NAMES),
    lambda s, h, f: replace(f, goto=s.rng.choice([t for t in TABLE_NAMES if t > f.table])),
)
edit("pass-made-drop", lambda f: f.goto is not None, lambda s, h, f: replace(f, goto=None, actions=()))
