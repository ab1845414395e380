"""Damage to what peerings became: who may cross to another tenant, as whom, and who is asked before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cloison.addresses import ROUTER_MAC
from cloison.names import HostName
from controller.flows import Action, Ct, DecTtl, Flow, Load, Move, Resubmit, field, match
from tests.support.mutations.base import Subject, a_profile, a_vni, add, edit

ROUTE, FORWARD, DIRECTION, COMMIT = 12, 20, 23, 26
ABROAD_BIT = 4
_SOURCES = ("ipv4_src", "ipv6_src")
Edit = Callable[[Subject, HostName, Flow], Flow | None]


def _crosses(f: Flow) -> bool:
    return f.table == ROUTE and any(isinstance(a, Ct) for a in f.actions)


def _leaves(f: Flow) -> bool:
    return f.table == COMMIT and any(isinstance(a, Resubmit) for a in f.actions)


def _loading(register: str, value: Callable[[Subject], int]) -> Edit:
    """What is loaded into a register is another number."""

    def change(s: Subject, _: HostName, f: Flow) -> Flow:
        other = value(s)
        actions = (
            replace(a, value=other) if isinstance(a, Load) and a.field.name == register else a
            for a in f.actions
        )
        return replace(f, actions=tuple(actions))

    return change


def _without(unwanted: Callable[[Action], bool]) -> Edit:
    return lambda s, h, f: replace(f, actions=tuple(a for a in f.actions if not unwanted(a)))


def _loads(register: str) -> Callable[[Action], bool]:
    return lambda a: isinstance(a, Load) and a.field.name == register


edit(
    "crosses-from-anywhere",
    _crosses,
    lambda s, h, f: replace(f, match=tuple(t for t in f.match if t.field.name not in _SOURCES)),
)
edit("crosses-as-somebody-else", _crosses, _loading("reg12", a_profile))
edit("crosses-to-another-tenant", _crosses, _loading("reg13", lambda s: s.rng.randrange(4)))
edit("crosses-by-another-peering", _crosses, _loading("reg5", a_profile))
edit("crosses-unasked", _crosses, lambda s, h, f: replace(f, actions=f.actions[:-1], goto=FORWARD))
edit("crosses-and-comes-home", _crosses, _without(_loads("reg3")))
edit("crosses-as-itself", _leaves, _without(lambda a: isinstance(a, Move) and a.dst.name == "reg4"))
edit("crosses-in-its-own-name", _leaves, _without(lambda a: isinstance(a, Move) and a.dst.name == "reg8"))
edit("crosses-again-and-again", _leaves, _without(_loads("reg3")))
edit("crosses-without-being-abroad", _leaves, lambda s, h, f: replace(f, match=f.match[1:]))
edit(
    "nothing-crosses", lambda f: _crosses(f) or _leaves(f), lambda s, h, f: replace(f, actions=(), goto=None)
)
add(
    "crosses-without-a-peering",
    lambda s, h: Flow(
        table=ROUTE,
        priority=300,
        match=match(reg0=a_vni(s), eth_dst=ROUTER_MAC, eth_type=0x0800),
        actions=(
            DecTtl(),
            Load(field("reg0"), 0, 32, a_vni(s)),
            Load(field("reg5"), 0, 32, a_profile(s)),
            Load(field("reg12"), 0, 32, a_profile(s)),
            Load(field("reg13"), 0, 32, s.rng.randrange(4)),
            Load(field("reg3"), ABROAD_BIT, 1, 1),
            Ct(zone=(field("nxm_in_port"), 0, 16), table=DIRECTION),
        ),
    ),
)
