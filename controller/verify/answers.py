"""`explore` of one function over many regions: what it asks, and then says, is asked of the text once only.

A function that is explored is a tree: which question comes next, and what it says in the end, depends on
nothing but the answers so far. `Answers` keeps that tree as far as it is known, and follows a region through
it without running the function again. The parts, and their order, are those of explore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from controller.verify.explore import NoneOf, Question, cut_of
from controller.verify.space import Region, within, without

T = TypeVar("T")


class _Node(Generic[T]):
    """What comes after some answers: not known yet, or a question, or what the function says.

    before, answer: the question before, and the answer that leads here; of the root, None and no matter.
    yes, no: what comes next. values: of a look-up (Question.find), whose ways are by what was found; None of
    other questions.
    """

    __slots__ = ("answer", "asks", "before", "mask", "name", "no", "said", "value", "values", "ways", "yes")

    def __init__(self, before: _Node[T] | None = None, answer: int | None = None) -> None:
        self.before, self.answer = before, answer
        self.asks = False
        self.name, self.value, self.mask = "", 0, 0
        self.values: Mapping[int, object] | None = None
        self.said: tuple[T] | None = None

    def ask(self, value: int, mask: int) -> None:
        """Here it is asked whether a packet is in a cube."""
        self.asks, self.value, self.mask = True, value, mask
        self.yes, self.no = _Node[T](self, True), _Node[T](self, False)

    def look_up(self, name: str, values: Mapping[int, object]) -> None:
        """Here a field is looked up."""
        self.asks, self.name, self.values = True, name, values
        self.ways: dict[int | None, _Node[T]] = {}

    def way(self, found: int | None) -> _Node[T]:
        """What comes after a look-up."""
        there = self.ways.get(found)
        if there is None:
            there = self.ways[found] = _Node(self, found)
        return there

    def path(self) -> list[int | None]:
        """The answers that lead here, the first one last."""
        found: list[int | None] = []
        now = self
        while now.before is not None:
            found.append(now.answer)
            now = now.before
        return found


_Pending = tuple[Region, NoneOf, _Node[T]]


class _Noting(Question, Generic[T]):
    """Answers as is known up to a node, and notes there what it is asked further."""

    __slots__ = ("_known", "later", "node")

    def __init__(self, region: Region, none_of: NoneOf, node: _Node[T]) -> None:
        super().__init__(region, none_of)
        self.node = node
        self._known = node.path()
        self.later: list[_Pending[T]] = []

    def has(self, name: str, value: int, mask: int = -1) -> bool:
        """As Question.has."""
        if self._known:
            return bool(self._known.pop())
        node = self.node
        node.ask(*cut_of(name, value, mask))
        answer = super().has(name, value, mask)
        self.node = node.yes if answer else node.no
        self._postpone(node.no)
        return answer

    def find(self, name: str, values: Mapping[int, object]) -> int | None:
        """As Question.find."""
        if self._known:
            return self._known.pop()
        node = self.node
        node.look_up(name, values)
        found = super().find(name, values)
        self.node = node.way(found)
        self._postpone(node)
        return found

    def _postpone(self, node: _Node[T]) -> None:
        """What has another answer goes on there."""
        if self.others:
            self.later += ((region, none_of, node) for region, none_of in self.others)
            self.others = []


class Answers(Generic[T]):
    """What a function says of packets. It must go by its questions alone, and by what does not change."""

    def __init__(self, ask: Callable[[Question], T]) -> None:
        self._ask = ask
        self._root = _Node[T]()

    def of(self, region: Region) -> Iterator[tuple[Region, T]]:
        """Yield as explore does."""
        pending: list[_Pending[T]] = [(region, frozenset(), self._root)]
        while pending:
            part, none_of, node = _follow(*pending.pop(), pending)
            if node.said is not None:
                yield part, node.said[0]
                continue
            noting = _Noting(part, none_of, node)
            said = self._ask(noting)
            noting.node.said = (said,)
            yield noting.region, said
            pending += noting.later


def _follow(region: Region, none_of: NoneOf, node: _Node[T], pending: list[_Pending[T]]) -> _Pending[T]:
    """Go with a region as far as the tree is known; what answers otherwise on the way is pending."""
    while node.asks:
        if node.values is not None:
            question = Question(region, none_of)
            found = question.find(node.name, node.values)
            pending += ((other, before, node) for other, before in question.others)
            region, none_of, node = question.region, question.none_of, node.way(found)
            continue
        value, mask = node.value, node.mask
        common = region.mask & mask
        if (region.value ^ value) & common:
            node = node.no
            continue
        if common != mask:
            inside = within(region, (value, mask))
            if inside is None:
                node = node.no
                continue
            outside = without(region, (value, mask))
            if outside is not None:
                pending.append((outside, none_of, node.no))
            region = inside
        node = node.yes
    return region, none_of, node
