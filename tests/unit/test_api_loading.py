"""Before the API is there: what a client is told, and that the API then listens at the same addresses."""

from __future__ import annotations

import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cloison.errors import InvalidIntent
from cloison.v1 import port_pb2, port_pb2_grpc, tenant_pb2, tenant_pb2_grpc, watch_pb2, watch_pb2_grpc
from controller.api.loading import LoadingServer
from controller.api.server import ApiServer, Config
from controller.store.memory import MemoryStore
from tests.support.api import SteeredTracker
from tests.support.plans import refused

ROUNDS = 20


@pytest.fixture
def addresses() -> Iterator[list[str]]:
    """A socket in a short directory, and a free TCP port."""
    with TemporaryDirectory(prefix="cl-") as directory, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        yield [f"unix:{directory}/api.sock", f"127.0.0.1:{port}"]


async def test_whoever_calls_is_told_what_goes_on(addresses: list[str]) -> None:
    doing = ["it is reading etcd (7 ports so far)"]
    loading = LoadingServer(addresses, None, lambda: doing[0])
    loading.start()
    try:
        for address in addresses:
            async with grpc.aio.insecure_channel(address) as channel:
                for call in (
                    watch_pb2_grpc.StateServiceStub(channel).GetStatus(watch_pb2.GetStatusRequest()),
                    port_pb2_grpc.PortServiceStub(channel).CreatePort(port_pb2.CreatePortRequest()),
                    watch_pb2_grpc.StateServiceStub(channel).Watch(watch_pb2.WatchRequest()).read(),
                ):
                    refusal = await refused(call)
                    assert refusal.code is grpc.StatusCode.UNAVAILABLE
                    assert doing[0] in refusal.message
                    assert refusal.retry_delay_s
                health = health_pb2_grpc.HealthStub(channel)
                answer = await health.Check(health_pb2.HealthCheckRequest())
                assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        path = Path(addresses[0].removeprefix("unix:"))
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR
    finally:
        await loading.stop()
        await loading.stop()


async def test_it_answers_while_the_loop_is_held(addresses: list[str]) -> None:
    loading = LoadingServer(addresses, None, lambda: "busy")
    loading.start()
    channel = grpc.insecure_channel(addresses[0])
    try:
        call = tenant_pb2_grpc.TenantServiceStub(channel).GetTenant.future(tenant_pb2.GetTenantRequest())
        deadline = time.monotonic() + 10
        while not call.done() and time.monotonic() < deadline:
            pass  # and the loop gets no turn
        assert call.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        channel.close()
        await loading.stop()


async def test_the_api_takes_the_same_addresses_at_once(addresses: list[str]) -> None:
    """Again and again: no socket is removed late, from under the one that listens then."""
    store = MemoryStore()
    await store.start()
    for _ in range(ROUNDS):
        loading = LoadingServer(addresses, None, lambda: "busy")
        loading.start()
        async with grpc.aio.insecure_channel(addresses[0]) as channel:
            await refused(
                tenant_pb2_grpc.TenantServiceStub(channel).ListTenants(tenant_pb2.ListTenantsRequest())
            )
            await loading.stop()
            server = ApiServer(Config(listen=addresses, tls=None), store, SteeredTracker())
            await server.start()
            # The channel of before works on.
            await tenant_pb2_grpc.TenantServiceStub(channel).ListTenants(
                tenant_pb2.ListTenantsRequest(), wait_for_ready=True, timeout=10
            )
        for address in addresses:
            async with grpc.aio.insecure_channel(address) as channel:
                stub = tenant_pb2_grpc.TenantServiceStub(channel)
                await stub.ListTenants(tenant_pb2.ListTenantsRequest(), timeout=10)
        await server.stop(0)
    await store.stop()


async def test_an_address_that_is_taken_is_told_at_once(addresses: list[str]) -> None:
    host, _, port = addresses[1].rpartition(":")
    with socket.create_server((host, int(port))):
        loading = LoadingServer(addresses[1:], None, lambda: "busy")
        with pytest.raises(OSError, match="cannot listen"):
            loading.start()
        await loading.stop()
    with pytest.raises(InvalidIntent):
        LoadingServer(["nonsense"], None, lambda: "busy").start()
