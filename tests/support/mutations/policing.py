"""Damage to policy: who sent it, which connection it belongs to, what rules say, and the local services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from cloison.names import HostName
from controller.flows import (
    Action,
    CheckPacketLarger,
    Ct,
    Field,
    Flow,
    Load,
    Move,
    Output,
    field,
    match,
)
from tests.support.mutations.base import (
    States,
    Subject,
    a_mac,
    a_profile,
    add,
    an_ofport,
    edit,
    mutation,
    pick,
    with_flows,
)
from tests.support.mutations.matches import change_term

SERVICES, TRACK, OPENING, TRACKED, ADDRESSING, DELIVER, DIRECTION = 6, 7, 8, 9, 10, 22, 23
EGRESS, INGRESS, COMMIT, EXIT, SOURCE, TAG, OUTPUT, METER, SERVICE = 24, 25, 26, 27, 28, 29, 30, 31, 32
TENANTS = range(4)
A = TypeVar("A", bound=Action)
Zone = int | tuple[Field, int, int]


def has(kind: type) -> Callable[[Flow], bool]:
    return lambda f: any(isinstance(a, kind) for a in f.actions)


def _loads(*names: str) -> Callable[[Flow], bool]:
    return lambda f: any(isinstance(a, Load) and a.field.name in names for a in f.actions)


def matches(*names: str) -> Callable[[Flow], bool]:
    return lambda f: any(t.field.name in names for t in f.match)


def one_action(s: Subject, f: Flow, kind: type[A], change: Callable[[A], A]) -> Flow:
    """One action of a kind changed."""
    at, chosen = s.rng.choice([(i, a) for i, a in enumerate(f.actions) if isinstance(a, kind)])
    return replace(f, actions=(*f.actions[:at], change(chosen), *f.actions[at + 1 :]))


def _reload(s: Subject, f: Flow, name: str, value: int) -> Flow:
    new = (replace(a, value=value) if isinstance(a, Load) and a.field.name == name else a for a in f.actions)
    return replace(f, actions=tuple(new))


# --- who sent it, whom it is for --------------------------------------------------------------------------

edit("wrong-profile-of-sender", _loads("reg4"), lambda s, h, f: _reload(s, f, "reg4", a_profile(s)))
edit(
    "wrong-profile-of-receiver",
    _loads("reg5"),
    lambda s, h, f: _reload(s, f, "reg5", a_profile(s)),
)
edit("profile-open", _loads("reg4", "reg5"), lambda s, h, f: _reload(s, f, s.rng.choice(("reg4", "reg5")), 1))
edit("wrong-tenant", _loads("reg8"), lambda s, h, f: _reload(s, f, "reg8", s.rng.choice(TENANTS)))
edit(
    "match-wrong-tenant",
    matches("reg8"),
    lambda s, h, f: change_term(s, f, lambda t: t._replace(value=s.rng.choice(TENANTS)), "reg8"),
)
edit(
    "match-wrong-profile",
    matches("reg6", "reg7"),
    lambda s, h, f: change_term(
        s,
        f,
        lambda t: t._replace(value=a_profile(s)),
        s.rng.choice([t.field.name for t in f.match if t.field.name in ("reg6", "reg7")]),
    ),
)
edit(
    "profile-of-the-overlay-lost",
    lambda f: f.table == 0 and has(Move)(f),
    lambda s, h, f: replace(f, actions=tuple(a for a in f.actions if not isinstance(a, Move))),
)
edit(
    "profile-not-told",
    lambda f: f.table == TAG and has(Move)(f),
    lambda s, h, f: replace(f, actions=tuple(a for a in f.actions if not isinstance(a, Move))),
)
edit(
    "source-not-hidden",
    lambda f: f.table == SOURCE and bool(f.actions),
    lambda s, h, f: replace(f, actions=()),
)


# --- connections ------------------------------------------------------------------------------------------


def _zone(s: Subject, h: HostName) -> Zone:
    fields: list[Zone] = [(field(name), 0, 16) for name in ("reg2", "reg1", "nxm_in_port")]
    return s.rng.choice([*fields, 0, an_ofport(s, h)])


@mutation("zone-shared")
def _one_zone(s: Subject) -> States | None:
    """All ports of a host in the zone of one of them."""
    host = s.rng.choice(sorted(s.states))
    zone = an_ofport(s, host)
    return with_flows(
        s,
        host,
        [
            replace(f, actions=tuple(replace(a, zone=zone) if isinstance(a, Ct) else a for a in f.actions))
            for f in s.states[host].flows
        ],
    )


edit("wrong-zone", has(Ct), lambda s, h, f: one_action(s, f, Ct, lambda a: replace(a, zone=_zone(s, h))))
edit(
    "not-committed",
    lambda f: f.table in (TRACKED, COMMIT) and has(Ct)(f),
    lambda s, h, f: replace(f, actions=tuple(a for a in f.actions if not isinstance(a, Ct))),
)
edit(
    "committed-early",
    lambda f: f.table in (TRACK, DELIVER) and has(Ct)(f),
    lambda s, h, f: one_action(s, f, Ct, lambda a: replace(a, commit=True)),
)
edit(
    "tracked-elsewhere",
    has(Ct),
    lambda s, h, f: one_action(
        s, f, Ct, lambda a: replace(a, table=s.rng.choice((9, 10, 20, 23, 24, 26, 28, 30)))
    ),
)
edit(
    "not-tracked",
    lambda f: f.table == TRACK and has(Ct)(f),
    lambda s, h, f: replace(f, actions=(), goto=s.rng.choice((OPENING, TRACKED, ADDRESSING))),
)
edit(
    "not-judged",
    lambda f: f.table == DELIVER and has(Ct)(f),
    lambda s, h, f: replace(f, actions=(), goto=s.rng.choice((SOURCE, OUTPUT))),
)
edit(
    "another-state",
    matches("ct_state"),
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


# --- the overlay and the services -------------------------------------------------------------------------

edit(
    "another-size",
    has(CheckPacketLarger),
    lambda s, h, f: one_action(
        s,
        f,
        CheckPacketLarger,
        lambda a: replace(a, length_bytes=a.length_bytes + s.rng.choice((-14, -1, 1, 14))),
    ),
)
edit("size-not-checked", has(CheckPacketLarger), lambda s, h, f: replace(f, actions=()))
edit(
    "meter-lost-on-the-way",
    lambda f: f.table == SERVICES and f.goto == METER,
    lambda s, h, f: replace(f, goto=SERVICE),
)
edit("unmetered", lambda f: f.meter is not None, lambda s, h, f: replace(f, meter=None))
edit(
    "meter-of-another",
    lambda f: f.meter is not None,
    lambda s, h, f: replace(f, meter=s.rng.choice((an_ofport(s, h), 0x10000 + an_ofport(s, h), 999))),
)
edit(
    "known-connections-metered",
    lambda f: f.table == OPENING and f.meter is None and f.goto == TRACKED,
    lambda s, h, f: replace(f, meter=0x10000 + an_ofport(s, h)),
)
edit(
    "limit-passed-by",
    lambda f: f.table == TRACK and has(Ct)(f),
    lambda s, h, f: one_action(s, f, Ct, lambda a: replace(a, table=TRACKED)),
)
edit(
    "limit-on-one-state",
    lambda f: f.table == OPENING and matches("ct_state")(f),
    lambda s, h, f: replace(f, match=tuple(t for t in f.match if t.field.name != "ct_state")),
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
    lambda f: f.table == SERVICES and not f.actions and f.goto is None and f.priority > 0,
    lambda s, h, f: replace(f, goto=TRACK),
)
edit(
    "service-under-another-name",
    lambda f: f.table == 32 and has(Move)(f),
    lambda s, h, f: replace(f, actions=tuple(a for a in f.actions if not isinstance(a, Move))),
)
edit(
    "services-to-a-guest",
    lambda f: f.table == 32 and has(Output)(f),
    lambda s, h, f: one_action(s, f, Output, lambda a: replace(a, port=an_ofport(s, h))),
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
