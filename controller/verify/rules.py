"""Flows prepared for the symbolic switch, and tables of them in which a frame's few are found fast."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from itertools import chain
from operator import attrgetter
from typing import Any

from controller.flows import Flow, Match
from controller.verify.forms import FILED, MAC_AT, MAC_MASK, UNFILED, Filing, Form, Shelf, Step, kind_of, read
from controller.verify.grammar import Refused
from controller.verify.packet import Cube

RuleKey = tuple[int, int, int, int]
"""Table, priority, and the value and mask of the match."""


class Rule:
    """A flow, prepared: its match as a cube, and where each action reads and writes. Never changed.

    key: what tells flows apart. onward: the table where the packet goes on: where goto says, or once its
    connection is known. owner: whose it is, where that was asked (Shares).
    """

    __slots__ = (
        "_said", "cube", "flow", "form", "key", "onward", "owner", "priority", "steps", "table",
    )  # fmt: skip

    def __init__(
        self, flow: Flow, form: Form, cube: Cube, steps: tuple[Step, ...], onward: int | None
    ) -> None:
        self.flow, self.form, self.cube, self.steps, self.onward = flow, form, cube, steps, onward
        self.table, self.priority = flow.table, flow.priority
        self.key: RuleKey = (flow.table, flow.priority, *cube)
        self.owner: Hashable = None
        self._said: Once | None = None

    @property
    def said(self) -> Once:
        """Where it stands and all that it does, as a value."""
        if self._said is None:
            self._said = Once((self.key, self.effect))
        return self._said

    @property
    def goto(self) -> int | None:
        """The table where it goes on by itself."""
        return self.flow.goto

    @property
    def copies(self) -> bool:
        """Tell whether it hands copies to other tables."""
        return self.form.copies

    @property
    def effect(self) -> tuple[Hashable, ...]:
        """All that it does."""
        return self.steps, self.flow.goto, self.flow.meter

    @property
    def attention(self) -> tuple[tuple[str, int], ...]:
        """Whom it asks (attention.py)."""
        asked = (("remember" if a else "ask", self.table) for verb, a, _, _ in self.steps if verb == "ct")
        return (*asked, *([("meter", self.flow.meter)] if self.flow.meter is not None else []))

    @property
    def drops(self) -> bool:
        """Tell whether it does nothing."""
        return not self.steps and self.flow.goto is None

    def matching(self, cube: Cube) -> Rule:
        """Return a rule that does the same with the packets of a cube, be it a flow's match or not."""
        return Rule(self.flow, self.form, cube, self.steps, self.onward)

    def idle(self) -> Rule:
        """Return a rule that does nothing with the same packets."""
        return Rule(self.flow, self.form, self.cube, (), None)

    def does(self, verb: str) -> bool:
        """Tell whether it has a step of a kind."""
        return any(step[0] == verb for step in self.steps)


def prepare(flow: Flow) -> Rule:
    """Return the flow as a rule; raises Refused if it is not understood."""
    form, steps, value = read(flow)
    return Rule(flow, form, (value, form.kind.mask), steps, form.onward)


def match_cube(match: Match) -> Cube | None:
    """Return a match as a cube; None if it is not understood, so that no rule can have it."""
    kind = kind_of(match)
    value = kind.value(match)
    return (value, kind.mask) if value is not None else None


_priority = attrgetter("priority")
# By destination MAC (None: whatever it is), or all of them where there are few: most often there is one, of
# which a dict would take more memory than it does.
Filed = tuple[Rule, ...] | dict[int | None, list[Rule]]
FILED_FEW = 3


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
            self._content = Once(frozenset([rule.said for rule in self.rules]))
        return self._content


