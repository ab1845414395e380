"""`cloison.v1.StateService`: watching the state, waiting until it is real, and a look at the whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

from cloison.errors import InvalidIntent, NotFound, Unavailable
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
    SubnetName,
    TenantName,
)
from cloison.v1 import common_pb2, watch_pb2, watch_pb2_grpc
from controller.api.auth import current_caller
from controller.api.errors import OutOfRange
from controller.api.standard import Api
from controller.api.watch import Events, Scope
from controller.reconcile.tracker import StatusChanges, Tracker
from controller.store.changes import RevisionChanges
from controller.store.store import HistoryGone, Subscription

WAIT_DEFAULT_S, WAIT_MAX_S = 30.0, 600.0
# Events sent between two moments in which other calls get their turn.
SNAPSHOT_BATCH = 200
# How long looking at ports may keep everything else waiting.
SLICE_S = 0.005

_NAME_TYPES: dict[str, Any] = {
    "tenants": TenantName,
    "networks": NetworkName,
    "subnets": SubnetName,
    "ports": PortName,
    "hosts": HostName,
    "securityGroups": SecurityGroupName,
    "addressGroups": AddressGroupName,
    "routers": RouterName,
    "externalNetworks": ExternalNetworkName,
    "floatingIps": FloatingIpName,
    "peerings": PeeringName,
}


def parse_name(text: str) -> ResourceName:
    """Return the typed name of any resource; raises InvalidIntent."""
    parts = text.split("/") if len(text) <= 512 else []
    kind = _NAME_TYPES.get(parts[-2]) if len(parts) >= 2 else None
    if kind is None:
        raise InvalidIntent.of(
            "name",
            text,
            "the name of a tenant, network, subnet, port, router, peering, host or group, or nothing",
        )
    name: ResourceName = kind.parse(text, "name")
    return name


class StateService(watch_pb2_grpc.StateServiceServicer):
    """See watch.proto."""

    def __init__(self, api: Api, tracker: Tracker, version: str) -> None:
        self._api = api
        self._tracker = tracker
        self._version = version
        self._count: asyncio.Task[int] | None = None

    async def Watch(
        self, request: watch_pb2.WatchRequest, context: Any
    ) -> AsyncIterator[watch_pb2.WatchEvent]:
        """Stream the state and its changes."""
        caller = current_caller()
        tenant = TenantName.parse(request.parent, "parent").tenant if request.parent else caller.tenant
        if tenant is not None and TenantName(tenant) not in self._api.store.state.tenants:
            raise NotFound(str(TenantName(tenant)))
        scope = Scope(tenant, tenant_view=caller.tenant is not None)
        events = Events(self._api.store.state, self._api.views, scope)
        # Subscribed before the first look, without an await in between: nothing is missed or sent twice.
        with (
            closing(self._api.store.subscribe()) as changes,
            closing(self._tracker.status_changes()) as status,
        ):
            since = request.start_revision
            async for event in self._since(events, since) if since else self._snapshot(events):
                yield event
            async for item in _merged(changes, status):
                if isinstance(item, RevisionChanges):
                    found = events.of_revision(item)
                else:
                    found = events.of_status(item)
                for event in found:
                    yield event

    async def _snapshot(self, events: Events) -> AsyncIterator[watch_pb2.WatchEvent]:
        revision = self._api.store.state.revision
        for i, stored in enumerate(events.snapshot_objects()):
            if i % SNAPSHOT_BATCH == 0:
                await asyncio.sleep(0)
            yield events.upsert(stored, revision)
        yield events.mark(watch_pb2.WatchEvent.SNAPSHOT_COMPLETE, revision)

    async def _since(self, events: Events, revision: int) -> AsyncIterator[watch_pb2.WatchEvent]:
        try:
            missed = self._api.store.changes_since(revision)
        except HistoryGone as error:
            raise OutOfRange(f"start_revision: {error}; watch without it to get a snapshot") from error
        for changes in missed:
            for event in events.of_revision(changes):
                yield event

    async def WaitRealized(
        self, request: watch_pb2.WaitRealizedRequest, context: Any
    ) -> watch_pb2.WaitRealizedResponse:
        """Wait for a resource, or for everything."""
        state = self._api.store.state
        timeout_s = WAIT_DEFAULT_S
        if request.HasField("timeout"):
            timeout_s = request.timeout.seconds + request.timeout.nanos / 1e9
        if not 0 <= timeout_s <= WAIT_MAX_S:
            raise InvalidIntent.of("timeout", f"{timeout_s:g}s", f"0 to {WAIT_MAX_S:g} seconds")
        if not 0 <= request.revision <= state.revision:
            raise InvalidIntent.of(
                "revision",
                request.revision,
                f"a revision of the store, at most {state.revision}; 0 means this one",
            )
        name = parse_name(request.name) if request.name else None
        # With a revision it may be what was deleted then: that too is waited for.
        if name is not None and not request.revision and state.get(name) is None:
            raise NotFound(str(name))
        realized, revision, missing = await self._tracker.wait_realized(
            name, request.revision or state.revision, timeout_s
        )
        tenant_view = current_caller().tenant is not None
        return watch_pb2.WaitRealizedResponse(
            realized=realized,
            revision=revision,
            missing=self._api.views.conditions(missing, tenant_view=tenant_view),
        )

    async def GetStatus(self, request: watch_pb2.GetStatusRequest, context: Any) -> watch_pb2.Status:
        """Return figures about the whole."""
        ports_active = await self._ports_active()
        state, tracker = self._api.store.state, self._tracker
        gate = tracker.gate_figures()
        return watch_pb2.Status(
            controller=tracker.controller_id,
            version=self._version,
            epoch=tracker.epoch,
            revision=state.revision,
            realized_revision=tracker.realized_revision(),
            tenants=len(state.tenants),
            networks=len(state.networks),
            ports=len(state.ports),
            ports_active=ports_active,
            hosts=len(state.hosts),
            hosts_connected=sum(tracker.host_status(h).agent_connected for h in state.hosts),
            conditions=self._conditions(),
            gate=gate.mode,
            gate_checked=gate.checked,
            gate_refused=gate.refused,
            units_compared=gate.compared,
            units_repaired=gate.repaired,
        )

    async def _ports_active(self) -> int:
        """Count; who asks while that goes on gets the same count."""
        if self._count is None or self._count.done():
            self._count = asyncio.create_task(self._counted(), name="count")
        return await asyncio.shield(self._count)

    async def _counted(self) -> int:
        """Look at every port, in slices: of very many that takes seconds, which others need as well."""
        active, slice_end_s = 0, 0.0
        for port in tuple(self._api.store.state.ports.values()):
            if time.monotonic() >= slice_end_s:
                await asyncio.sleep(0)
                slice_end_s = time.monotonic() + SLICE_S
            active += self._tracker.is_active(port)
        return active

    def _conditions(self) -> list[common_pb2.Condition]:
        """Return what is not as it should be: the store's connection, its records, hosts."""
        store, state = self._api.store, self._api.store.state
        conditions = []
        if not store.healthy:
            conditions.append(
                common_pb2.Condition(
                    reason="STORE_UNAVAILABLE",
                    message="the connection to etcd is lost: what is shown may be old, changes are refused",
                )
            )
        if store.quarantine:
            keys = sorted(store.quarantine)
            conditions.append(
                common_pb2.Condition(
                    reason="RECORDS_SET_ASIDE",
                    message=f"{len(keys)} records in etcd cannot be used; the controller's log says why",
                    subjects=keys[:10],
                )
            )
        for host in sorted(state.hosts):
            status = self._tracker.host_status(host)
            if not status.agent_connected or not status.switch_connected:
                what = "agent" if not status.agent_connected else "switch"
                conditions.append(
                    common_pb2.Condition(
                        reason="HOST_UNREACHABLE",
                        message=f"the {what} of {host} is away",
                        subjects=[str(host)],
                    )
                )
            conditions.extend(self._api.views.conditions(status.conditions, tenant_view=False))
        return conditions


async def _merged(changes: Subscription, status: StatusChanges) -> AsyncIterator[RevisionChanges | PortName]:
    """Yield from both as they come. Raises Unavailable when one of them ends: then the controller does."""
    next_change = asyncio.ensure_future(anext(changes))
    next_status = asyncio.ensure_future(anext(status))
    try:
        while True:
            await asyncio.wait({next_change, next_status}, return_when=asyncio.FIRST_COMPLETED)
            # Changes first: a status is about an object that the watcher has been sent.
            if next_change.done():
                yield next_change.result()
                next_change = asyncio.ensure_future(anext(changes))
            if next_status.done():
                yield next_status.result()
                next_status = asyncio.ensure_future(anext(status))
    except StopAsyncIteration as error:
        raise Unavailable(
            "this controller is stopping; watch again from the last REVISION_COMPLETE"
        ) from error
    finally:
        next_change.cancel()
        next_status.cancel()
