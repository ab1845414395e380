"""The real store: follows etcd with one watch, changes it with transactions, outlives what happens to it.

    connect -> who is it? -> list (if needed) at one revision R -> watch from R+1 -> ...
        compacted, or a promise broken     list again, apply the difference (deletions are found)
        silent, cut, no leader             next endpoint, resume after the last whole revision
        another or an older store          list again, trusting nothing; if too much would be deleted, keep
                                           the state, refuse changes and say so, until a person has decided

The watch is not believed to be complete either: from time to time keys and revisions are compared.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TypeVar

import structlog

from cloison.codec import epoch_from_bytes, epoch_to_bytes
from cloison.errors import InvalidIntent, Unavailable
from controller.store import keys
from controller.store.audit import Audit
from controller.store.base import BaseStore, Outcome, OutcomeUnknown
from controller.store.etcd import Client, Compacted, Endpoint, EtcdDown, Header, Page, Tls, TooLarge, Watch
from controller.store.relist import Relist
from controller.store.revisions import BrokenWatch, Revisions
from controller.store.store import SUBSCRIPTION_REVISIONS_MAX
from controller.store.txn import DEFAULT_LIMITS, Compare, Condition, Limits, Txn, Write

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Times and sizes; the defaults notice a dead endpoint within about 5 s."""

    request_timeout_s: float = 5.0
    # How long a change waits for a connection, and for a lost answer to be cleared up.
    patience_s: float = 10.0
    probe_interval_s: float = 2.0
    silence_max_s: float = 5.0
    retry_delay_min_s: float = 0.05
    retry_delay_max_s: float = 2.0
    refused_delay_s: float = 10.0
    page_keys: int = 4_000
    audit_interval_s: float = 600.0
    # Part of all objects that a change of the store itself may delete before a person must confirm.
    mass_delete_max: float = 0.2
    mass_delete_min_objects: int = 20
    subscription_revisions_max: int = SUBSCRIPTION_REVISIONS_MAX
    # What etcd was started with.
    limits: Limits = DEFAULT_LIMITS


