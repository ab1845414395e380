"""A real gRPC server of the API over a Unix socket, on a MemoryStore, with a tracker a test can steer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from cloison.identity import Identity
from cloison.model import Port, PortBinding
from cloison.names import HostName, PortName, ResourceName
from cloison.v1 import (
    address_group_pb2_grpc,
    batch_pb2_grpc,
    external_network_pb2_grpc,
    floating_ip_pb2_grpc,
    host_pb2_grpc,
    network_pb2_grpc,
    peering_pb2_grpc,
    plan_pb2_grpc,
    port_binding_pb2_grpc,
    port_pb2,
    port_pb2_grpc,
    router_pb2_grpc,
    security_group_pb2_grpc,
    subnet_pb2_grpc,
    tenant_pb2_grpc,
    watch_pb2_grpc,
)
from controller.api.auth import Caller
from controller.api.errors import Unauthenticated
from controller.api.plan_service import Proof
from controller.api.server import ApiServer, Config
from controller.reconcile.tracker import Condition, GateFigures, HostStatus
from controller.store.memory import MemoryStore
from controller.store.txn import Txn

AS = "as-identity"


class Changes:
    """Status changes, each port once."""

    def __init__(self, on_close: Any) -> None:
        self._queue: dict[PortName, None] = {}
        self._wake, self._closed, self._on_close = asyncio.Event(), False, on_close

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> PortName:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        name = next(iter(self._queue))
        del self._queue[name]
        return name

    def put(self, name: PortName) -> None:
        self._queue[name] = None
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        self._on_close(self)


@dataclass
class SteeredTracker:
    """A Tracker whose answers the test sets."""

    epoch: int = 7
    controller_id: str = "c1"
    ports: dict[PortName, tuple[int, tuple[Condition, ...], HostName | None]] = field(default_factory=dict)
    hosts: dict[HostName, HostStatus] = field(default_factory=dict)
    realized: int = 0
    missing: tuple[Condition, ...] = ()
    subscribers: set[Changes] = field(default_factory=set)
    waited: list[tuple[ResourceName | None, int]] = field(default_factory=list)

    def port_state(self, port: Port) -> tuple[int, tuple[Condition, ...], HostName | None]:
        return self.ports.get(port.name, (port_pb2.Port.DOWN, (), None))

    def is_active(self, port: Port) -> bool:
        return self.port_state(port)[0] == port_pb2.Port.ACTIVE

    def host_status(self, host: HostName) -> HostStatus:
        return self.hosts.get(host, HostStatus())

    def gate_figures(self) -> GateFigures:
        return GateFigures("enforce", 12, 3)

    def realized_revision(self) -> int:
        return self.realized

    async def wait_realized(
        self, name: ResourceName | None, revision: int, timeout_s: float
    ) -> tuple[bool, int, tuple[Condition, ...]]:
        self.waited.append((name, revision))
        return not self.missing, revision, self.missing

    def status_changes(self) -> Changes:
        changes = Changes(self.subscribers.discard)
        self.subscribers.add(changes)
        return changes

    def set_port(self, name: PortName, state: int, host: HostName | None = None) -> None:
        self.ports[name] = (state, (), host)
        for subscriber in self.subscribers:
            subscriber.put(name)


def caller_by_metadata(context: Any) -> Caller:
    """Stands in for the certificate: what the call says in its metadata."""
    metadata = dict(context.invocation_metadata())
    if metadata.get(AS) == "nobody":
        raise Unauthenticated("no certificate")
    return Caller(Identity.parse(str(metadata.get(AS, "operator/test"))))


@dataclass
class SteeredStatistics:
    """A source of statistics whose answers the test sets."""

    answers: dict[PortName, port_pb2.PortStatistics] = field(default_factory=dict)

    async def port_statistics(self, port: Port, host: HostName) -> port_pb2.PortStatistics:
        return self.answers[port.name]


@dataclass
class Api:
    """Stubs of all services, and what is behind them."""

    channel: grpc.aio.Channel
    store: MemoryStore
    tracker: SteeredTracker
    address: str
    statistics: SteeredStatistics = field(default_factory=SteeredStatistics)

    def __post_init__(self) -> None:
        self.tenants = tenant_pb2_grpc.TenantServiceStub(self.channel)
        self.networks = network_pb2_grpc.NetworkServiceStub(self.channel)
        self.subnets = subnet_pb2_grpc.SubnetServiceStub(self.channel)
        self.ports = port_pb2_grpc.PortServiceStub(self.channel)
        self.groups = security_group_pb2_grpc.SecurityGroupServiceStub(self.channel)
        self.addresses = address_group_pb2_grpc.AddressGroupServiceStub(self.channel)
        self.routers = router_pb2_grpc.RouterServiceStub(self.channel)
        self.external_networks = external_network_pb2_grpc.ExternalNetworkServiceStub(self.channel)
        self.floating_ips = floating_ip_pb2_grpc.FloatingIpServiceStub(self.channel)
        self.peerings = peering_pb2_grpc.PeeringServiceStub(self.channel)
        self.hosts = host_pb2_grpc.HostServiceStub(self.channel)
        self.bindings = port_binding_pb2_grpc.PortBindingServiceStub(self.channel)
        self.state = watch_pb2_grpc.StateServiceStub(self.channel)
        self.batches = batch_pb2_grpc.BatchServiceStub(self.channel)
        self.plans = plan_pb2_grpc.PlanServiceStub(self.channel)

    async def bind(self, port: str, host: str, ofport: int = 5) -> None:
        """Plug a port, as the reconciler would on an agent's report."""
        name = PortName.parse(port)

        def build(state: Any) -> tuple[Txn, None]:
            txn = Txn()
            txn.create(
                PortBinding(
                    port=name,
                    port_uid=state.ports[name].meta.uid,
                    host=HostName.parse(host),
                    interface=f"tap{ofport}",
                    ofport=ofport,
                )
            )
            return txn, None

        await self.store.transact(build)


