"""What a change means for each host: flows and forwarding entries that come, change and go. Pure.

The same look-ups, compiler and tunnel plans as for a change that has happened, run on the state before and
the state after it, for what it touches only. What is not plugged has no flows, and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cloison.model import Vni
from cloison.names import HostName, NetworkName, TenantName
from controller.compiler import host_unit_flows, network_flows, policy_flows, port_flows
from controller.flows import Flow, FlowKey
from controller.flows.delta import flow_delta
from controller.reconcile.impact import Impact, impact_of, with_routed
from controller.reconcile.tunnels import PlanChange, TunnelPlans
from controller.reconcile.views import host_unit_view, network_view, policy_view, port_view
from controller.store.changes import Change
from controller.store.state import State


@dataclass(frozen=True, slots=True)
class HostImpact:
    """Counts of one host."""

    host: HostName
    flows_added: int = 0
    flows_modified: int = 0
    flows_deleted: int = 0
    fdb_added: int = 0
    fdb_deleted: int = 0


def host_impacts(before: State, after: State, changes: Iterable[Change]) -> tuple[HostImpact, ...]:
    """Return the hosts on which something is to be done, in the order of their names."""
    impact = impact_of(changes, after)
    # Entries first: they tell which networks come to a host, or go.
    entries = _entries(before, after, impact)
    was, will = _flows(before, impact), _flows(after, impact)
    impacts = []
    for host in sorted(was.keys() | will.keys() | entries.keys()):
        delta = flow_delta(will.get(host, {}), was.get(host, {}))
        added, deleted = entries.get(host, (0, 0))
        made = HostImpact(host, len(delta.add), len(delta.modify), len(delta.delete), added, deleted)
        if made != HostImpact(host):
            impacts.append(made)
    return tuple(impacts)


def _flows(state: State, impact: Impact) -> dict[HostName, dict[FlowKey, Flow]]:
    """Return the flows of all units that are touched."""
    flows: dict[HostName, dict[FlowKey, Flow]] = {}
    compiled: dict[TenantName, tuple[Flow, ...]] = {}
    for host, port in impact.port_units:
        if (seen := port_view(state, port, host)) is not None:
            flows.setdefault(host, {}).update((flow.key, flow) for flow in port_flows(seen))
    for host, network in impact.network_units:
        if (carried := network_view(state, network, host)) is not None:
            flows.setdefault(host, {}).update((flow.key, flow) for flow in network_flows(carried))
    for host, tenant in impact.policy_units:
        if (judged := policy_view(state, tenant, host)) is not None:
            # The same on every host.
            known = compiled.get(tenant) or compiled.setdefault(tenant, policy_flows(judged))
            flows.setdefault(host, {}).update((flow.key, flow) for flow in known)
    for host in impact.host_units:
        # Where its local services are is the switch's to say: without them the same before and after.
        if (unit := host_unit_view(state, host, None)) is not None:
            flows.setdefault(host, {}).update((flow.key, flow) for flow in host_unit_flows(unit))
    return flows


def _entries(before: State, after: State, impact: Impact) -> dict[HostName, tuple[int, int]]:
    """Return how many forwarding entries come and go on which hosts."""
    plans, networks = TunnelPlans(), with_routed(impact.networks, before, after)
    plans.update(before, everything_of(before, networks))
    # What goes with a whole network is not told one by one: count it while it is there.
    held: dict[tuple[HostName, Vni], int] = {}
    for name in networks:
        was, will = before.networks.get(name), after.networks.get(name)
        # One that is replaced goes everywhere, though another of its name comes.
        stays = after.span(name) if was is not None and will is not None and was.vni == will.vni else ()
        for host in before.span(name).difference(stays):
            for vni, network in plans.snapshot(host).networks.items():
                held[host, vni] = len(network.upserted)
    changed = plans.update(after, impact)
    return {host: _counted(host, plan, held) for host, plan in changed.items()}


def _counted(host: HostName, plan: PlanChange, held: dict[tuple[HostName, Vni], int]) -> tuple[int, int]:
    added = sum(len(network.upserted) for network in plan.networks.values())
    deleted = sum(len(network.removed) for network in plan.networks.values())
    return added, deleted + sum(held.get((host, vni), 0) for vni in plan.removed_vnis)


def everything_of(state: State, networks: Iterable[NetworkName]) -> Impact:
    """Return the impact of some networks coming to be with all their ports."""
    impact = Impact()
    for name in networks:
        impact.spans.add(name)
        impact.moved.update(port.name for port in state.ports_of(name))
    return impact