class Shares:
    """Rules by whom they are of, followed rule by rule: what one owner's cost is not that of all others.

    known: what was found out about them (policed.py), by whom; nothing once a rule has come or gone.
    """

    __slots__ = ("_made", "_owner", "_rules", "known")

    def __init__(self, owner: Callable[[Rule], Hashable], rules: Iterable[Rule]) -> None:
        self._owner = owner
        self._rules: dict[Hashable, dict[RuleKey, Rule]] = {}
        self._made: dict[Hashable, Rules] = {}
        self.known: dict[Hashable, tuple[Hashable, Any]] = {}
        for rule in rules:
            self.add(rule)

    def add(self, rule: Rule) -> None:
        """Put in a rule."""
        self.known.clear()
        owner = rule.owner = self._owner(rule) if rule.owner is None else rule.owner
        self._rules.setdefault(owner, {})[rule.key] = rule
        self._made.pop(owner, None)

    def remove(self, rule: Rule) -> None:
        """Take out a rule that is there."""
        self.known.clear()
        owner = self._owner(rule) if rule.owner is None else rule.owner
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

    __slots__ = ("_content", "_met", "common", "filed", "rules", "shares", "shelves")

    def __init__(self, *, filed: bool = True) -> None:
        # Rules of policy are not filed: nobody looks a frame up there (policing.py).
        self.filed = filed
        # Of a table of policy: its rules by whose they are (policed.py); None until that is asked.
        self.shares: Shares | None = None
        self.rules: dict[RuleKey, Rule] = {}
        self._content: Hashable | None = None
        # By which of the fields a rule matches exactly, then by their values.
        self.shelves: dict[Shelf, dict[Filing, Filed]] = {}
        # What is known (known.py) of the rules that match none of them; None when one has changed since.
        self.common: tuple[Hashable] | None = None
        # What frames with some known bits may meet (`met`); nothing once a rule has come or gone.
        self._met: dict[Cube, Once] = {}

    def add(self, rule: Rule) -> None:
        """Put in a rule; raises Refused if its key is taken."""
        key = rule.key
        if key in self.rules:
            raise Refused("a flow has the key of another flow", rule.flow)
        self.rules[key] = rule
        self._content = None
        self._met.clear()
        if self.shares is not None:
            self.shares.add(rule)
        if not self.filed:
            return
        values = _filing(rule.cube)
        if values == UNFILED:
            self.common = None
        shelf = self.shelves.setdefault(rule.form.kind.shelf, {})
        filed = shelf.get(values, ())
        if isinstance(filed, dict):
            filed.setdefault(_mac(rule.cube), []).append(rule)
        elif len(filed) < FILED_FEW:
            shelf[values] = (*filed, rule)
        else:
            shelf[values] = dict(by_mac((*filed, rule)))

    def remove(self, key: RuleKey) -> Rule | None:
        """Take out the rule of that key; None if there is none."""
        rule = self.rules.pop(key, None)
        self._content = None
        self._met.clear()
        if rule is not None and self.shares is not None:
            self.shares.remove(rule)
        if rule is not None and self.filed:
            self._unfile(rule)
        return rule

    def _unfile(self, rule: Rule) -> None:
        values = _filing(rule.cube)
        if values == UNFILED:
            self.common = None
        shelf = self.shelves[rule.form.kind.shelf]
        filed = shelf[values]
        if isinstance(filed, dict):
            mac = _mac(rule.cube)
            filed[mac].remove(rule)
            if not filed[mac]:
                del filed[mac]
        else:
            filed = shelf[values] = tuple([other for other in filed if other is not rule])
        if not filed:
            del shelf[values]
        if not shelf:
            del self.shelves[rule.form.kind.shelf]

    @property
    def content(self) -> Hashable:
        """All that the table does, as a value."""
        if self._content is None:
            self._content = Rules(tuple(self.rules.values())).content
        return self._content

    def forget_met(self) -> None:
        """Keep nothing that would be gone with the next rule anyway."""
        self._met.clear()

    def met(self, known: Cube) -> Once:
        """Return the rules that a frame with these known bits may meet, as a value."""
        found = self._met.get(known)
        if found is None:
            found = self._met[known] = Once(frozenset([rule.said for rule in self.candidates(known)]))
        return found

    def candidates(self, known: Cube) -> list[Rule]:
        """Return the rules that a frame with these known bits may meet, highest priority first."""
        if not self.filed:
            return sorted(self.rules.values(), key=_priority, reverse=True)
        values, mac = _filing(known), _mac(known)
        found: list[Rule] = []
        for shape, shelf in self.shelves.items():
            for filed in _consistent(shelf, shape, values):
                if not isinstance(filed, dict):
                    found += (
                        filed if mac is None else [rule for rule in filed if _mac(rule.cube) in (None, mac)]
                    )
                elif mac is None:
                    found += all_of(filed)
                else:
                    found += filed.get(mac, ())
                    found += filed.get(None, ())
        found.sort(key=_priority, reverse=True)
        return found


def _filing(cube: Cube) -> Filing:
    value, mask = cube
    return tuple([(value & wanted) >> at if mask & wanted == wanted else None for wanted, at in FILED])


def _mac(cube: Cube) -> int | None:
    return (cube[0] & MAC_MASK) >> MAC_AT if cube[1] & MAC_MASK == MAC_MASK else None


def by_mac(filed: Filed) -> Mapping[int | None, list[Rule]]:
    """Return rules by their destination MAC, None: whatever it is."""
    if isinstance(filed, dict):
        return filed
    made: dict[int | None, list[Rule]] = {}
    for rule in filed:
        made.setdefault(_mac(rule.cube), []).append(rule)
    return made


def all_of(filed: Filed) -> Iterator[Rule]:
    """Yield rules, whatever their MACs."""
    if not isinstance(filed, dict):
        return iter(filed)
    return chain.from_iterable(filed.values())


def _consistent(shelf: dict[Filing, Filed], shape: Shelf, values: Filing) -> Iterable[Filed]:
    """What a frame may meet of the rules that match exactly the fields of shape; None: not known."""
    if all(not filed or value is not None for filed, value in zip(shape, values, strict=True)):
        found = shelf.get(tuple(v if filed else None for filed, v in zip(shape, values, strict=True)))
        return (found,) if found is not None else ()
    checked = [i for i, filed in enumerate(shape) if filed and values[i] is not None]
    return (filed for key, filed in shelf.items() if all(key[i] == values[i] for i in checked))
