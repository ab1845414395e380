"""The desired flow table of one host, kept unit by unit, and what is still to be sent. Pure.

A unit is the bridge itself, a network on it, or a port on it: whatever the compiler answers for. Setting a
unit replaces its flows; the order in which units are set does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from controller.flows import Flow, FlowKey
from controller.flows.delta import FlowDelta, ForeignFlow, InstalledFlows, flow_delta

Unit = tuple[Any, ...]


class FlowConflict(Exception):
    """Two units claim one flow key: a compiler bug or intent that should never have been stored."""

    def __init__(self, unit: Unit, other: Unit, key: FlowKey) -> None:
        self.unit, self.other, self.key = unit, other, key
        super().__init__(f"{unit} and {other} both want {key}")


class FlowSet:
    """Desired flows by key and by unit, the flows believed to be installed, and the keys that differ."""

    def __init__(self) -> None:
        self.desired: dict[FlowKey, Flow] = {}
        self.installed: dict[FlowKey, Flow] = {}
        self._units: dict[Unit, tuple[Flow, ...]] = {}
        self._owner: dict[FlowKey, Unit] = {}
        self._dirty: set[FlowKey] = set()
        self._foreign: tuple[ForeignFlow, ...] = ()

    def set_units(self, units: Mapping[Unit, tuple[Flow, ...]]) -> list[FlowConflict]:
        """Replace the flows of some units, all together; an empty tuple removes a unit.

        A unit that claims a key of another one gets no flows at all (fail closed) and is returned.
        """
        changed = {u: flows for u, flows in units.items() if self._units.get(u, ()) != flows}
        for unit in changed:
            for flow in self._units.pop(unit, ()):
                del self.desired[flow.key], self._owner[flow.key]
                self._dirty.add(flow.key)
        conflicts = []
        for unit, flows in changed.items():
            twice = next((key for key, n in Counter(f.key for f in flows).items() if n > 1), None)
            taken = next((f.key for f in flows if f.key in self._owner), twice)
            if taken is not None:
                conflicts.append(FlowConflict(unit, self._owner.get(taken, unit), taken))
                continue
            self._add(unit, flows)
        return conflicts

    def flows_of(self, unit: Unit) -> tuple[Flow, ...]:
        """Return the flows of a unit, none if it has none."""
        return self._units.get(unit, ())

    def preview(self, units: Mapping[Unit, tuple[Flow, ...]]) -> tuple[set[Flow], set[Flow]]:
        """Return the flows that setting these units would take away, and those it would bring."""
        before = {flow for unit in units for flow in self._units.get(unit, ())}
        after = {flow for flows in units.values() for flow in flows}
        return before - after, after - before

    def _add(self, unit: Unit, flows: tuple[Flow, ...]) -> None:
        if flows:
            self._units[unit] = flows
        for flow in flows:
            self.desired[flow.key] = flow
            self._owner[flow.key] = unit
            self._dirty.add(flow.key)

    def owner(self, key: FlowKey) -> Unit | None:
        """Return the unit a flow serves."""
        return self._owner.get(key)

    @property
    def dirty(self) -> bool:
        """Tell whether something may have to be sent."""
        return bool(self._dirty or self._foreign)

    def take(self) -> FlowDelta:
        """Return what must be sent, and count it as sent; `failed` takes it back."""
        keys, self._dirty = self._dirty, set()
        foreign, self._foreign = self._foreign, ()
        desired = {k: self.desired[k] for k in keys if k in self.desired}
        installed = {k: self.installed[k] for k in keys if k in self.installed}
        return flow_delta(desired, installed, foreign)

    def applied(self, delta: FlowDelta) -> None:
        """The switch has committed delta."""
        for flow in (*delta.add, *delta.modify):
            self.installed[flow.key] = flow
        for key in delta.delete:
            self.installed.pop(key, None)

    def failed(self, delta: FlowDelta) -> None:
        """The switch may or may not have committed delta: these keys stay to be settled."""
        self._dirty.update(f.key for f in (*delta.add, *delta.modify))
        self._dirty.update(delta.delete)
        self._foreign = (*self._foreign, *delta.purge)

    def observed(self, read: InstalledFlows) -> FlowDelta:
        """The whole table was read: return how it differs from desired, and settle exactly that next."""
        self.installed = {key: entry.flow for key, entry in read.flows.items()}
        delta = flow_delta(self.desired, read)
        self._dirty = {f.key for f in (*delta.add, *delta.modify)} | set(delta.delete)
        self._foreign = delta.purge
        return delta
