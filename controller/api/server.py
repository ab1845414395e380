"""The gRPC server: where it listens, with which certificates, and what it serves.

TCP and Unix sockets alike take TLS with client certificates; --insecure takes neither, and then everybody
is an operator, which is said loudly. Serves no request before `start`, none after `stop`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health  # type: ignore[attr-defined] # not in the stubs
from grpc_reflection.v1alpha import reflection

from cloison.v1 import (
    address_group_pb2,
    address_group_pb2_grpc,
    batch_pb2,
    batch_pb2_grpc,
    external_network_pb2,
    external_network_pb2_grpc,
    floating_ip_pb2,
    floating_ip_pb2_grpc,
    host_pb2,
    host_pb2_grpc,
    host_sync_pb2,
    host_sync_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    peering_pb2,
    peering_pb2_grpc,
    plan_pb2,
    plan_pb2_grpc,
    port_binding_pb2,
    port_binding_pb2_grpc,
    port_pb2,
    port_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
    security_group_pb2,
    security_group_pb2_grpc,
    subnet_pb2,
    subnet_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
    verify_pb2,
    verify_pb2_grpc,
    watch_pb2,
    watch_pb2_grpc,
)
from controller.api import auth, listening
from controller.api.address_group import AddressGroupService
from controller.api.batch_service import BatchService
from controller.api.external_network import ExternalNetworkService
from controller.api.floating_ip import FloatingIpService
from controller.api.host import HostService
from controller.api.interceptor import Gate
from controller.api.listening import Tls as Tls
from controller.api.network import NetworkService
from controller.api.peering import PeeringService
from controller.api.plan_service import PlanService, Proof
from controller.api.planning.several import Birth
from controller.api.port import PortService
from controller.api.port_binding import PortBindingService
from controller.api.router import RouterService
from controller.api.security_group import SecurityGroupService
from controller.api.standard import Api
from controller.api.state_service import StateService
from controller.api.statistics import StatisticsSource
from controller.api.subnet import SubnetService
from controller.api.tenant import TenantService
from controller.api.tokens import PageTokens
from controller.api.views import Views
from controller.reconcile.tracker import Tracker
from controller.store.store import Store

log = structlog.get_logger(__name__)

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
PENDING_CALLS_MAX, PENDING_MAX_S = 100_000, 3_600
HEALTH_POLL_S = 0.25
SERVICES = tuple(
    service.full_name
    for module in (
        tenant_pb2,
        network_pb2,
        subnet_pb2,
        port_pb2,
        port_binding_pb2,
        security_group_pb2,
        address_group_pb2,
        router_pb2,
        external_network_pb2,
        floating_ip_pb2,
        peering_pb2,
        host_pb2,
        watch_pb2,
        verify_pb2,
        plan_pb2,
        batch_pb2,
        host_sync_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
)
_OPTIONS: tuple[tuple[str, int], ...] = (
    # By default two controllers can share a TCP port without noticing (grpc/grpc#16920).
    ("grpc.so_reuseport", 0),
    # Calls wait while this process works. By default, of more than 1,000 that do some end as CANCELLED.
    ("grpc.server.max_pending_requests", PENDING_CALLS_MAX),
    ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS_MAX),
    # And all that have done so for 30 s. It is for the caller to say how long it waits.
    ("grpc.server_max_unrequested_time_in_server", PENDING_MAX_S),
    # A larger message ends in RESOURCE_EXHAUSTED, said by gRPC itself, with both sizes.
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # Agents and watchers are silent for long: notice a dead peer in 15 s, and let clients ask as often.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_connection_age_grace_ms", 5_000),
)


@dataclass(frozen=True)
class Config:
    """Where and how to serve. listen: ADDR:PORT (port 0: any) or unix:PATH; tls None means --insecure."""

    listen: Sequence[str]
    tls: Tls | None
    version: str = ""
    # For tests: who calls, in place of the certificate.
    authenticate: auth.Authenticator | None = None


class ApiServer:
    """All services of the API on one gRPC server."""

    def __init__(
        self,
        config: Config,
        store: Store,
        tracker: Tracker,
        host_sync: host_sync_pb2_grpc.HostSyncServicer | None = None,
        verify: verify_pb2_grpc.VerifyServiceServicer | None = None,
        proof: Proof | None = None,
        statistics: StatisticsSource | None = None,
        birth: Birth | None = None,
    ) -> None:
        self._config = config
        self._store = store
        tls = config.tls
        default = auth.caller_by_certificate if tls else auth.caller_insecure
        self._server = grpc.aio.server(
            interceptors=[Gate(config.authenticate or default)], options=list(_OPTIONS)
        )
        tokens = PageTokens(tls.page_token_key if tls else sha256(b"cloison insecure").digest())
        api = Api(store, Views(store.state, tracker), tokens, time.time_ns)
        self._health = health.HealthServicer()
        port_pb2_grpc.add_PortServiceServicer_to_server(PortService(api, statistics, birth), self._server)
        self._serve(api, tracker, host_sync)
        verify_pb2_grpc.add_VerifyServiceServicer_to_server(
            verify or verify_pb2_grpc.VerifyServiceServicer(), self._server
        )
        plan_pb2_grpc.add_PlanServiceServicer_to_server(PlanService(api, tracker, proof), self._server)
        batch_pb2_grpc.add_BatchServiceServicer_to_server(BatchService(api, tracker, birth), self._server)
        self._health_task: asyncio.Task[None] | None = None
        self.addresses: tuple[str, ...] = ()

    def _serve(
        self, api: Api, tracker: Tracker, host_sync: host_sync_pb2_grpc.HostSyncServicer | None
    ) -> None:
        server = self._server
        tenant_pb2_grpc.add_TenantServiceServicer_to_server(TenantService(api), server)
        network_pb2_grpc.add_NetworkServiceServicer_to_server(NetworkService(api), server)
        subnet_pb2_grpc.add_SubnetServiceServicer_to_server(SubnetService(api), server)
        security_group_pb2_grpc.add_SecurityGroupServiceServicer_to_server(SecurityGroupService(api), server)
        address_group_pb2_grpc.add_AddressGroupServiceServicer_to_server(AddressGroupService(api), server)
        router_pb2_grpc.add_RouterServiceServicer_to_server(RouterService(api), server)
        external_network_pb2_grpc.add_ExternalNetworkServiceServicer_to_server(
            ExternalNetworkService(api), server
        )
        floating_ip_pb2_grpc.add_FloatingIpServiceServicer_to_server(FloatingIpService(api), server)
        peering_pb2_grpc.add_PeeringServiceServicer_to_server(PeeringService(api), server)
        host_pb2_grpc.add_HostServiceServicer_to_server(HostService(api, tracker), server)
        port_binding_pb2_grpc.add_PortBindingServiceServicer_to_server(PortBindingService(api), server)
        state = StateService(api, tracker, self._config.version)
        watch_pb2_grpc.add_StateServiceServicer_to_server(state, server)
        host_sync_pb2_grpc.add_HostSyncServicer_to_server(
            host_sync or host_sync_pb2_grpc.HostSyncServicer(), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection((*SERVICES, health_name, reflection.SERVICE_NAME), server)

    async def start(self) -> None:
        """Listen and serve; `addresses` then has what clients dial. Raises OSError if one is taken."""
        self.addresses = tuple(
            [listening.bind(self._server, address, self._config.tls) for address in self._config.listen]
        )
        told = self._store.healthy
        await self._set_health(told)
        await self._server.start()
        if self._config.tls is None:
            listening.protect_sockets(self.addresses)
            log.warning(
                "INSECURE: no TLS and no authentication, everybody who can connect is an operator",
                addresses=self.addresses,
            )
        self._health_task = asyncio.create_task(self._follow_health(told))
        log.info("api is serving", addresses=self.addresses)

    async def stop(self, grace_s: float = 2.0) -> None:
        """Say so to health watchers, let running calls finish for grace_s seconds, then end them."""
        if self._health_task is not None:
            self._health_task.cancel()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)

    async def _follow_health(self, told: bool) -> None:
        """Say so whenever the store's health is no longer what was told last."""
        healthy = told
        while True:
            await asyncio.sleep(HEALTH_POLL_S)
            if self._store.healthy != healthy:
                healthy = self._store.healthy
                log.info("health changed", serving=healthy)
                await self._set_health(healthy)

    async def _set_health(self, healthy: bool) -> None:
        serving = health_pb2.HealthCheckResponse.SERVING
        status = serving if healthy else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *SERVICES):
            await self._health.set(service, status)
