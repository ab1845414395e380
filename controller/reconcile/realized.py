"""What is realized: the receipts of all hosts, read as the status of ports and hosts. Implements Tracker.

A port is ACTIVE when its flows are committed on its host, and on every host of its network's span the
forwarding entries for it are in the kernel and the network's VXLAN device has its flows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from time import perf_counter

from cloison.model import Port, PortBinding
from cloison.names import (
    AddressGroupName,
    ExternalNetworkName,
    FloatingIpName,
    HostName,
    NetworkName,
    PeeringName,
    PortName,
    ResourceName,
    RouterName,
    SecurityGroupName,
    TenantName,
)
from cloison.v1 import port_pb2
from controller.reconcile.binding import Verdict
from controller.reconcile.flowset import Unit
from controller.reconcile.host import HostActor
from controller.reconcile.impact import Impact
from controller.reconcile.out import leading_out, needed_ports, wanted
from controller.reconcile.plugged import edge_host, live_binding
from controller.reconcile.progress import Progress
from controller.reconcile.refusals import Refusals
from controller.reconcile.tracker import Condition, GateFigures, HostStatus, RefusedInterface
from controller.reconcile.views import vxlan_device
from controller.reconcile.waiting import Lack, Pulse, StatusFeed
from controller.store.state import State
from controller.turns import Work, batches

LEFT_PORTS_MAX = 10_000
# As the revision that is compiled, while everything is worked out.
NOTHING = -1
PORTS_AT_ONCE = 500
# How long looking at ports may keep everything else waiting.
SLICE_S = 0.005

PortState = tuple[int, tuple[Condition, ...], HostName | None]


class RealizedTracker:
    """Answers from the state, the hosts' receipts and the last revision that touched each port."""

    def __init__(self, controller_id: str, epoch: int, state: Callable[[], State]) -> None:
        self.controller_id = controller_id
        self.epoch = epoch
        self.hosts: dict[HostName, HostActor] = {}
        self.refused = Refusals()
        self.gate: Callable[[], GateFigures] = GateFigures
        self._state = state
        self._effect: dict[PortName, int] = {}
        self._last: dict[PortName, int] = {}
        # Ports whose state may be another, each with what it was found to lack.
        self._unsettled: dict[PortName, Lack | None] = {}
        # Hosts that ports left lately (moved, unplugged, deleted): they must have let go of them.
        self._left: dict[PortName, set[HostName]] = {}
        self._feeds: list[StatusFeed] = []
        # Looking at those ports, as far as it has come; and whether to do so once more.
        self._judging: Iterator[None] | None = None
        self._judge_again = False
        self._pulse = Pulse()
        # Nothing is compiled as yet.
        self._revision = NOTHING

    # --- what happened ------------------------------------------------------------------------------

    def touched(
        self, impact: Impact, since: int, revision: int, left: Iterable[tuple[HostName, PortName]] = ()
    ) -> None:
        """This is affected from revision since on; everything up to revision is compiled.

        left: ports that had flows on a host and have none any more.
        """
        self._revision = revision
        ports = impact.moved | {port for _, port in impact.port_units}
        for host, name in left:
            self._left.setdefault(name, set()).add(host)
        while len(self._left) > LEFT_PORTS_MAX:
            del self._left[next(iter(self._left))]
        for name in ports:
            if name in self._state().ports:
                self._effect[name] = since
                self._unsettled[name] = None
            else:
                self._effect.pop(name, None)
                self._last.pop(name, None)
                self._unsettled.pop(name, None)
        self._pulse.beat(self._publish, ports)

    def unsettle(self, host: HostName) -> None:
        """What a host had confirmed is not known any more: so is what that means for ports."""
        state = self._state()
        networks = {binding.port.parent for binding in state.bindings_on(host)}
        for network in networks.union(*map(state.routed_with, networks)):
            self._unsettled.update(dict.fromkeys(port.name for port in state.ports_of(network)))
        self.progressed()

    def restart(self, epoch: int) -> None:
        """Everything is worked out anew; until loaded nothing is realized."""
        self.epoch = epoch
        self._revision = NOTHING
        for known in (self._effect, self._left):
            known.clear()

    def load(self, state: State, revision: int) -> Work[None]:
        """All of a state is compiled; in pieces, between which the state may not change."""
        for ports in batches(state.ports, PORTS_AT_ONCE):
            self._effect.update(dict.fromkeys(ports, revision))
            self._unsettled.update(dict.fromkeys(ports))
            yield
        self._revision = revision
        self._pulse.beat(self._publish)

    def progressed(self) -> None:
        """Some receipt came in, or some session came or went."""
        self._pulse.beat(self._publish)

    def _publish(self) -> None:
        """Tell the subscribers; only ports that were touched or still wait for a receipt can have changed.

        Where there are many, with a turn for others now and then; what comes meanwhile is looked at after it.
        """
        if not self._feeds or self._revision == NOTHING:
            return
        if self._judging is None:
            self._judging = self._judge_unsettled()
            self._go_on()
        else:
            self._judge_again = True

    def _go_on(self) -> None:
        """Judge some of the ports that are left."""
        begun_s = perf_counter()
        judging, self._judging = self._judging, None
        for _ in judging or ():
            if perf_counter() - begun_s >= SLICE_S:
                self._judging = judging
                asyncio.get_running_loop().call_soon(self._go_on)
                return
        if self._judge_again:
            self._judge_again = False
            self._publish()

    def _judge_unsettled(self) -> Iterator[None]:
        state = self._state()
        for name in list(self._unsettled):
            yield
            before = self._unsettled.get(name)
            if name not in self._unsettled or (before is not None and before.lasts()):
                continue
            port = state.ports.get(name)
            now, lacks, _ = (
                self._judged(port, most=1) if port else (port_pb2.Port.STATE_UNSPECIFIED, [], None)
            )
            if now == port_pb2.Port.BUILDING:
                self._unsettled[name] = lacks[0]
            else:
                del self._unsettled[name]
            if port is not None and now != self._last.get(name):
                self._last[name] = now
                for feed in self._feeds:
                    feed.add(name)

    # --- ports --------------------------------------------------------------------------------------

    def port_state(self, port: Port) -> PortState:
        """Return (state, why it is not ACTIVE, host where it is plugged)."""
        state, lacks, host = self._judged(port)
        return state, tuple(lack.condition for lack in lacks), host

    def is_active(self, port: Port) -> bool:
        """Tell whether port_state would say ACTIVE: the first host that has not confirmed decides."""
        return self._judged(port, 1)[0] == port_pb2.Port.ACTIVE

    def _judged(self, port: Port, most: int | None = None) -> tuple[int, list[Lack], HostName | None]:
        """As port_state; most: of what is missing (None: all of it)."""
        state = self._state()
        if port.disabled:
            return port_pb2.Port.DOWN, [Lack(Condition("DISABLED", f"{port.name} is disabled"))], None
        binding = live_binding(state, port)
        if binding is None:
            return port_pb2.Port.DOWN, [Lack(self._why_unplugged(port))], None
        actor = self.hosts.get(binding.host)
        network = port.name.parent
        relies_on = (("policy", network.parent), ("host", binding.host))
        for unit in (("port", port.name), ("network", network), *relies_on):
            if actor is not None and unit in actor.blocked:
                return port_pb2.Port.ERROR, [Lack(actor.blocked[unit])], binding.host
        newest = max(port.meta.revision, binding.revision)
        if newest > self._revision:  # the state moves on before anything is made of it
            text = f"revision {newest} is not compiled yet"
            return port_pb2.Port.BUILDING, [Lack(Condition("COMPILING", text))], binding.host
        missing = list(islice(self._missing(port, binding), most))
        return port_pb2.Port.BUILDING if missing else port_pb2.Port.ACTIVE, missing, binding.host

    def _why_unplugged(self, port: Port) -> Condition:
        if not port.requested_hosts:
            return Condition("NOT_SCHEDULED", f"{port.name} is scheduled to no host; set requested_hosts")
        refusal = self.refused.why(port.iface_id)
        if refusal is not None:
            return Condition(refusal.reason, refusal.message, refusal.subjects)
        hosts = tuple(map(str, port.requested_hosts))
        absent = [str(h) for h in port.requested_hosts if not self._agent_connected(h)]
        if absent:
            text = f"{port.name} is not plugged, and no agent is connected on {', '.join(absent)}"
            return Condition("HOST_UNREACHABLE", text, hosts)
        text = f"no interface with iface-id {port.iface_id} is on br-int of {', '.join(hosts)}"
        return Condition("NOT_PLUGGED", text, hosts)

    def _missing(self, port: Port, binding: PortBinding) -> Iterator[Lack]:
        """Yield what the hosts concerned have not confirmed of what this port needs of them."""
        state, host = self._state(), binding.host
        network = state.networks.get(port.name.parent)
        if network is None:
            yield Lack(Condition("NETWORK_GONE", f"{port.name.parent} does not exist"))
            return
        effect = self._effect.get(port.name, self._revision)
        span = state.span(port.name.parent)
        device = vxlan_device(network.vni)
        for member in sorted(span | {host}):
            actor = self.hosts.get(member)
            tunnel = state.tunnel_ports.get((member, network.vni))
            # A report that is stored, but of which nothing is made yet, asks for no receipt so far.
            known = tunnel is not None and tunnel.revision <= self._revision
            has_device = actor and tunnel and known and actor.has_port(tunnel.ofport, device)
            if actor is None or not actor.plan_progress.holds(effect):
                plan = actor.plan_progress if actor is not None else None
                until = self._until(plan, effect, member, port, host)
                yield self._pending(member, "FDB_PENDING", "forwarding entries", until)
            elif len(span) > 1 and not has_device:
                yield self._pending(member, "TUNNEL_PENDING", "VXLAN device")
            else:
                needed = max(effect if member == host else 0, tunnel.revision if tunnel else 0)
                if not actor.flows_progress.holds(needed):
                    until = self._until(actor.flows_progress, needed, member, port, host)
                    yield self._pending(member, "FLOWS_PENDING", "flows", until)
        for former in self._former(port.name, effect) - span - {host}:
            yield self._pending(former, "FLOWS_PENDING", "end of its former flows")
        actor = self.hosts.get(host)
        if actor is not None and not actor.has_port(binding.ofport, binding.interface):
            text = f"the switch of {host} has no port {binding.ofport} named {binding.interface}"
            yield Lack(Condition("OFPORT_UNCONFIRMED", text, (str(host),)))

    def _former(self, name: PortName, revision: int) -> set[HostName]:
        """Return the hosts that a port has left and that have not confirmed it yet."""
        left = self._left.get(name, set())
        waiting = {h for h in left & self._state().hosts.keys() if not self._holds(h, revision)}
        if left and not waiting:
            del self._left[name]
        return waiting

    def _until(
        self, progress: Progress | None, revision: int, member: HostName, port: Port, host: HostName
    ) -> Callable[[], bool]:
        """Tell, later, whether a port (on host) still lacks a member's receipt for a revision."""
        actor, home, network = self.hosts.get(member), self.hosts.get(host), port.name.parent
        if progress is None or actor is None or home is None:
            return lambda: False
        return lambda: (
            not progress.holds(revision)
            and self.hosts.get(member) is actor
            and not home.blocked
            and self._state().is_present(network, member)
        )

    def _pending(
        self, host: HostName, reason: str, what: str, lasts: Callable[[], bool] = lambda: False
    ) -> Lack:
        actor = self.hosts.get(host)
        if actor is None or actor.agent is None or actor.switch is None:
            part = "agent" if actor is None or actor.agent is None else "switch"
            text = f"the {part} of {host} is not connected"
            return Lack(Condition("HOST_UNREACHABLE", text, (str(host),)))
        return Lack(Condition(reason, f"{host} has not confirmed the {what} yet", (str(host),)), lasts)

    def _agent_connected(self, host: HostName) -> bool:
        actor = self.hosts.get(host)
        return actor is not None and actor.agent is not None

    # --- hosts --------------------------------------------------------------------------------------

    def host_status(self, host: HostName) -> HostStatus:
        """Return what the sessions of a host say."""
        actor = self.hosts.get(host)
        if actor is None:
            return HostStatus()
        conditions = [
            replace(condition, subjects=tuple(str(part) for part in _subjects(unit)))
            for unit, condition in actor.blocked.items()
        ]
        conditions += [Condition("AGENT_ERROR", text, (str(host),)) for text in actor.agent_errors]
        return HostStatus(
            agent_connected=actor.agent is not None,
            switch_connected=actor.switch is not None,
            realized_revision=actor.realized_revision,
            drift_count=actor.drift_count,
            conditions=tuple(conditions),
            refused_interfaces=tuple(_refused(v) for v in self.refused.of(host)),
        )

    def gate_figures(self) -> GateFigures:
        """Return what the gate has done."""
        return self.gate()

    def realized_revision(self) -> int:
        """Return the highest revision that every connected host enforces."""
        connected = [a.realized_revision for a in self.hosts.values() if a.agent and a.switch]
        return min(connected, default=max(self._revision, 0))

    # --- waiting ------------------------------------------------------------------------------------

    async def wait_realized(
        self, name: ResourceName | None, revision: int, timeout_s: float
    ) -> tuple[bool, int, tuple[Condition, ...]]:
        """Wait until revision is enforced wherever it concerns name (None: everywhere)."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while missing := self._missing_for(name, revision):
            if loop.time() >= deadline:
                return False, revision, tuple(lack.condition for lack in missing)
            with contextlib.suppress(TimeoutError):
                # Not wait_for: on Python 3.11 it can swallow a cancellation.
                async with asyncio.timeout_at(deadline):
                    await self._pulse.wait(name, missing[0])
        return True, revision, ()

    def _missing_for(self, name: ResourceName | None, revision: int) -> list[Lack]:
        if self._revision < revision:
            return [Lack(Condition("COMPILING", f"revision {revision} is not compiled yet"))]
        state = self._state()
        if isinstance(name, PortName):
            port = state.ports.get(name)
            # Of one that is disabled nothing more is wanted than that it is nowhere.
            if port is not None and not port.disabled:
                verdict, lacks, _ = self._judged(port)
                return [] if verdict == port_pb2.Port.ACTIVE else lacks
        concerned = self._concerned(state, name)
        pending = [
            self._pending(host, "HOST_PENDING", f"state of revision {revision}")
            for host in concerned
            if not self._holds(host, revision)
        ]
        pending += [Lack(condition) for host in concerned for condition in self._withheld(host, name)]
        return pending or list(self._edges_lack(state, name))

    def _edges_lack(self, state: State, name: ResourceName | None) -> Iterator[Lack]:
        """Yield what is missing of edges: we make and plug them ourselves, in revisions of their own."""
        for router in leading_out(state, name):
            todo = wanted(state, router)
            for host in todo.missing:
                text = f"the edge of {router} on {host} is not made yet"
                yield Lack(Condition("EDGE_PENDING", text, (str(host),)))
            for port in needed_ports(state, router, todo.idle):
                yield from self._judged(port)[1]

    def _withheld(self, host: HostName, name: ResourceName | None) -> Iterator[Condition]:
        """Yield why a host has not all that a resource is: it has confirmed what it was given, no more."""
        actor = self.hosts.get(host)
        for unit, condition in actor.blocked.items() if actor is not None else ():
            if _is_part(unit, name):
                yield replace(condition, subjects=tuple(map(str, _subjects(unit))))

    def _concerned(self, state: State, name: ResourceName | None) -> list[HostName]:
        """The hosts that a resource concerns: its span, or all for everything; of a port that is gone, the
        span and where it was. Other things go only when no host carries anything of them.
        """
        if isinstance(name, HostName):
            return [name] if name in state.hosts else []
        if isinstance(name, TenantName):
            spans = [state.span(n.name) for n in state.networks_of(name)]
            return sorted(set().union(*spans))
        if isinstance(name, NetworkName):
            return sorted(state.span(name))
        if isinstance(name, RouterName):
            router = state.routers.get(name)
            return sorted(set().union(*map(state.bound_hosts, router.networks))) if router else []
        if isinstance(name, FloatingIpName):
            return _answering_hosts(state, name)
        if isinstance(name, ExternalNetworkName):
            return []
        if isinstance(name, PeeringName):
            return _concerned_by(state, name)
        if isinstance(name, SecurityGroupName | AddressGroupName):
            return sorted(state.tenant_hosts(name.parent))
        if name is not None:
            was = self._left.get(name, set()) if isinstance(name, PortName) else set()
            return sorted((state.span(name.parent) | was) & state.hosts.keys())
        return sorted(state.hosts)

    def _holds(self, host: HostName, revision: int) -> bool:
        actor = self.hosts.get(host)
        return actor is not None and actor.holds(revision)

    def status_changes(self) -> StatusFeed:
        """Subscribe to ports whose status changes from now on."""
        state = self._state()
        if not self._feeds:
            ports: Mapping[PortName, Port] = state.ports
            self._last = {name: self._judged(port, most=1)[0] for name, port in ports.items()}
        feed = StatusFeed(self._feeds.remove)
        self._feeds.append(feed)
        return feed


def _answering_hosts(state: State, name: FloatingIpName) -> list[HostName]:
    """Return where a floating IP is answered for, or may have been: the live edges of its tenant there."""
    floating_ip = state.floating_ips.get(name)
    found: set[HostName | None] = set()
    for router in state.routers_of(name.parent):
        other = floating_ip is not None and floating_ip.external_network
        if router.gateway is None or other not in (False, router.gateway.external_network):
            continue
        found.update(edge_host(state, edge) for edge in state.edges_of(router.name))
    return sorted(host for host in found if host is not None)


def _concerned_by(state: State, name: PeeringName) -> list[HostName]:
    """The hosts with ports of networks that a peering joins; of one that is gone, those that may hold it."""
    peering = state.peerings.get(name)
    if peering is None:
        gone = (r for r in state.reservations.released() if r.owner == str(name))
        return sorted({host for reservation in gone for host in reservation.hosts} & state.hosts.keys())
    routers = (state.routers.get(router) for router in (peering.router, peering.peer_router))
    return sorted(
        {host for r in routers if r for network in r.networks for host in state.bound_hosts(network)}
    )


def _is_part(unit: Unit, name: ResourceName | None) -> bool:
    """Tell whether a resource (None: everything) is not in force where this unit is withheld."""
    if name is None or isinstance(name, HostName):
        return True
    if isinstance(name, SecurityGroupName | AddressGroupName):
        return unit == ("policy", name.parent)
    owner = unit[-1]
    if isinstance(name, NetworkName):
        return name in (owner, getattr(owner, "parent", None))
    if not isinstance(name, TenantName):
        return False
    while owner != name and hasattr(owner, "parent"):
        owner = owner.parent
    return bool(owner == name)


def _subjects(unit: object) -> tuple[object, ...]:
    return unit[1:] if isinstance(unit, tuple) else (unit,)


def _refused(verdict: Verdict) -> RefusedInterface:
    refusal = verdict.refusal
    assert refusal is not None
    condition = Condition(refusal.reason, refusal.message, refusal.subjects)
    return RefusedInterface(verdict.interface.name, verdict.interface.iface_id, condition)
