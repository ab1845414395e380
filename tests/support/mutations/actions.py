"""Damage to what flows do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cloison.names import HostName
from controller.flows import Flow, Load, Move, Output, OutputField, SetField, field
from tests.support.mutations.base import Subject, a_mac, a_vni, an_ofport, edit


def _loads(name: str) -> Callable[[Flow], bool]:
    return lambda f: any(isinstance(a, Load) and a.field.name == name for a in f.actions)


def _reload(f: Flow, name: str, value: int) -> Flow:
    new = (replace(a, value=value) if isinstance(a, Load) and a.field.name == name else a for a in f.actions)
    return replace(f, actions=tuple(new))


edit("wrong-ofport", _loads("reg2"), lambda s, h, f: _reload(f, "reg2", an_ofport(s, h)))
edit("unknown-ofport", _loads("reg2"), lambda s, h, f: _reload(f, "reg2", s.rng.randrange(300, 400)))
edit(
    "reserved-ofport",
    _loads("reg2"),
    lambda s, h, f: _reload(f, "reg2", s.rng.choice((0xFFFB, 0xFFFA, 0xFFF8, 0))),
)
edit("wrong-network", _loads("reg0"), lambda s, h, f: _reload(f, "reg0", a_vni(s)))
edit("wrong-sender", _loads("reg1"), lambda s, h, f: _reload(f, "reg1", s.rng.randint(1, 12)))
edit("wrong-origin", _loads("reg3"), lambda s, h, f: _reload(f, "reg3", s.rng.randrange(4)))
edit(
    "wrong-wire-prefix",
    _loads("eth_dst"),
    lambda s, h, f: _reload(f, "eth_dst", s.rng.choice((0x0AF0, 0x0AF6, 0x0200))),
)
edit(
    "swap-registers",
    lambda f: any(isinstance(a, Load) and a.field.name.startswith("reg") for a in f.actions),
    lambda s, h, f: replace(
        f,
        actions=tuple(
            replace(a, field=field(s.rng.choice(("reg0", "reg1", "reg2", "reg3", "reg5"))))
            if isinstance(a, Load) and a.field.name.startswith("reg") and s.rng.random() < 0.6
            else a
            for a in f.actions
        ),
    ),
)


def _drop_action(s: Subject, _: HostName, f: Flow) -> Flow:
    at = s.rng.randrange(len(f.actions))
    return replace(f, actions=f.actions[:at] + f.actions[at + 1 :])


def _shuffled(s: Subject, _: HostName, f: Flow) -> Flow:
    return replace(f, actions=tuple(s.rng.sample(f.actions, len(f.actions))))


def _moved(s: Subject, _: HostName, f: Flow) -> Flow:
    def other(a: Move) -> Move:
        kind = s.rng.randrange(3)
        if kind == 0:
            return replace(a, bits=s.rng.choice((8, 16, 31)))
        if kind == 1:
            return replace(a, dst_start=s.rng.choice((0, 1, 8, 16)))
        swaps = {
            "ipv4_dst": "ipv4_src",
            "arp_tpa": "arp_spa",
            "ipv6_dst": "ipv6_src",
            "ipv6_nd_target": "ipv6_dst",
        }
        return replace(a, src=field(swaps.get(a.src.name, "arp_spa")))

    return replace(f, actions=tuple(other(a) if isinstance(a, Move) else a for a in f.actions))


edit("drop-action", lambda f: bool(f.actions), _drop_action)
edit("reorder-actions", lambda f: len(f.actions) > 1, _shuffled)
edit("wrong-move", lambda f: any(isinstance(a, Move) for a in f.actions), _moved)
edit(
    "wrong-real-mac",
    lambda f: any(isinstance(a, SetField) for a in f.actions),
    lambda s, h, f: replace(
        f, actions=tuple(replace(a, value=a_mac(s)) if isinstance(a, SetField) else a for a in f.actions)
    ),
)
edit(
    "rewrite-source",
    lambda f: f.goto is not None,
    lambda s, h, f: replace(f, actions=(*f.actions, SetField(field("eth_src"), a_mac(s)))),
)
edit("flood", lambda f: bool(f.actions), lambda s, h, f: replace(f, actions=(*f.actions, Output(0xFFFB))))
edit(
    "also-output",
    lambda f: f.goto is not None,
    lambda s, h, f: replace(f, actions=(*f.actions, Output(an_ofport(s, h)))),
)
edit(
    "output-twice",
    lambda f: any(isinstance(a, OutputField) for a in f.actions),
    lambda s, h, f: replace(f, actions=f.actions * 2),
)
edit(
    "output-wrong-register",
    lambda f: any(isinstance(a, OutputField) for a in f.actions),
    lambda s, h, f: replace(f, actions=(OutputField(field(s.rng.choice(("reg0", "reg1", "reg3"))), 0, 16),)),
)
