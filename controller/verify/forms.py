"""What many flows have in common: all of a flow but whose it is.

The flows of two ports differ in addresses, numbers and MACs alone. Their form is the rest: table, priority,
the fields and masks of the match, what a field says that tells one kind of packet from another, the actions
but for what is written. Whether a flow is understood (grammar.py) is decided once for each form, on a flow
made of the form alone: so it cannot depend on what is left out, of which is only asked that it fits.
"""

from __future__ import annotations

from functools import lru_cache

from controller.flows import (
    Action,
    CheckPacketLarger,
    Conjunction,
    Ct,
    DecTtl,
    Field,
    Flow,
    Load,
    Match,
    Move,
    Output,
    OutputField,
    Resubmit,
    SetField,
)
from controller.flows.flow import MatchTerm
from controller.verify.grammar import LOAD_BITS_MAX, OFPORT_MAX, Refused, fault
from controller.verify.packet import FIELD_MASKS, OFFSETS
from controller.verify.stages import ORIGIN, TO_PORT

KINDS_MAX, FORMS_MAX = 1 << 14, 1 << 12
Step = tuple[str, int, int, int]
"""An action as the symbolic switch carries it out: a verb, and where it reads and writes."""
Filing = tuple[int | None, ...]
Shelf = tuple[bool, ...]

# Fields whose values make a flow somebody's: no part of its form.
OWN = frozenset(
    name
    for name in OFFSETS
    if name.startswith(("eth_src", "eth_dst", "arp_s", "arp_t", "ipv4_", "ipv6_", "in_port", "reg"))
    or name in ("conj_id", "ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst", "ct_tp_src", "ct_tp_dst")
) - {ORIGIN}

# A rule is filed under those of these fields that it matches exactly, and within that by its destination MAC;
# so a look-up in a table of thousands looks at the few rules that the frame can meet.
FILED = tuple((FIELD_MASKS[name], OFFSETS[name]) for name in ("in_port", "reg0", "reg1"))
UNFILED: Filing = (None, None, None)
MAC_MASK, MAC_AT = FIELD_MASKS["eth_dst"], OFFSETS["eth_dst"]


class Kind:
    """The fields and masks of a match.

    offsets: where they are, None if one of them is not known; mask: of all of them. shelf: by which fields it
    is filed. own: places in the match of what is no part of a form, with their fields; masked: those of them
    that do not compare whole values.
    """

    __slots__ = ("_fixed", "_forms", "_named", "by_mac", "mask", "masked", "offsets", "own", "shelf")

    def __init__(self, terms: tuple[tuple[Field, int], ...]) -> None:
        self._forms: dict[tuple[object, ...], Form] = {}
        self._named = terms
        self.own = tuple((n, field.name) for n, (field, _) in enumerate(terms) if field.name in OWN)
        self.masked = tuple((n, name) for n, name in self.own if terms[n][1] != terms[n][0].all_ones)
        own = dict(self.own)
        self._fixed = tuple(n for n in range(len(terms)) if n not in own)
        self.offsets: tuple[int, ...] | None = None
        self.mask = 0
        if all(field.name in OFFSETS for field, _ in terms):
            self.offsets = tuple(OFFSETS[field.name] for field, _ in terms)
            self.mask = shared(sum(mask << at for (_, mask), at in zip(terms, self.offsets, strict=True)))
        self.shelf: Shelf = tuple(self.mask & wanted == wanted for wanted, _ in FILED)
        self.by_mac = self.mask & MAC_MASK == MAC_MASK

    def value(self, match: Match) -> int | None:
        """Return the values of a match of this kind in their places; None if one does not fit."""
        if self.offsets is None:
            return None
        found = 0
        for at, (_, value, mask) in zip(self.offsets, match, strict=True):
            if value & ~mask:
                return None
            found |= value << at
        return found

    def form(self, flow: Flow, blanks: tuple[Blank, ...]) -> Form:
        """Return the form of a flow with a match of this kind, and such actions."""
        match = flow.match
        fixed = tuple([match[n].value for n in self._fixed])
        key = (flow.table, flow.priority, flow.goto, flow.meter is None, fixed, blanks)
        found = self._forms.get(key)
        if found is None:
            if len(self._forms) >= FORMS_MAX:
                self._forms.clear()
            found = self._forms[key] = Form(self, self._bare(flow, blanks))
        return found

    def _bare(self, flow: Flow, blanks: tuple[Blank, ...]) -> Flow:
        """Return a flow of which nothing is left but its form."""
        terms = list(flow.match)
        for n, _ in self.own:
            terms[n] = MatchTerm(terms[n].field, 0, terms[n].mask)
        return Flow(
            table=flow.table,
            priority=flow.priority,
            match=tuple(terms),
            actions=tuple(blank.action for blank in blanks),
            goto=flow.goto,
            meter=None if flow.meter is None else 1,
        )


