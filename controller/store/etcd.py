"""The way to etcd: one TLS channel to one endpoint, and the four calls that the store needs.

The only module that knows aetcd. Of aetcd it uses the client and its stubs; its own watcher, locks and
reconnection are not used: they hide what the store must see (fragments, cancellation, compaction), and lose
it. Errors of gRPC end here, as `EtcdDown`, `Compacted` or an error of our tree.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

import aetcd
import aetcd.rpc as rpc
import grpc

from cloison.errors import InvalidIntent, Unavailable
from controller.store import keys
from controller.store.mirror import RawEvent
from controller.store.txn import Compare, Condition, Write

MESSAGE_BYTES_MAX = 64 << 20
CONNECT_TIMEOUT_S = 3.0

_CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # etcd refuses pings more often than every 5 s (--grpc-keepalive-min-time).
    ("grpc.keepalive_time_ms", 6_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A new channel means a new connection; and never one through a proxy that the environment names.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    # A transaction sent twice by the library would be judged by us as sent once.
    ("grpc.enable_retries", 0),
)


class EtcdDown(Exception):
    """No (usable) answer. What was asked may have been done."""


class TooLarge(EtcdDown):
    """The answer exceeds MESSAGE_BYTES_MAX; ask for less."""


class Compacted(Exception):
    """The history asked for is gone; list again."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files; read at each connect, so that renewed certificates are taken up."""

    ca: Path
    cert: Path
    key: Path
    # Name to expect in the server's certificate in place of the endpoint's host.
    server_name: str = ""


class Endpoint(NamedTuple):
    """Where one etcd member listens for clients."""

    target: str
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Read https://HOST:PORT (http: plain text); raises InvalidIntent."""
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if parts.scheme not in ("http", "https") or not host or not port or parts.path not in ("", "/"):
            raise InvalidIntent.of("etcd", url, "https://HOST:PORT")
        return cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", parts.scheme == "https")


class Header(NamedTuple):
    """What each answer says about the store it is from."""

    cluster_id: int
    revision: int
    raft_term: int


class Page(NamedTuple):
    """Part of a list; all parts are read at one revision."""

    header: Header
    # Of protobuf's values, which are turned into ours when they are needed, a few at a time.
    values: Sequence[Any]
    more: bool

    @property
    def found(self) -> Iterator[RawEvent]:
        """The keys and values, in order of the keys."""
        return (RawEvent(_text(kv.key), kv.value, kv.mod_revision) for kv in self.values)

    @property
    def next_start(self) -> str:
        """Where the next page begins; only if there is more."""
        return _text(self.values[-1].key) + "\0"


class Answer(NamedTuple):
    """Of a transaction: whether it was done, and the store's revision then."""

    succeeded: bool
    header: Header


