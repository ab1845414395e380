"""The judge: every packet of one sender, through the whole path, against the meaning. Exact or Refused.

Slow next to contracts.py (its cost grows with the network), so it is asked only where a contract does not
hold, and in tests. What it finds is a packet, and the packet is sent through the concrete path once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cloison.addresses import IpAddress
from cloison.names import HostName
from controller.verify.explore import explore
from controller.verify.holding import Held
from controller.verify.intent import PortIntent, World
from controller.verify.packet import FIELD_MASKS, HEADER_FIELDS, OFFSETS, WIDTHS, cube
from controller.verify.path import HOPS_MAX, Fdb
from controller.verify.semantics import receiver_of
from controller.verify.shapes import PACKETS
from controller.verify.space import Region, member, within, without
from controller.verify.symbolic import Frame, Undefined, entering

Arrival = tuple[HostName, int | None, Frame]


class Trail(NamedTuple):
    """What becomes of one part of a sender's packets. looped: it went on and on."""

    region: Region
    deliveries: tuple[Arrival, ...]
    looped: bool


class Fault(NamedTuple):
    """A packet, as one number, that is not treated as it should be; why, if its treatment is not defined."""

    number: int
    undefined: str | None = None
    looped: bool = False


class Judge:
    """Follows all packets of a sender through the hosts."""

    def __init__(self, world: World, hosts: Mapping[HostName, Held]) -> None:
        self._world = world
        self._hosts = hosts

    def faults(
        self, host: HostName, ofport: int | None, starts: Iterable[Region] = PACKETS
    ) -> Iterator[Fault]:
        """Yield a packet for each part of starts that is not received as it should be when sent by a port.

        ofport None: by any OpenFlow port that starts have in in_port; none of them is a port's.
        """
        sender = self._world.by_ofport.get((host, ofport)) if ofport is not None else None

        def receiver(seen: object) -> PortIntent | None:
            return receiver_of(self._world, sender, seen) if sender is not None else None  # type: ignore[arg-type]

        for start in starts:
            for region, wanted in explore(start, receiver):
                try:
                    for trail in self.trails(host, ofport, region):
                        number = _difference(trail, wanted)
                        if number is not None:
                            yield Fault(number, looped=trail.looped)
                except Undefined as undefined:
                    number = member(undefined.region)
                    if number is not None:
                        yield Fault(number, undefined=str(undefined))

    def trails(self, host: HostName, ofport: int | None, region: Region) -> Iterator[Trail]:
        """Yield what becomes of each part of a region; together the parts are the region."""
        first: tuple[Arrival, ...] = ((host, ofport, Frame(region)),)
        pending: list[tuple[Region, tuple[Arrival, ...], tuple[Arrival, ...], int]] = [(region, first, (), 0)]
        while pending:
            now, arrivals, done, hops = pending.pop()
            if not arrivals or hops == HOPS_MAX:
                yield Trail(now, done, bool(arrivals))
                continue
            (at, in_port, frame), rest = arrivals[0], arrivals[1:]
            for leaf in self._hosts[at].bridge.run(_reenter(frame._replace(region=now), in_port)):
                for part, come, out in self._carry(at, leaf.region, leaf.sent):
                    pending.append((part, (*rest, *come), (*done, *out), hops + 1))

    def _carry(
        self, at: HostName, region: Region, sent: tuple[tuple[int, Frame], ...]
    ) -> Iterator[tuple[Region, tuple[Arrival, ...], tuple[Arrival, ...]]]:
        """Split region by where the copies go: to other hosts, or out of a port here."""
        if not sent:
            yield region, (), ()
            return
        (ofport, frame), others = sent[0], sent[1:]
        vni = self._hosts[at].devices.get(ofport)
        for part, come, out in self._carry(at, region, others):
            if vni is None:
                yield part, come, ((at, ofport, frame), *out)
                continue
            for piece, vtep in _looked_up(self._hosts[at].fdb.get(vni, {}), frame._replace(region=part)):
                arrival = self._arrival(vtep, vni) if vtep is not None else None
                yield piece, come if arrival is None else ((*arrival, frame), *come), out

    def _arrival(self, vtep: IpAddress, vni: int) -> tuple[HostName, int] | None:
        there = self._world.by_vtep.get(vtep)
        if there is None or there not in self._hosts:
            return None
        found = [ofport for ofport, of in self._hosts[there].devices.items() if of == vni]
        return (there, found[-1]) if found else None


def _reenter(frame: Frame, in_port: int | None) -> Frame:
    """The frame as it enters a bridge: another in_port, registers 0, the header as it is now."""
    clean = entering(frame.region, in_port)
    written = frame.written & sum(FIELD_MASKS[n] for n in HEADER_FIELDS)
    slices = tuple(s for s in frame.slices if s[0] < OFFSETS["in_port"])
    const = frame.const_mask & written
    return Frame(
        frame.region, clean.written | written, clean.const_value | frame.const_value & const,
        clean.const_mask | const, slices,
    )  # fmt: skip


def _looked_up(fdb: Fdb, frame: Frame) -> Iterator[tuple[Region, IpAddress | None]]:
    """Yield each part of the frame's region with the VTEP that a device sends it to."""
    known = frame.field("eth_dst")
    if known is not None:
        yield frame.region, fdb.get(known, fdb.get(0))
        return
    rest: Region | None = frame.region
    for mac, vtep in fdb.items():
        cut = frame.source_of(cube(eth_dst=mac))
        part = within(rest, cut) if cut is not None and rest is not None else None
        if part is None or cut is None or rest is None:
            continue
        yield part, vtep
        rest = without(rest, cut)
    if rest is not None:
        yield rest, fdb.get(0)


def _difference(trail: Trail, wanted: PortIntent | None) -> int | None:
    """Return a packet of the trail that is not received as wanted, None if all are."""
    here = [(host, ofport) for host, ofport, _ in trail.deliveries]
    right = [(wanted.host, wanted.ofport)] if wanted is not None else []
    if here != right or trail.looped:
        return member(trail.region)
    if wanted is None:
        return None
    frame = trail.deliveries[0][2]._replace(region=trail.region)
    for region in _altered(frame, wanted.mac):
        number = member(region)
        if number is not None:
            return number
    return None


def _altered(frame: Frame, mac: int) -> Iterator[Region]:
    """Yield the parts in which the frame is not the packet that came in with mac as its destination."""
    cut = frame.source_of(cube(eth_dst=mac))
    outside = frame.region if cut is None else without(frame.region, cut)
    if outside is not None:
        yield outside
    for name in HEADER_FIELDS:
        if name == "eth_dst" or not frame.written & FIELD_MASKS[name]:
            continue
        const = frame.const_mask & FIELD_MASKS[name]
        outside = without(frame.region, (frame.const_value & const, const))
        if const and outside is not None:
            yield outside
    for at, source, width in frame.slices:
        if at == source or OFFSETS["eth_dst"] <= at < OFFSETS["eth_dst"] + WIDTHS["eth_dst"]:
            continue
        for n in range(width):
            for bit in (0, 1):
                both = (bit << at + n | (1 - bit) << source + n, 1 << at + n | 1 << source + n)
                part = within(frame.region, both)
                if part is not None:
                    yield part
