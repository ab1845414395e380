"""The events of a watch: a snapshot, then the changes of each revision together. No I/O.

What a caller may not see is left out here, object by object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cloison.model import (
    AddressGroup,
    ExternalNetwork,
    FloatingIp,
    Host,
    Network,
    Peering,
    PolicyProfile,
    Port,
    PortBinding,
    Reservation,
    Resource,
    Router,
    RouterEdge,
    SecurityGroup,
    Stored,
    Subnet,
    Tenant,
    TunnelPort,
)
from cloison.names import FloatingIpName, NetworkName, PortName, RouterName
from cloison.v1 import (
    address_group_pb2,
    external_network_pb2,
    floating_ip_pb2,
    host_pb2,
    network_pb2,
    peering_pb2,
    port_binding_pb2,
    port_pb2,
    router_pb2,
    security_group_pb2,
    subnet_pb2,
    tenant_pb2,
    watch_pb2,
)
from controller.api.views import Views, effective
from controller.store.changes import RevisionChanges
from controller.store.state import State

_FIELDS: dict[type, tuple[str, type[Any]]] = {
    Tenant: ("tenant", tenant_pb2.Tenant),
    Network: ("network", network_pb2.Network),
    Subnet: ("subnet", subnet_pb2.Subnet),
    Port: ("port", port_pb2.Port),
    PortBinding: ("port_binding", port_binding_pb2.PortBinding),
    Host: ("host", host_pb2.Host),
    SecurityGroup: ("security_group", security_group_pb2.SecurityGroup),
    AddressGroup: ("address_group", address_group_pb2.AddressGroup),
    Router: ("router", router_pb2.Router),
    ExternalNetwork: ("external_network", external_network_pb2.ExternalNetwork),
    FloatingIp: ("floating_ip", floating_ip_pb2.FloatingIp),
    Peering: ("peering", peering_pb2.Peering),
}


# What nobody is shown.
_HIDDEN = Reservation | TunnelPort | PolicyProfile | RouterEdge


@dataclass(frozen=True, slots=True)
class Scope:
    """What a watcher sees: one tenant or everything; for a tenant's people without the operator's side."""

    tenant: str | None
    tenant_view: bool

    def includes(self, stored: Stored) -> bool:
        """Tell whether an object is to be sent at all."""
        if isinstance(stored, _HIDDEN):
            return False
        if isinstance(stored, PortBinding):
            return not self.tenant_view and self.includes_tenant(stored.port.tenant)
        if isinstance(stored, Host):
            return self.tenant is None
        if isinstance(stored, ExternalNetwork):
            shared = {name.tenant for name in stored.shared_with}
            return self.tenant in shared or (self.tenant is None and not self.tenant_view)
        return self.includes_tenant(stored.name.tenant)

    def includes_tenant(self, tenant: str) -> bool:
        """Tell whether things of that tenant are to be sent."""
        return self.tenant is None or self.tenant == tenant


class Events:
    """Makes the events of one watch."""

    def __init__(self, state: State, views: Views, scope: Scope) -> None:
        self._state = state
        self._views = views
        self._scope = scope

    def upsert(self, stored: Resource | PortBinding, revision: int) -> watch_pb2.WatchEvent:
        """Return the event that shows an object."""
        event = watch_pb2.WatchEvent(kind=watch_pb2.WatchEvent.UPSERT, revision=revision)
        field, _ = _FIELDS[type(stored)]
        if isinstance(stored, PortBinding):
            message: Any = self._views.binding(stored)
        else:
            message = self._views.resource(stored, tenant_view=self._scope.tenant_view)
        getattr(event, field).CopyFrom(message)
        return event

    def _delete(self, stored: Resource | PortBinding, revision: int) -> watch_pb2.WatchEvent:
        event = watch_pb2.WatchEvent(kind=watch_pb2.WatchEvent.DELETE, revision=revision)
        field, kind = _FIELDS[type(stored)]
        name = stored.port.binding if isinstance(stored, PortBinding) else str(stored.name)
        getattr(event, field).CopyFrom(kind(name=name))
        return event

    def mark(self, kind: watch_pb2.WatchEvent.Kind, revision: int) -> watch_pb2.WatchEvent:
        """Return an event without an object."""
        return watch_pb2.WatchEvent(kind=kind, revision=revision)

    def snapshot_objects(self) -> list[Resource | PortBinding]:
        """Return what there is now, parents before children. Values never change, so it stays a snapshot."""
        state, scope = self._state, self._scope
        tables: tuple[Any, ...] = (
            state.tenants,
            state.hosts,
            state.address_groups,
            state.security_groups,
            state.networks,
            state.subnets,
            state.routers,
            state.peerings,
            state.ports,
            state.external_networks,
            state.floating_ips,
        )
        found = [stored for table in tables for stored in table.values() if scope.includes(stored)]
        bindings = (effective(state, name) for name in dict.fromkeys(port for port, _ in state.bindings))
        return [*found, *(b for b in bindings if b is not None and scope.includes(b))]

    def of_revision(self, changes: RevisionChanges) -> Iterator[watch_pb2.WatchEvent]:
        """Yield the events of one revision and its end; nothing if nothing of it is to be seen."""
        revision, sent = changes.revision, False
        moved: dict[NetworkName, None] = {}
        answered: dict[RouterName | FloatingIpName, None] = {}
        for change in changes.changes:
            stored = change.stored
            moved.update(dict.fromkeys(self._elsewhere(stored)))
            answered.update(dict.fromkeys(self._answered(stored)))
            if not self._scope.includes(stored):
                # What is shared with a tenant no longer is gone, as far as that can see.
                if change.old is not None and self._scope.includes(change.old):
                    assert not isinstance(change.old, _HIDDEN)
                    sent = True
                    yield self._delete(change.old, revision)
                continue
            assert not isinstance(stored, _HIDDEN)
            sent = True
            # One binding stands for all places of its port.
            shown = effective(self._state, stored.port) if isinstance(stored, PortBinding) else change.new
            if shown is not None:
                assert not isinstance(shown, _HIDDEN)
                yield self.upsert(shown, revision)
            else:
                yield self._delete(stored, revision)
        for peering in self._other_halves(changes):
            yield self.upsert(peering, revision)
            sent = True
        # A network's hosts and MTU follow from where its ports are plugged, and those it is routed with.
        for name in moved:
            network = self._state.networks.get(name)
            # (By a peering a network is routed with those of other tenants.)
            if network is not None and self._scope.includes(network):
                yield self.upsert(network, revision)
                sent = True
        # So does where a router goes out, and a floating IP is answered for.
        for outside in answered:
            found = self._state.get(outside)
            if found is not None:
                yield self.upsert(found, revision)
                sent = True
        if sent:
            yield self.mark(watch_pb2.WatchEvent.REVISION_COMPLETE, revision)

    def _answered(self, stored: Stored) -> Iterator[RouterName | FloatingIpName]:
        """Yield what may be answered for on another host because of a binding that changed."""
        if not isinstance(stored, PortBinding) or not self._scope.includes_tenant(stored.port.tenant):
            return
        yield from (floating.name for floating in self._state.floating_ips_at(stored.port))
        edge = self._state.edge_at(stored.port)
        if edge is not None:
            yield edge.router
            yield from (floating.name for floating in self._state.floating_ips_by(edge.router))

    def _other_halves(self, changes: RevisionChanges) -> Iterator[Peering]:
        """Yield the halves of peerings to be seen whose other half has changed in a revision."""
        changed = {c.stored.name: c.stored for c in changes.changes if isinstance(c.stored, Peering)}
        for other in changed.values():
            for peering in self._state.peerings_at(other.peer_router):
                answers = peering.peer_router == other.router and peering.name not in changed
                if answers and self._scope.includes(peering):
                    yield peering

    def _elsewhere(self, stored: Stored) -> Iterator[NetworkName]:
        """Yield the networks that may be on other hosts because of an object that changed."""
        if isinstance(stored, PortBinding) and self._scope.includes_tenant(stored.port.tenant):
            yield stored.port.parent
            yield from self._state.routed_with(stored.port.parent)
        elif isinstance(stored, Router) and self._scope.includes_tenant(stored.name.tenant):
            yield from stored.networks

    def of_status(self, name: PortName) -> Iterator[watch_pb2.WatchEvent]:
        """Yield a port whose status changed, if it is still there and to be seen."""
        port = self._state.ports.get(name)
        if port is not None and self._scope.includes(port):
            yield self.upsert(port, self._state.revision)
