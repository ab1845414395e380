"""What a plan says of hosts and of who can talk to whom: held against everything, worked out from nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloison.addresses import Mac
from cloison.model import PortBinding, Vni
from cloison.names import HostName
from controller.api.planning.draft import Draft, draft
from controller.api.planning.hosts import HostImpact, host_impacts
from controller.compiler import host_unit_flows, network_flows, policy_flows, port_flows
from controller.flows import Flow, FlowKey
from controller.flows.delta import flow_delta
from controller.reconcile.impact import Impact, impact_of
from controller.reconcile.tunnels import TunnelPlans
from controller.reconcile.views import host_unit_view, network_view, policy_view, port_view
from controller.store.changes import Event
from controller.store.keys import stored_key
from controller.store.state import State
from tests.support.plans import SEED, Operations, random_request, random_world
from tests.support.reach import assert_reach

ROUNDS = range(40)


async def random_draft(seed: int) -> Draft:
    operations = Operations(seed, outside=seed % 2 == 1)
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


def units(state: State, host: HostName) -> Iterator[Flow]:
    """Every flow of a host."""
    for port in state.ports:
        if (seen := port_view(state, port, host)) is not None:
            yield from port_flows(seen)
    for network in state.networks:
        if (carried := network_view(state, network, host)) is not None:
            yield from network_flows(carried)
    for tenant in state.tenants:
        if (judged := policy_view(state, tenant, host)) is not None:
            yield from policy_flows(judged)
    if (unit := host_unit_view(state, host, None)) is not None:
        yield from host_unit_flows(unit)


def flows_of(state: State, host: HostName) -> dict[FlowKey, Flow]:
    return {flow.key: flow for flow in units(state, host)}


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


@pytest.mark.parametrize("seed", ROUNDS)
async def test_reach(seed: int) -> None:
    made = await random_draft(seed)
    assert_reach(made)
