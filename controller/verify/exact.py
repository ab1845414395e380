"""The judge: every packet of one sender, through the whole path, against the meaning. Exact or Refused.

Slow next to contracts.py (its cost grows with the network), so it is asked only where a contract does not
hold, and in tests. What it finds is a packet, and the packet is sent through the concrete path once more.

Of EGRESS and INGRESS it takes the answers of the meaning: whether the flows give the same is policing.py's
business, and what they do otherwise is reported by itself. The answer is left open as long as the question is
the one that is meant, about the same ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from cloison.addresses import IpAddress
from cloison.names import HostName, PortName
from controller.verify.altered import altered, as_wanted
from controller.verify.answers import Answers
from controller.verify.asking import UNKNOWN, Asked, allows, allows_whoever
from controller.verify.attention import Paid, due, paid
from controller.verify.budget import Budget
from controller.verify.explore import Question, explore
from controller.verify.frame import Frame, entering
from controller.verify.holding import Held
from controller.verify.intent import PortIntent
from controller.verify.packet import (
    HEADER_MASK,
    cube,
)
from controller.verify.path import HOPS_MAX, Fdb
from controller.verify.policy import Seen
from controller.verify.semantics import Fate, fates_of, said_by_services
from controller.verify.shapes import PACKETS
from controller.verify.space import Region, member, within, without
from controller.verify.spoken import services_may_say
from controller.verify.stages import (
    COMMIT,
    EGRESS,
    INITIATOR,
    POLICY,
    RESPONDER,
    TENANT,
)
from controller.verify.symbolic import TABLES, Leaf, Undefined
from controller.verify.world import World


class Arrival(NamedTuple):
    """A copy of a frame at a port (None: that of the input); it is there only if all of asked are allowed."""

    host: HostName
    ofport: int | None
    frame: Frame
    asked: frozenset[Asked] = frozenset()
    paid: Paid = ()


class Copy(NamedTuple):
    """A copy of a frame as a bridge sends it."""

    ofport: int
    frame: Frame
    asked: frozenset[Asked]
    paid: Paid

    @property
    def unsure(self) -> bool:
        """Tell whether policy was asked of ends that are not the same for all of the packets."""
        return any(UNKNOWN in asked for asked in self.asked)


class _Onward(NamedTuple):
    """A table, the frame as it comes there, and what was asked on its way: of policy, and attention.py."""

    table: int
    frame: Frame
    asked: frozenset[Asked]
    paid: Paid


class Trail(NamedTuple):
    """What becomes of one part of a sender's packets. looped: it went on and on.

    undefined: why nobody can say what becomes of them; then there are no deliveries, and only those are
    concerned of which policy allows all of asked.
    """

    region: Region
    deliveries: tuple[Arrival, ...]
    looped: bool
    undefined: str | None = None
    asked: frozenset[Asked] = frozenset()


class Fault(NamedTuple):
    """A packet, as one number, that is not treated as it should be; why, if its treatment is not defined.

    lost: nobody gets it, and somebody should. guessed: a question is asked of policy that nobody should ask,
    so that only the flows can tell the answer: see what really happens to the packet. unheeded: it is
    received as it should be, but not all that is due was asked about it (attention.py).
    """

    number: int
    undefined: str | None = None
    looped: bool = False
    lost: bool = False
    guessed: bool = False
    unheeded: bool = False


class Stuck(Undefined):
    """What a bridge does with some packets is not defined: with those of which policy allows all of asked."""

    def __init__(self, undefined: Undefined, asked: frozenset[Asked]) -> None:
        assert undefined.flow is not None, undefined
        super().__init__(str(undefined), undefined.flow, undefined.region)
        self.asked = asked


# After so many parts of which nobody can say what becomes of them, all the rest is such a part.
UNDEFINED_MAX = 16


class Judge:
    """Follows all packets of a sender through the hosts. The world must not change meanwhile.

    What iterates raises Exhausted where the budget ends.
    """

    def __init__(self, world: World, hosts: Mapping[HostName, Held], budget: Budget | None = None) -> None:
        self._world = world
        self._budget = budget or Budget()
        self._hosts = hosts
        # What is due of what one port sends another (None: the services); which questions policy says yes to.
        self._due: dict[tuple[PortName, PortName | None, bool], Answers[Paid]] = {}
        self._yes: dict[tuple[frozenset[Asked], bool], Answers[frozenset[Asked]]] = {}

    def faults(
        self, host: HostName, ofport: int | None, starts: Iterable[Region] = PACKETS
    ) -> Iterator[Fault]:
        """Yield a packet for each part of starts that is not received as it should be when sent by a port.

        Of what is lost, only one: once it is known that something is, the rest is looked through for worse.
        ofport None: by any OpenFlow port that starts have in in_port; none of them is a port's.
        """
        sender = self._world.by_ofport.get((host, ofport)) if ofport is not None else None
        services = ofport is not None and ofport == self._world.service_of(host)
        if services:
            spoken = [self._world.networks[name].vni for name in self._world.on_host.get(host, ())]
            starts = tuple(part for start in starts for part in services_may_say(start, spoken))

        def fates(seen: Question) -> tuple[Fate, ...]:
            if sender is not None:
                return fates_of(self._world, sender, seen)
            said = said_by_services(self._world, host, seen) if services else None
            return () if said is None else (said,)

        # Of one sender at a time: there may be as many as ports.
        self._due.clear()
        self._yes.clear()
        meant = Answers(fates)
        # What becomes of packets first: that is asked of whole tables at once; what is meant, of each part.
        lost = False
        for trail in (t for start in starts for t in self.trails(host, ofport, start)):
            if trail.undefined is not None:
                number = self.allowed(trail.region, trail.asked)
                if number is not None:
                    yield Fault(number, undefined=trail.undefined)
                continue
            if lost and not trail.looped and (not trail.deliveries or self._only_too_long(trail, sender)):
                continue
            for region, wanted in meant.of(trail.region):
                self._budget.spend()
                if wanted or trail.deliveries or trail.looped:
                    for fault in self._faults_of(trail._replace(region=region), wanted, sender):
                        lost = lost or fault.lost
                        yield fault

    def run(self, at: HostName, frame: Frame) -> Iterator[tuple[Region, tuple[Copy, ...]]]:
        """Yield what a bridge sends of each part of a frame that enters it. Raises Stuck."""
        nothing: tuple[Copy, ...] = ()
        start: Paid = ()
        # What is still to be followed of a region: tables, the frame that comes there, what it was asked.
        pending: list[tuple[Region, tuple[_Onward, ...], tuple[Copy, ...]]] = [
            (frame.region, (_Onward(0, frame, frozenset(), start),), nothing)
        ]
        while pending:
            region, todo, before = pending.pop()
            if not todo:
                yield region, before
                continue
            (table, now, asked, so_far), rest = todo[0], todo[1:]
            for leaf in self._leaves(at, now._replace(region=region), table, asked):
                self._budget.spend()
                heeded = so_far + paid(leaf.rules)
                sent = (*before, *(Copy(ofport, there, asked, heeded) for ofport, there in leaf.sent))
                arrived = leaf.copies if leaf.stopped is None else (*leaf.copies, leaf.stopped)
                more = tuple(_onward(_Onward(number, there, asked, heeded)) for number, there in arrived)
                pending.append((leaf.region, (*more, *rest), sent))

    def _leaves(self, at: HostName, frame: Frame, table: int, asked: frozenset[Asked]) -> Iterator[Leaf]:
        try:
            yield from self._hosts[at].bridge.run(frame, table, stop_at=EGRESS if table < EGRESS else TABLES)
        except Undefined as undefined:
            raise Stuck(undefined, asked) from undefined

    def allows(self, asked: Asked, seen: Seen) -> bool:
        """As asking.allows."""
        return allows(self._world, asked, seen)

    def one_of(self, region: Region, copy: Copy | Arrival) -> int | None:
        """Return a packet of a region of which policy lets a copy through; None if there is none."""
        return self.allowed(region, copy.asked)

    def allowed(self, region: Region, asked: frozenset[Asked]) -> int | None:
        """Return a packet of a region of which policy allows all that is asked; None if there is none."""
        for part, let in explore(region, lambda seen: all(self.allows(question, seen) for question in asked)):
            self._budget.spend()
            number = member(part) if let else None
            if number is not None:
                return number
        return None

    def _faults_of(
        self, trail: Trail, wanted: tuple[Fate, ...], sender: PortIntent | None
    ) -> Iterator[Fault]:
        """Yield packets of the trail that are not received as wanted: one of each part with one answer."""
        right = self._right_questions(wanted)
        due = frozenset[Asked]().union(*right.values())
        asked = {(arrival.host, arrival.ofport): arrival.asked for arrival in trail.deliveries}
        # Who is not allowed what is asked of it gets nothing, and should not.
        if trail.looped or (asked == right and len(asked) == len(trail.deliveries)):
            wrong = list(self._mistreated(trail, wanted, sender))
            if trail.looped or not due or not wrong:
                yield from wrong
                return
        open_ = due.union(*(arrival.asked for arrival in trail.deliveries))
        guessed = any(arrival.asked - due for arrival in trail.deliveries)
        # (What is guessed both ways: a conjunction asks TENANT, a flow of one profile does not.)
        for whoever in (False, True) if guessed else (False,):
            for region, allowed in self._answers(open_, whoever=whoever).of(trail.region):
                self._budget.spend()
                there = Trail(region, tuple(a for a in trail.deliveries if a.asked <= allowed), False)
                meant = tuple(fate for fate in wanted if right[fate.host, fate.ofport] <= allowed)
                for fault in self._mistreated(there, meant, sender):
                    # What is guessed to be lost may be delivered: it is not known to be a loss.
                    yield fault._replace(guessed=guessed, lost=fault.lost and not guessed)

    def _answers(self, open_: frozenset[Asked], *, whoever: bool) -> Answers[frozenset[Asked]]:
        """Which of some questions policy says yes to; whoever: as allows_whoever."""
        known = self._yes.get((open_, whoever))
        if known is None:
            says = partial(allows_whoever if whoever else allows, self._world)
            known = self._yes[open_, whoever] = Answers(
                lambda seen: frozenset(asked for asked in open_ if says(asked, seen))
            )
        return known

    def _right_questions(
        self, wanted: tuple[Fate, ...]
    ) -> dict[tuple[HostName, int | None], frozenset[Asked]]:
        """What policy is to be asked for each place where a packet is wanted; nothing if it is not judged."""
        number = self._world.tenant_number
        return {
            (fate.host, fate.ofport): frozenset(
                (EGRESS, number(j.tenant), j.opener, j.other) for j in fate.judged
            )
            for fate in wanted
        }

    def _mistreated(
        self, trail: Trail, wanted: tuple[Fate, ...], sender: PortIntent | None
    ) -> Iterator[Fault]:
        """As _mistreated; what is too long, and for nobody, the sender's own services may see."""
        too_long = self._only_too_long(trail, sender)
        if too_long and not wanted:
            return
        number = _mistreated(trail, wanted)
        if number is not None:
            lost = not trail.looped and (too_long or not trail.deliveries)
            yield Fault(number, looped=trail.looped, lost=lost)
        elif wanted and sender is not None and trail.deliveries:
            for unheeded in self._unheeded(trail, wanted, sender):
                yield Fault(unheeded, unheeded=True)
                return

    def _unheeded(self, trail: Trail, wanted: tuple[Fate, ...], sender: PortIntent) -> Iterator[int]:
        """Yield packets that are received as wanted although not all that is due was asked about them."""
        here = {(arrival.host, arrival.ofport): arrival.paid for arrival in trail.deliveries}
        for fate in wanted:
            receiver = self._world.by_ofport.get((fate.host, fate.ofport))
            away = receiver is None or receiver.name.tenant != sender.name.tenant
            due_ = self._due_of(sender, receiver, abroad=away and bool(fate.judged))
            for part, asked in due_.of(trail.region):
                # Who gets nothing has paid nothing: _mistreated saw it, unless no packet is in the region.
                number = member(part) if asked != here.get((fate.host, fate.ofport)) else None
                if number is not None:
                    yield number

    def _due_of(self, sender: PortIntent, receiver: PortIntent | None, *, abroad: bool) -> Answers[Paid]:
        """What is to be asked about what a port sends to another; None: to the local services."""
        key = sender.name, receiver.name if receiver is not None else None, abroad
        known = self._due.get(key)
        if known is None:
            network = self._world.networks[sender.name.parent]
            known = self._due[key] = Answers(partial(due, network, sender, receiver, abroad=abroad))
        return known

    def _only_too_long(self, trail: Trail, sender: PortIntent | None) -> bool:
        """Tell whether the sender's services, and nobody else, get what is too long for the overlay."""
        if sender is None or sender.host is None or trail.looped:
            return False
        services = (sender.host, self._world.service_of(sender.host))
        places = {(a.host, a.ofport) for a in trail.deliveries}
        return places == {services} and Frame(trail.region).field("oversize") == 1

    def trails(self, host: HostName, ofport: int | None, region: Region) -> Iterator[Trail]:
        """Yield what becomes of each part of a region; together the parts are the region."""
        first: tuple[Arrival, ...] = (Arrival(host, ofport, Frame(region)),)
        pending: list[tuple[Region, tuple[Arrival, ...], tuple[Arrival, ...], int]] = [(region, first, (), 0)]
        stuck = 0
        while pending:
            now, arrivals, done, hops = pending.pop()
            if not arrivals or hops == HOPS_MAX + len(self._hosts):
                yield Trail(now, done, bool(arrivals))
                continue
            here, rest = arrivals[0], arrivals[1:]
            entered = _reenter(here.frame._replace(region=now), here.ofport)
            found, undefined = self._run(here.host, entered)
            for part, sent in found:
                copies = tuple(
                    copy._replace(asked=copy.asked | here.asked, paid=here.paid + copy.paid) for copy in sent
                )
                for piece, come, out in self._carry(here.host, part, copies):
                    pending.append((piece, (*rest, *come), (*done, *out), hops + 1))
            if undefined is not None:
                stuck += 1
                part, asked = undefined.region, undefined.asked | here.asked
                if stuck >= UNDEFINED_MAX:
                    part, asked = now, frozenset()
                yield Trail(part, (), False, str(undefined), asked)
                if stuck < UNDEFINED_MAX:
                    pending += ((other, arrivals, done, hops) for other in apart(now, part))

    def _run(
        self, at: HostName, entered: Frame
    ) -> tuple[list[tuple[Region, tuple[Copy, ...]]], Stuck | None]:
        """All of `run`; nothing, and why, if a part of it is not defined."""
        try:
            return list(self.run(at, entered)), None
        except Stuck as stuck:
            return [], stuck

    def _carry(
        self, at: HostName, region: Region, sent: tuple[Copy, ...]
    ) -> Iterator[tuple[Region, tuple[Arrival, ...], tuple[Arrival, ...]]]:
        """Split region by where the copies go: to other hosts, or out of a port here."""
        if not sent:
            yield region, (), ()
            return
        (ofport, frame, asked, heeded), others = sent[0], sent[1:]
        vni = self._hosts[at].devices.get(ofport)
        for part, come, out in self._carry(at, region, others):
            if vni is None:
                yield part, come, (Arrival(at, ofport, frame, asked, heeded), *out)
                continue
            for piece, vtep in _looked_up(self._hosts[at].fdb.get(vni, {}), frame._replace(region=part)):
                self._budget.spend()
                arrival = self._arrival(vtep, vni) if vtep is not None else None
                carried = () if arrival is None else (Arrival(*arrival, frame, asked, heeded),)
                yield piece, (*carried, *come), out

    def _arrival(self, vtep: IpAddress, vni: int) -> tuple[HostName, int] | None:
        there = self._world.by_vtep.get(vtep)
        if there is None or there not in self._hosts:
            return None
        found = [ofport for ofport, of in self._hosts[there].devices.items() if of == vni]
        return (there, found[-1]) if found else None