@asynccontextmanager
async def serving(directory: Path, proof: Proof | None = None) -> AsyncIterator[Api]:
    """Serve, with identities by metadata; yields once it answers."""
    store, tracker = MemoryStore(), SteeredTracker()
    await store.start()
    config = Config(
        listen=[f"unix:{directory}/api.sock"], tls=None, version="test", authenticate=caller_by_metadata
    )
    statistics = SteeredStatistics()
    server = ApiServer(config, store, tracker, proof=proof, statistics=statistics)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.addresses[0]) as channel:
            yield Api(channel, store, tracker, server.addresses[0], statistics)
    finally:
        await server.stop(0)
        await store.stop()


@dataclass(frozen=True)
class Refusal:
    """What an error told: code, sentence, and the details by type."""

    code: grpc.StatusCode
    message: str
    fields: dict[str, str]
    subjects: tuple[str, ...]
    reason: str
    retry_delay_s: float | None
    operation: str = ""


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """Read the google.rpc.Status of a failed call."""
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    fields: dict[str, str] = {}
    subjects: tuple[str, ...] = ()
    reason, operation, retry = "", "", None
    for detail in status.details:
        bad, failure = error_details_pb2.BadRequest(), error_details_pb2.PreconditionFailure()
        info, again = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(bad):
            fields = {v.field: v.description for v in bad.field_violations}
        elif detail.Unpack(failure):
            subjects = tuple(v.subject for v in failure.violations)
        elif detail.Unpack(info):
            reason, operation = info.reason, info.metadata.get("operation", "")
        elif detail.Unpack(again):
            retry = again.retry_delay.seconds + again.retry_delay.nanos / 1e9
    return Refusal(error.code(), str(error.details()), fields, subjects, reason, retry, operation)
