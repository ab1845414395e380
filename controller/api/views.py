"""Resources as the API shows them: what is stored, with what is known of its realization. No I/O.

A tenant's own people see their networks and ports without the operator's side of them: on which hosts
things are is no more their business than it is their neighbour's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from cloison.codec import ResourceMessage, StatusMessage, resource_to_proto
from cloison.codec_routing import service_to_proto
from cloison.model import (
    ExternalNetwork,
    FloatingIp,
    Host,
    Network,
    Peering,
    Port,
    PortBinding,
    Resource,
    Router,
)
from cloison.names import HostName, PortName
from cloison.v1 import common_pb2, host_pb2, network_pb2, peering_pb2, port_binding_pb2, port_pb2
from controller.api import exits
from controller.reconcile.out import lives_on
from controller.reconcile.plugged import live_binding, standby_bindings
from controller.reconcile.tracker import Condition, Tracker
from controller.reconcile.views import overlay_mtu
from controller.store.peerings import Lack, link_of
from controller.store.state import State

# Where an external network is, and who else may use it.
_EXTERNAL_OPERATORS = ("physical_network", "vlan", "gateway_hosts", "shared_with")
_HOST_IN_TEXT = re.compile(r"hosts/[a-z0-9-]+")


def condition_message(condition: Condition) -> common_pb2.Condition:
    """Return the message of a condition."""
    return common_pb2.Condition(
        reason=condition.reason, message=condition.message, subjects=condition.subjects
    )


def hide_hosts(condition: Condition) -> Condition:
    """Return a condition without the names of hosts."""
    subjects = tuple(s for s in condition.subjects if not s.startswith("hosts/"))
    return Condition(condition.reason, _HOST_IN_TEXT.sub("a host", condition.message), subjects)


def effective(state: State, port: PortName) -> PortBinding | None:
    """Return the one binding to show of a port: where it lives, else any; it says where else."""
    known = state.ports.get(port)
    live = live_binding(state, known) if known is not None else None
    bindings = sorted(state.bindings_of(port), key=lambda b: (not state.is_effective(b), b.host))
    return live or (bindings[0] if bindings else None)


class Views:
    """Makes messages of the objects in a state; tenant_view leaves out the operator's side."""

    def __init__(self, state: State, tracker: Tracker) -> None:
        self._state = state
        self._tracker = tracker

    def resource(self, resource: Resource, *, tenant_view: bool = False) -> ResourceMessage:
        """Return the complete message of a resource."""
        message: Any = resource_to_proto(resource)
        if isinstance(resource, Network):
            self._fill_network(message, resource, tenant_view)
        elif isinstance(resource, Port):
            self._fill_port(message, resource, tenant_view)
        elif isinstance(resource, Host):
            self._fill_host(message, resource.name)
        elif isinstance(resource, Router | FloatingIp):
            self._fill_exit(message, resource, tenant_view)
        elif isinstance(resource, ExternalNetwork) and tenant_view:
            for field in _EXTERNAL_OPERATORS:
                message.ClearField(field)
        elif isinstance(resource, Peering):
            self._fill_peering(message, resource)
        return message  # type: ignore[no-any-return]

    def binding(self, binding: PortBinding) -> port_binding_pb2.PortBinding:
        """Return the complete message of a port binding."""
        message: Any = resource_to_proto(binding)
        port = self._state.ports.get(binding.port)
        message.state = port_pb2.Port.DOWN
        if port is not None and port.meta.uid == binding.port_uid:
            state, _, host = self._tracker.port_state(port)
            if host == binding.host:
                message.state = state
            if live_binding(self._state, port) == binding:
                message.standby_hosts.extend(str(b.host) for b in standby_bindings(self._state, port))
        return message  # type: ignore[no-any-return]

    def conditions(self, conditions: Iterable[Condition], *, tenant_view: bool) -> list[common_pb2.Condition]:
        """Return the messages of conditions."""
        return [condition_message(hide_hosts(c) if tenant_view else c) for c in conditions]

    def _fill_network(self, message: network_pb2.Network, network: Network, tenant_view: bool) -> None:
        carried = overlay_mtu(self._state, network)
        message.mtu = min(carried, network.mtu_limit) if network.mtu_limit and carried else carried
        if not tenant_view:
            message.hosts.extend(map(str, sorted(self._state.span(network.name))))

    def _fill_port(self, message: Any, port: Port, tenant_view: bool) -> None:
        state, conditions, host = self._tracker.port_state(port)
        message.state = state
        message.conditions.extend(self.conditions(conditions, tenant_view=tenant_view))
        if tenant_view:
            message.ClearField("requested_hosts")
        elif host is not None:
            message.host = str(host)

    def _fill_exit(self, message: Any, resource: Router | FloatingIp, tenant_view: bool) -> None:
        if isinstance(resource, Router):
            host = lives_on(self._state, resource.name)
            into = message.gateway if resource.gateway is not None else None
        else:
            host, into = exits.answering_host(self._state, resource), message
            found = exits.conditions_of(self._state, resource)
            message.conditions.extend(self.conditions(found, tenant_view=tenant_view))
        if host is not None and into is not None and not tenant_view:
            into.host = str(host)

    def _fill_peering(self, message: peering_pb2.Peering, peering: Peering) -> None:
        """Say of the other side nothing but what both have agreed on."""
        link = link_of(self._state, peering)
        if isinstance(link, Lack):
            message.state = peering_pb2.Peering.PENDING
            message.conditions.add(reason=link.reason, message=link.message)
            return
        message.state = peering_pb2.Peering.ACTIVE
        message.reachable_prefixes.extend(map(str, link.peer.prefixes))
        message.reachable_services.extend(map(service_to_proto, link.peer.services))
        times = (peering.meta.update_time_ns, link.peer.meta.update_time_ns)
        message.active_since.FromNanoseconds(max(times))

    def _fill_host(self, message: host_pb2.Host, name: HostName) -> None:
        status = self._tracker.host_status(name)
        message.agent_connected = status.agent_connected
        message.switch_connected = status.switch_connected
        message.realized_revision = status.realized_revision
        message.drift_count = status.drift_count
        message.conditions.extend(map(condition_message, status.conditions))
        for refused in status.refused_interfaces:
            message.refused_interfaces.add(
                interface=refused.interface,
                iface_id=refused.iface_id,
                condition=condition_message(refused.condition),
            )


def deleted(name: object, kind: type[StatusMessage]) -> StatusMessage:
    """Return what a watcher gets of an object that is gone: its name."""
    return kind(name=str(name))
