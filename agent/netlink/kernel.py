"""The kernel seam, for real: keeps the mirror (`actual`) honest and carries operations out.

After every write the touched objects are read back, so the mirror says what the kernel holds and not what
was asked of it. The methods are for one task at a time.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from agent.netlink import firewall, service_link, wire
from agent.netlink.links import Links, hush
from agent.netlink.monitor import BUFFER_BYTES, Events, Monitor
from agent.netlink.requests import Refusal, Requests
from agent.plan import (
    Actual,
    Fault,
    FdbPut,
    Firewall,
    LinkSpec,
    Operations,
    Scope,
    ServiceLink,
    Vtep,
    link_name,
)
from cloison.addresses import Mac, format_mac
from cloison.errors import Unavailable
from cloison.model import Vni

READ_ATTEMPTS = 5
# So many entries are read back by the lists of their devices, unless these are so many times longer: the
# kernel tells an entry of a list in a fifth of the time of one that is asked for.
LISTED_MIN, LISTED_SHARE = 1000, 4
T = TypeVar("T")


class LinuxKernel:
    """The network namespace this process is in.

    `wake` is called when something of ours changed by other hands.
    """

    def __init__(self, local: Vtep, wake: Callable[[], None], event_buffer_bytes: int = BUFFER_BYTES) -> None:
        self._local = local
        self._requests, self._links = Requests(), Links()
        self._rules = Requests(protocol=wire.NETFILTER)
        self._monitor = Monitor(self._noticed, event_buffer_bytes)
        self._wake = wake
        # How many of the methods that bring the mirror up to date are at it.
        self._updating = 0
        # The generation of the firewall that the mirror has, None if that is not known.
        self._firewall_generation: int | None = None
        self.actual = Actual()

    async def open(self) -> None:
        """Open the sockets, the listening ones first."""
        self._monitor.open()
        await self._links.__aenter__()

    async def close(self) -> None:
        """Close the sockets; nothing in the kernel changes."""
        self._monitor.close()
        self._requests.close()
        self._rules.close()
        await self._links.__aexit__(None, None, None)

    async def underlay_mtu(self) -> int:
        """Return the MTU of the underlay in bytes."""
        return await self._links.underlay_mtu(self._local)

    def _noticed(self) -> None:
        """Something happened in the kernel: wake who looks, unless it is what the mirror says already.

        Most often it is the echo of what was done here. While the mirror is being brought up to date that
        cannot be told; it is asked afterwards.
        """
        if self._updating:
            return
        events = self._monitor.untaken
        if events.lost or events.firewall or events.links or self._doubtful(events):
            self._wake()
        else:
            self._monitor.take()

    @contextmanager
    def _update(self) -> Iterator[None]:
        """Around all that changes the mirror and waits meanwhile."""
        self._updating += 1
        try:
            yield
        finally:
            self._updating -= 1
            if self._monitor.untaken:
                self._noticed()

    async def read(self) -> None:
        """Read everything of ours anew; raises Unavailable if the kernel gives no whole answer."""
        with self._update():
            self._monitor.take()
            actual = await _attempt(partial(_read_devices, self._requests))
            actual.firewall = self.actual.firewall
            self.actual = actual
            await self._read_firewall()

    async def inspect(self) -> Actual:
        """Read everything of ours anew, past the mirror and beside whoever else reads; raises Unavailable."""
        requests = Requests()
        try:
            actual = await _attempt(partial(_read_devices, requests))
            actual.firewall = await firewall.read()
            return actual
        finally:
            requests.close()

    async def refresh(self) -> Scope:
        """Look at what events hint at; return the scope in which the mirror turned out to be wrong."""
        events = self._monitor.take()
        if not events:
            return Scope()
        if events.lost:
            await self.read()
            return Scope(everything=True)
        with self._update():
            return await self._look_at(events)

    async def _look_at(self, events: Events) -> Scope:
        scope = Scope()
        if events.firewall:
            before = self.actual.firewall
            await self._read_firewall()
            scope.firewall = before != self.actual.firewall
        doubtful = self._doubtful(events)
        # A device that goes takes its entries along, and their events come first.
        scope.networks = await self._reread_links(events.links | doubtful)
        for vni in doubtful & self.actual.links.keys():
            before_fdb = dict(self.actual.fdb.get(vni, {}))
            await _attempt(partial(self._read_fdb, vni))
            differing = dict(before_fdb.items() ^ self.actual.fdb.get(vni, {}).items())
            macs = set(differing) | {Mac(mac) for mac in self.actual.strays.get(vni, ())}
            if macs:
                scope.macs[vni] = macs
        return scope

    async def _read_firewall(self) -> None:
        """Bring the mirror's firewall up to date: a question, where nobody has changed any rule since."""
        before = await firewall.generation(self._rules)
        if before == self._firewall_generation:
            return
        self._firewall_generation = None
        found = await firewall.read()
        if found != self.actual.firewall:
            self.actual.firewall = found
        if await firewall.generation(self._rules) == before:
            self._firewall_generation = before

    def _doubtful(self, events: Events) -> set[Vni]:
        """Return the networks about whose entries the events say something else than the mirror."""
        by_index = {link.ifindex: vni for vni, link in self.actual.links.items()}
        doubtful: set[Vni] = set()
        for (ifindex, mac), vtep in events.fdb.items():
            vni = by_index.get(ifindex)
            if vni is not None and self.actual.fdb.get(vni, {}).get(mac) != vtep:
                doubtful.add(vni)
        return doubtful

    async def apply(self, operations: Operations) -> list[Fault]:
        """Carry out all but links_delete, in order; return what the kernel refused."""
        if not operations:
            return []
        with self._update():
            return await self._apply(operations)

    async def _apply(self, operations: Operations) -> list[Fault]:
        faults: list[Fault] = []
        if operations.firewall is not None:
            faults += await self._apply_firewall(operations.firewall)
        faults += await self._delete_entries(operations.fdb_delete)
        for spec in operations.links_replace:
            faults += await self._on_link(self._links.delete(spec.vni))
        for spec in (*operations.links_replace, *operations.links_create):
            faults += await self._on_link(self._links.create(spec, self._local))
        for spec in operations.links_update:
            faults += await self._on_link(self._links.update(spec))
        await self._reread_links(_vnis(operations))
        return faults + await self._put_entries(operations.fdb_put)

    async def service_link(self) -> ServiceLink:
        """Return the devices of the local services, made or put right if need be; raises Unavailable."""
        return await service_link.ensure()

    async def remove_links(self, vnis: Sequence[Vni]) -> list[Fault]:
        """Delete the devices of these networks; return what the kernel refused."""
        gone = [vni for vni in vnis if vni in self.actual.links]
        if not gone:
            return []
        # One by one each deletion waits for a grace period of the kernel (16 ms); as a group they share it.
        requests = [wire.link_group(self.actual.links[vni].ifindex) for vni in gone]
        with self._update():
            refusals, _ = await self._requests.batch([*requests, wire.group_delete()])
            await self._reread_links(gone)
        return [
            Fault("LINK_FAILED", f"{link_name(vni)} cannot be deleted: {refusals or 'it is back'}")
            for vni in gone
            if vni in self.actual.links
        ]

    async def _on_link(self, work: Awaitable[None]) -> list[Fault]:
        try:
            await work
        except Unavailable as err:
            return [Fault("LINK_FAILED", str(err))]
        return []

    async def _apply_firewall(self, wanted: Firewall) -> list[Fault]:
        try:
            for name in wanted.guarded - self.actual.firewall.guarded:
                hush(name)
            known, self._firewall_generation = self._firewall_generation, None
            await firewall.apply(self.actual.firewall, wanted)
            self.actual.firewall = wanted
            # One later than what the mirror was read from: nobody else has changed anything meanwhile.
            now = await firewall.generation(self._rules)
            self._firewall_generation = now if known is not None and now == known + 1 else None
        except Unavailable as err:
            # What was believed may be why it failed: look, and let the next round begin from the truth.
            self.actual.firewall = await firewall.read()
            return [Fault("FIREWALL_FAILED", str(err))]
        return []

    async def _delete_entries(self, entries: Iterable[tuple[Vni, int]]) -> list[Fault]:
        known = [(vni, mac) for vni, mac in entries if vni in self.actual.links]
        requests = [wire.fdb_delete(self.actual.links[vni].ifindex, mac) for vni, mac in known]
        refused = {r.index: r for r in await self._write(requests, known) if r.errno != errno.ENOENT}
        return [
            _refused(vni, mac, refused.get(index))
            for index, (vni, mac) in enumerate(known)
            if index in refused or Mac(mac) in self.actual.fdb.get(vni, {})
        ]

    async def _put_entries(self, puts: Iterable[FdbPut]) -> list[Fault]:
        known = [put for put in puts if put.vni in self.actual.links]
        requests = [wire.fdb_put(self.actual.links[put.vni].ifindex, put.mac, put.vtep) for put in known]
        refusals = await self._write(requests, [(put.vni, put.mac) for put in known])
        refused = {refusal.index: refusal for refusal in refusals}
        return [
            _refused(put.vni, put.mac, refused.get(index))
            for index, put in enumerate(known)
            if index in refused or self.actual.fdb.get(put.vni, {}).get(put.mac) != put.vtep
        ]

    async def _write(self, writes: list[bytes], entries: list[tuple[Vni, int]]) -> list[Refusal]:
        """Send writes, each of an entry, then ask the kernel for these entries and note the answers.

        All in one batch, unless there are so many that their devices' lists are read sooner; of those nothing
        else is noted, so that what others changed is still found by its events. Returns which of the writes
        were refused.
        """
        if not writes:
            return []
        of_each = self._are_few(entries)
        reads = [wire.fdb_get(self.actual.links[vni].ifindex, mac) for vni, mac in entries if of_each]
        refusals, answers = await self._requests.batch([*writes, *reads])
        if not of_each:
            answers = await _attempt(partial(self._list_entries, {vni for vni, _ in entries}))
        found = {(n.ifindex, n.mac): n for n in map(wire.neighbour, answers) if n is not None}
        for vni, mac in entries:
            answer = found.get((self.actual.links[vni].ifindex, mac))
            self.actual.set_entry(vni, Mac(mac), None if answer is None else _vtep(answer.vtep))
            strays = self.actual.strays.get(vni, set())
            if answer is None or answer.vtep is not None:
                strays.discard(mac)
        return [refusal for refusal in refusals if refusal.index < len(writes)]

    def _are_few(self, entries: list[tuple[Vni, int]]) -> bool:
        """Tell whether to ask for these one by one costs less than the lists they are in."""
        listed = sum(len(self.actual.fdb.get(vni, ())) for vni in {vni for vni, _ in entries})
        return len(entries) < LISTED_MIN or listed > LISTED_SHARE * len(entries)

    async def _list_entries(self, vnis: Iterable[Vni]) -> list[memoryview]:
        """Return what the kernel tells of all entries of these devices."""
        told: list[memoryview] = []
        for vni in vnis:
            async for bodies in self._requests.dump(wire.fdb_dump(self.actual.links[vni].ifindex)):
                told += bodies
        return told

    async def _reread_links(self, vnis: Iterable[Vni]) -> set[Vni]:
        """Read these devices; return those that are not as the mirror had them."""
        asked = sorted(vnis)
        if not asked:
            return set()
        _, answers = await self._requests.batch([wire.link_get(link_name(vni)) for vni in asked])
        seen = {Vni(s.vni): s for s in map(wire.link, answers) if s is not None}
        differing = set()
        for vni in asked:
            found, before = seen.get(vni), self.actual.links.get(vni)
            link = found.link if found else None
            self._note_taken(vni, found)
            if link == before:
                continue
            differing.add(vni)
            self.actual.set_link(vni, link)
            if link is not None and (before is None or before.ifindex != link.ifindex):
                await _attempt(partial(self._read_fdb, vni))
        return differing

    def _note_taken(self, vni: Vni, seen: wire.LinkSeen | None) -> None:
        self.actual.taken.discard(vni)
        if seen is not None and seen.link is None:
            self.actual.taken.add(vni)

    async def _read_fdb(self, vni: Vni) -> None:
        """Read the entries of one device."""
        ifindex = self.actual.links[vni].ifindex
        entries: dict[Mac, Vtep] = {}
        strays: set[int] = set()
        async for bodies in self._requests.dump(wire.fdb_dump(ifindex)):
            for neighbour in map(wire.neighbour, bodies):
                if neighbour is not None and neighbour.ifindex == ifindex:
                    _sort_in(neighbour, entries, strays)
        self.actual.set_fdb(vni, entries, strays)


