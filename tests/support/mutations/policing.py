"""Damage to policy: who sent it, which connection it belongs to, what rules say, and the local services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cloison.names import HostName
from controller.flows import (
    CheckPacketLarger,
    Conjunction,
    Ct,
    Flow,
    Load,
    Move,
    Output,
    ct_state,
    field,
    match,
)
from tests.support.mutations.base import (
    States,
    Subject,
    a_mac,
    add,
    an_ofport,
    edit,
    mutation,
    pick,
    with_flows,
)
from tests.support.mutations.matches import change_term

SERVICES, TRACK, TRACKED, ADDRESSING, DELIVER, DIRECTION = 6, 8, 9, 10, 22, 23
EGRESS, INGRESS, COMMIT, EXIT, SOURCE, TAG, OUTPUT, METER = 24, 25, 26, 27, 28, 29, 30, 31
_PROFILES, _TENANTS = range(20), range(4)


def _has(kind: type) -> Callable[[Flow], bool]:
    return lambda f: any(isinstance(a, kind) for a in f.actions)


def _loads(*names: str) -> Callable[[Flow], bool]:
    return lambda f: any(isinstance(a, Load) and a.field.name in names for a in f.actions)


def _matches(*names: str) -> Callable[[Flow], bool]:
    return lambda f: any(t.field.name in names for t in f.match)


def _one(s: Subject, f: Flow, kind: type, change: Callable[[object], object]) -> Flow:
    """One action of a kind changed."""
    at = s.rng.choice([i for i, a in enumerate(f.actions) if isinstance(a, kind)])
    return replace(f, actions=(*f.actions[:at], change(f.actions[at]), *f.actions[at + 1 :]))  # type: ignore[arg-type]


def _reload(s: Subject, f: Flow, name: str, value: int) -> Flow:
    new = (replace(a, value=value) if isinstance(a, Load) and a.field.name == name else a for a in f.actions)
    return replace(f, actions=tuple(new))


# --- who sent it, whom it is for --------------------------------------------------------------------------

edit(
    "wrong-profile-of-sender", _loads("reg4"), lambda s, h, f: _reload(s, f, "reg4", s.rng.choice(_PROFILES))
)
edit(
    "wrong-profile-of-receiver",
    _loads("reg5"),
    lambda s, h, f: _reload(s, f, "reg5", s.rng.choice(_PROFILES)),
)
edit("profile-open", _loads("reg4", "reg5"), lambda s, h, f: _reload(s, f, s.rng.choice(("reg4", "reg5")), 1))
edit("wrong-tenant", _loads("reg8"), lambda s, h, f: _reload(s, f, "reg8", s.rng.choice(_TENANTS)))
edit(
    "match-wrong-tenant",
    _matches("reg8"),
    lambda s, h, f: change_term(s, f, lambda t: t._replace(value=s.rng.choice(_TENANTS)), "reg8"),
)
edit(
    "match-wrong-profile",
    _matches("reg6", "reg7"),
    lambda s, h, f: change_term(
        s,
        f,
        lambda t: t._replace(value=s.rng.choice(_PROFILES)),
        s.rng.choice([t.field.name for t in f.match if t.field.name in ("reg6", "reg7")]),
    ),
)
edit(
    "profile-of-the-overlay-lost",
    lambda f: f.table == 0 and _has(Move)(f),
    lambda s, h, f: replace(f, actions=tuple(a for a in f.actions if not isinstance(a, Move))),
)
edit(
    "profile-not-told",
    lambda f: f.table == TAG and _has(Move)(f),
    lambda s, h, f: replace(f, actions=tuple(a for a in f.actions if not isinstance(a, Move))),
)
edit(
    "source-not-hidden",
    lambda f: f.table == SOURCE and bool(f.actions),
    lambda s, h, f: replace(f, actions=()),
)


# --- connections ------------------------------------------------------------------------------------------


def _zone(s: Subject, h: HostName) -> object:
    fields = [(field(name), 0, 16) for name in ("reg2", "reg1", "nxm_in_port")]
    return s.rng.choice([*fields, 0, an_ofport(s, h)])


edit("wrong-zone", _has(Ct), lambda s, h, f: _one(s, f, Ct, lambda a: replace(a, zone=_zone(s, h))))
edit(
    "not-committed",
    lambda f: f.table in (TRACKED, COMMIT) and _has(Ct)(f),
    lambda s, h, f: replace(f, actions=tuple(a for a in f.actions if not isinstance(a, Ct))),
)
edit(
    "committed-early",
    lambda f: f.table in (TRACK, DELIVER) and _has(Ct)(f),
    lambda s, h, f: _one(s, f, Ct, lambda a: replace(a, commit=True)),
)
edit(
    "tracked-elsewhere",
    _has(Ct),
    lambda s, h, f: _one(s, f, Ct, lambda a: replace(a, table=s.rng.choice((9, 10, 20, 23, 24, 26, 28, 30)))),
)
edit(
    "not-tracked",
    lambda f: f.table == TRACK and _has(Ct)(f),
    lambda s, h, f: replace(f, actions=(), goto=s.rng.choice((TRACKED, ADDRESSING))),
)
edit(
    "not-judged",
    lambda f: f.table == DELIVER and _has(Ct)(f),
    lambda s, h, f: replace(f, actions=(), goto=s.rng.choice((SOURCE, OUTPUT))),
)
edit(
    "another-state",
    _matches("ct_state"),
    lambda s, h, f: change_term(
        s, f, lambda t: t._replace(value=t.value ^ (1 << s.rng.randrange(6)) & t.mask), "ct_state"
    ),
)


@mutation("invalid-let-through")
def _invalid(s: Subject) -> States | None:
    picked = pick(s, lambda f: f.table in (TRACKED, DIRECTION) and f.priority == 300)
    if picked is None:
        return None
    host, flows, at = picked
    goto = ADDRESSING if flows[at].table == TRACKED else s.rng.choice((EGRESS, COMMIT))
    return with_flows(s, host, [*flows[:at], replace(flows[at], goto=goto), *flows[at + 1 :]])


def _swapped(s: Subject, _: HostName, f: Flow) -> Flow:
    """The initiator is who should be the responder (or both are one)."""
    moves = [a for a in f.actions if isinstance(a, Move)]
    sources = s.rng.choice(([moves[1].src, moves[0].src], [moves[0].src] * 2, [moves[1].src] * 2))
    return replace(f, actions=tuple(replace(m, src=src) for m, src in zip(moves, sources, strict=True)))


edit("direction-swapped", lambda f: f.table == DIRECTION and len(f.actions) == 2, _swapped)


# --- rules ------------------------------------------------------------------------------------------------

_PORTS = ("ct_nw_proto", "ct_tp_src", "ct_tp_dst")
_REMOTES = ("ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst")


def _without(*names: str) -> Callable[[Subject, HostName, Flow], Flow]:
    return lambda s, h, f: replace(f, match=tuple(t for t in f.match if t.field.name not in names))


edit("rule-of-any-protocol", _matches("ct_nw_proto"), _without("ct_nw_proto"))
edit("rule-of-any-port", _matches("ct_tp_src", "ct_tp_dst"), _without("ct_tp_src", "ct_tp_dst"))
edit("rule-of-any-traffic", _matches("ct_nw_proto"), _without(*_PORTS))
edit("rule-of-any-remote", _matches(*_REMOTES), _without(*_REMOTES))
edit(
    "rule-of-any-subject",
    lambda f: f.table in (EGRESS, INGRESS) and _matches("reg6", "reg7")(f),
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
    _has(Conjunction),
    lambda s, h, f: _one(s, f, Conjunction, lambda a: replace(a, id=a.id ^ 1 << s.rng.randrange(20))),
)
edit(
    "conjunction-clause",
    _has(Conjunction),
    lambda s, h, f: _one(s, f, Conjunction, lambda a: replace(a, clause=a.clause % a.clauses + 1)),
)
edit(
    "conjunction-clauses",
    _has(Conjunction),
    lambda s, h, f: _one(
        s, f, Conjunction, lambda a: replace(a, clauses=max(2, a.clauses - 1), clause=min(2, a.clause))
    ),
)
edit(
    "conjunction-lost",
    _has(Conjunction),
    lambda s, h, f: replace(f, actions=f.actions[1:] if len(f.actions) > 1 else f.actions),
)
edit(
    "match-wrong-conjunction",
    _matches("conj_id"),
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
    lambda s, h: Flow(table=INGRESS, priority=250, match=match(reg7=s.rng.choice(_PROFILES)), goto=COMMIT),
)
add(
    "ethertype-delivered",
    lambda s, h: Flow(
        table=DELIVER, priority=150, match=match(eth_type=s.rng.choice((0x0800, 0x86DD, 0x88CC))), goto=OUTPUT
    ),
)


# --- the overlay and the services -------------------------------------------------------------------------

edit(
    "another-size",
    _has(CheckPacketLarger),
    lambda s, h, f: _one(
        s,
        f,
        CheckPacketLarger,
        lambda a: replace(a, length_bytes=a.length_bytes + s.rng.choice((-14, -1, 1, 14))),
    ),
)
edit("size-not-checked", _has(CheckPacketLarger), lambda s, h, f: replace(f, actions=()))
edit("unmetered", lambda f: f.meter is not None, lambda s, h, f: replace(f, meter=None))
edit(
    "meter-of-another",
    lambda f: f.meter is not None,
    lambda s, h, f: replace(f, meter=s.rng.choice((an_ofport(s, h), 999))),
)
edit(
    "services-pass-by",
    lambda f: f.table == SERVICES and f.goto == METER,
    lambda s, h, f: replace(f, goto=s.rng.choice((TRACK, ADDRESSING))),
)
edit(
    "rest-to-services",
    lambda f: f.table == SERVICES and f.goto in (TRACK, ADDRESSING),
    lambda s, h, f: replace(f, goto=METER),
)
edit(
    "servers-let-through",
    lambda f: f.table == SERVICES and not f.actions and f.goto is None and f.priority,
    lambda s, h, f: replace(f, goto=TRACK),
)
edit(
    "service-under-another-name",
    lambda f: f.table == 32 and _has(Move)(f),
    lambda s, h, f: replace(f, actions=tuple(a for a in f.actions if not isinstance(a, Move))),
)
edit(
    "services-to-a-guest",
    lambda f: f.table == 32 and _has(Output)(f),
    lambda s, h, f: _one(s, f, Output, lambda a: replace(a, port=an_ofport(s, h))),
)
add(
    "a-guest-is-the-service",
    lambda s, h: Flow(
        table=0,
        priority=200,
        match=match(in_port=an_ofport(s, h), eth_src=a_mac(s)),
        actions=(Load(field("reg3"), 0, 3, 4),),
        goto=20,
    ),
)
