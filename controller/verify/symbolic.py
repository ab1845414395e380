"""One bridge, all packets at once: the flows run over regions of the input. Exact, or Refused.

A frame is the bits that came in plus what was written since: constants, and slices of the input. A path
condition is a region of the *input*, so a copied field keeps its relation to the one it was copied from. A
match refines the region, a flow of higher priority is subtracted from what later ones see.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from controller.flows import (
    CheckPacketLarger,
    Conjunction,
    Ct,
    Flow,
    Load,
    Match,
    Move,
    Output,
    OutputField,
    Resubmit,
    SetField,
)
from controller.verify.grammar import OFPORT_MAX, Refused, fault
from controller.verify.packet import CT_FIELDS, CT_MASK, FIELD_MASKS, OFFSETS, STATE_FIELDS, WIDTHS, Cube
from controller.verify.space import Region, member, within, without
from controller.verify.stages import POLICY

Slice = tuple[int, int, int]
"""(where in the frame, where in the input, bits): a part of the frame that is a part of the input."""


class Frame(NamedTuple):
    """A frame on its way, for every packet of a region.

    written: the bits of the frame that are no longer those of the input; each is in const_mask (then
    const_value has it) or in one of the slices.
    """

    region: Region
    written: int = 0
    const_value: int = 0
    const_mask: int = 0
    slices: tuple[Slice, ...] = ()

    def known(self) -> Cube:
        """Return the bits of the frame that are the same for all of the region."""
        keep = ~self.written
        value = self.region.value & keep | self.const_value
        mask = self.region.mask & keep | self.const_mask
        for at, source, bits in self.slices:
            ones = (1 << bits) - 1
            value |= (self.region.value >> source & ones) << at
            mask |= (self.region.mask >> source & ones) << at
        return value, mask

    def source_of(self, cut: Cube) -> Cube | None:
        """Return the input cube for which the frame lies in cut; None if it never does."""
        cut_value, cut_mask = cut
        if not cut_mask & self.written:
            return cut
        if (cut_value ^ self.const_value) & cut_mask & self.const_mask:
            return None
        mask = cut_mask & ~self.written
        value = cut_value & mask
        for at, source, bits in self.slices:
            ones = (1 << bits) - 1
            part_mask = (cut_mask >> at & ones) << source
            part_value = (cut_value >> at & ones) << source
            if (value ^ part_value) & mask & part_mask:
                return None
            value, mask = value | part_value, mask | part_mask
        return value, mask

    def field(self, name: str) -> int | None:
        """Return the value of a field if it is the same for all of the region."""
        return self.bits(OFFSETS[name], WIDTHS[name])

    def bits(self, at: int, width: int) -> int | None:
        """Return the value of bits [at, at + width) if it is the same for all of the region."""
        value, mask = self.known()
        ones = (1 << width) - 1
        return value >> at & ones if mask >> at & ones == ones else None

    def origins(self, name: str) -> dict[int, int]:
        """Return, for each bit of a field that is a bit of the input, which one it is."""
        wanted = FIELD_MASKS[name]
        found = {
            at + n: source + n
            for at, source, width in self.slices
            for n in range(width)
            if wanted >> (at + n) & 1
        }
        kept = (
            bit for bit in range(OFFSETS[name], OFFSETS[name] + WIDTHS[name]) if not self.written >> bit & 1
        )
        return {**found, **{bit: bit for bit in kept}}

    def write(self, at: int, bits: int, value: int) -> Frame:
        """Return the frame with a constant written to bits [at, at + bits)."""
        ones = ((1 << bits) - 1) << at
        return self._replaced(at, bits, value << at, ones, ())

    def copy(self, source: int, at: int, bits: int) -> Frame:
        """Return the frame with its bits [source, +bits) copied to [at, +bits)."""
        ones = (1 << bits) - 1
        const_mask = self.const_mask >> source & ones
        const_value = self.const_value >> source & const_mask
        taken = [
            (at + low - source, origin + low - start, high - low)
            for start, origin, width in self.slices
            if (low := max(start, source)) < (high := min(start + width, source + bits))
        ]
        untouched = ~(self.written >> source) & ones
        while untouched:
            low = (untouched & -untouched).bit_length() - 1
            run = untouched >> low
            width = (~run & (run + 1)).bit_length() - 1
            taken.append((at + low, source + low, width))
            untouched &= ~(((1 << width) - 1) << low)
        return self._replaced(at, bits, const_value << at, const_mask << at, tuple(taken))

    def tracked(self) -> Frame:
        """Return the frame when connection tracking has said what it is: ct_* are what the input says."""
        keep = ~CT_MASK
        return Frame(
            self.region, self.written & keep, self.const_value & keep, self.const_mask & keep, self.slices
        )

    def _replaced(self, at: int, bits: int, value: int, mask: int, slices: tuple[Slice, ...]) -> Frame:
        ones = ((1 << bits) - 1) << at
        kept = [piece for old in self.slices for piece in _outside(old, at, bits)]
        return Frame(
            self.region,
            self.written | ones,
            self.const_value & ~ones | value,
            self.const_mask & ~ones | mask,
            (*kept, *slices),
        )


def _outside(piece: Slice, at: int, bits: int) -> Iterator[Slice]:
    """Yield what is left of a slice when bits [at, at + bits) of the frame are overwritten."""
    start, source, width = piece
    if start < at:
        yield start, source, min(width, at - start)
    end = at + bits
    if start + width > end:
        cut = max(0, end - start)
        yield start + cut, source + cut, width - cut


def entering(region: Region, in_port: int | None) -> Frame:
    """Return the frame of packets that come into a bridge: registers are 0; in_port None is any of region."""
    frame = Frame(region, _CLEARED, 0, _CLEARED)
    if in_port is not None:
        frame = frame.write(OFFSETS["in_port"], WIDTHS["in_port"], in_port)
    return frame


_CLEARED = sum(FIELD_MASKS[name] for name in (*STATE_FIELDS, *CT_FIELDS))


RuleKey = tuple[int, int, int, int]
"""Table, priority, and the value and mask of the match."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A flow, prepared: its match as a cube, and where each action reads and writes."""

    flow: Flow
    table: int
    priority: int
    cube: Cube
    steps: tuple[tuple[str, int, int, int], ...]
    goto: int | None
    cookie: int
    # The table of its ct action: where a packet goes on when its connection is known.
    recirculates: int | None = None
    # Whether it hands copies to other tables.
    copies: bool = False

    @property
    def onward(self) -> int | None:
        """The table where the packet goes on."""
        return self.recirculates if self.goto is None else self.goto

    @property
    def effect(self) -> tuple[Hashable, ...]:
        """All that it does."""
        return self.steps, self.goto, self.flow.meter

    @property
    def key(self) -> RuleKey:
        """What tells flows apart."""
        return self.table, self.priority, *self.cube

    @property
    def drops(self) -> bool:
        """Tell whether it does nothing."""
        return not self.steps and self.goto is None

    def does(self, verb: str) -> bool:
        """Tell whether it has a step of a kind."""
        return any(step[0] == verb for step in self.steps)