async def _read_devices(requests: Requests) -> Actual:
    """Return our devices with their entries; raises Unavailable if they changed meanwhile."""
    actual, by_index = Actual(), {}
    async for bodies in requests.dump(wire.link_dump()):
        for seen in map(wire.link, bodies):
            if seen is None:
                continue
            if seen.link is None:
                actual.taken.add(Vni(seen.vni))
                continue
            actual.set_link(Vni(seen.vni), seen.link)
            by_index[seen.link.ifindex] = (seen.link.vni, dict[Mac, Vtep](), set[int]())
    if by_index:
        async for bodies in requests.dump(wire.fdb_dump()):
            for neighbour in map(wire.neighbour, bodies):
                if neighbour is not None and neighbour.ifindex in by_index:
                    _, entries, strays = by_index[neighbour.ifindex]
                    _sort_in(neighbour, entries, strays)
    for vni, entries, strays in by_index.values():
        actual.set_fdb(vni, entries, strays)
    return actual


async def _attempt(work: Callable[[], Awaitable[T]]) -> T:
    """Repeat a read that the kernel interrupted (its lists are not snapshots)."""
    for _ in range(READ_ATTEMPTS - 1):
        try:
            return await work()
        except Unavailable:
            await asyncio.sleep(0)
    return await work()


def _sort_in(neighbour: wire.Neighbour, entries: dict[Mac, Vtep], strays: set[int]) -> None:
    if neighbour.vtep is None or neighbour.mac in entries:
        strays.add(neighbour.mac)
    else:
        entries[Mac(neighbour.mac)] = Vtep(neighbour.vtep)


def _vtep(packed: bytes | None) -> Vtep | None:
    return None if packed is None else Vtep(packed)


def _vnis(operations: Operations) -> set[Vni]:
    specs: tuple[LinkSpec, ...] = (
        *operations.links_replace,
        *operations.links_create,
        *operations.links_update,
    )
    return {spec.vni for spec in specs}


def _refused(vni: Vni, mac: int, refusal: Refusal | None) -> Fault:
    """Say that a write came to nothing: the kernel refused it, or somebody has undone it already."""
    if refusal is None:
        return Fault(
            "FDB_ALTERED", f"{link_name(vni)}: {format_mac(mac)}: changed by others as it was written"
        )
    return Fault("FDB_REFUSED", f"{link_name(vni)}: {format_mac(mac)}: {refusal}")
