"""What verification says of a draft: the networks it touches, compiled as they would be, held against their meaning.

Takes everything of those networks before the change for granted, and checks what the change can touch, as the
gate will when it has happened. What other networks are doing on the same hosts is the gate's to judge. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloison.addresses import IpAddress
from cloison.names import HostName, NetworkName
from cloison.v1 import verify_pb2
from controller.api.explain import violation_message
from controller.api.planning.draft import Draft
from controller.api.planning.hosts import everything_of
from controller.compiler import network_flows, port_flows, static_flows
from controller.flows import Flow
from controller.flows.delta import flow_delta
from controller.reconcile.impact import impact_of
from controller.reconcile.meant import believe, host_intent, network_intent, port_intent
from controller.reconcile.tunnels import TunnelPlans
from controller.reconcile.views import network_view, port_view
from controller.store.state import State
from controller.verify.holding import FdbChange, HostChange
from controller.verify.intent import HostIntent, IntentDelta, NetworkIntent, PortIntent, World
from controller.verify.isolation import Verifier, change_to
from controller.verify.path import HostState

VIOLATIONS_MAX = 20


def violations_of(draft: Draft) -> list[verify_pb2.Violation]:
    """Return what the outcome of a draft would break; nothing if it keeps every promise."""
    impact = impact_of(draft.changes, draft.after)
    networks = impact.networks | {network for _, network in impact.network_units}
    before, after = _Excerpt(draft.before, networks), _Excerpt(draft.after, networks)
    verifier = Verifier()
    verifier.load(before.intent, {host: change_to(state) for host, state in before.hosts.items()})
    found = verifier.check(_became(before, after), _changes(before.hosts, after.hosts))
    world = World()
    world.apply(after.intent)
    return [violation_message(world, after.hosts, violation) for violation in found[:VIOLATIONS_MAX]]


class _Excerpt:
    """Some networks of one state: what is meant, and what each host would hold of them."""

    def __init__(self, state: State, networks: Iterable[NetworkName]) -> None:
        names = sorted(networks)
        ports = sorted(port.name for name in names for port in state.ports_of(name))
        intents = {name: port_intent(state, name, believe) for name in ports}
        carriers = {host for name in names for host in state.bound_hosts(name)}
        self.intent = IntentDelta(
            hosts={name: host_intent(state, name) for name in sorted(carriers)},
            networks={name: network_intent(state, name, believe) for name in names},
            ports=intents,
        )
        plans = TunnelPlans()
        plans.update(state, everything_of(state, names))
        self.hosts = {host: _held(state, host, self.intent, plans) for host in sorted(carriers)}


def _held(state: State, host: HostName, intent: IntentDelta, plans: TunnelPlans) -> HostState:
    flows: list[Flow] = list(static_flows())
    devices = {}
    for name, network in intent.networks.items():
        if (carried := network_view(state, name, host)) is not None:
            flows += network_flows(carried)
        if network is not None and host in network.tunnels:
            devices[network.tunnels[host]] = network.vni
    for port_name, port in intent.ports.items():
        if port is not None and port.host == host and (seen := port_view(state, port_name, host)) is not None:
            flows += port_flows(seen)
    fdb = {int(vni): _entries(plan.upserted) for vni, plan in plans.snapshot(host).networks.items()}
    return HostState(flows=flows, fdb=fdb, devices=devices)


def _entries(upserted: Mapping[int, IpAddress]) -> dict[int, IpAddress]:
    return dict(upserted)


def _became(before: _Excerpt, after: _Excerpt) -> IntentDelta:
    """Return what is meant otherwise, and what is no more."""
    hosts: dict[HostName, HostIntent | None] = {
        name: after.intent.hosts.get(name, before.intent.hosts.get(name))
        for name in (*before.intent.hosts, *after.intent.hosts)
    }
    networks: dict[NetworkName, NetworkIntent | None] = dict(after.intent.networks)
    ports: dict[object, PortIntent | None] = {name: None for name in before.intent.ports}
    ports.update(after.intent.ports)
    return IntentDelta(
        hosts={name: value for name, value in hosts.items() if before.intent.hosts.get(name) != value},
        networks={n: value for n, value in networks.items() if before.intent.networks.get(n) != value},
        ports={n: value for n, value in ports.items() if before.intent.ports.get(n) != value},  # type: ignore[call-overload,misc]
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