def prepare(flow: Flow) -> Rule:
    """Return the flow as a rule; raises Refused if it is not understood."""
    wrong = fault(flow)
    if wrong is not None:
        raise Refused(f"a flow {wrong}", flow)
    return Rule(
        flow,
        flow.table,
        flow.priority,
        match_cube(flow.match),
        tuple(map(_step, flow.actions)),
        flow.goto,
        flow.cookie,
        next((a.table for a in flow.actions if isinstance(a, Ct) and a.table is not None), None),
        any(isinstance(a, Resubmit) for a in flow.actions),
    )


def match_cube(match: Match) -> Cube:
    """Return a match as a cube."""
    value = mask = 0
    for field, term_value, term_mask in match:
        at = OFFSETS[field.name]
        value |= term_value << at
        mask |= term_mask << at
    return value, mask


def _step(action: object) -> tuple[str, int, int, int]:
    match action:
        case Output(port):
            return "output", port, 0, 0
        case OutputField(field, start, bits, _):
            return "output-field", OFFSETS[field.name] + start, bits, 0
        case SetField(field, value):
            return "write", OFFSETS[field.name], field.width, value
        case Load(field, start, bits, value):
            return "write", OFFSETS[field.name] + start, bits, value
        case Move(src, src_start, dst, dst_start, bits):
            return "copy", OFFSETS[src.name] + src_start, OFFSETS[dst.name] + dst_start, bits
        case Ct(commit, _, table):
            return "ct", int(commit), -1 if table is None else table, 0
        case Conjunction(number, clause, clauses):
            return "conjunction", number, clause, clauses
        case Resubmit(table):
            return "resubmit", table, 0, 0
        case CheckPacketLarger(length, field, bit):
            return "longer", length, OFFSETS[field.name] + bit, 0
    raise Refused(f"an action the proof does not know: {action!r}")


# A rule is filed under those of these fields that it matches exactly, and within that by its destination MAC;
# so a look-up in a table of thousands looks at the few rules that the frame can meet.
_FILED = tuple((FIELD_MASKS[name], OFFSETS[name]) for name in ("in_port", "reg0", "reg1"))
_MAC_MASK, _MAC_AT = FIELD_MASKS["eth_dst"], OFFSETS["eth_dst"]
_priority = attrgetter("priority")
Filing = tuple[int | None, ...]
_UNFILED: Filing = (None, None, None)
ByMac = dict[int | None, list[Rule]]


class Once:
    """A value whose hash is worked out once."""

    __slots__ = ("_hash", "_value")

    def __init__(self, value: Hashable) -> None:
        self._value, self._hash = value, hash(value)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, Once):
            return self is other
        if self._value is not other._value:
            if self._hash != other._hash or self._value != other._value:
                return False
            # From now on they are one, and seen to be so at once.
            self._value = other._value
        return True


