"""Damage to forwarding databases and devices, and states that are right for another intent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

from cloison.addresses import IpAddress
from controller.verify.intent import Intent, IntentDelta
from controller.verify.path import HostState
from controller.verify.world import World
from tests.support.mutations.base import States, Subject, a_mac, a_vni, mutation
from tests.support.worlds import compile_intent


def _fdb(name: str, edit: Callable[[Subject, dict[int, IpAddress]], bool]) -> None:
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


def _vtep(s: Subject) -> IpAddress:
    known = sorted(h.vtep for h in s.world.hosts.values() if h.vtep is not None)
    return s.rng.choice([*known, IPv4Address("172.16.9.9")])


def _drop_entry(s: Subject, fdb: dict[int, IpAddress]) -> bool:
    return bool(fdb) and fdb.pop(s.rng.choice(sorted(fdb))) is not None


def _wrong_vtep(s: Subject, fdb: dict[int, IpAddress]) -> bool:
    if fdb:
        fdb[s.rng.choice(sorted(fdb))] = _vtep(s)
    return bool(fdb)


def _extra_entry(s: Subject, fdb: dict[int, IpAddress]) -> bool:
    fdb[s.rng.choice((a_mac(s), 0x0AF00A000063, 0x0AF600000063))] = _vtep(s)
    return True


def _default_entry(s: Subject, fdb: dict[int, IpAddress]) -> bool:
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
    vni = a_vni(s)
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
    intent = Intent(hosts=s.world.hosts, networks=networks, ports=s.world.ports, policies=s.world.policies)
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
    world = World(
        Intent(
            hosts=s.world.hosts,
            networks=s.world.networks,
            ports=s.world.ports,
            policies=s.world.policies,
        )
    )
    world.apply(IntentDelta(ports={port.name: other}))
    try:
        return compile_intent(
            Intent(hosts=world.hosts, networks=world.networks, ports=world.ports, policies=world.policies)
        )
    except ValueError:
        return None
