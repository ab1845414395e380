"""The units of every host: what is compiled together, and the flows of each from the state as it is.

A unit is ("static",), ("host", host), ("network", network), ("policy", tenant) or ("port", port). None looks
at another, and one that cannot be compiled holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import structlog

from cloison.names import HostName, NetworkName, PortName
from controller.compiler import host_unit_flows, network_flows, port_flows, static_flows
from controller.flows import Flow
from controller.reconcile.flowset import Unit
from controller.reconcile.host import HostActor
from controller.reconcile.impact import Impact
from controller.reconcile.policies import KnownFailure, Policies
from controller.reconcile.views import (
    Plugged,
    host_unit_view,
    network_view,
    plugged_ports,
    port_view,
    vxlan_device,
)
from controller.store.state import State
from controller.turns import Work, at_once

_log = structlog.get_logger(__name__)

STATIC_UNIT: Unit = ("static",)
UnitFlows = dict[HostName, dict[Unit, tuple[Flow, ...]]]

# What relies on what: a network's flows lead to its ports', and the host's to all others.
_ORDER = {"static": 0, "host": 1, "network": 2, "policy": 3, "port": 4}


def order(unit: Unit) -> int:
    """Return where a unit comes among others that are worked out one by one."""
    return _ORDER[unit[0]]


def impact_on(host: HostName, unit: Unit) -> Impact:
    """Return the impact of just this unit of a host being worked out anew; not for the static one."""
    impact = Impact()
    match unit:
        case ("host", _):
            impact.host_units.add(host)
        case ("network", network):
            impact.network_units.add((host, network))
        case ("policy", tenant):
            impact.policy_units.add((host, tenant))
        case ("port", port):
            impact.port_units.add((host, port))
    return impact


class Units:
    """Compiles what is touched. hosts: the actors there are, who know what their bridges call their ports."""

    def __init__(self, hosts: Mapping[HostName, HostActor]) -> None:
        self._hosts = hosts
        self._policies = Policies()
        # Units that could not be compiled just now.
        self.failed: dict[HostName, set[Unit]] = {}
        # Of networks with multicast, while they are compiled: for all their hosts the same.
        self._plugged: dict[NetworkName, Plugged] = {}

    def compile(self, state: State, impact: Impact) -> UnitFlows:
        """Return the flows of every unit that is touched."""
        return at_once(self.compiling(state, impact))

    def compiling(self, state: State, impact: Impact) -> Work[UnitFlows]:
        """As compile, in pieces; neither state nor impact may change before the end."""
        units: UnitFlows = {}
        self._plugged.clear()
        for host, unit, make in self._touched(state, impact):
            units.setdefault(host, {})[unit] = self._made(host, unit, make)
            yield
        self._policies.forget(impact.policies)
        for host, tenant in impact.policy_units:
            unit = ("policy", tenant)
            flows = self._made(host, unit, partial(self._policies.flows, state, tenant, host))
            # Most often nothing but a port has come: its tenant's policy is there already, the very same.
            if not flows or self._flows_of(host, unit) is not flows:
                units.setdefault(host, {})[unit] = flows
            yield
        return units

    def _touched(
        self, state: State, impact: Impact
    ) -> Iterator[tuple[HostName, Unit, Callable[[], tuple[Flow, ...]]]]:
        """Yield the units that are touched, but for policies, and how each is made."""
        for host, port in impact.port_units:
            yield host, ("port", port), partial(self._port, state, host, port)
        for host, network in impact.network_units:
            yield host, ("network", network), partial(self._network, state, host, network)
        for host in impact.host_units:
            yield host, ("host", host), partial(self._host, state, host)

    def fresh(self, state: State, host: HostName, unit: Unit) -> tuple[Flow, ...]:
        """Return the flows of a unit compiled from the state alone; raises whatever the compiler raises."""
        match unit:
            case ("static",):
                return static_flows()
            case ("host", _):
                return self._host(state, host)
            case ("network", network):
                return self._network(state, host, network)
            case ("policy", tenant):
                return Policies().flows(state, tenant, host)
            case ("port", port):
                return self._port(state, host, port)
        raise ValueError(f"no such unit: {unit}")

    def has_port(self, host: HostName, ofport: int, interface: str) -> bool:
        """Tell whether a host's bridge has this interface under this number, as far as it was asked."""
        actor = self._hosts.get(host)
        return actor is None or actor.has_port(ofport, interface)

    def service_ofport(self, host: HostName) -> int | None:
        """Return the OpenFlow port of a host's local services, as far as its switch has said so."""
        actor = self._hosts.get(host)
        return actor.naming.service_ofport if actor is not None else None

    def _flows_of(self, host: HostName, unit: Unit) -> tuple[Flow, ...]:
        actor = self._hosts.get(host)
        return actor.flows.flows_of(unit) if actor is not None else ()

    def _made(self, host: HostName, unit: Unit, make: Callable[[], tuple[Flow, ...]]) -> tuple[Flow, ...]:
        """Return the flows of a unit; none, and a note of it, if they cannot be made."""
        try:
            return make()
        except KnownFailure as failure:
            _log.error("no flows could be made, as before", host=host.host, tenant=str(failure))
        except Exception:  # noqa: BLE001 - one object must not hold up all others
            _log.exception("no flows could be made", host=host.host, unit=" ".join(map(str, unit)))
        self.failed.setdefault(host, set()).add(unit)
        return ()

    def _port(self, state: State, host: HostName, port: PortName) -> tuple[Flow, ...]:
        view = port_view(state, port, host, self.has_port)
        if view is None:
            return ()
        interface = state.bindings[port, host].interface
        return port_flows(view) if self.has_port(host, view.ofport, interface) else ()

    def _network(self, state: State, host: HostName, network: NetworkName) -> tuple[Flow, ...]:
        view = network_view(state, network, host, partial(self._plugged_ports, state, network), self.has_port)
        if view is None:
            return ()
        ofport = view.tunnel_ofport
        if ofport is not None and not self.has_port(host, ofport, vxlan_device(view.vni)):
            view = replace(view, tunnel_ofport=None)
        return network_flows(view)

    def _plugged_ports(self, state: State, network: NetworkName) -> Plugged:
        found = self._plugged.get(network)
        if found is None:
            found = self._plugged[network] = plugged_ports(state, network, self.has_port)
        return found

    def _host(self, state: State, host: HostName) -> tuple[Flow, ...]:
        view = host_unit_view(state, host, self.service_ofport(host))
        return host_unit_flows(view) if view is not None else ()
