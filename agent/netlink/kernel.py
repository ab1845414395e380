"""The kernel seam, for real: keeps the mirror (`actual`) honest and carries operations out.

After every write the touched objects are read back, so the mirror says what the kernel holds and not what
was asked of it. The methods are for one task at a time.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterable, Sequence
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
T = TypeVar("T")


class LinuxKernel:
    """The network namespace this process is in.

    `wake` is called when something of ours changed by other hands.
    """

    def __init__(self, local: Vtep, wake: Callable[[], None], event_buffer_bytes: int = BUFFER_BYTES) -> None:
        self._local = local
        self._requests, self._links = Requests(), Links()
        self._monitor = Monitor(wake, event_buffer_bytes)
        self.actual = Actual()

    async def open(self) -> None:
        """Open the sockets, the listening ones first."""
        self._monitor.open()
        await self._links.__aenter__()

    async def close(self) -> None:
        """Close the sockets; nothing in the kernel changes."""
        self._monitor.close()
        self._requests.close()
        await self._links.__aexit__(None, None, None)

    async def underlay_mtu(self) -> int:
        """Return the MTU of the underlay in bytes."""
        return await self._links.underlay_mtu(self._local)

    async def read(self) -> None:
        """Read everything of ours anew; raises Unavailable if the kernel gives no whole answer."""
        self._monitor.take()
        self.actual = await _attempt(partial(read_all, self._requests))

    async def inspect(self) -> Actual:
        """Read everything of ours anew, past the mirror and beside whoever else reads; raises Unavailable."""
        requests = Requests()
        try:
            return await _attempt(partial(read_all, requests))
        finally:
            requests.close()

    async def refresh(self) -> Scope:
        """Look at what events hint at; return the scope in which the mirror turned out to be wrong."""
        events = self._monitor.take()
        if events.lost:
            await self.read()
            return Scope(everything=True)
        scope = Scope()
        if events.firewall:
            before, self.actual.firewall = self.actual.firewall, await firewall.read()
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
            await firewall.apply(self.actual.firewall, wanted)
            self.actual.firewall = wanted
        except Unavailable as err:
            # What was believed may be why it failed: look, and let the next round begin from the truth.
            self.actual.firewall = await firewall.read()
            return [Fault("FIREWALL_FAILED", str(err))]
        return []

    async def _delete_entries(self, entries: Iterable[tuple[Vni, int]]) -> list[Fault]:
        known = [(vni, mac) for vni, mac in entries if vni in self.actual.links]
        requests = [wire.fdb_delete(self.actual.links[vni].ifindex, mac) for vni, mac in known]
        refusals, _ = await self._requests.batch(requests)
        await self._read_back(known)
        return [
            Fault("FDB_REFUSED", f"{link_name(known[r.index][0])}: {format_mac(known[r.index][1])}: {r}")
            for r in refusals
            if r.errno != errno.ENOENT
        ]

    async def _put_entries(self, puts: Iterable[FdbPut]) -> list[Fault]:
        known = [put for put in puts if put.vni in self.actual.links]
        requests = [wire.fdb_put(self.actual.links[put.vni].ifindex, put.mac, put.vtep) for put in known]
        refusals, _ = await self._requests.batch(requests)
        await self._read_back([(put.vni, put.mac) for put in known])
        return [_refused(known[refusal.index], refusal) for refusal in refusals]

    async def _read_back(self, entries: list[tuple[Vni, int]]) -> None:
        """Ask the kernel for these entries, one by one in a batch, and note the answers."""
        requests = [wire.fdb_get(self.actual.links[vni].ifindex, mac) for vni, mac in entries]
        _, answers = await self._requests.batch(requests)
        found = {(n.ifindex, n.mac): n for n in map(wire.neighbour, answers) if n is not None}
        for vni, mac in entries:
            answer = found.get((self.actual.links[vni].ifindex, mac))
            self.actual.set_entry(vni, Mac(mac), None if answer is None else _vtep(answer.vtep))
            strays = self.actual.strays.get(vni, set())
            if answer is None or answer.vtep is not None:
                strays.discard(mac)

    async def _reread_links(self, vnis: Iterable[Vni]) -> set[Vni]:
        """Read these devices; return those that are not as the mirror had them."""
        asked = sorted(vnis)
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


async def read_all(requests: Requests) -> Actual:
    """Return everything of ours that the kernel holds; raises Unavailable if it changed meanwhile."""
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
    actual.firewall = await firewall.read()
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


def _refused(put: FdbPut, refusal: Refusal) -> Fault:
    return Fault("FDB_REFUSED", f"{link_name(put.vni)}: {format_mac(put.mac)}: {refusal}")
