"""What a plan says of hosts and of who can talk to whom: held against everything, worked out from nothing."""

from __future__ import annotations

from itertools import permutations

import pytest

from cloison.addresses import Mac
from cloison.model import PortBinding, Vni
from cloison.names import HostName, PortName
from controller.api.planning import reach
from controller.api.planning.draft import Draft, draft
from controller.api.planning.hosts import HostImpact, host_impacts
from controller.api.planning.reach import NOW, Reach, Talk
from controller.compiler import network_flows, port_flows
from controller.flows.delta import flow_delta
from controller.reconcile.impact import Impact, impact_of
from controller.reconcile.tunnels import TunnelPlans
from controller.reconcile.views import network_view, port_view
from controller.store.changes import Event
from controller.store.keys import stored_key
from controller.store.state import State
from controller.verify.intent import HostIntent, Intent, NetworkIntent, PortIntent, World
from controller.verify.packet import ETH_IPV4, ETH_IPV6, Packet
from controller.verify.semantics import receiver_of
from tests.support.plans import SEED, Operations, random_request, random_world

ROUNDS = range(40)


async def random_draft(seed: int) -> Draft:
    operations = Operations(seed)
    store = await random_world(operations, 80)
    request = random_request(operations, store.state, operations.random.randrange(1, 30))
    made = draft(store.state, request, SEED, operator=True)
    await store.stop()
    return made


def everything(state: State) -> Impact:
    impact = Impact()
    impact.moved.update(state.ports)
    impact.spans.update(state.networks)
    return impact


def flows_of(state: State, host: HostName):
    ports = (port_view(state, port, host) for port in state.ports)
    networks = (network_view(state, network, host) for network in state.networks)
    flows = [flow for port in ports if port for flow in port_flows(port)]
    flows += [flow for network in networks if network for flow in network_flows(network)]
    return {flow.key: flow for flow in flows}


def entries_of(plans: TunnelPlans, host: HostName) -> dict[tuple[Vni, Mac], object]:
    networks = plans.snapshot(host).networks
    return {(vni, mac): vtep for vni, network in networks.items() for mac, vtep in network.upserted.items()}


@pytest.mark.parametrize("seed", ROUNDS)
async def test_hosts(seed: int) -> None:
    made = await random_draft(seed)
    was, will, followed = TunnelPlans(), TunnelPlans(), TunnelPlans()
    was.update(made.before, everything(made.before))
    will.update(made.after, everything(made.after))
    followed.update(made.before, everything(made.before))
    followed.update(made.after, impact_of(made.changes, made.after))
    expected = []
    for host in sorted({*made.before.hosts, *made.after.hosts}):
        delta = flow_delta(flows_of(made.after, host), flows_of(made.before, host))
        old, new = entries_of(was, host), entries_of(will, host)
        added = sum(old.get(key) != vtep for key, vtep in new.items())
        impact = HostImpact(
            host, len(delta.add), len(delta.modify), len(delta.delete), added, len(old.keys() - new.keys())
        )
        if impact != HostImpact(host):
            expected.append(impact)
    assert_followed(made, followed)
    assert list(host_impacts(made.before, made.after, made.changes)) == expected


def assert_followed(made: Draft, followed: TunnelPlans) -> None:
    """What follows change by change comes to the same, also when a plan replaces objects in one change."""
    state = made.after.fork()
    for revision in range(3):
        fresh = TunnelPlans()
        fresh.update(state, everything(state))
        for host in state.hosts:
            assert followed.snapshot(host) == fresh.snapshot(host)
        plugged = [
            PortBinding(port=port.name, port_uid=port.meta.uid, host=host, interface="tap", ofport=n)
            for n, port in enumerate(state.ports.values(), 100)
            for host in port.requested_hosts
            if not state.bindings_of(port.name)
        ]
        events = [Event(stored_key(binding), binding) for binding in plugged]
        changes = state.apply(state.revision + 1 + revision, events).changes
        followed.update(state, impact_of(changes, state))


ANYWHERE = HostName("x")


def world_of(state: State) -> World:
    """All ports that can be plugged, on one host."""
    ports = {}
    for ofport, port in enumerate(state.ports.values(), 1):
        if port.requested_hosts and not port.disabled:
            ports[port.name] = PortIntent(
                name=port.name,
                number=port.number,
                mac=port.mac,
                addresses=tuple(f.address for f in port.fixed_ips),
                host=ANYWHERE,
                ofport=ofport,
            )
    networks = {
        name: NetworkIntent(name=name, vni=n.vni, subnets=tuple(s.cidr for s in state.subnets_of(name)))
        for name, n in state.networks.items()
    }
    hosts = {ANYWHERE: HostIntent(name=ANYWHERE, vtep=None)}
    return World(Intent(hosts=hosts, networks=networks, ports=ports))


def talks(state: State) -> dict[tuple[PortName, PortName], dict[str, int]]:
    """Of all pairs of all tenants: TCP from each address to each, and how sure it is; by single packets."""
    world, found = world_of(state), {}
    for source, target in permutations(world.ports.values(), 2):
        for a in source.addresses:
            for b in target.addresses:
                if a.version != b.version:
                    continue
                fields = {f"ipv{a.version}_src": int(a), f"ipv{a.version}_dst": int(b), "ip_proto": 6}
                kind = ETH_IPV4 if a.version == 4 else ETH_IPV6
                packet = Packet(eth_src=source.mac, eth_dst=1, eth_type=kind, **fields)
                if receiver_of(world, source, packet) is target:
                    both = all(is_live(state, port.name) for port in (source, target))
                    words = f"IPv{a.version} {a} -> {b}, any protocol"
                    found.setdefault((source.name, target.name), {})[words] = 2 if both else 1
    return found


def is_live(state: State, name: PortName) -> bool:
    port = state.ports[name]
    return any(state.is_effective(binding) for binding in state.bindings_of(port.name))


def expected_talks(more: dict, less: dict, half: str) -> set[tuple[PortName, PortName, str, str]]:
    found = set()
    for pair, spaces in more.items():
        for words, level in spaces.items():
            other = less.get(pair, {}).get(words, 0)
            if level > other:
                partly = level < NOW if half == reach.ONCE_PLUGGED else other > 0
                found.add((*pair, words, half if partly else ""))
    return found


def told(talks_: tuple[Talk, ...]) -> set[tuple[PortName, PortName, str, str]]:
    return {
        (talk.source, talk.target, words, talk.condition)
        for talk in talks_
        for words in talk.spaces
        if " -> " in words
    }


@pytest.mark.parametrize("seed", ROUNDS)
async def test_reach(seed: int) -> None:
    made = await random_draft(seed)
    before, after = talks(made.before), talks(made.after)
    diff = Reach(made.before, made.after, made.touched).diff()
    assert diff.complete
    assert told(diff.gained) == expected_talks(after, before, reach.ONCE_PLUGGED)
    assert told(diff.lost) == expected_talks(before, after, reach.UNTIL_PLUGGED)
    if before != after and {p: set(s) for p, s in before.items()} != {p: set(s) for p, s in after.items()}:
        lines = [list(reach.standing_of(state, made.networks)) for state in (made.before, made.after)]
        assert lines[0] != lines[1]
