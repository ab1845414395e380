"""What verification says of a draft: the networks it touches, compiled, held against what they mean. Pure.

Takes everything of those networks before the change for granted, and checks what the change can touch, as the
gate will when it has happened. What other networks are doing on the same hosts is the gate's to judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloison.addresses import IpAddress
from cloison.names import HostName, NetworkName, PortName
from cloison.v1 import verify_pb2
from controller.api.explain import violation_message
from controller.api.planning.draft import Draft
from controller.api.planning.hosts import everything_of
from controller.compiler import (
    host_unit_flows,
    network_flows,
    policy_flows,
    port_flows,
    static_flows,
)
from controller.flows import Flow
from controller.flows.delta import flow_delta
from controller.reconcile.impact import Impact, impact_of, with_routed
from controller.reconcile.meant import (
    believe,
    host_intent,
    network_intent,
    nowhere,
    policy_intent,
    port_intent,
)
from controller.reconcile.tunnels import TunnelPlans
from controller.reconcile.views import host_unit_view, network_view, policy_view, port_view
from controller.store.state import State
from controller.verify.budget import CHANGE_STEPS
from controller.verify.holding import FdbChange, HostChange
from controller.verify.intent import HostIntent, IntentDelta, NetworkIntent, PortIntent
from controller.verify.isolation import Verifier, change_to
from controller.verify.path import HostState
from controller.verify.world import World

VIOLATIONS_MAX = 20
# Forwarding entries of all hosts in the networks that are touched: more would take too long for an answer.
ENTRIES_MAX = 200_000
TOO_LARGE = "too much is touched to verify the outcome beforehand: the gate does so when it is applied"


def violations_of(draft: Draft) -> list[verify_pb2.Violation] | None:
    """Return what the outcome of a draft would break, nothing if it keeps every promise; None: too large."""
    impact = impact_of(draft.changes, draft.after)
    networks = impact.networks | {network for _, network in impact.network_units}
    networks |= _judged_otherwise(draft, impact)
    networks = with_routed(networks, draft.before, draft.after)
    if max(_entries(state, networks) for state in (draft.before, draft.after)) > ENTRIES_MAX:
        return None
    touched = {host for host, _ in (*impact.port_units, *impact.network_units, *impact.policy_units)}
    touched |= impact.host_units
    # A contract is checked on a host by itself, and only where flows change. If one does not hold, the way of
    # a packet decides, and that may lead over any host.
    if not _check(draft, networks, touched):
        return []
    return _check(draft, networks, None)


def _judged_otherwise(draft: Draft, impact: Impact) -> set[NetworkName]:
    """Return the networks of the tenants whose rules are others then."""
    states = (draft.before, draft.after)
    return {
        network.name
        for tenant in impact.policies
        for state in states
        for network in state.networks_of(tenant)
    }


def _entries(state: State, networks: Iterable[NetworkName]) -> int:
    return sum(3 * len(state.span(name)) * len(state.ports_of(name)) for name in networks)


def _check(
    draft: Draft, networks: Iterable[NetworkName], with_flows: set[HostName] | None
) -> list[verify_pb2.Violation]:
    """Check with the flows of some hosts only (None: of all)."""
    before = _Excerpt(draft.before, networks, with_flows)
    after = _Excerpt(draft.after, networks, with_flows)
    verifier = Verifier(CHANGE_STEPS)
    verifier.load(before.intent, {host: change_to(state) for host, state in before.hosts.items()})
    found = verifier.check(_became(before, after), _changes(before.hosts, after.hosts))
    world = World()
    world.apply(after.intent)
    return [violation_message(world, after.hosts, violation) for violation in found[:VIOLATIONS_MAX]]


class _Excerpt:
    """Some networks of one state: what is meant, and what each host would hold of them."""

    def __init__(
        self, state: State, networks: Iterable[NetworkName], with_flows: set[HostName] | None
    ) -> None:
        names = sorted(networks)
        ports = sorted(port.name for name in names for port in state.ports_of(name))
        carriers = sorted({host for name in names for host in state.span(name)})
        tenants = sorted({name.parent for name in names})
        self.intent = IntentDelta(
            hosts={name: host_intent(state, name, nowhere) for name in carriers},
            networks={name: network_intent(state, name, believe) for name in names},
            ports={name: port_intent(state, name, believe) for name in ports},
            policies={name.tenant: policy_intent(state, name) for name in tenants},
        )
        plans = TunnelPlans()
        plans.update(state, everything_of(state, names))
        flows: dict[HostName, list[Flow]] = {host: [] for host in carriers}
        for host in carriers if with_flows is None else with_flows.intersection(carriers):
            flows[host] = _flows(state, host, self.intent)
        self.hosts = {host: _held(host, flows[host], self.intent, plans) for host in carriers}


def _flows(state: State, host: HostName, intent: IntentDelta) -> list[Flow]:
    flows: list[Flow] = list(static_flows())
    if (unit := host_unit_view(state, host, None)) is not None:
        flows += host_unit_flows(unit)
    for tenant in sorted({name.parent for name in intent.networks}):
        if (judged := policy_view(state, tenant, host)) is not None:
            flows += policy_flows(judged)
    for name in intent.networks:
        if (carried := network_view(state, name, host)) is not None:
            flows += network_flows(carried)
    for port_name, port in intent.ports.items():
        if port is not None and port.host == host and (seen := port_view(state, port_name, host)) is not None:
            flows += port_flows(seen)
    return flows


def _held(host: HostName, flows: list[Flow], intent: IntentDelta, plans: TunnelPlans) -> HostState:
    present = (network for network in intent.networks.values() if network and host in network.tunnels)
    fdb: dict[int, dict[int, IpAddress]] = {
        vni: {mac: vtep for mac, vtep in plan.upserted.items()}  # noqa: C416  # a dict of other keys
        for vni, plan in plans.snapshot(host).networks.items()
    }
    return HostState(
        flows=flows, fdb=fdb, devices={network.tunnels[host]: network.vni for network in present}
    )


def _became(before: _Excerpt, after: _Excerpt) -> IntentDelta:
    """Return what is meant otherwise, and what is no more."""
    hosts: dict[HostName, HostIntent | None] = {
        name: after.intent.hosts.get(name, before.intent.hosts.get(name))
        for name in (*before.intent.hosts, *after.intent.hosts)
    }
    networks: dict[NetworkName, NetworkIntent | None] = dict(after.intent.networks)
    ports: dict[PortName, PortIntent | None] = dict.fromkeys(before.intent.ports)
    ports.update(after.intent.ports)
    policies = {**dict.fromkeys(before.intent.policies), **after.intent.policies}
    return IntentDelta(
        hosts={name: value for name, value in hosts.items() if before.intent.hosts.get(name) != value},
        networks={n: value for n, value in networks.items() if before.intent.networks.get(n) != value},
        ports={n: value for n, value in ports.items() if before.intent.ports.get(n) != value},
        policies={n: value for n, value in policies.items() if before.intent.policies.get(n) != value},
    )


_NOTHING = HostState(flows=(), fdb={}, devices={})


def _changes(
    before: Mapping[HostName, HostState], after: Mapping[HostName, HostState]
) -> dict[HostName, HostChange]:
    return {
        host: _change(before.get(host, _NOTHING), after.get(host, _NOTHING))
        for host in before.keys() | after.keys()
    }


def _change(before: HostState, after: HostState) -> HostChange:
    old, new = {f.key: f for f in before.flows}, {f.key: f for f in after.flows}
    delta = flow_delta(new, old)
    fdb: dict[int, FdbChange | None] = dict.fromkeys(before.fdb.keys() - after.fdb.keys())
    for vni, entries in after.fdb.items():
        held = before.fdb.get(vni, {})
        fdb[vni] = FdbChange(
            upserted={mac: vtep for mac, vtep in entries.items() if held.get(mac) != vtep},
            removed=tuple(held.keys() - entries.keys()),
        )
    devices: dict[int, int | None] = dict.fromkeys(before.devices.keys() - after.devices.keys())
    devices.update(after.devices)
    return HostChange(
        removed=(*delta.delete, *(old[flow.key] for flow in delta.modify)),
        added=(*delta.add, *delta.modify),
        fdb=fdb,
        devices=devices,
    )
