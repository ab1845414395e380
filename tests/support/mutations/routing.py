"""Damage to what routers became: ROUTE, and what leads there."""

from __future__ import annotations

from dataclasses import replace

from cloison.addresses import ROUTER_MAC
from cloison.names import HostName
from controller.flows import DecTtl, Flow, Load, MatchTerm, SetField, field, match
from tests.support.mutations.base import Subject, a_mac, a_vni, add, edit
from tests.support.mutations.policing import has, matches

ADDRESSING, ROUTE, FORWARD, METER = 10, 12, 20, 31
_AGES = has(DecTtl)
_TO = ("ipv4_dst", "ipv6_dst")


def _into(s: Subject, _: HostName, f: Flow) -> Flow:
    vni = a_vni(s)
    changed = (
        replace(a, value=vni) if isinstance(a, Load) and a.field.name == "reg0" else a for a in f.actions
    )
    return replace(f, actions=tuple(changed))


def _shorter(s: Subject, _: HostName, f: Flow) -> Flow | None:
    """The last bit of the prefix is not looked at any more; the priority stays."""

    def shorter(term: MatchTerm) -> MatchTerm | None:
        if term.field.name not in _TO:
            return term
        mask = term.mask & term.mask - 1
        return MatchTerm(term.field, term.value & mask, mask) if mask else None

    terms = tuple(t for t in map(shorter, f.match) if t is not None)
    return replace(f, match=terms)


def _without(*names: str) -> object:
    return lambda s, h, f: replace(f, match=tuple(t for t in f.match if t.field.name not in names))


def _of_another(s: Subject, _: HostName, f: Flow) -> Flow:
    number = s.rng.choice([port.number for port in s.world.ports.values()])
    return replace(f, match=tuple(t._replace(value=number) if t.field.name == "reg1" else t for t in f.match))


def _is_exit(f: Flow) -> bool:
    return f.table == ROUTE and matches("reg1")(f)


edit("route-into-another-network", _AGES, _into)
edit(
    "route-without-ageing",
    _AGES,
    lambda s, h, f: replace(f, actions=tuple(a for a in f.actions if not isinstance(a, DecTtl))),
)
edit("route-ages-twice", _AGES, lambda s, h, f: replace(f, actions=(DecTtl(), *f.actions)))
edit(
    "ages-elsewhere",
    lambda f: f.table == FORWARD and any(t.field.name == "eth_type" for t in f.match) and f.goto is not None,
    lambda s, h, f: replace(f, actions=(DecTtl(), *f.actions)),
)
edit("route-in-its-own-network", _AGES, lambda s, h, f: replace(f, actions=f.actions[:1] + f.actions[2:]))
edit(
    "route-to-another",
    _AGES,
    lambda s, h, f: replace(f, actions=(*f.actions, SetField(field("eth_dst"), a_mac(s)))),
)
edit("route-of-shorter-prefix", lambda f: f.table == ROUTE and matches(*_TO)(f), _shorter)
edit(
    "route-of-other-priority",
    _AGES,
    lambda s, h, f: replace(f, priority=s.rng.choice((60, 100, 140, 240, 375, 390))),
)
edit("route-from-any-network", _AGES, _without("reg0"))  # type: ignore[arg-type]
edit("route-by-any-router", _AGES, _without("eth_dst"))  # type: ignore[arg-type]
_SHARED = lambda f: f.table == ROUTE and matches("ct_state")(f)  # noqa: E731
edit("share-of-requests-and-replies", _SHARED, _without("ct_state"))  # type: ignore[arg-type]
edit("share-of-any-port", _SHARED, _without("tcp_src", "tcp_dst", "udp_src", "udp_dst"))  # type: ignore[arg-type]
edit("share-with-fragments", _SHARED, _without("ip_frag"))  # type: ignore[arg-type]
edit(
    "share-by-another-bit",
    lambda f: _SHARED(f) and matches("tcp_src", "tcp_dst", "udp_src", "udp_dst")(f),
    lambda s, h, f: replace(f, match=tuple(
        t._replace(value=t.value >> 1, mask=t.mask >> 1) if t.field.name[:3] in ("tcp", "udp") else t
        for t in f.match
    )),
)  # fmt: skip
edit(
    "share-of-another",
    _SHARED,
    lambda s, h, f: replace(f, actions=tuple(
        replace(a, value=a_mac(s)) if isinstance(a, SetField) else a for a in f.actions
    )),
)  # fmt: skip
edit(
    "last-hop-goes-on",
    lambda f: f.table == ROUTE and matches("ip_ttl")(f),
    lambda s, h, f: replace(f, match=tuple(
        t._replace(value=2) if t.field.name == "ip_ttl" else t for t in f.match
    )),
)  # fmt: skip
edit(
    "router-says-nothing",
    lambda f: f.table in (ADDRESSING, ROUTE) and f.goto == METER,
    lambda s, h, f: replace(f, goto=None),
)
edit(
    "never-routed-is-routed",
    lambda f: f.table == ROUTE and f.priority == 400,
    lambda s, h, f: replace(f, priority=1),
)
edit(
    "router-of-another-mac",
    lambda f: f.table == ADDRESSING and f.goto == ROUTE,
    lambda s, h, f: replace(f, match=tuple(
        t._replace(value=a_mac(s)) if t.field.name == "eth_dst" else t for t in f.match
    )),
)  # fmt: skip
edit("exit-of-another-port", _is_exit, _of_another)
edit("exit-from-any-address", _is_exit, _without("ipv4_src", "ipv6_src"))  # type: ignore[arg-type]
edit("exit-for-all", _is_exit, _without("reg1"))  # type: ignore[arg-type]
edit("exit-by-any-router", _is_exit, _without("eth_dst"))  # type: ignore[arg-type]
edit("exit-wins-over-all", _is_exit, lambda s, h, f: replace(f, priority=s.rng.choice((140, 300, 390))))
edit("exit-wins-over-nothing", _is_exit, lambda s, h, f: replace(f, priority=s.rng.choice((10, 60, 79))))
edit(
    "exit-to-another",
    _is_exit,
    lambda s, h, f: replace(f, actions=(*f.actions, SetField(field("eth_dst"), a_mac(s)))),
)
edit("exit-into-another-network", lambda f: _is_exit(f) and _AGES(f), _into)
add(
    "router-where-there-is-none",
    lambda s, h: Flow(
        table=ADDRESSING,
        priority=320,
        match=match(reg0=a_vni(s), eth_dst=ROUTER_MAC, eth_type=0x0800),
        goto=ROUTE,
    ),
)
add(
    "route-between-tenants",
    lambda s, h: Flow(
        table=ROUTE,
        priority=300,
        match=match(reg0=a_vni(s), eth_dst=ROUTER_MAC, eth_type=0x0800),
        actions=(DecTtl(), Load(field("reg0"), 0, 32, a_vni(s)), SetField(field("eth_dst"), a_mac(s))),
        goto=FORWARD,
    ),
)