class Client(aetcd.Client):  # type: ignore[misc]  # aetcd is untyped
    """One channel to one endpoint. Not reused after it failed."""

    def __init__(self, endpoint: Endpoint, tls: Tls | None, *, timeout_s: float) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._tls = tls
        self._timeout_s = timeout_s
        self._connecting = asyncio.Lock()

    async def connect(self) -> None:
        """Open the channel; safe from several tasks. What is wrong with it shows at the first call."""
        async with self._connecting:
            if self._connected.is_set():
                return
            self.channel = self._open()
            # Kept beside aetcd's attributes, which close() takes away from under a call.
            self._kv = rpc.KVStub(self.channel)
            self._watches = rpc.WatchStub(self.channel)
            self._connected.set()

    def _open(self) -> grpc.aio.Channel:
        if not self._endpoint.tls:
            return grpc.aio.insecure_channel(self._endpoint.target, options=_CHANNEL_OPTIONS)
        if self._tls is None:
            raise InvalidIntent.of("etcd", f"https://{self._endpoint.target}", "with CA, certificate and key")
        credentials = grpc.ssl_channel_credentials(
            self._tls.ca.read_bytes(), self._tls.key.read_bytes(), self._tls.cert.read_bytes()
        )
        options = _CHANNEL_OPTIONS
        if self._tls.server_name:
            options += (("grpc.ssl_target_name_override", self._tls.server_name),)
        return grpc.aio.secure_channel(self._endpoint.target, credentials, options=options)

    async def header(self) -> Header:
        """Read (linearizably: a quorum agrees) which store this is and where it stands."""
        request = rpc.RangeRequest(key=keys.EPOCH.encode(), keys_only=True)
        return _header((await self._call(self._kv.Range, request, CONNECT_TIMEOUT_S)).header)

    async def page(
        self, key: str, range_end: str, *, limit: int, revision: int = 0, keys_only: bool = False
    ) -> Page:
        """Read up to limit keys from key on, in order, as they were at revision (0: now)."""
        request = rpc.RangeRequest(
            key=key.encode(),
            range_end=range_end.encode(),
            limit=limit,
            revision=revision,
            keys_only=keys_only,
        )
        answer = await self._call(self._kv.Range, request, self._timeout_s)
        return Page(_header(answer.header), answer.kvs, answer.more)

    async def txn(self, compares: tuple[Compare, ...], writes: tuple[Write, ...]) -> Answer:
        """Do all writes at one revision if all comparisons hold, else nothing.

        Raises EtcdDown if that is not known, and Unavailable if etcd refused to try.
        """
        request = rpc.TxnRequest(
            compare=[_compare(compare) for compare in compares],
            success=[_operation(write) for write in writes],
        )
        answer = await self._call(self._kv.Txn, request, self._timeout_s)
        return Answer(answer.succeeded, _header(answer.header))

    async def _call(self, method: Callable[..., Any], request: Any, timeout_s: float) -> Any:
        try:
            return await method(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise_for(error)
        # The channel was closed under the call, because the watch had found the endpoint dead.
        except grpc.aio.UsageError as error:
            raise EtcdDown(str(error)) from error
        except asyncio.CancelledError:
            if _task_is_cancelled():
                raise
            raise EtcdDown("the connection was given up") from None

    @asynccontextmanager
    async def watch(self, start_revision: int) -> AsyncIterator[Watch]:
        """Follow all our keys from a revision on; raises Compacted or EtcdDown, here or while reading."""
        # hasleader: end the stream when the member has lost its quorum, in place of silence for ever.
        call = self._watches.Watch(metadata=(("hasleader", "true"),))
        watch = Watch(call)
        try:
            await watch.create(start_revision, self._timeout_s)
            yield watch
        finally:
            call.cancel()


class Watch:
    """One watch of all our keys on a stream of its own."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def create(self, start_revision: int, timeout_s: float) -> None:
        """Ask for the watch, and wait until etcd says it is there."""
        request = rpc.WatchCreateRequest(
            key=keys.PREFIX.encode(),
            range_end=keys.range_end(keys.PREFIX).encode(),
            start_revision=start_revision,
            fragment=True,
        )
        await self._write(rpc.WatchRequest(create_request=request))
        response = await self._read(timeout_s)
        if not response.created:
            raise EtcdDown("etcd's first answer to a watch was not that it is there")

    async def ask_progress(self) -> None:
        """Make etcd say something. In 3.4 the answer may overtake events: it proves life, nothing more."""
        await self._write(rpc.WatchRequest(progress_request=rpc.WatchProgressRequest()))

    async def next(self, silence_max_s: float) -> tuple[list[RawEvent], bool, Header]:
        """Return the next response: events, whether more fragments follow, header."""
        response = await self._read(silence_max_s)
        events = [
            RawEvent(
                _text(event.kv.key),
                None if event.type == event.DELETE else event.kv.value,
                event.kv.mod_revision,
            )
            for event in response.events
        ]
        return events, response.fragment, _header(response.header)

    def cancel(self) -> None:
        """End the watch from another task; the reader gets EtcdDown."""
        self._call.cancel()

    async def _write(self, request: Any) -> None:
        try:
            await self._call.write(request)
        except grpc.aio.AioRpcError as error:
            raise_for(error)
        except (asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            raise EtcdDown("the watch has ended") from error

    async def _read(self, silence_max_s: float) -> Any:
        try:
            async with asyncio.timeout(silence_max_s):
                response = await self._call.read()
        except TimeoutError:
            raise EtcdDown(f"the watch was silent for {silence_max_s} s") from None
        except grpc.aio.AioRpcError as error:
            raise_for(error)
        except asyncio.CancelledError:
            if _task_is_cancelled():
                raise
            raise EtcdDown("the watch was given up") from None
        if response is grpc.aio.EOF:  # type: ignore[attr-defined]  # missing in the stubs
            raise EtcdDown("etcd ended the watch")
        if response.compact_revision:
            raise Compacted(f"history before revision {response.compact_revision} is gone")
        # Refused watches come as created and cancelled with id -1, and are silent ever after. (An id of -1
        # alone is how 3.4 answers a request for progress.)
        if response.canceled or (response.created and response.watch_id < 0):
            raise EtcdDown(f"etcd refused the watch: {response.cancel_reason or 'no reason given'}")
        return response


def _task_is_cancelled() -> bool:
    """Tell a cancelled task from a cancelled call: grpc raises CancelledError for both."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def raise_for(error: grpc.aio.AioRpcError) -> NoReturn:
    """Turn an error of gRPC into one of ours, cause chained."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.OUT_OF_RANGE and "compacted" in details:
        raise Compacted(details) from error
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "etcdserver" in details:
        hint = "compact, defragment and disarm the alarm" if "space" in details else "it has too much to do"
        raise Unavailable(f"etcd takes no writes ({details}): {hint}") from error
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        raise TooLarge(details) from error
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        raise InvalidIntent.of("request", details, "a request that etcd takes") from error
    if any(word in details for word in ("TSI", "SSL", "andshake", "CERTIFICATE")):
        details += (
            " (TLS: is the certificate a controller's, is the server's from the CA given, do names fit?)"
        )
    raise EtcdDown(f"{code.name}: {details}") from error


def _header(header: Any) -> Header:
    return Header(header.cluster_id, header.revision, header.raft_term)


def _text(key: bytes) -> str:
    # Ours are ASCII; a stranger's must not stop us from reading on.
    return key.decode("utf-8", "backslashreplace")


_CONDITIONS: dict[Condition, Callable[[Compare], dict[str, Any]]] = {
    Condition.ABSENT: lambda _: {
        "target": rpc.Compare.CREATE,
        "result": rpc.Compare.EQUAL,
        "create_revision": 0,
    },
    Condition.PRESENT: lambda _: {
        "target": rpc.Compare.CREATE,
        "result": rpc.Compare.GREATER,
        "create_revision": 0,
    },
    Condition.UNCHANGED: lambda compare: {
        "target": rpc.Compare.MOD,
        "result": rpc.Compare.EQUAL,
        "mod_revision": compare.revision,
    },
    # Of a key that is not there etcd takes the mod revision to be 0.
    Condition.NOT_NEWER: lambda compare: {
        "target": rpc.Compare.MOD,
        "result": rpc.Compare.LESS,
        "mod_revision": compare.revision + 1,
    },
}


def _compare(compare: Compare) -> Any:
    parts = _CONDITIONS[compare.condition](compare)
    return rpc.Compare(key=compare.key.encode(), range_end=compare.range_end.encode(), **parts)


def _operation(write: Write) -> Any:
    if write.value is None:
        delete = rpc.DeleteRangeRequest(key=write.key.encode(), range_end=write.range_end.encode())
        return rpc.RequestOp(request_delete_range=delete)
    return rpc.RequestOp(request_put=rpc.PutRequest(key=write.key.encode(), value=write.value))
