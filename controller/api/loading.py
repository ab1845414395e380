"""In the API's place while a controller reads etcd: says what it is doing, and serves nothing.

With many ports that takes a while. Without this a client would find nobody there, as if no controller ran.
In threads of its own, because the event loop has other work then. Whoever may connect learns how far the
start is, and nothing else; the health of every service is NOT_SERVING.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from cloison.errors import Unavailable
from controller.api import errors, listening
from controller.api.listening import UNIX, Tls

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
THREADS = 2
RETRY_DELAY_S = 1.0
_OPTIONS = (("grpc.so_reuseport", 0),)
_NOT_SERVING = health_pb2.HealthCheckResponse(
    status=health_pb2.HealthCheckResponse.NOT_SERVING
).SerializeToString()


class LoadingServer:
    """Listens where the API will; stop it before the API begins to listen."""

    def __init__(self, listen: Sequence[str], tls: Tls | None, doing: Callable[[], str]) -> None:
        """doing: what the controller is about, in words; asked from other threads."""
        # (Of a port that is chosen at random nobody knows yet.)
        self._listen = [address for address in listen if address.startswith(UNIX) or _port(address) != 0]
        self._tls = tls
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="loading")
        self._server = grpc.server(self._threads, handlers=[_Refusals(doing)], options=_OPTIONS)
        self._running = False

    def start(self) -> None:
        """Listen; raises OSError if an address is taken."""
        addresses = [listening.bind(self._server, address, self._tls) for address in self._listen]
        self._server.start()
        self._running = True
        if self._tls is None:
            listening.protect_sockets(addresses)

    async def stop(self) -> None:
        """Be gone; the addresses are free when this returns. Again, it does nothing."""
        if self._running:
            self._running = False
            await asyncio.to_thread(self._server.stop(0).wait)
        self._threads.shutdown(wait=False)


class _Refusals(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in the stubs only
    """One answer to every method."""

    def __init__(self, doing: Callable[[], str]) -> None:
        self._doing = doing

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """See grpc."""
        if str(details.method) == HEALTH_CHECK:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: _NOT_SERVING)
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    def _refuse(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        code, status = errors.to_status(
            Unavailable(f"this controller has just started: {self._doing()}; try again", RETRY_DELAY_S)
        )
        context.set_trailing_metadata(((errors.STATUS_METADATA_KEY, status.SerializeToString()),))
        context.abort(code, status.message)
        yield b""


def _port(address: str) -> int:
    text = address.rpartition(":")[2]
    return int(text) if text.isdecimal() else -1
