"""The gRPC stream to a controller: dial, say who we are, pass messages on, dial again. Several
controllers in turn.

Never decides anything: session.py does. Without any controller the host goes on as it is.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import structlog

from agent.outbox import Outbox
from agent.ovsdb.view import BridgeView
from agent.plan import Vtep
from agent.seams import Dial
from agent.session import Refused, Session
from cloison.errors import Unavailable
from cloison.lean import as_if_absent
from cloison.v1 import host_sync_pb2 as pb

# Without the compiler of protobuf and services of servers.
with as_if_absent("grpc_tools", "grpc_health", "grpc_reflection"):
    import grpc
    import grpc.aio

    from cloison.v1 import host_sync_pb2_grpc

_log = structlog.get_logger("agent.stream")

BACKOFF_MIN_S, BACKOFF_MAX_S = 0.2, 5.0
WELCOME_TIMEOUT_S = 10.0
MESSAGE_BYTES_MAX = 16 << 20
_CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    # A peer that vanished without a word is noticed within 15 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_retries", 0),
    # Each attempt is ours to time; a channel lives for one stream.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What Hello says that does not change."""

    host: str
    vtep: Vtep
    agent_version: str
    labels: Mapping[str, str] = field(default_factory=dict)


class Stream:
    """Keeps one stream up for as long as the task runs."""

    def __init__(
        self,
        dial: Dial,
        identity: Identity,
        outbox: Outbox,
        view: Callable[[], BridgeView],
        session: Callable[[], tuple[Session, int]],
        underlay_mtu: Callable[[], Awaitable[int]],
        mappings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """session makes a new Session and tells the revision of the plan this host runs.

        mappings: the bridge of each physical network; told of are those whose bridge is there.
        """
        self._dial, self._identity, self._outbox = dial, identity, outbox
        self._view, self._new_session, self._underlay_mtu = view, session, underlay_mtu
        self._mappings = mappings
        self._missing: set[str] = set()
        self._log = _log.bind(host=identity.host)

    async def run(self) -> None:
        """Dial the controllers in turn, for ever."""
        backoff_s, attempt = BACKOFF_MIN_S, 0
        while True:
            endpoint = self._dial.endpoints[attempt % len(self._dial.endpoints)]
            attempt += 1
            await self._until_bridged()
            session, revision = self._new_session()
            try:
                await self._talk(endpoint, session, revision)
            except Refused as err:
                self._log.error("controller not obeyed", controller=endpoint, error=str(err))
            except (Unavailable, grpc.aio.AioRpcError, OSError, TimeoutError) as err:
                self._log.warning("no stream", controller=endpoint, error=_words(err))
            finally:
                session.end()
            if session.welcomed:
                backoff_s = BACKOFF_MIN_S
            # Jitter, so that a thousand hosts do not come back in the same instant.
            await asyncio.sleep(backoff_s * (0.5 + random.random()))
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _until_bridged(self) -> None:
        """Without a bridge there is nothing to tell a controller; go on as soon as it is there."""
        if not self._outbox.bridged:
            self._log.info("no stream before the bridge is there")
            await self._outbox.wait_bridged()

    async def _talk(self, endpoint: str, session: Session, revision: int) -> None:
        hello = await self._hello(session.fence.epoch, revision)
        async with self._channel(endpoint) as channel:
            stub: Any = host_sync_pb2_grpc.HostSyncStub(channel)
            call = stub.Sync()
            try:
                async with asyncio.timeout(WELCOME_TIMEOUT_S):
                    await self._introduce(call, hello)
                await self._first_of(self._listen(call, session), self._speak(call, hello))
            finally:
                call.cancel()

    async def _introduce(self, call: Any, hello: pb.Hello) -> None:
        await _write(call, pb.AgentMessage(hello=hello))
        await _write(call, pb.AgentMessage(inventory=self._outbox.begin()))

    async def _hello(self, epoch: int, revision: int) -> pb.Hello:
        view = self._view()
        if not view.datapath_id:
            raise Unavailable("the bridge is not there yet")
        return pb.Hello(
            host_id=self._identity.host,
            vtep_address=str(ipaddress.ip_address(self._identity.vtep)),
            datapath_id=view.datapath_id,
            underlay_mtu=await self._underlay_mtu(),
            agent_version=self._identity.agent_version,
            datapath_type=view.datapath_type,
            labels=self._identity.labels,
            epoch=epoch,
            revision=revision,
            physical_networks=self._physical_networks(view),
        )

    def _physical_networks(self, view: BridgeView) -> list[str]:
        """Return those whose bridge is there; the others are logged when that becomes known."""
        missing = {name for name, bridge in self._mappings.items() if bridge not in view.bridges}
        for name in sorted(missing - self._missing):
            self._log.error(
                "bridge of a physical network is not there",
                physical_network=name,
                bridge=self._mappings[name],
            )
        self._missing = missing
        return sorted(self._mappings.keys() - missing)

    async def _listen(self, call: Any, session: Session) -> None:
        while True:
            # A controller that accepts the stream and says nothing is as good as none.
            timeout_s = None if session.welcomed else WELCOME_TIMEOUT_S
            async with asyncio.timeout(timeout_s):
                message = await call.read()
            if message is grpc.aio.EOF:  # type: ignore[attr-defined]  # not in the stubs
                status = await call.code()
                raise Unavailable(f"the controller ended the stream: {status.name}: {await call.details()}")
            session.take(message)

    async def _speak(self, call: Any, hello: pb.Hello) -> None:
        while True:
            await self._outbox.wait()
            view = self._view()
            if view.datapath_id not in (0, hello.datapath_id):
                raise Unavailable("the bridge was made anew; registering again")
            if view.connected and self._physical_networks(view) != list(hello.physical_networks):
                raise Unavailable("bridges of physical networks came or went; registering again")
            for message in self._outbox.take():
                await _write(call, message)

    async def _first_of(self, *work: Any) -> None:
        """Run all until the first one ends, which is always by an error; raise that."""
        tasks = [asyncio.ensure_future(coroutine) for coroutine in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    def _channel(self, endpoint: str) -> grpc.aio.Channel:
        if self._dial.key is None or self._dial.cert is None or self._dial.ca is None:
            return grpc.aio.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
        # Read each time: certificates may have been renewed.
        credentials = grpc.ssl_channel_credentials(
            self._dial.ca.read_bytes(), self._dial.key.read_bytes(), self._dial.cert.read_bytes()
        )
        name = ("grpc.ssl_target_name_override", self._dial.server_name)
        return grpc.aio.secure_channel(endpoint, credentials, options=(*_CHANNEL_OPTIONS, name))


async def _write(call: Any, message: pb.AgentMessage) -> None:
    try:
        await call.write(message)
    except asyncio.InvalidStateError as err:
        # The call ended between two writes; what the server said with it is the better reason.
        raise Unavailable(f"the controller ended the stream: {await call.details()}") from err


def _words(err: Exception) -> str:
    if isinstance(err, grpc.aio.AioRpcError):
        return f"{err.code().name}: {err.details()}"
    return str(err) or type(err).__name__
