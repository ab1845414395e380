"""`cloison.v1.VerifyService`: do hosts do what the intent means, and why does a packet (not) pass.

The proof runs in a thread, one at a time. Not in a process of its own: to hand over the state would hold up
the event loop for longer than sharing the interpreter does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import structlog

from cloison.errors import InvalidIntent, PermissionDenied
from cloison.names import PortName
from cloison.v1 import verify_pb2, verify_pb2_grpc
from controller.api.attestation import INVARIANTS, Verdict, canonical, judge
from controller.api.auth import current_caller
from controller.api.tracing import Tracer, for_tenant
from controller.reconcile.reading import Observer, Picture
from controller.reconcile.tracker import Tracker

_log = structlog.get_logger(__name__)


class Signing(Protocol):
    """What vouches for a payload."""

    certificate: bytes

    def sign(self, payload: bytes) -> bytes:
        """Return the signature."""
        ...


class VerifyService(verify_pb2_grpc.VerifyServiceServicer):
    """See verify.proto. signer None: without certificates nothing is signed."""

    def __init__(
        self,
        observer: Observer,
        tracker: Tracker,
        signer: Signing | None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._observer, self._tracker, self._signer, self._now_ns = observer, tracker, signer, now_ns
        self._tracer = Tracer(observer)
        self._one_at_a_time = asyncio.Lock()

    async def Verify(self, request: verify_pb2.VerifyRequest, context: Any) -> verify_pb2.VerifyResponse:
        """Verify everything, and sign what was found."""
        async with self._one_at_a_time:
            if request.live:
                reading = await self._observer.reading()
                picture = reading.picture
                work = partial(judge, picture, reading.held, reading.unread)
            else:
                picture = await self._observer.picture()
                work = partial(judge, picture)
            made_ns, started_s = self._now_ns(), time.perf_counter()
            verdict = await _to_the_end(work)
            verify_s = time.perf_counter() - started_s
        attestation = self._attestation(
            picture, verdict, live=request.live, made_ns=made_ns, verify_s=verify_s
        )
        _log_outcome(attestation)
        response = verify_pb2.VerifyResponse(attestation=attestation, payload=canonical(attestation))
        if self._signer is not None:
            response.signature = self._signer.sign(response.payload)
            response.certificate = self._signer.certificate
        return response

    def _attestation(
        self, picture: Picture, verdict: Verdict, *, live: bool, made_ns: int, verify_s: float
    ) -> verify_pb2.Attestation:
        attestation = verify_pb2.Attestation(
            revision=picture.revision,
            live=live,
            controller=self._tracker.controller_id,
            epoch=self._tracker.epoch,
            holds=verdict.holds,
            invariants=INVARIANTS,
            hosts=verdict.hosts,
            violations=verdict.violations,
            violations_total=verdict.violations_total,
            tenants=picture.tenants,
            networks=len(picture.intent.networks),
            ports=len(picture.intent.ports),
            verify_s=round(verify_s, 6),
        )
        attestation.create_time.FromNanoseconds(made_ns)
        return attestation

    async def Trace(self, request: verify_pb2.TraceRequest, context: Any) -> verify_pb2.TraceResponse:
        """Follow one packet."""
        caller = current_caller()
        port = PortName.parse(request.port, "port")
        to_port = PortName.parse(request.to_port, "to_port") if request.to_port else None
        if not request.packet and to_port is None:
            raise InvalidIntent.of("packet", "", 'an expression such as "icmp to 10.0.0.6", or name to_port')
        if caller.tenant is None:
            return await self._tracer.trace(port, request.packet, to_port, live=request.live)
        if request.live:
            raise PermissionDenied(f"{caller.identity} may not ask the switches: trace without live")
        if to_port is not None and to_port.tenant != caller.tenant:
            raise PermissionDenied(f"{caller.identity} may only use names under tenants/{caller.tenant}")
        return for_tenant(await self._tracer.trace(port, request.packet, to_port, live=False), caller.tenant)


async def _to_the_end(work: Callable[[], Verdict]) -> Verdict:
    """Run in a thread; who gives up meanwhile waits all the same, so that no second proof runs beside it."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _log_outcome(attestation: verify_pb2.Attestation) -> None:
    unread = [host.host for host in attestation.hosts if host.HasField("unread")]
    say = _log.info if attestation.holds else _log.error
    say(
        "verified",
        revision=attestation.revision,
        live=attestation.live,
        holds=attestation.holds,
        violations=attestation.violations_total,
        unread=unread,
        verify_s=round(attestation.verify_s, 3),
    )
