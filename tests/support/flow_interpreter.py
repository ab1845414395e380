"""A small interpreter of flow tables: priorities, masks, conjunctions, goto. For tests of compiled policy.

Knows what ovs-fields(7) says of conjunctive matches and nothing of our pipeline: a packet is a dictionary of
fields, and what is not in it is 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from controller.flows import Conjunction, Flow, Load, Move


class Tables:
    """Flows, ready to be asked."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        self._tables: dict[int, list[Flow]] = defaultdict(list)
        for flow in sorted(flows, key=lambda f: -f.priority):
            self._tables[flow.table].append(flow)

    def reached(self, packet: Mapping[str, int], table: int) -> set[int]:
        """The tables that a packet visits from a table on."""
        fields, seen = dict(packet), {table}
        at: int | None = table
        while at is not None:
            seen.add(at)
            flow = self.find(fields, at)
            at = flow.goto if flow is not None else None
            for action in flow.actions if flow is not None else ():
                _act(fields, action)
        return seen

    def find(self, packet: Mapping[str, int], table: int) -> Flow | None:
        """The flow that a packet hits in a table."""
        matching = [f for f in self._tables[table] if _matches(f, packet)]
        plain = [f for f in matching if not _is_clause(f)]
        best = plain[0].priority if plain else -1
        met: dict[tuple[int, int], dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        for flow in matching:
            for action in flow.actions:
                if isinstance(action, Conjunction) and flow.priority > best:
                    met[flow.priority, action.id][action.clauses].add(action.clause)
        for (_, number), clauses in sorted(met.items(), reverse=True):
            if any(len(seen) == wanted for wanted, seen in clauses.items()):
                again = {**packet, "conj_id": number}
                return next(
                    (f for f in self._tables[table] if not _is_clause(f) and _matches(f, again)), None
                )
        return plain[0] if plain else None


def _is_clause(flow: Flow) -> bool:
    return any(isinstance(action, Conjunction) for action in flow.actions)


def _matches(flow: Flow, packet: Mapping[str, int]) -> bool:
    return all(packet.get(term.field.name, 0) & term.mask == term.value for term in flow.match)


def _act(fields: dict[str, int], action: object) -> None:
    if isinstance(action, Load):
        _write(fields, action.field.name, action.start, action.bits, action.value)
    elif isinstance(action, Move):
        value = fields.get(action.src.name, 0) >> action.src_start
        _write(fields, action.dst.name, action.dst_start, action.bits, value)


def _write(fields: dict[str, int], name: str, start: int, bits: int, value: int) -> None:
    mask = (1 << bits) - 1
    fields[name] = fields.get(name, 0) & ~(mask << start) | (value & mask) << start