class Form:
    """A form. Two that are not the same object may be alike; that costs time and nothing else.

    fault: why its flows are not understood, None if they are. writes: the bits that they write. others: what
    they do besides writing values.
    """

    __slots__ = ("copies", "fault", "kind", "onward", "others", "writes")

    def __init__(self, kind: Kind, bare: Flow) -> None:
        self.kind = kind
        self.fault = fault(bare)
        steps = [_read(action)[0] for action in bare.actions] if self.fault is None else []
        self.others = tuple(step for step in steps if step[0] != "write")
        self.copies = any(step[0] == "resubmit" for step in steps)
        self.writes = 0
        for step in steps:
            self.writes |= _written(step)
        tracks = (a.table for a in bare.actions if isinstance(a, Ct) and a.table is not None)
        self.onward = next(tracks, None) if bare.goto is None else bare.goto


class Blank:
    """An action without what is somebody's own in it."""

    __slots__ = ("action",)

    def __init__(self, action: Action) -> None:
        self.action = action


_KINDS: dict[tuple[tuple[Field, int], ...], Kind] = {}


def kind_of(match: Match) -> Kind:
    """Return the kind of a match."""
    key = tuple([(field, mask) for field, _, mask in match])
    found = _KINDS.get(key)
    if found is None:
        if len(_KINDS) >= KINDS_MAX:
            _KINDS.clear()
        found = _KINDS[key] = Kind(key)
    return found


def read(flow: Flow) -> tuple[Form, tuple[Step, ...], int]:
    """Return a flow's form, its steps and its match's values in their places; raises Refused.

    Who asks has the mask of its match from the form's kind.
    """
    kind = kind_of(flow.match)
    value = kind.value(flow.match)
    if value is None:
        raise Refused(f"a flow {fault(flow) or 'has values that do not fit'}", flow)
    steps, blanks = [], []
    for action in flow.actions:
        step, blank = _read(action)
        steps.append(step)
        blanks.append(blank)
    form = kind.form(flow, tuple(blanks))
    if form.fault is not None:
        raise Refused(f"a flow {form.fault}", flow)
    return form, tuple(steps), value


@lru_cache(maxsize=1 << 12)
def shared(mask: int) -> int:
    """Return the one number that all masks of this value are: there are few, and each has a hundred bytes."""
    return mask


@lru_cache(maxsize=1 << 12)
def _read(action: Action) -> tuple[Step, Blank]:
    return _step(action), _one(_blank(action))


@lru_cache(maxsize=1 << 12)
def _one(action: Action) -> Blank:
    return Blank(action)


def _blank(action: Action) -> Action:
    """Return an action without its own values, if grammar.py asks nothing of them but what is asked here."""
    match action:
        case Output(port) if 1 <= port <= OFPORT_MAX:
            return Output(1)
        case SetField(field, value) if field.name in OWN and 0 <= value <= field.all_ones:
            return SetField(field, 0)
        case Load(field, start, bits, value) if field.name in OWN and 0 < bits <= LOAD_BITS_MAX:
            largest = min((1 << bits) - 1, OFPORT_MAX if field.name == TO_PORT else 1 << LOAD_BITS_MAX)
            return Load(field, start, bits, 0) if 0 <= value <= largest else action
        case Conjunction(_, clause, clauses):
            return Conjunction(0, clause, clauses)
    return action


def _step(action: object) -> Step:
    match action:
        case Output(port):
            return "output", port, 0, 0
        case OutputField(field, start, bits, _):
            return "output-field", _at(field) + start, bits, 0
        case SetField(field, value):
            return "write", _at(field), field.width, value
        case Load(field, start, bits, value):
            return "write", _at(field) + start, bits, value
        case Move(src, src_start, dst, dst_start, bits):
            return "copy", _at(src) + src_start, _at(dst) + dst_start, bits
        case Ct(commit, _, table):
            return "ct", int(commit), -1 if table is None else table, 0
        case Conjunction(number, clause, clauses):
            return "conjunction", number, clause, clauses
        case Resubmit(table):
            return "resubmit", table, 0, 0
        case CheckPacketLarger(length, field, bit):
            return "longer", length, _at(field) + bit, 0
        case DecTtl():
            return "age", 0, 0, 0
    raise Refused(f"a flow has an action the proof does not know: {action!r}")


def _at(field: Field) -> int:
    found = OFFSETS.get(field.name)
    if found is None:
        raise Refused(f"a flow uses {field.name}, which the proof does not know")
    return found


def _written(step: Step) -> int:
    """The bits that a step writes."""
    verb, a, b, c = step
    if verb == "write":
        return ((1 << b) - 1) << a
    if verb == "longer":
        return 1 << b
    return ((1 << c) - 1) << b if verb == "copy" else 0
