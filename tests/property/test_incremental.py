"""Incremental equals full: after any history, flows and plans are those of the state, however it came."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from cloison.names import HostName
from controller.compiler import compile_host, network_flows, port_flows, static_flows
from controller.compiler.view import HostView
from controller.flows import Flow, FlowKey
from controller.reconcile.flowset import FlowSet
from controller.reconcile.impact import Impact, impact_of
from controller.reconcile.tunnels import PlanChange, TunnelPlans
from controller.reconcile.views import network_view, port_view
from controller.store.changes import RevisionChanges
from controller.store.state import State
from tests.support.intents import World


class Follower:
    """The reconciler's arithmetic without its sessions: desired flows and plans per host."""

    def __init__(self) -> None:
        self.plans = TunnelPlans()
        self.flows: dict[HostName, FlowSet] = {}
        self.fdb: dict[HostName, dict[int, dict[int, object]]] = {}
        self.mtu: dict[HostName, dict[int, int]] = {}

    def follow(self, changes: Iterable[RevisionChanges], state: State) -> None:
        for revision in changes:
            impact = impact_of(revision.changes, state)
            self._flows(impact, state)
            for host, plan in self.plans.update(state, impact).items():
                self._plan(host, plan)

    def _flows(self, impact: Impact, state: State) -> None:
        for host, port in impact.port_units:
            view = port_view(state, port, host)
            self._set(host, ("port", port), port_flows(view) if view else ())
        for host, network in impact.network_units:
            seen = network_view(state, network, host)
            self._set(host, ("network", network), network_flows(seen) if seen else ())

    def _set(self, host: HostName, unit: tuple[str, object], flows: tuple[Flow, ...]) -> None:
        if host not in self.flows:
            self.flows[host] = FlowSet()
            self.flows[host].set_units({("static",): static_flows()})
        assert self.flows[host].set_units({unit: flows}) == []

    def _plan(self, host: HostName, plan: PlanChange) -> None:
        fdb, mtu = self.fdb.setdefault(host, {}), self.mtu.setdefault(host, {})
        for vni in plan.removed_vnis:
            del fdb[vni], mtu[vni]
        for vni, change in plan.networks.items():
            mtu[vni] = change.mtu
            entries = fdb.setdefault(vni, {})
            entries.update(change.upserted)
            for mac in change.removed:
                del entries[mac]


def full_flows(state: State, host: HostName) -> dict[FlowKey, Flow]:
    ports = {name: view for name in state.ports if (view := port_view(state, name, host))}
    networks = {
        view.vni: view for name in state.networks if (view := network_view(state, name, host)) is not None
    }
    return compile_host(HostView(networks, ports))


def full_plans(state: State) -> TunnelPlans:
    plans = TunnelPlans()
    plans.update(state, Impact(moved=set(state.ports), spans=set(state.networks)))
    return plans


def assert_same_as_full(follower: Follower, state: State) -> None:
    plans = full_plans(state)
    for host in state.hosts:
        flows = follower.flows.get(host)
        assert (flows.desired if flows else full_flows(State(), host)) == full_flows(state, host)
        snapshot = plans.snapshot(host)
        expected = {vni: change.upserted for vni, change in snapshot.networks.items()}
        assert follower.fdb.get(host, {}) == expected
        assert follower.mtu.get(host, {}) == {vni: c.mtu for vni, c in snapshot.networks.items()}
        same = follower.plans.snapshot(host)
        assert {v: (c.mtu, c.upserted) for v, c in same.networks.items()} == {
            v: (c.mtu, c.upserted) for v, c in snapshot.networks.items()
        }


@pytest.mark.parametrize("seed", range(40))
def test_following_each_revision_ends_where_compiling_everything_does(seed: int) -> None:
    world, follower = World(seed), Follower()
    for n, revision in enumerate(world.history(60)):
        follower.follow([revision], world.state)
        if n % 10 == 0:
            assert_same_as_full(follower, world.state)
    assert_same_as_full(follower, world.state)


@pytest.mark.parametrize("seed", range(20))
def test_following_late_and_in_batches_ends_at_the_same(seed: int) -> None:
    """The mirror may be ahead of the revision that is worked on; nothing may depend on it."""
    world, follower = World(seed), Follower()
    waiting: list[RevisionChanges] = []
    for revision in world.history(60):
        waiting.append(revision)
        if world.random.random() < 0.2:
            follower.follow(waiting, world.state)
            waiting.clear()
    follower.follow(waiting, world.state)
    assert_same_as_full(follower, world.state)


@pytest.mark.parametrize("seed", range(10))
def test_following_a_revision_twice_changes_nothing(seed: int) -> None:
    world, follower = World(seed), Follower()
    for revision in world.history(40):
        follower.follow([revision, revision], world.state)
    assert_same_as_full(follower, world.state)


@pytest.mark.parametrize("seed", range(10))
def test_no_host_carries_a_network_it_has_no_port_of(seed: int) -> None:
    world = World(seed, tenants=3, hosts=5)
    for _ in world.history(80):
        pass
    state = world.state
    for host in state.hosts:
        present = {n.vni for n in state.networks.values() if host in state.bound_hosts(n.name)}
        assert set(full_plans(state).snapshot(host).networks) == present
        loaded = {
            action.value
            for flow in full_flows(state, host).values()
            for action in flow.actions
            if getattr(getattr(action, "field", None), "name", "") == "reg0"
        }
        assert loaded <= present