def apart(region: Region, gone: Region) -> Iterator[Region]:
    """Yield parts of a region that together are what is not in another one."""
    outside = without(region, (gone.value, gone.mask))
    if outside is not None:
        yield outside
    inside = within(region, (gone.value, gone.mask))
    for hole in gone.holes:
        part = within(inside, hole) if inside is not None else None
        if part is not None:
            yield part


def _reenter(frame: Frame, in_port: int | None) -> Frame:
    """The frame as it enters a bridge: another in_port, registers 0, the header as it is now."""
    clean = entering(frame.region, in_port)
    written = frame.written & HEADER_MASK
    slices = tuple(s for s in frame.slices if HEADER_MASK >> s[0] & 1)
    const = frame.const_mask & written
    return Frame(
        frame.region, clean.written | written, clean.const_value | frame.const_value & const,
        clean.const_mask | const, slices, frame.aged,
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


def _onward(now: _Onward) -> _Onward:
    """Where a frame is to be followed on: past policy, whose question it takes along."""
    if now.table not in POLICY:
        return now
    tenant, opener, other = (_or_unknown(now.frame.field(n)) for n in (TENANT, INITIATOR, RESPONDER))
    return now._replace(table=COMMIT, asked=now.asked | {(now.table, tenant, opener, other)})


def _or_unknown(value: int | None) -> int:
    return UNKNOWN if value is None else value


def _mistreated(trail: Trail, wanted: tuple[Fate, ...]) -> int | None:
    """Return a packet of the trail that is not received as wanted, whatever policy says; None if all are."""
    here = {(arrival.host, arrival.ofport): arrival for arrival in trail.deliveries}
    right = {(fate.host, fate.ofport): fate for fate in wanted}
    if here.keys() != right.keys() or len(here) != len(trail.deliveries) or trail.looped:
        return member(trail.region)
    for place, fate in right.items():
        frame = here[place].frame._replace(region=trail.region)
        for region in altered(frame, as_wanted(Frame(trail.region), fate)):
            number = member(region)
            if number is not None:
                return number
    return None
