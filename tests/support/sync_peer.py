"""The controller's side of HostSync, played by a test: a gRPC server that says what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from cloison.v1 import host_sync_pb2 as pb
from cloison.v1 import host_sync_pb2_grpc
from controller.cli.pki import Issued

DEADLINE_S = 15.0
_OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),
    ("grpc.keepalive_permit_without_calls", 1),
]


class PeerSession:
    """One stream of an agent. `heard` holds all it said after Hello."""

    def __init__(self, hello: pb.Hello) -> None:
        self.hello = hello
        self.heard: list[pb.AgentMessage] = []
        self.interfaces: dict[str, pb.Interface] = {}
        self.tunnel_ports: dict[int, int] = {}
        self.ended = False
        self.outgoing: asyncio.Queue[pb.ControllerMessage | None] = asyncio.Queue()
        self._news = asyncio.Condition()

    async def hear(self, message: pb.AgentMessage) -> None:
        async with self._news:
            self.heard.append(message)
            if message.WhichOneof("kind") == "inventory":
                self._follow(message.inventory)
            self._news.notify_all()

    def _follow(self, inventory: pb.Inventory) -> None:
        if inventory.complete:
            self.interfaces, self.tunnel_ports = {}, {}
        for interface in inventory.interfaces:
            self.interfaces[interface.name] = interface
        for port in inventory.tunnel_ports:
            self.tunnel_ports[port.vni] = port.ofport
        for name in inventory.removed_interfaces:
            del self.interfaces[name]
        for vni in inventory.removed_tunnel_ports:
            del self.tunnel_ports[vni]

    async def end(self) -> None:
        async with self._news:
            self.ended = True
            self._news.notify_all()

    async def until(self, check: Callable[[], Any], what: str) -> Any:
        """Wait until check() is true of what was heard, and return it."""
        async with self._news:
            try:
                await asyncio.wait_for(self._news.wait_for(check), DEADLINE_S)
            except TimeoutError:
                raise AssertionError(f"not within {DEADLINE_S} s: {what}; heard {self.heard[-5:]}") from None
            return check()

    def send(self, **kind: Any) -> None:
        """Say one message, e.g. send(delta=...)."""
        self.outgoing.put_nowait(pb.ControllerMessage(**kind))

    def welcome(self, epoch: int = 1, target: str = "", controller_id: str = "c1") -> None:
        """Say Welcome."""
        message = pb.Welcome(controller_id=controller_id, epoch=epoch, openflow_target=target)
        self.send(welcome=message)

    async def snapshot(self, revision: int, *deltas: pb.PlanDelta) -> pb.Ack:
        """Send a whole plan and return the agent's answer."""
        for delta in deltas:
            self.send(delta=delta)
        self.send(snapshot_complete=pb.SnapshotComplete(revision=revision))
        return await self.barrier(revision)

    async def change(self, delta: pb.PlanDelta) -> pb.Ack:
        """Send one delta and return the agent's answer."""
        self.send(delta=delta)
        return await self.barrier(delta.revision)

    async def barrier(self, revision: int, *, revalidate: bool = False) -> pb.Ack:
        """Ask for an Ack and return it."""
        known = len(self.heard)
        self.send(barrier=pb.Barrier(revision=revision, revalidate=revalidate))

        def answer() -> pb.Ack | None:
            acks = [m.ack for m in self.heard[known:] if m.WhichOneof("kind") == "ack"]
            return next((ack for ack in acks if ack.revision == revision), None)

        found: pb.Ack = await self.until(answer, f"Ack of {revision}")
        return found

    def drifts(self) -> list[pb.Drift]:
        """All reports of drift so far."""
        return [m.drift for m in self.heard if m.WhichOneof("kind") == "drift"]

    async def drift(self, kind: str) -> pb.Drift:
        """Wait for a report of drift of that kind."""
        found: pb.Drift = await self.until(
            lambda: next((drift for drift in self.drifts() if drift.kind == kind), None), f"drift {kind}"
        )
        return found


class SyncPeer(host_sync_pb2_grpc.HostSyncServicer):
    """The server; listens on a Unix socket, so that it can be reached from every network namespace."""

    def __init__(self, path: Path, issued: Issued | None = None) -> None:
        self.endpoint = f"unix:{path}"
        self._issued = issued
        self._sessions: asyncio.Queue[PeerSession] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to listen."""
        server = grpc.aio.server(options=_OPTIONS)
        host_sync_pb2_grpc.add_HostSyncServicer_to_server(self, server)
        if self._issued is None:
            server.add_insecure_port(self.endpoint)
        else:
            pair = (self._issued.key.read_bytes(), self._issued.cert.read_bytes())
            credentials = grpc.ssl_server_credentials(
                [pair], self._issued.ca.read_bytes(), require_client_auth=True
            )
            server.add_secure_port(self.endpoint, credentials)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Stop listening and end every stream."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def session(self) -> PeerSession:
        """Wait for the next agent that dials."""
        return await asyncio.wait_for(self._sessions.get(), DEADLINE_S)

    async def Sync(
        self, request_iterator: AsyncIterator[pb.AgentMessage], context: Any
    ) -> AsyncIterator[pb.ControllerMessage]:
        """The call itself."""
        session = PeerSession((await anext(aiter(request_iterator))).hello)
        reader = asyncio.create_task(self._read(session, request_iterator))
        self._sessions.put_nowait(session)
        try:
            while (message := await session.outgoing.get()) is not None:
                yield message
        finally:
            reader.cancel()
            await session.end()

    async def _read(self, session: PeerSession, messages: AsyncIterator[pb.AgentMessage]) -> None:
        try:
            async for message in messages:
                await session.hear(message)
        finally:
            session.outgoing.put_nowait(None)
