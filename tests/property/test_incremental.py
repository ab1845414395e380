"""Incremental equals full: after any history, flows and plans are those of the state, however it came."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from cloison.names import HostName
from cloison.v1 import host_sync_pb2
from controller.compiler import compile_host, static_flows
from controller.compiler.view import HostView
from controller.flows import Flow, FlowKey
from controller.reconcile.flowset import FlowSet
from controller.reconcile.impact import Impact, impact_of, whole
from controller.reconcile.selfcheck import units_of
from controller.reconcile.services import ServiceChange, ServicePlans
from controller.reconcile.tunnels import PlanChange, TunnelPlans
from controller.reconcile.units import STATIC_UNIT, Units
from controller.reconcile.views import host_unit_view, network_view, policy_view, port_view
from controller.reconcile.zone_names import Addresses
from controller.store.changes import RevisionChanges
from controller.store.peerings import peered_networks
from controller.store.state import State
from tests.support.intents import World


class Told:
    """What one host was told about its services, change by change."""

    def __init__(self) -> None:
        self.ports: dict[int, host_sync_pb2.ServicePort] = {}
        self.zones: dict[int, tuple[str, str, dict[str, Addresses]]] = {}

    def take(self, change: ServiceChange) -> None:
        for number in change.removed_ports:
            del self.ports[number]
        self.ports.update(change.ports)
        for vni in change.removed_zones:
            del self.zones[vni]
        for vni, zone in change.zones.items():
            names = dict(self.zones[vni][2]) if vni in self.zones else {}
            for name in zone.removed:
                del names[name]
            self.zones[vni] = (str(zone.network), zone.domain, names | zone.upserted)


class Follower:
    """The reconciler's arithmetic without its sessions: desired flows and plans per host."""

    def __init__(self) -> None:
        self.units = Units({})
        self.plans = TunnelPlans()
        self.services = ServicePlans()
        self.flows: dict[HostName, FlowSet] = {}
        self.fdb: dict[HostName, dict[int, dict[int, object]]] = {}
        self.mtu: dict[HostName, dict[int, int]] = {}
        self.senders: dict[HostName, dict[int, frozenset[object]]] = {}
        self.told: dict[HostName, Told] = {}

    def follow(self, changes: Iterable[RevisionChanges], state: State) -> None:
        for revision in changes:
            impact = impact_of(revision.changes, state)
            plans = self.plans.update(state, impact)
            for host, units in self.units.compile(state, impact).items():
                self._set(host, units)
            assert not self.units.failed
            for host, plan in plans.items():
                self._plan(host, plan)
            for host, change in self.services.update(state, impact).items():
                self.told.setdefault(host, Told()).take(change)

    def _set(self, host: HostName, units: dict[tuple[object, ...], tuple[Flow, ...]]) -> None:
        if host not in self.flows:
            self.flows[host] = FlowSet()
            self.flows[host].set_units({STATIC_UNIT: static_flows()})
        assert self.flows[host].set_units(units) == []

    def _plan(self, host: HostName, plan: PlanChange) -> None:
        fdb, mtu = self.fdb.setdefault(host, {}), self.mtu.setdefault(host, {})
        for vni in plan.removed_vnis:
            del fdb[vni], mtu[vni]
            self.senders.get(host, {}).pop(vni, None)
        for vni, change in plan.networks.items():
            mtu[vni] = change.mtu
            if change.senders is not None:
                self.senders.setdefault(host, {})[vni] = change.senders
            entries = fdb.setdefault(vni, {})
            entries.update(change.upserted)
            for mac in change.removed:
                del entries[mac]


def full_flows(state: State, host: HostName) -> dict[FlowKey, Flow]:
    ports = {name: view for name in state.ports if (view := port_view(state, name, host))}
    networks = {
        view.vni: view for name in state.networks if (view := network_view(state, name, host)) is not None
    }
    policies = {name: view for name in state.tenants if (view := policy_view(state, name, host))}
    unit = host_unit_view(state, host, None)
    return compile_host(HostView(networks, ports, unit=unit, policies=policies))


def full_plans(state: State) -> TunnelPlans:
    plans = TunnelPlans()
    plans.update(state, Impact(moved=set(state.ports), spans=set(state.networks)))
    return plans


def full_services(state: State, host: HostName) -> Told:
    plans, told = ServicePlans(), Told()
    for name, change in plans.update(state, whole(state)).items():
        if name == host:
            told.take(change)
    return told


def assert_same_as_full(follower: Follower, state: State) -> None:
    plans = full_plans(state)
    for host in state.hosts:
        flows = follower.flows.get(host)
        assert (flows.desired if flows else full_flows(State(), host)) == full_flows(state, host)
        if flows is not None:
            # Whoever compares what is kept must not overlook what is missing altogether.
            assert {unit for unit in flows.units if flows.flows_of(unit)} <= units_of(state, host)
        snapshot = plans.snapshot(host)
        expected = {vni: change.upserted for vni, change in snapshot.networks.items()}
        assert follower.fdb.get(host, {}) == expected
        assert follower.mtu.get(host, {}) == {vni: c.mtu for vni, c in snapshot.networks.items()}
        heard = {vni: s for vni, s in follower.senders.get(host, {}).items() if s}
        assert heard == {vni: c.senders for vni, c in snapshot.networks.items() if c.senders}
        same = follower.plans.snapshot(host)
        assert {v: (c.mtu, c.upserted) for v, c in same.networks.items()} == {
            v: (c.mtu, c.upserted) for v, c in snapshot.networks.items()
        }
        assert_same_services(follower, state, host)


def assert_same_services(follower: Follower, state: State, host: HostName) -> None:
    told, full, again = follower.told.get(host, Told()), full_services(state, host), Told()
    again.take(follower.services.snapshot(host))
    assert told.ports == full.ports == again.ports
    assert told.zones == full.zones == again.zones
    tenants = {n.parent for n in state.networks if host in state.tenant_hosts(n.parent)}
    networks = {str(n) for n in state.networks if n.parent in tenants}
    assert {network for network, _, _ in full.zones.values()} == networks, "no tenant's names go elsewhere"


@pytest.mark.parametrize("seed", range(40))
def test_following_each_revision_ends_where_compiling_everything_does(seed: int) -> None:
    world, follower = World(seed), Follower()
    for n, revision in enumerate(world.history(60)):
        follower.follow([revision], world.state)
        if n and n % 10 == 0:
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
        routers = state.routers.values()
        sends = {n for n in state.networks if host in state.bound_hosts(n)}
        crossed = {
            there
            for router in routers
            for own in sends.intersection(router.networks)
            for there in peered_networks(state, router, own)
        }
        sends |= {n for router in routers if sends.intersection(router.networks) for n in router.networks}
        sends |= crossed
        present = {state.networks[n].vni for n in sends}
        assert set(full_plans(state).snapshot(host).networks) == present
        loaded = {
            action.value
            for flow in full_flows(state, host).values()
            for action in flow.actions
            if getattr(getattr(action, "field", None), "name", "") == "reg0"
        }
        assert loaded <= present
