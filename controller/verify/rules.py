"""Flows prepared for the symbolic switch, and tables of them in which a frame's few are found fast."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter

from controller.flows import (
    CheckPacketLarger,
    Conjunction,
    Ct,
    DecTtl,
    Flow,
    Load,
    Match,
    Move,
    Output,
    OutputField,
    Resubmit,
    SetField,
)
from controller.verify.grammar import Refused, fault
from controller.verify.packet import FIELD_MASKS, OFFSETS, Cube

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
    def attention(self) -> tuple[tuple[str, int], ...]:
        """Whom it asks (attention.py)."""
        asked = (("remember" if a else "ask", self.table) for verb, a, _, _ in self.steps if verb == "ct")
        return (*asked, *([("meter", self.flow.meter)] if self.flow.meter is not None else []))

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
    return value, _shared(mask)


@lru_cache(maxsize=1 << 12)
def _shared(mask: int) -> int:
    """Return the one number that all masks of this value are: there are few, and each has a hundred bytes."""
    return mask


@lru_cache(maxsize=1 << 16)
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
        case DecTtl():
            return "age", 0, 0, 0
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


class Shares:
    """Rules by whom they are of, followed rule by rule: what one owner's cost is not that of all others."""

    __slots__ = ("_made", "_owner", "_rules")

    def __init__(self, owner: Callable[[Rule], Hashable], rules: Iterable[Rule]) -> None:
        self._owner = owner
        self._rules: dict[Hashable, dict[RuleKey, Rule]] = {}
        self._made: dict[Hashable, Rules] = {}
        for rule in rules:
            self.add(rule)

    def add(self, rule: Rule) -> None:
        """Put in a rule."""
        owner = self._owner(rule)
        self._rules.setdefault(owner, {})[rule.key] = rule
        self._made.pop(owner, None)

    def remove(self, rule: Rule) -> None:
        """Take out a rule that is there."""
        owner = self._owner(rule)
        share = self._rules[owner]
        del share[rule.key]
        if not share:
            del self._rules[owner]
        self._made.pop(owner, None)

    def of(self, owner: Hashable) -> Rules:
        """Return an owner's rules: the same object as long as they are the same."""
        made = self._made.get(owner)
        if made is None:
            if owner not in self._rules:
                return _NO_RULES
            made = self._made[owner] = Rules(tuple(self._rules[owner].values()))
        return made


_NO_RULES = Rules(())


class Table:
    """The rules of one table."""

    __slots__ = ("_content", "common", "filed", "rules", "shares", "shelves")

    def __init__(self, *, filed: bool = True) -> None:
        # Rules of policy are not filed: nobody looks a frame up there (policing.py).
        self.filed = filed
        # Of a table of policy: its rules by whose they are (policed.py); None until that is asked.
        self.shares: Shares | None = None
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
        self._content = None
        if self.shares is not None:
            self.shares.add(rule)
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
        self._content = None
        if rule is not None and self.shares is not None:
            self.shares.remove(rule)
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