class EtcdStore(BaseStore):
    """`Store` on etcd; see the module."""

    def __init__(self, endpoints: Sequence[str], tls: Tls | None, settings: Settings | None = None) -> None:
        """endpoints: https://HOST:PORT of each member (http: plain text, tls None)."""
        self._settings = settings if settings is not None else Settings()
        super().__init__(
            subscription_revisions_max=self._settings.subscription_revisions_max,
            limits=self._settings.limits,
        )
        if not endpoints:
            raise InvalidIntent.of("etcd", "", "at least one https://HOST:PORT")
        self._endpoints = [Endpoint.parse(endpoint) for endpoint in endpoints]
        self._tls = tls
        self._client: Client | None = None
        self._watch: Watch | None = None
        self._connected = asyncio.Event()
        self._loaded = asyncio.Event()
        self._probe_now = asyncio.Event()
        self._must_list = True
        self._header: Header | None = None
        self._refused = ""
        self._followed = False
        self._runner: asyncio.Task[None] | None = None

    # -- Store -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """See Store."""
        self._runner = asyncio.create_task(self._run(), name="store")
        loaded = asyncio.create_task(self._loaded.wait())
        await asyncio.wait([self._runner, loaded], return_when=asyncio.FIRST_COMPLETED)
        if not loaded.done():
            loaded.cancel()
            # The runner ends by itself only for a reason that no retry mends: bad certificates, a bug.
            await self._runner

    async def stop(self) -> None:
        """See Store."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])
            self._runner = None
        self._mirror.close()

    async def next_epoch(self, controller_id: str) -> int:
        """See Store. An epoch that was taken without our knowing is left out, which does no harm."""
        deadline = asyncio.get_running_loop().time() + self._settings.patience_s
        while asyncio.get_running_loop().time() < deadline:
            try:
                epoch = await self._on_client(lambda client: _take_epoch(client, controller_id))
            except EtcdDown as error:
                log.warning("epoch not taken yet", reason=str(error))
                await asyncio.sleep(self._settings.retry_delay_min_s)
                continue
            if epoch:
                return epoch
        raise Unavailable("etcd does not answer: no epoch could be taken")

    # -- changes -----------------------------------------------------------------------------------

    async def _commit(self, txn: Txn) -> Outcome:
        compares = self._mirror.compares(txn)
        try:
            answer = await self._on_client(lambda client: client.txn(compares, txn.writes))
        except EtcdDown as error:
            self._probe_now.set()
            raise OutcomeUnknown(str(error)) from error
        return Outcome(answer.succeeded, answer.header.revision)

    async def _on_client(self, call: Callable[[Client], Awaitable[T]]) -> T:
        """Call on the present connection; raises Unavailable if there is none, so nothing was sent."""
        try:
            async with asyncio.timeout(self._settings.patience_s):
                await self._connected.wait()
        except TimeoutError:
            raise Unavailable("etcd does not answer; nothing was changed") from None
        if self._client is None:
            raise Unavailable("etcd does not answer; nothing was changed")
        return await call(self._client)

    async def _raise_fence(self) -> int:
        try:
            async with asyncio.timeout(self._settings.patience_s):
                while True:
                    try:
                        answer = await self._on_client(
                            lambda client: client.txn((), (Write(keys.FENCE, b""),))
                        )
                        return answer.header.revision
                    except (EtcdDown, Unavailable):
                        await asyncio.sleep(self._settings.retry_delay_min_s)
        except TimeoutError:
            return 0

    def _refusal(self) -> str:
        return self._refused

    def _suspect(self, revision: int) -> None:
        super()._suspect(revision)
        self._list_again(f"revision {revision} was committed and did not come by the watch")

    def _list_again(self, reason: str) -> None:
        if self._watch is not None and self._healthy:
            log.error("the watch is not complete: listing again", reason=reason)
            self._must_list = True
            self._watch.cancel()

    # -- following ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        delay_s = self._settings.retry_delay_min_s
        for endpoint in cycle(self._endpoints):
            self._followed = False
            client = Client(endpoint, self._tls, timeout_s=self._settings.request_timeout_s)
            try:
                await client.connect()
                await self._session(client)
            except (EtcdDown, Unavailable) as error:
                log.warning("lost etcd", endpoint=endpoint.target, reason=str(error))
            except Exception:
                # Certificates that are not there, say. At start somebody must be told; later, whatever it
                # is, to follow nothing for ever would be worse than to begin again.
                if not self._loaded.is_set():
                    raise
                self._must_list = True
                log.exception("cannot follow etcd", endpoint=endpoint.target)
            finally:
                self._client = None
                self._connected.clear()
                await client.close()
            delay_s = self._delay_s(delay_s)
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))

    def _delay_s(self, last_s: float) -> float:
        """Return when to try the next endpoint: at once if this one had been good, else slower and slower."""
        if self._refused:
            return self._settings.refused_delay_s
        if self._followed:
            return self._settings.retry_delay_min_s
        return min(2 * last_s, self._settings.retry_delay_max_s)

    async def _session(self, client: Client) -> None:
        header = await client.header()
        replaced = self._is_replaced(header)
        if replaced:
            log.error("another or an older store", reason=replaced, mirror_revision=self.state.revision)
            self._must_list = True
        while True:
            try:
                if self._must_list:
                    await self._list(client, trust_revisions=not replaced)
                    replaced = ""
                self._client = client
                self._connected.set()
                await self._follow(client)
            except Compacted as error:
                log.warning("listing again", reason=str(error))
            except BrokenWatch as error:
                log.error("the watch is not complete: listing again", reason=str(error))
            self._must_list = True

    def _is_replaced(self, header: Header) -> str:
        """Return why this is not the store that the mirror is of, or not as new; empty if it is."""
        known = self._header
        if known is None or not self._loaded.is_set():
            return ""
        if header.cluster_id != known.cluster_id:
            return f"cluster id {header.cluster_id:x}, was {known.cluster_id:x}"
        if header.revision < self.state.revision:
            return f"its revision is {header.revision}"
        if header.raft_term < known.raft_term:
            return f"raft term {header.raft_term}, was {known.raft_term}"
        return ""

    # -- list --------------------------------------------------------------------------------------

    async def _list(self, client: Client, *, trust_revisions: bool) -> None:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        relist = Relist(self._mirror, trust_revisions=trust_revisions)
        header = await self._pages(client, relist)
        if not trust_revisions:
            await self._guard(relist, header)
        changes = await relist.finish(header.revision)
        self._header, self._must_list, self._refused = header, False, ""
        self._loaded.set()
        log.info(
            "listed",
            revision=header.revision,
            ports=len(self.state.ports),
            changes=len(changes.changes) if changes is not None else 0,
            seconds=round(loop.time() - begun_s, 3),
        )

    async def _pages(self, client: Client, relist: Relist) -> Header:
        header: Header | None = None
        limit = self._settings.page_keys
        for start, end in keys.listed_ranges():
            revision = header.revision if header is not None else 0
            page, limit = await self._page(client, start, end, limit, revision)
            header = header if header is not None else page.header
            while page.more:
                # The next page travels while this one is decoded.
                start = page.next_start
                following = asyncio.create_task(self._page(client, start, end, limit, header.revision))
                try:
                    await relist.page(page.found)
                    page, limit = await following
                finally:
                    following.cancel()
            await relist.page(page.found)
        assert header is not None
        return header

    async def _page(
        self, client: Client, start: str, end: str, limit: int, revision: int
    ) -> tuple[Page, int]:
        """Read one page, of fewer keys if their values are too large together."""
        while True:
            try:
                return await client.page(start, end, limit=limit, revision=revision), limit
            except TooLarge:
                if limit == 1:
                    raise
                limit = max(1, limit // 4)

    async def _guard(self, relist: Relist, header: Header) -> None:
        """Refuse to follow a replaced store that would delete much of what there is (a restore of an old
        snapshot, the wrong etcd): hosts go on with what they have, and a person decides."""
        deleted, total = len(await relist.deleted()), self.state.objects
        settings = self._settings
        if deleted <= max(settings.mass_delete_min_objects, settings.mass_delete_max * total):
            return
        self._refused = (
            f"etcd holds another or an older state, at revision {header.revision}, that lacks {deleted} of "
            f"{total} objects. Bring the right one back, or restart the controllers to accept it"
        )
        self._client = None
        raise Unavailable(self._refused)

    # -- watch -------------------------------------------------------------------------------------

    async def _follow(self, client: Client) -> None:
        async with client.watch(self.state.revision + 1) as watch:
            self._watch, self._healthy, self._followed = watch, True, True
            log.info("following", revision=self.state.revision)
            helpers = [
                asyncio.create_task(self._probe(watch)),
                asyncio.create_task(self._audit(client)),
            ]
            try:
                await self._read(watch)
            finally:
                self._watch, self._healthy = None, False
                for helper in helpers:
                    helper.cancel()
                await asyncio.wait(helpers)

    async def _read(self, watch: Watch) -> None:
        revisions = Revisions(self.state.revision)
        while not self._must_list:
            events, fragment, header = await watch.next(self._settings.silence_max_s)
            self._header = header
            for applied, (revision, of_revision) in enumerate(revisions.feed(events, fragment=fragment)):
                await self._mirror.moving()
                self._mirror.apply(revision, of_revision)
                if applied % 64 == 63:
                    await asyncio.sleep(0)

    async def _probe(self, watch: Watch) -> None:
        """Make the endpoint answer often enough that silence means it is dead."""
        while True:
            try:
                async with asyncio.timeout(self._settings.probe_interval_s):
                    await self._probe_now.wait()
            except TimeoutError:
                pass
            self._probe_now.clear()
            try:
                await watch.ask_progress()
            except EtcdDown:
                return

    async def _audit(self, client: Client) -> None:
        while True:
            await asyncio.sleep(self._settings.audit_interval_s)
            audit = Audit(self._mirror)
            try:
                for start, end in keys.listed_ranges():
                    await self._audit_range(client, audit, start, end)
            except (EtcdDown, Compacted, Unavailable) as error:
                log.info("audit given up", reason=str(error))
                continue
            if missed := audit.missed():
                self._list_again(missed)

    async def _audit_range(self, client: Client, audit: Audit, start: str, end: str) -> None:
        more = True
        while more:
            page = await client.page(
                start, end, limit=2 * self._settings.page_keys, revision=audit.revision, keys_only=True
            )
            await audit.page(page.found)
            more = page.more
            start = page.next_start if more else end


async def _take_epoch(client: Client, controller_id: str) -> int:
    """Return the next epoch, or 0 if another controller took it at the same moment."""
    found = list((await client.page(keys.EPOCH, "", limit=1)).found)
    if found:
        epoch = epoch_from_bytes(found[0].value or b"")[0] + 1
        compare = Compare(keys.EPOCH, Condition.UNCHANGED, found[0].mod_revision)
    else:
        epoch, compare = 1, Compare(keys.EPOCH, Condition.ABSENT)
    answer = await client.txn((compare,), (Write(keys.EPOCH, epoch_to_bytes(epoch, controller_id)),))
    return epoch if answer.succeeded else 0
