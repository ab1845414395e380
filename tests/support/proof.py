"""Two tenants with the same addresses on two hosts, all in memory, behind a real gRPC server.

red and blue each have p1 (10.0.0.11, on h1) and p2 (10.0.0.12, on h2); red's ports have IPv6 addresses too.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc

from cloison.names import PortName
from cloison.v1 import (
    network_pb2,
    network_pb2_grpc,
    port_pb2,
    port_pb2_grpc,
    subnet_pb2,
    subnet_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
    verify_pb2,
    verify_pb2_grpc,
)
from controller.api.server import ApiServer, Config
from controller.api.verify_service import Signing, VerifyService
from controller.flows import Flow, Output, match
from controller.flows.delta import InstalledFlow
from controller.reconcile.reading import Observer
from controller.reconcile.reconciler import Reconciler
from controller.store.memory import MemoryStore
from tests.support.api import AS, caller_by_metadata
from tests.support.hosts import MemoryHost, eventually

TENANTS = ("red", "blue")


def port(tenant: str, number: int) -> str:
    return f"tenants/{tenant}/networks/web/ports/p{number}"


@dataclass
class ProofSite:
    """The parts, and the calls under test."""

    address: str
    channel: grpc.aio.Channel
    store: MemoryStore
    reconciler: Reconciler
    hosts: list[MemoryHost]

    async def verify(self, *, live: bool = False, who: str = "operator/test") -> verify_pb2.VerifyResponse:
        stub = verify_pb2_grpc.VerifyServiceStub(self.channel)
        answer: verify_pb2.VerifyResponse = await stub.Verify(
            verify_pb2.VerifyRequest(live=live), metadata=((AS, who),)
        )
        return answer

    async def trace(
        self, from_: str, packet: str = "", *, to: str = "", live: bool = False, who: str = "operator/test"
    ) -> verify_pb2.TraceResponse:
        stub = verify_pb2_grpc.VerifyServiceStub(self.channel)
        request = verify_pb2.TraceRequest(port=from_, packet=packet, to_port=to, live=live)
        answer: verify_pb2.TraceResponse = await stub.Trace(request, metadata=((AS, who),))
        return answer

    def is_active(self, name: str) -> bool:
        known = self.store.state.ports[PortName.parse(name)]
        return self.reconciler.tracker.port_state(known)[0] == port_pb2.Port.ACTIVE

    async def fill(self) -> None:
        """Create the tenants, plug their ports, and wait until all are ACTIVE."""
        made: dict[int, list[str]] = {1: [], 2: []}
        for tenant in TENANTS:
            await self._network(tenant)
            for number in (1, 2):
                made[number].append(await self._port(tenant, number))
        for number, host in enumerate(self.hosts, 1):
            await host.connect(*made[number])
        for tenant, number in itertools.product(TENANTS, (1, 2)):
            name = port(tenant, number)
            await eventually(partial(self.is_active, name), f"{name} ACTIVE")

    async def _network(self, tenant: str) -> None:
        await tenant_pb2_grpc.TenantServiceStub(self.channel).CreateTenant(
            tenant_pb2.CreateTenantRequest(tenant_id=tenant)
        )
        await network_pb2_grpc.NetworkServiceStub(self.channel).CreateNetwork(
            network_pb2.CreateNetworkRequest(parent=f"tenants/{tenant}", network_id="web")
        )
        cidrs = ("10.0.0.0/24", "2001:db8::/64") if tenant == "red" else ("10.0.0.0/24",)
        for number, cidr in enumerate(cidrs):
            body = subnet_pb2.Subnet(cidr=cidr, no_gateway=True)
            parent = f"tenants/{tenant}/networks/web"
            request = subnet_pb2.CreateSubnetRequest(parent=parent, subnet_id=f"s{number}", subnet=body)
            await subnet_pb2_grpc.SubnetServiceStub(self.channel).CreateSubnet(request)

    async def _port(self, tenant: str, number: int) -> str:
        addresses = [f"10.0.0.1{number}"] + ([f"2001:db8::1{number}"] if tenant == "red" else [])
        body = port_pb2.Port(
            fixed_ips=[port_pb2.FixedIp(ip_address=a) for a in addresses],
            requested_hosts=[f"hosts/h{number}"],
        )
        request = port_pb2.CreatePortRequest(
            parent=f"tenants/{tenant}/networks/web", port_id=f"p{number}", port=body
        )
        # Hosts register when their agents dial; here the port is there before, so they are made first.
        made: Any = await port_pb2_grpc.PortServiceStub(self.channel).CreatePort(request)
        return str(made.iface_id)


@asynccontextmanager
async def proof_site(directory: Path, signer: Signing | None = None) -> AsyncIterator[ProofSite]:
    """Serve it, with everything plugged and ACTIVE."""
    store = MemoryStore()
    await store.start()
    reconciler = Reconciler(store, "c1", await store.next_epoch("c1"))
    await reconciler.start()
    hosts = [MemoryHost(reconciler, 1), MemoryHost(reconciler, 2)]
    for host in hosts:
        await host.register()
    service = VerifyService(Observer(store, reconciler), reconciler.tracker, signer)
    config = Config(listen=[f"unix:{directory}/api.sock"], tls=None, authenticate=caller_by_metadata)
    server = ApiServer(config, store, reconciler.tracker, None, service)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.addresses[0]) as channel:
            site = ProofSite(server.addresses[0], channel, store, reconciler, hosts)
            await site.fill()
            yield site
    finally:
        await server.stop(0)
        for host in hosts:
            host.disconnect_agent()
        await reconciler.stop()
        await store.stop()


@asynccontextmanager
async def running(signer: Signing | None = None) -> AsyncIterator[ProofSite]:
    with TemporaryDirectory(prefix="cl-") as directory:
        async with proof_site(Path(directory), signer) as site:
            yield site


def put_quietly(host: MemoryHost, flow: Flow) -> None:
    """Put a flow into a switch so that nobody is told: as between a tampering and its repair."""
    host.switch.flows[flow.key] = InstalledFlow(flow, 0, 0)


def ofport(host: MemoryHost, name: str) -> int:
    """The OpenFlow port of a port, as its admission flow says."""
    agent = next(i for i in host.session.interfaces.values() if name in (i.iface_id, i.name))
    return agent.ofport


def iface(site: ProofSite, tenant: str, number: int) -> str:
    return next(p.iface_id for n, p in site.store.state.ports.items() if str(n) == port(tenant, number))


def of(site: ProofSite, tenant: str, number: int) -> int:
    return ofport(site.hosts[number - 1], iface(site, tenant, number))


def leak(site: ProofSite) -> Flow:
    """Whatever red/p1 sends, blue/p1 gets too."""
    return Flow(
        table=0,
        priority=60000,
        match=match(in_port=of(site, "red", 1)),
        actions=(Output(of(site, "blue", 1)),),
        cookie=0xBAD,
    )
