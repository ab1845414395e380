"""Ways to damage a compiled state: each takes it, with the intent, and returns the damaged one (or None)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from random import Random
from typing import NamedTuple

from cloison.names import HostName
from controller.flows import Flow, Load, MatchTerm, Move, Output, OutputField, SetField, field, match
from controller.verify.intent import Intent, IntentDelta, World
from controller.verify.path import HostState
from tests.support.worlds import compile_intent

States = dict[HostName, HostState]


class Subject(NamedTuple):
    """What is damaged."""

    rng: Random
    world: World
    states: States


Mutation = Callable[[Subject], States | None]
MUTATIONS: dict[str, Mutation] = {}


def mutation(name: str) -> Callable[[Mutation], Mutation]:
    def enter(made: Mutation) -> Mutation:
        MUTATIONS[name] = made
        return made

    return enter


def _with_flows(s: Subject, host: HostName, flows: list[Flow]) -> States:
    return {**s.states, host: HostState(flows, s.states[host].fdb, s.states[host].devices)}


def _pick(
    s: Subject, wanted: Callable[[Flow], bool] = lambda _: True
) -> tuple[HostName, list[Flow], int] | None:
    host = s.rng.choice(sorted(s.states))
    flows = list(s.states[host].flows)
    found = [i for i, f in enumerate(flows) if wanted(f)]
    return (host, flows, s.rng.choice(found)) if found else None


def _edit(
    name: str, wanted: Callable[[Flow], bool], edit: Callable[[Subject, HostName, Flow], Flow | None]
) -> None:
    """A mutation that replaces one flow."""

    @mutation(name)
    def run(s: Subject) -> States | None:
        picked = _pick(s, wanted)
        if picked is None:
            return None
        host, flows, at = picked
        new = edit(s, host, flows[at])
        if new is None or new == flows[at] or any(f.key == new.key for i, f in enumerate(flows) if i != at):
            return None
        return _with_flows(s, host, [*flows[:at], new, *flows[at + 1 :]])


def _add(name: str, make: Callable[[Subject, HostName], Flow | None]) -> None:
    """A mutation that adds one flow."""

    @mutation(name)
    def run(s: Subject) -> States | None:
        host = s.rng.choice(sorted(s.states))
        flows = list(s.states[host].flows)
        new = make(s, host)
        if new is None or any(f.key == new.key for f in flows):
            return None
        return _with_flows(s, host, [*flows, new])


@mutation("drop-flow")
def _drop_flow(s: Subject) -> States | None:
    picked = _pick(s)
    return _with_flows(s, picked[0], picked[1][: picked[2]] + picked[1][picked[2] + 1 :]) if picked else None


@mutation("drop-flow-of-fragments")
def _drop_fragments(s: Subject) -> States | None:
    picked = _pick(s, lambda f: f.table == 5 and f.priority == 300)
    return _with_flows(s, picked[0], picked[1][: picked[2]] + picked[1][picked[2] + 1 :]) if picked else None


@mutation("swap-actions")
def _swap_actions(s: Subject) -> States | None:
    host = s.rng.choice(sorted(s.states))
    flows = list(s.states[host].flows)
    table = s.rng.choice([0, 5, 10, 20])
    here = [i for i, f in enumerate(flows) if f.table == table]
    if len(here) < 2:
        return None
    a, b = s.rng.sample(here, 2)
    if (flows[a].actions, flows[a].goto) == (flows[b].actions, flows[b].goto):
        return None
    one, two = flows[a], flows[b]
    flows[a] = replace(one, actions=two.actions, goto=two.goto)
    flows[b] = replace(two, actions=one.actions, goto=one.goto)
    return _with_flows(s, host, flows)


# --- matches ------------------------------------------------------------------------------------------


def _change_term(
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


_edit("widen-mask", lambda f: bool(f.match), lambda s, h, f: _change_term(s, f, lambda t: _widened(s, t)))
_edit("drop-term", lambda f: bool(f.match), lambda s, h, f: _change_term(s, f, lambda t: None))
_edit("flip-value", lambda f: bool(f.match), lambda s, h, f: _change_term(s, f, lambda t: _flipped(s, t)))
_edit("narrow-mask", lambda f: bool(f.match), lambda s, h, f: _change_term(s, f, lambda t: _narrowed(s, t)))
_edit(
    "wrong-in-port",
    lambda f: f.table == 0 and bool(f.match),
    lambda s, h, f: _change_term(s, f, lambda t: t._replace(value=_ofport(s, h)), "in_port"),
)
_edit(
    "match-wrong-network",
    lambda f: any(t.field.name == "reg0" for t in f.match),
    lambda s, h, f: _change_term(s, f, lambda t: t._replace(value=_vni(s)), "reg0"),
)
_edit(
    "match-wrong-sender",
    lambda f: any(t.field.name == "reg1" for t in f.match),
    lambda s, h, f: _change_term(s, f, lambda t: t._replace(value=s.rng.randint(1, 12)), "reg1"),
)
_edit(
    "tagged-admitted",
    lambda f: any(t.field.name == "vlan_vid" for t in f.match),
    lambda s, h, f: _change_term(s, f, lambda t: None, "vlan_vid"),
)


# --- priorities and ways --------------------------------------------------------------------------------

_edit(
    "priority-up",
    lambda f: True,
    lambda s, h, f: replace(f, priority=f.priority + s.rng.choice((1, 100, 300))),
)
_edit(
    "priority-down",
    lambda f: f.priority > 0,
    lambda s, h, f: replace(f, priority=s.rng.randrange(f.priority)),
)
_edit(
    "goto-elsewhere",
    lambda f: f.goto is not None,
    lambda s, h, f: replace(f, goto=s.rng.choice([t for t in (5, 10, 20, 30, 40) if t > f.table])),
)
_edit("goto-removed", lambda f: f.goto is not None, lambda s, h, f: replace(f, goto=None))
_edit(
    "drop-made-pass",
    lambda f: not f.actions and f.goto is None and f.table < 20,
    lambda s, h, f: replace(f, goto=20),
)
_edit("pass-made-drop", lambda f: f.goto is not None, lambda s, h, f: replace(f, goto=None, actions=()))


# --- actions ----------------------------------------------------------------------------------------------


def _ofport(s: Subject, host: HostName) -> int:
    return s.rng.choice(sorted(s.world.ofports_of(host)) or [7])


def _vni(s: Subject) -> int:
    return s.rng.choice(sorted(n.vni for n in s.world.networks.values()))


def _mac(s: Subject) -> int:
    return s.rng.choice(sorted(p.mac for p in s.world.ports.values()))


def _loads(name: str) -> Callable[[Flow], bool]:
    return lambda f: any(isinstance(a, Load) and a.field.name == name for a in f.actions)


def _reload(f: Flow, name: str, value: int) -> Flow:
    new = (replace(a, value=value) if isinstance(a, Load) and a.field.name == name else a for a in f.actions)
    return replace(f, actions=tuple(new))


_edit("wrong-ofport", _loads("reg2"), lambda s, h, f: _reload(f, "reg2", _ofport(s, h)))
_edit("unknown-ofport", _loads("reg2"), lambda s, h, f: _reload(f, "reg2", s.rng.randrange(300, 400)))
_edit(
    "reserved-ofport",
    _loads("reg2"),
    lambda s, h, f: _reload(f, "reg2", s.rng.choice((0xFFFB, 0xFFFA, 0xFFF8, 0))),
)
_edit("wrong-network", _loads("reg0"), lambda s, h, f: _reload(f, "reg0", _vni(s)))
_edit("wrong-sender", _loads("reg1"), lambda s, h, f: _reload(f, "reg1", s.rng.randint(1, 12)))
_edit("wrong-origin", _loads("reg3"), lambda s, h, f: _reload(f, "reg3", s.rng.randrange(4)))
_edit(
    "wrong-wire-prefix",
    _loads("eth_dst"),
    lambda s, h, f: _reload(f, "eth_dst", s.rng.choice((0x0AF0, 0x0AF6, 0x0200))),
)
_edit(
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
        return replace(a, src=field(swaps[a.src.name]))

    return replace(f, actions=tuple(other(a) if isinstance(a, Move) else a for a in f.actions))


_edit("drop-action", lambda f: bool(f.actions), _drop_action)
_edit("reorder-actions", lambda f: len(f.actions) > 1, _shuffled)
_edit("wrong-move", lambda f: any(isinstance(a, Move) for a in f.actions), _moved)
_edit(
    "wrong-real-mac",
    lambda f: any(isinstance(a, SetField) for a in f.actions),
    lambda s, h, f: replace(
        f, actions=tuple(replace(a, value=_mac(s)) if isinstance(a, SetField) else a for a in f.actions)
    ),
)
_edit(
    "rewrite-source",
    lambda f: f.goto is not None,
    lambda s, h, f: replace(f, actions=(*f.actions, SetField(field("eth_src"), _mac(s)))),
)
_edit("flood", lambda f: bool(f.actions), lambda s, h, f: replace(f, actions=(*f.actions, Output(0xFFFB))))
_edit(
    "also-output",
    lambda f: f.goto is not None,
    lambda s, h, f: replace(f, actions=(*f.actions, Output(_ofport(s, h)))),
)
_edit(
    "output-twice",
    lambda f: any(isinstance(a, OutputField) for a in f.actions),
    lambda s, h, f: replace(f, actions=f.actions * 2),
)
_edit(
    "output-wrong-register",
    lambda f: any(isinstance(a, OutputField) for a in f.actions),
    lambda s, h, f: replace(f, actions=(OutputField(field(s.rng.choice(("reg0", "reg1", "reg3"))), 0, 16),)),
)


# --- flows that should not be -----------------------------------------------------------------------------

_add(
    "allow-all-from-port",
    lambda s, h: Flow(
        table=0,
        priority=s.rng.choice((50, 100, 200)),
        match=match(in_port=_ofport(s, h), eth_type=s.rng.choice((0x0800, 0x0806, 0x86DD)), vlan_vid=0),
        actions=(Load(field("reg0"), 0, 32, _vni(s)), Load(field("reg3"), 0, 2, 1)),
        goto=10,
    ),
)
_add(
    "admit-strangers",
    lambda s, h: Flow(
        table=0,
        priority=1,
        match=match(eth_src=_mac(s), eth_type=0x0800),
        actions=(Load(field("reg0"), 0, 32, _vni(s)), Load(field("reg3"), 0, 2, 1)),
        goto=10,
    ),
)
_add(
    "cross-network",
    lambda s, h: Flow(
        table=20,
        priority=130,
        match=match(reg0=_vni(s), eth_dst=_mac(s)),
        actions=(Load(field("reg2"), 0, 16, _ofport(s, h)),),
        goto=30,
    ),
)
_add(
    "skip-guard", lambda s, h: Flow(table=5, priority=250, match=match(eth_type=0x86DD, ip_proto=58), goto=10)
)
_add(
    "fragments-let-through",
    lambda s, h: Flow(
        table=5,
        priority=s.rng.choice((50, 250, 350)),
        match=match(eth_type=0x86DD, ip_proto=s.rng.choice((44, 58)), ip_frag=s.rng.choice(((1, 1), (0, 2)))),
        goto=10,
    ),
)
_add(
    "change-network-later",
    lambda s, h: Flow(
        table=10,
        priority=500,
        match=match(reg0=_vni(s), eth_type=0x0800, ipv4_dst=(0x0A000000, 0xFFFFFFF8)),
        actions=(Load(field("reg0"), 0, 32, _vni(s)),),
        goto=20,
    ),
)
_add(
    "drop-some",
    lambda s, h: Flow(table=s.rng.choice((0, 10, 20)), priority=900, match=match(eth_src=_mac(s))),
)
_add(
    "flow-nobody-meets",
    lambda s, h: Flow(table=s.rng.choice((6, 21, 40)), priority=5, match=match(), goto=50),
)


# --- forwarding databases and devices -----------------------------------------------------------------------


def _fdb(name: str, edit: Callable[[Subject, dict[int, object]], bool]) -> None:
    @mutation(name)
    def run(s: Subject) -> States | None:
        spots = sorted((h, vni) for h, state in s.states.items() for vni in state.fdb)
        if not spots:
            return None
        host, vni = s.rng.choice(spots)
        state = s.states[host]
        fdb = dict(state.fdb[vni])
        if not edit(s, fdb) or fdb == state.fdb[vni]:
            return None
        return {**s.states, host: HostState(state.flows, {**state.fdb, vni: fdb}, state.devices)}


def _vtep(s: Subject) -> IPv4Address:
    known = sorted(h.vtep for h in s.world.hosts.values() if h.vtep is not None)
    return s.rng.choice([*known, IPv4Address("172.16.9.9")])


def _drop_entry(s: Subject, fdb: dict[int, object]) -> bool:
    return bool(fdb) and fdb.pop(s.rng.choice(sorted(fdb))) is not None


def _wrong_vtep(s: Subject, fdb: dict[int, object]) -> bool:
    if fdb:
        fdb[s.rng.choice(sorted(fdb))] = _vtep(s)
    return bool(fdb)


def _extra_entry(s: Subject, fdb: dict[int, object]) -> bool:
    fdb[s.rng.choice((_mac(s), 0x0AF00A000063, 0x0AF600000063))] = _vtep(s)
    return True


def _default_entry(s: Subject, fdb: dict[int, object]) -> bool:
    fdb[0] = _vtep(s)
    return True


_fdb("fdb-drop", _drop_entry)
_fdb("fdb-wrong-vtep", _wrong_vtep)
_fdb("fdb-extra", _extra_entry)
_fdb("fdb-default", _default_entry)


@mutation("fdb-of-another-network")
def _other_fdb(s: Subject) -> States | None:
    host = s.rng.choice(sorted(s.states))
    state = s.states[host]
    if len(state.fdb) < 2:
        return None
    a, b = s.rng.sample(sorted(state.fdb), 2)
    if state.fdb[a] == state.fdb[b]:
        return None
    return {
        **s.states,
        host: HostState(state.flows, {**state.fdb, a: state.fdb[b], b: state.fdb[a]}, state.devices),
    }


@mutation("fdb-missing")
def _no_fdb(s: Subject) -> States | None:
    host = s.rng.choice(sorted(s.states))
    state = s.states[host]
    full = sorted(v for v, fdb in state.fdb.items() if fdb)
    if not full:
        return None
    gone = s.rng.choice(full)
    return {
        **s.states,
        host: HostState(state.flows, {v: f for v, f in state.fdb.items() if v != gone}, state.devices),
    }


@mutation("device-of-another-vni")
def _device(s: Subject) -> States | None:
    host = s.rng.choice(sorted(s.states))
    state = s.states[host]
    if not state.devices:
        return None
    at = s.rng.choice(sorted(state.devices))
    vni = _vni(s)
    if vni == state.devices[at]:
        return None
    return {**s.states, host: HostState(state.flows, state.fdb, {**state.devices, at: vni})}


@mutation("device-missing")
def _no_device(s: Subject) -> States | None:
    host = s.rng.choice(sorted(s.states))
    state = s.states[host]
    if not state.devices:
        return None
    at = s.rng.choice(sorted(state.devices))
    return {
        **s.states,
        host: HostState(state.flows, state.fdb, {o: v for o, v in state.devices.items() if o != at}),
    }


@mutation("vni-reused")
def _vni_reused(s: Subject) -> States | None:
    if len(s.world.networks) < 2:
        return None
    a, b = s.rng.sample(sorted(s.world.networks), 2)
    networks = {**s.world.networks, b: replace(s.world.networks[b], vni=s.world.networks[a].vni)}
    intent = Intent(hosts=s.world.hosts, networks=networks, ports=s.world.ports)
    try:
        return compile_intent(intent)
    except ValueError:
        return None


@mutation("stale-port")
def _stale_port(s: Subject) -> States | None:
    """The flows of a port that has another address than the intent says."""
    ports = [p for p in s.world.ports.values() if p.host and p.addresses4]
    if not ports:
        return None
    port = s.rng.choice(sorted(ports, key=lambda p: p.name))
    other = replace(port, addresses=tuple(a + 1 if a.version == 4 else a for a in port.addresses))
    world = World(Intent(hosts=s.world.hosts, networks=s.world.networks, ports=s.world.ports))
    world.apply(IntentDelta(ports={port.name: other}))
    try:
        return compile_intent(Intent(hosts=world.hosts, networks=world.networks, ports=world.ports))
    except ValueError:
        return None
