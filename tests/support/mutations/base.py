"""What the kinds of damage share: the registry, and ways to pick, replace and add a flow."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from cloison.names import HostName
from controller.flows import Flow
from controller.verify.path import HostState
from controller.verify.world import World

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


def with_flows(s: Subject, host: HostName, flows: list[Flow]) -> States:
    return {**s.states, host: HostState(flows, s.states[host].fdb, s.states[host].devices)}


def pick(
    s: Subject, wanted: Callable[[Flow], bool] = lambda _: True
) -> tuple[HostName, list[Flow], int] | None:
    host = s.rng.choice(sorted(s.states))
    flows = list(s.states[host].flows)
    found = [i for i, f in enumerate(flows) if wanted(f)]
    return (host, flows, s.rng.choice(found)) if found else None


def edit(
    name: str, wanted: Callable[[Flow], bool], edit: Callable[[Subject, HostName, Flow], Flow | None]
) -> None:
    """A mutation that replaces one flow."""

    @mutation(name)
    def run(s: Subject) -> States | None:
        picked = pick(s, wanted)
        if picked is None:
            return None
        host, flows, at = picked
        new = edit(s, host, flows[at])
        if new is None or new == flows[at] or any(f.key == new.key for i, f in enumerate(flows) if i != at):
            return None
        return with_flows(s, host, [*flows[:at], new, *flows[at + 1 :]])


def add(name: str, make: Callable[[Subject, HostName], Flow | None]) -> None:
    """A mutation that adds one flow."""

    @mutation(name)
    def run(s: Subject) -> States | None:
        host = s.rng.choice(sorted(s.states))
        flows = list(s.states[host].flows)
        new = make(s, host)
        if new is None or any(f.key == new.key for f in flows):
            return None
        return with_flows(s, host, [*flows, new])


def an_ofport(s: Subject, host: HostName) -> int:
    return s.rng.choice(sorted(s.world.ofports_of(host)) or [7])


def a_vni(s: Subject) -> int:
    return s.rng.choice(sorted(n.vni for n in s.world.networks.values()))


def a_mac(s: Subject) -> int:
    return s.rng.choice(sorted(p.mac for p in s.world.ports.values()))


def a_profile(s: Subject) -> int:
    """A profile that somebody has, or one of no groups, or nobody's."""
    own = {number for policy in s.world.policies.values() for number in policy.profiles}
    return s.rng.choice([0, 1, 2, 19, *sorted(own) * 2])
