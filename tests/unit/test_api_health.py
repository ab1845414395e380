"""The health service follows the store, also through what happens while the server is being started."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from controller.api.server import HEALTH_POLL_S, ApiServer, Config
from controller.store.memory import MemoryStore
from tests.support.api import SteeredTracker, caller_by_metadata

SERVING = health_pb2.HealthCheckResponse.SERVING


async def test_a_store_that_gets_healthy_while_the_server_starts_is_told(tmp_path: Path) -> None:
    store = MemoryStore()
    config = Config(listen=[f"unix:{tmp_path}/api.sock"], tls=None, authenticate=caller_by_metadata)
    server = ApiServer(config, store, SteeredTracker())
    await server.start()
    await store.start()
    try:
        async with grpc.aio.insecure_channel(server.addresses[0]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            async with asyncio.timeout(20 * HEALTH_POLL_S):
                async for answer in stub.Watch(health_pb2.HealthCheckRequest()):
                    if answer.status == SERVING:
                        break
    finally:
        await server.stop(0)
        await store.stop()