class Rules:
    """Some rules, and all that they do as a value."""

    __slots__ = ("_content", "rules")

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self._content: Once | None = None

    @property
    def content(self) -> Once:
        """All that they do."""
        if self._content is None:
            self._content = Once(frozenset((rule.key, rule.effect) for rule in self.rules))
        return self._content


class Table:
    """The rules of one table."""

    __slots__ = ("_content", "common", "filed", "rules", "shelves", "tenants")

    def __init__(self, *, filed: bool = True) -> None:
        # Rules of policy are not filed: nobody looks a frame up there (policing.py).
        self.filed = filed
        # Of a table of policy: its rules by tenant (policed.py), at a version; None when one has changed.
        self.tenants: tuple[int, Mapping[str | None, Rules]] | None = None
        self.rules: dict[RuleKey, Rule] = {}
        self._content: Hashable | None = None
        # By which of the fields a rule matches exactly, then by their values, then by destination MAC.
        self.shelves: dict[tuple[bool, ...], dict[Filing, ByMac]] = {}
        # What is known (known.py) of the rules that match none of them; None when one has changed since.
        self.common: tuple[Hashable] | None = None

    def add(self, rule: Rule) -> None:
        """Put in a rule; raises Refused if its key is taken."""
        if rule.key in self.rules:
            raise Refused("a flow has the key of another flow", rule.flow)
        self.rules[rule.key] = rule
        self.tenants = self._content = None
        if not self.filed:
            return
        values, mac = _filing(rule.cube), _mac(rule.cube)
        if values == _UNFILED:
            self.common = None
        shelf = self.shelves.setdefault(_shape(values), {})
        shelf.setdefault(values, {}).setdefault(mac, []).append(rule)

    def remove(self, key: RuleKey) -> Rule | None:
        """Take out the rule of that key; None if there is none."""
        rule = self.rules.pop(key, None)
        self.tenants = self._content = None
        if rule is not None and self.filed:
            values, mac = _filing(rule.cube), _mac(rule.cube)
            if values == _UNFILED:
                self.common = None
            shelf = self.shelves[_shape(values)]
            by_mac = shelf[values]
            by_mac[mac].remove(rule)
            if not by_mac[mac]:
                del by_mac[mac]
            if not by_mac:
                del shelf[values]
            if not shelf:
                del self.shelves[_shape(values)]
        return rule

    @property
    def content(self) -> Hashable:
        """All that the table does, as a value."""
        if self._content is None:
            self._content = Rules(tuple(self.rules.values())).content
        return self._content

    def candidates(self, known: Cube) -> list[Rule]:
        """Return the rules that a frame with these known bits may meet, highest priority first."""
        if not self.filed:
            return sorted(self.rules.values(), key=_priority, reverse=True)
        values, mac = _filing(known), _mac(known)
        found: list[Rule] = []
        for shape, shelf in self.shelves.items():
            for by_mac in _consistent(shelf, shape, values):
                if mac is None:
                    for rules in by_mac.values():
                        found += rules
                else:
                    found += by_mac.get(mac, ())
                    found += by_mac.get(None, ())
        found.sort(key=_priority, reverse=True)
        return found


def _filing(cube: Cube) -> Filing:
    value, mask = cube
    return tuple((value & wanted) >> at if mask & wanted == wanted else None for wanted, at in _FILED)


def _shape(values: Filing) -> tuple[bool, ...]:
    return tuple(value is not None for value in values)


def _mac(cube: Cube) -> int | None:
    return (cube[0] & _MAC_MASK) >> _MAC_AT if cube[1] & _MAC_MASK == _MAC_MASK else None


def _consistent(shelf: dict[Filing, ByMac], shape: tuple[bool, ...], values: Filing) -> Iterable[ByMac]:
    """What a frame may meet of the rules that match exactly the fields of shape; None: not known."""
    if all(not filed or value is not None for filed, value in zip(shape, values, strict=True)):
        found = shelf.get(tuple(v if filed else None for filed, v in zip(shape, values, strict=True)))
        return (found,) if found is not None else ()
    checked = [i for i, filed in enumerate(shape) if filed and values[i] is not None]
    return (by_mac for key, by_mac in shelf.items() if all(key[i] == values[i] for i in checked))


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
            frame = frame.tracked() if b >= 0 else frame
        elif verb == "conjunction":
            raise Undefined("a conjunction is not looked at one flow at a time", rule.flow, frame.region)
        else:
            port = a if verb == "output" else _port(rule, frame, a, b)
            # Port 0 does not exist; a frame is never sent back to where it came in (as in switch.py).
            if port not in (0, frame.field("in_port")):
                sent = (*sent, (port, frame))
    return frame, sent


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
