"""One bridge, all packets at once: the flows run over regions of the input. Exact, or Refused.

A path condition is a region of the *input* (frame.py). A match refines the region, a flow of higher priority
is subtracted from what later ones see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controller.flows import Flow
from controller.verify.frame import Frame
from controller.verify.grammar import OFPORT_MAX, Refused
from controller.verify.packet import OFFSETS, Cube, cube
from controller.verify.rules import Rule, RuleKey, Table, prepare
from controller.verify.space import Region, member, within, without
from controller.verify.stages import POLICY

Copy = tuple[int, Frame]
"""An OpenFlow port, and the frame as it was sent there."""


class Undefined(Refused):
    """What a bridge does with some packets is not defined, or not understood; region has them."""

    def __init__(self, message: str, flow: Flow, region: Region) -> None:
        super().__init__(message, flow)
        self.region = region


Arrived = tuple[int, Frame]
"""A table, and the frame as it comes there."""


class Leaf(NamedTuple):
    """What becomes of one part of the packets: copies sent, arrival at a table where the run was to stop.

    copies: what was handed to other tables by the way (Resubmit), which the run does not follow.
    """

    region: Region
    sent: tuple[Copy, ...]
    stopped: tuple[int, Frame] | None
    rules: tuple[Rule, ...]
    copies: tuple[Arrived, ...] = ()


TABLES = 255
"""Tables are numbered 0 to 254."""


class Bridge:
    """The flow tables of a bridge, changed rule by rule."""

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        self.tables: dict[int, Table] = {}
        for flow in flows:
            self.add(prepare(flow))

    def add(self, rule: Rule) -> None:
        """Put in a rule; raises Refused if its key is taken."""
        table = self.tables.get(rule.table)
        if table is None:
            table = self.tables[rule.table] = Table(filed=rule.table not in POLICY)
        table.add(rule)

    def remove(self, key: RuleKey) -> Rule | None:
        """Take out the rule of that key; None if there is none."""
        table = self.tables.get(key[0])
        return table.remove(key) if table is not None else None

    def flows(self) -> Iterator[Flow]:
        """Yield all flows."""
        return (rule.flow for table in self.tables.values() for rule in table.rules.values())

    def run(self, frame: Frame, table: int = 0, stop_at: int = TABLES) -> Iterator[Leaf]:
        """Yield what becomes of each part of the frame's region; together the parts are the region.

        A part stops where it goes to table stop_at or a later one.

        Raises Refused where what happens is not defined or not understood for some packet of it.
        """
        pending: list[tuple[Frame, int, tuple[Copy, ...], tuple[Rule, ...], tuple[Arrived, ...]]] = [
            (frame, table, (), (), ())
        ]
        while pending:
            now, number, sent, rules, copies = pending.pop()
            if number >= stop_at:
                yield Leaf(now.region, sent, (number, now), rules, copies)
                continue
            for rule, part in self.lookup(number, now):
                if rule is None:
                    yield Leaf(part.region, sent, None, rules, copies)
                    continue
                after, more = _carry_out(rule, part, sent)
                passed = (*rules, rule)
                handed = (*copies, *_handed(rule, part)) if rule.copies else copies
                onward = rule.onward
                if onward is None:
                    yield Leaf(after.region, more, None, passed, handed)
                else:
                    pending.append((after, onward, more, passed, handed))

    def lookup(self, number: int, frame: Frame) -> Iterator[tuple[Rule | None, Frame]]:
        """Yield each rule with the part of the frame's region that meets it, None with what meets no rule."""
        table = self.tables.get(number)
        rest: Region | None = frame.region
        level: int | None = None
        whole = frame.region
        met: list[tuple[Rule, Cube]] = []
        for rule in table.candidates(frame.known()) if table is not None else ():
            if rule.priority != level:
                if rest is None:
                    return
                level, whole, met = rule.priority, rest, []
            cut = frame.source_of(rule.cube)
            here = within(whole, cut) if cut is not None else None
            if cut is None or here is None:
                continue
            if met:
                _check_rivals(whole, met, rule, cut)
            met.append((rule, cut))
            part = here if rest is whole else within(rest, cut) if rest is not None else None
            if part is not None and rest is not None:
                yield rule, frame._replace(region=part)
                rest = without(rest, cut)
        if rest is not None:
            yield None, frame._replace(region=rest)


def _check_rivals(whole: Region, met: Iterable[tuple[Rule, Cube]], rule: Rule, cut: Cube) -> None:
    """Raise Refused if a packet meets two rules of one priority that do not do the same."""
    for other, other_cut in met:
        apart = (cut[0] ^ other_cut[0]) & cut[1] & other_cut[1]
        if apart or other.effect == rule.effect:
            continue
        both = within(whole, other_cut)
        both = within(both, cut) if both is not None else None
        if both is not None and member(both) is not None:
            raise Undefined(
                "two flows of one priority match one packet and do not do the same", rule.flow, both
            )


def _carry_out(rule: Rule, frame: Frame, sent: tuple[Copy, ...]) -> tuple[Frame, tuple[Copy, ...]]:
    """Return the frame after the rule's actions, and the copies sent so far."""
    for verb, a, b, c in rule.steps:
        if verb == "write":
            frame = frame.write(a, b, c)
        elif verb == "copy":
            frame = frame.copy(a, b, c)
        elif verb == "longer":
            frame = frame.copy(OFFSETS["oversize"], b, 1)
        elif verb == "resubmit":
            continue
        elif verb == "ct":
            frame = frame.tracked() if b >= 0 else frame.untracked()
        elif verb == "age":
            frame = _older(rule, frame)
        elif verb == "conjunction":
            raise Undefined("a conjunction is not looked at one flow at a time", rule.flow, frame.region)
        else:
            port = a if verb == "output" else _port(rule, frame, a, b)
            # Port 0 does not exist; a frame is never sent back to where it came in (as in switch.py).
            if port not in (0, frame.field("in_port")):
                sent = (*sent, (port, frame))
    return frame, sent


def _older(rule: Rule, frame: Frame) -> Frame:
    for used_up in (0, 1):
        cut = frame.source_of(cube(ip_ttl=used_up))
        part = within(frame.region, cut) if cut is not None else None
        if part is not None and member(part) is not None:
            raise Undefined("makes a TTL less that is used up", rule.flow, part)
    return frame.older()


def _handed(rule: Rule, frame: Frame) -> Iterator[Arrived]:
    """Yield what a rule hands to other tables: each time the frame as it is then (grammar.py says why)."""
    for verb, a, b, c in rule.steps:
        if verb == "write":
            frame = frame.write(a, b, c)
        elif verb == "copy":
            frame = frame.copy(a, b, c)
        elif verb == "resubmit":
            yield a, frame


def _port(rule: Rule, frame: Frame, at: int, bits: int) -> int:
    value, mask = frame.known()
    ones = (1 << bits) - 1
    if mask >> at & ones == ones:
        port = value >> at & ones
        if port <= OFPORT_MAX:
            return port
        message = f"sends to the reserved port {port:#x}"
    else:
        message = "sends to a port that is not the same for all packets it matches"
    if member(frame.region) is None:
        return 0
    raise Undefined(message, rule.flow, frame.region)
