"""The metadata proxy: 169.254.169.254 and fd00:ec2::254, port 80, passed on to the IaaS's metadata service.

One request after the other on a connection. What a guest sends is read whole, within limits, before the IaaS
hears of it, so that a slow guest holds no connection there; the answer flows through, at the guest's pace.
h11 speaks HTTP on both sides.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any

import h11
import structlog

from agent.services import metadata_http
from agent.services.metadata_http import Asker, Upstream
from agent.services.nat_gate import BUFFER_BYTES, Client

_log = structlog.get_logger("agent.services")

METADATA_PORT = 80
REQUEST_S, ANSWER_S, CONNECT_S, IDLE_S = 10.0, 30.0, 3.0, 15.0
"""Time for a guest's request, for a part of the answer on either side, to connect, and to be idle."""
REQUESTS_PER_CONNECTION_MAX = 100
WARNING_INTERVAL_S = 10.0
UPSTREAM_MAX = 64
"""Requests under way to the IaaS; those that find no room wait, within ANSWER_S."""
_READ_BYTES = 16 * 1024


class _Refused(Exception):
    """A request that is answered here."""

    def __init__(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(f"{status} {reason}")


@dataclass(frozen=True, slots=True)
class _Request:
    head: h11.Request
    body: bytes


class MetadataProxy:
    """The server of the gate's connections. `upstream` None: every request is answered with 404."""

    def __init__(self, upstream: Upstream | None, secret: bytes = b"") -> None:
        self._upstream, self._secret = upstream, secret
        self._tls = ssl.create_default_context() if upstream is not None and upstream.is_tls else None
        self._room = asyncio.Semaphore(UPSTREAM_MAX)
        self._quiet_until_s = 0.0

    async def serve(self, client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a guest's connection to its end."""
        guest = _Peer(h11.SERVER, reader, writer)
        for _ in range(REQUESTS_PER_CONNECTION_MAX):
            try:
                request = await _read_request(guest)
                if request is None:
                    return
                await self._pass_on(client, guest, request)
            except _Refused as err:
                await _say(guest, err.status, err.reason)
            except h11.RemoteProtocolError as err:
                await _say(guest, err.error_status_hint, "malformed request")
            if guest.http.our_state is not h11.DONE or guest.http.their_state is not h11.DONE:
                return
            guest.http.start_next_cycle()

    async def _pass_on(self, client: Client, guest: _Peer, request: _Request) -> None:
        """Ask the IaaS, and let its answer through; raises _Refused until something was said to the guest."""
        asker = _asker(client)
        refused = metadata_http.refusal(request.head.method, request.head.target, asker)
        if refused is not None:
            raise _Refused(*refused)
        if self._upstream is None:
            raise _Refused(404, "there is no metadata service")
        iaas: _Peer | None = None
        try:
            async with asyncio.timeout(ANSWER_S), self._room:
                iaas = await self._connect(self._upstream)
                await self._ask(iaas, self._upstream, asker, request)
                head = await iaas.event()
                while isinstance(head, h11.InformationalResponse):
                    head = await iaas.event()
                if not isinstance(head, h11.Response):
                    raise _Refused(502, "the metadata service gave no answer")
            await _let_through(iaas, guest, head)
        except TimeoutError as err:
            raise self._failed(client, guest, 504, "the metadata service is too slow", err) from err
        except (OSError, h11.ProtocolError) as err:
            raise self._failed(client, guest, 502, "the metadata service cannot be reached", err) from err
        finally:
            if iaas is not None:
                iaas.writer.transport.abort()

    def _failed(self, client: Client, guest: _Peer, status: int, reason: str, error: Exception) -> Exception:
        """Return what to raise when the IaaS failed: a refusal, or, in the middle of an answer, the end."""
        if guest.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return ConnectionAbortedError(reason)
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._quiet_until_s:  # guests decide how often this happens
            self._quiet_until_s = now_s + WARNING_INTERVAL_S
            _log.warning(reason, tenant=client.port.tenant, port=client.port.port, error=str(error))
        return _Refused(status, reason)

    async def _connect(self, upstream: Upstream) -> _Peer:
        async with asyncio.timeout(CONNECT_S):
            streams = await asyncio.open_connection(
                upstream.host, upstream.port, ssl=self._tls, limit=BUFFER_BYTES
            )
        return _Peer(h11.CLIENT, *streams)

    async def _ask(self, iaas: _Peer, upstream: Upstream, asker: Asker, request: _Request) -> None:
        head = request.head
        headers = metadata_http.request_headers(head.headers, upstream, asker, self._secret)
        if request.body or head.method in (b"POST", b"PUT"):
            headers.append((b"content-length", b"%d" % len(request.body)))
        target = upstream.prefix.encode() + head.target
        iaas.put(h11.Request(method=head.method, target=target, headers=headers))
        if request.body:
            iaas.put(h11.Data(data=request.body))
        iaas.put(h11.EndOfMessage())
        await iaas.writer.drain()


class _Peer:
    """One side of the proxy: a stream, and what HTTP says of it."""

    def __init__(
        self,
        role: type[h11.CLIENT] | type[h11.SERVER],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.http = h11.Connection(role, max_incomplete_event_size=metadata_http.HEADER_BYTES_MAX)
        self.reader, self.writer = reader, writer
        self.is_head = False

    async def event(self) -> Any:
        """Return what HTTP says next; raises h11.RemoteProtocolError, OSError."""
        while True:
            event = self.http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self.http.they_are_waiting_for_100_continue:
                self.put(h11.InformationalResponse(status_code=100, headers=[]))
            self.http.receive_data(await self.reader.read(_READ_BYTES))

    def put(self, event: Any) -> None:
        """Write an event."""
        data = self.http.send(event)
        if data:
            self.writer.write(data)


def _asker(client: Client) -> Asker:
    """Return in whose name a request goes on.

    The address is one of the port's own: a guest without port security may send from any.
    """
    port = client.port
    address = client.address
    is_known = address in port.addresses or any(
        address.version == prefix.version and address in prefix for prefix in port.allowed_prefixes
    )
    if not is_known:
        same = [known for known in port.addresses if known.version == address.version]
        address = (same or list(port.addresses) or [address])[0]
    return Asker(port.device_id, port.project_id or port.tenant, str(address))


async def _read_request(guest: _Peer) -> _Request | None:
    """Return the next request, whole; None if there is none; raises _Refused, h11.RemoteProtocolError."""
    try:
        async with asyncio.timeout(IDLE_S):
            head = await guest.event()
        if not isinstance(head, h11.Request):
            return None
        guest.is_head = head.method == b"HEAD"
        if metadata_http.is_ambiguous(head.headers):
            raise _Refused(400, "two lengths")
        length = metadata_http.content_length(head.headers)
        if length is not None and length > metadata_http.REQUEST_BODY_BYTES_MAX:
            raise _Refused(413, "body too long")
        body = bytearray()
        async with asyncio.timeout(REQUEST_S):
            while isinstance(part := await guest.event(), h11.Data):
                body += part.data
                if len(body) > metadata_http.REQUEST_BODY_BYTES_MAX:
                    raise _Refused(413, "body too long")
        return _Request(head, bytes(body)) if isinstance(part, h11.EndOfMessage) else None
    except TimeoutError:
        if guest.http.their_state is h11.IDLE:
            return None
        raise _Refused(408, "request not finished in time") from None


async def _let_through(iaas: _Peer, guest: _Peer, head: h11.Response) -> None:
    """Hand the answer on, part by part; one that is too long, or breaks off, breaks off for the guest."""
    headers = metadata_http.answer_headers(head.headers)
    length = metadata_http.content_length(head.headers)
    if length is not None and not metadata_http.is_ambiguous(head.headers):
        if length > metadata_http.ANSWER_BODY_BYTES_MAX:
            raise _Refused(502, "the metadata service's answer is too long")
        headers.append((b"content-length", b"%d" % length))
    guest.put(h11.Response(status_code=head.status_code, reason=head.reason, headers=headers))
    passed_bytes = 0
    while True:
        async with asyncio.timeout(ANSWER_S):
            part = await iaas.event()
            if not isinstance(part, h11.Data):
                break
            passed_bytes += len(part.data)
            if passed_bytes > metadata_http.ANSWER_BODY_BYTES_MAX:
                return
            guest.put(h11.Data(data=part.data))
            await guest.writer.drain()
    if isinstance(part, h11.EndOfMessage):
        guest.put(h11.EndOfMessage())
        async with asyncio.timeout(ANSWER_S):
            await guest.writer.drain()


async def _say(guest: _Peer, status: int, reason: str) -> None:
    """Answer a request here. After a request that was not read to its end, h11 says `Connection: close`."""
    if guest.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    body = f"{reason}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
    ]
    if guest.http.their_state is not h11.DONE:
        headers.append((b"connection", b"close"))
    guest.put(h11.Response(status_code=status, reason=reason.encode(), headers=headers))
    if not guest.is_head:
        guest.put(h11.Data(data=body))
    guest.put(h11.EndOfMessage())
    async with asyncio.timeout(ANSWER_S):
        await guest.writer.drain()
