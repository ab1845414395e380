"""The desired flow table of one host, kept unit by unit, and what is still to be sent. Pure.

A unit is the bridge itself, the host, a network or a port on it, the policy of a tenant: whatever the
compiler answers for. Setting a unit replaces its flows; the order in which units are set does not matter.

What is sent comes in steps. A zone of the connection tracker that gets another owner is emptied in between:
first no flow uses it, then it is flushed, then come the flows of the new owner (zones.py says who owns one).
A zone that no flow uses is flushed before the bundle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from itertools import chain
from typing import Any, NamedTuple

from controller.flows import Flow, FlowKey
from controller.flows.delta import FlowDelta, ForeignFlow, InstalledFlows, flow_delta
from controller.reconcile.exchange import between
from controller.reconcile.zones import ZonedFlows, cookies_of, leads_to_zones, may_keep, zone_of

Unit = tuple[Any, ...]


class FlowConflict(Exception):
    """Two units claim one flow key: a compiler bug or intent that should never have been stored."""

    def __init__(self, unit: Unit, other: Unit, key: FlowKey) -> None:
        self.unit, self.other, self.key = unit, other, key
        super().__init__(f"{unit} and {other} both want {key}")


class Step(NamedTuple):
    """What is to be done next: a bundle, and when it is in force zones to be flushed.

    free: zones to be flushed before the bundle, as no flow uses them until it is in.
    """

    delta: FlowDelta
    zones: tuple[int, ...] = ()
    free: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.delta or self.zones or self.free)


class FlowSet:
    """Desired flows by key and by unit, the flows believed to be installed, and the keys that differ."""

    def __init__(self) -> None:
        self._desired = ZonedFlows()
        self._installed = ZonedFlows()
        self._units: dict[Unit, tuple[Flow, ...]] = {}
        # All flows of a port have one cookie, of which no other unit's flows are.
        self._by_cookie: dict[int, tuple[Unit, ...]] = {}
        self._dirty: set[FlowKey] = set()
        self._foreign: tuple[ForeignFlow, ...] = ()
        # Zones that were flushed, and that no flow has used since.
        self._empty: set[int] = set()

    @property
    def desired(self) -> Mapping[FlowKey, Flow]:
        """What the switch should hold."""
        return self._desired.flows

    @property
    def installed(self) -> Mapping[FlowKey, Flow]:
        """What the switch is believed to hold."""
        return self._installed.flows

    @property
    def meters(self) -> Set[int]:
        """Ids of the meters that the desired flows name."""
        return self._desired.meters.keys()

    @property
    def moved_meters(self) -> set[int]:
        """Those of them that are new, and those that were of them, until they are taken out of this set."""
        return self._desired.moved_meters

    def set_units(self, units: Mapping[Unit, tuple[Flow, ...]]) -> list[FlowConflict]:
        """Replace the flows of some units, all together; an empty tuple removes a unit.

        A unit that claims a key of another one gets no flows at all (fail closed) and is returned.
        """
        changed = {u: flows for u, flows in units.items() if self._units.get(u, ()) is not flows}
        if self._exchange(changed):
            return []
        for unit in changed:
            self._remove(unit)
        conflicts = []
        for unit, flows in changed.items():
            twice = next((key for key, n in Counter(f.key for f in flows).items() if n > 1), None)
            taken = next((f.key for f in flows if f.key in self.desired), twice)
            if taken is not None:
                conflicts.append(FlowConflict(unit, self.owners({taken}).get(taken, unit), taken))
                continue
            self._add(unit, flows)
        return conflicts

    @property
    def units(self) -> Set[Unit]:
        """Every unit that has flows."""
        return self._units.keys()

    def flows_of(self, unit: Unit) -> tuple[Flow, ...]:
        """Return the flows of a unit, none if it has none."""
        return self._units.get(unit, ())

    def preview(self, units: Mapping[Unit, tuple[Flow, ...]]) -> tuple[Collection[Flow], Collection[Flow]]:
        """Return the flows that setting these units would take away, and those it would bring."""
        exchanged = [(between(self._units.get(unit, ()), flows), flows) for unit, flows in units.items()]
        changed = [(exchange, flows) for exchange, flows in exchanged if exchange.gone or exchange.come]
        if len(changed) == 1 and changed[0][0].come is not changed[0][1]:
            # Some of one unit's flows, most often of a policy: none of them twice (exchange.py).
            return changed[0][0]
        before = {flow for exchange, _ in changed for flow in exchange.gone}
        after = {flow for exchange, _ in changed for flow in exchange.come}
        return before - after, after - before

    def _exchange(self, changed: Mapping[Unit, tuple[Flow, ...]]) -> bool:
        """Replace flows one by one where no unit claims what is another's; else do nothing, and tell so.

        What it costs is what changes, and not what the units have: the policy of a tenant has thousands.
        """
        differences = {u: between(self._units.get(u, ()), flows) for u, flows in changed.items()}
        freed = {flow.key for difference in differences.values() for flow in difference.gone}
        claimed, held = set[FlowKey](), self._desired.flows
        for difference in differences.values():
            for flow in difference.come:
                key = flow.key
                if key in claimed or (key in held and key not in freed):
                    return False
                claimed.add(key)
        for difference in differences.values():
            for flow in difference.gone:
                self._put_away(flow.key)
        for unit, difference in differences.items():
            self._note(unit, changed[unit])
            for flow in difference.come:
                self._put(flow)
        return True

    def _note(self, unit: Unit, flows: tuple[Flow, ...]) -> None:
        """Take down which flows a unit has, and under which cookie it is found."""
        before = self._units.pop(unit, ())
        if before:
            cookie = before[0].cookie
            known = tuple([other for other in self._by_cookie.pop(cookie) if other != unit])
            if known:
                self._by_cookie[cookie] = known
        if flows:
            cookie = flows[0].cookie
            self._units[unit] = flows
            self._by_cookie[cookie] = (*self._by_cookie.get(cookie, ()), unit)

    def _put(self, flow: Flow) -> None:
        key = flow.key
        self._desired.put(key, flow)
        self._dirty.add(key)

    def _put_away(self, key: FlowKey) -> None:
        self._desired.drop(key)
        self._dirty.add(key)

    def _add(self, unit: Unit, flows: tuple[Flow, ...]) -> None:
        self._note(unit, flows)
        for flow in flows:
            self._put(flow)

    def _remove(self, unit: Unit) -> None:
        flows = self._units.get(unit, ())
        self._note(unit, ())
        for flow in flows:
            self._put_away(flow.key)

    def owners(self, keys: Set[FlowKey]) -> dict[FlowKey, Unit]:
        """Return which units desired flows of these keys serve. All are looked at: it is seldom asked."""
        flows = ((flow.key, unit) for unit, flows in self._units.items() for flow in flows)
        return {key: unit for key, unit in flows if key in keys}

    @property
    def dirty(self) -> bool:
        """Tell whether something may have to be sent."""
        return bool(self._dirty or self._foreign)

    def take(self) -> Step:
        """Return the next step, and count it as done; `failed` takes it back.

        Where zones are to be flushed, there is another step after it: what is to come into them.
        """
        keys, self._dirty = self._dirty, set()
        foreign, self._foreign = self._foreign, ()
        # (A key takes long to hash: it is looked up as seldom as can be, and a new switch lacks all of them.)
        desired, installed = _those_of(self.desired, keys), _those_of(self.installed, keys)
        zones = self._to_flush(chain(desired.values(), installed.values()))
        free = set() if foreign or self._replaces(installed) else set(filter(self._is_free, zones))
        zones -= free
        later: set[FlowKey] = set()
        for cookie in self._cookies_in(zones):
            # (What is there of theirs and not wanted differs anyway.)
            for unit in self._by_cookie.get(cookie, ()):
                later.update(flow.key for flow in self._units[unit])
        if later:
            desired = {key: flow for key, flow in desired.items() if key not in later}
            installed |= _those_of(self.installed, later - keys)
            self._dirty |= later
        return Step(flow_delta(desired, installed, foreign), tuple(sorted(zones)), tuple(sorted(free)))

    def _replaces(self, installed: Mapping[FlowKey, Flow]) -> bool:
        """Tell whether any of these, which are installed, may lead to a zone and goes or is to be another.

        (The policy of a tenant does not: a port that comes with rules of its own is one bundle.)
        """
        return any(leads_to_zones(key) and self.desired.get(key) != flow for key, flow in installed.items())

    def _is_free(self, zone: int) -> bool:
        """Tell whether nothing that is installed can use a zone: of nobody, nor of who is to have it."""
        wanted = cookies_of(self._desired.owner(zone))
        return not self._installed.owner(zone) and wanted.isdisjoint(self._installed.cookies)

    def _to_flush(self, flows: Iterable[Flow]) -> set[int]:
        """Return the zones among those that these flows use that must not be used as they are."""
        used = {zone for flow in flows if (zone := zone_of(flow)) is not None}
        return {zone for zone in used if not self._may_use(zone)}

    def _may_use(self, zone: int) -> bool:
        before, after = self._installed.owner(zone), self._desired.owner(zone)
        if not before:
            return not after or zone in self._empty
        return may_keep(before, after)

    def _cookies_in(self, zones: Iterable[int]) -> set[int]:
        return {
            cookie
            for zone in zones
            for side in (self._installed, self._desired)
            for cookie in cookies_of(side.owner(zone))
        }

    def flushed(self, zones: Iterable[int]) -> None:
        """The switch has forgotten the connections of these zones, which no flow uses."""
        self._empty.update(zones)

    def applied(self, delta: FlowDelta) -> None:
        """The switch has committed delta."""
        for key in delta.delete:
            self._installed.drop(key)
        for flow in (*delta.add, *delta.modify):
            self._installed.put(flow.key, flow)
            zone = zone_of(flow)
            if zone is not None:
                self._empty.discard(zone)

    def failed(self, delta: FlowDelta) -> None:
        """The switch may or may not have committed delta: these keys stay to be settled."""
        self._dirty.update(f.key for f in (*delta.add, *delta.modify))
        self._dirty.update(delta.delete)
        self._foreign = (*self._foreign, *delta.purge)

    def observed(self, read: InstalledFlows) -> FlowDelta:
        """The whole table was read: return how it differs from desired, and settle exactly that next."""
        self._installed = ZonedFlows(dict(self._as_known(read)))
        self._empty.clear()
        delta = flow_delta(self.desired, read)
        self._dirty = {f.key for f in (*delta.add, *delta.modify)} | set(delta.delete)
        self._foreign = delta.purge
        return delta

    def _as_known(self, read: InstalledFlows) -> Iterator[tuple[FlowKey, Flow]]:
        """Yield what was read; what is as desired is the same object from now on, and so kept once."""
        for key, entry in read.flows.items():
            wanted = self._desired.flows.get(key)
            if wanted is not None and wanted == entry.flow:
                yield wanted.key, wanted
            else:
                yield key, entry.flow


def _those_of(flows: Mapping[FlowKey, Flow], keys: Set[FlowKey]) -> dict[FlowKey, Flow]:
    """Return those of the flows that have one of these keys."""
    if not flows:
        return {}
    return {key: flow for key in keys if (flow := flows.get(key)) is not None}
