"""The gate between compiling and pushing: what would break isolation is not sent.

Holds the verifier's picture of the intent and of what every host is told to hold, and asks it about each
change before the change leaves. Of three candidates the first that breaks nothing is taken: the new flows;
else the flows as they are now; else none at all (fail closed). So a compiler bug cannot open a way between
tenants, and a revocation cannot be held up by one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import cast

import structlog

from cloison.addresses import IpAddress
from cloison.names import HostName
from controller.flows import Flow
from controller.reconcile.flowset import FlowSet, Unit
from controller.reconcile.tunnels import PlanChange
from controller.turns import Work, batches
from controller.verify.budget import CHANGE_STEPS
from controller.verify.holding import FdbChange, HostChange
from controller.verify.intent import IntentDelta
from controller.verify.isolation import Verifier
from controller.verify.rules import Rule
from controller.verify.violation import BLACKHOLE, DEVICE, FDB, UNPROVED, Violation

_log = structlog.get_logger(__name__)

Units = Mapping[HostName, Mapping[Unit, tuple[Flow, ...]]]
# What a host does not deliver although it should harms no one else; everything else may.
_HARMLESS = frozenset({BLACKHOLE})
# How many flows are taken over in one piece of work.
FLOWS_AT_ONCE = 500
# How many violations of one change a status shows.
SAID_MAX = 3


class GateMode(enum.Enum):
    """What to do about a violation."""

    ENFORCE = "enforce"
    WARN = "warn"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be sent. refused: why that is not what was compiled; held: whose plans to keep back."""

    units: Units
    refused: tuple[Violation, ...] = ()
    held: frozenset[HostName] = frozenset()

    @property
    def why(self) -> str:
        """Why something else is to be sent than what was compiled, for who waits for it."""
        cut_off = any(violation.kind == UNPROVED for violation in self.refused)
        return "; ".join((*["refused; explanation cut off"] * cut_off, *map(str, self.refused[:SAID_MAX])))


class Gate:
    """The verifier, and what it knows each host to hold."""

    def __init__(self, mode: GateMode) -> None:
        self.mode = mode
        self.checked = 0
        self.refused = 0
        self._verifier = Verifier(CHANGE_STEPS)
        if mode is not GateMode.ENFORCE:
            _log.warning("THE GATE DOES NOT ENFORCE: flows are pushed without proof", mode=mode.value)

    def examining(
        self,
        delta: IntentDelta,
        units: Units,
        plans: Mapping[HostName, PlanChange],
        flows: Mapping[HostName, FlowSet],
        revision: int,
        withheld: Set[str] = frozenset(),
    ) -> Work[Verdict]:
        """Judge one change, in pieces; until the end nobody may ask anything else, nor may flows change.

        flows: what each host is told to hold so far; withheld: objects known not to have their flows. That
        nothing gets to them, or to what is in them, is no news.
        """
        if self.mode is GateMode.OFF:
            return Verdict(units)
        self.checked += 1
        changes: dict[HostName, HostChange] = {}
        for host in units.keys() | plans.keys():
            changes[host] = self._change(flows.get(host), units.get(host, {}), plans.get(host))
            yield
        changes = _with_devices(changes, delta, self._verifier)
        wrong = yield from self._verifier.checking(delta, changes)
        found = tuple(v for v in wrong if v.kind not in _HARMLESS or withheld.isdisjoint(_concerned(v)))
        if not found:
            return Verdict(units)
        self._report(found, revision)
        if self.mode is GateMode.WARN:
            return Verdict(units)
        self.refused += 1
        return (yield from self._retreat(units, changes, flows, found))

    def _retreat(
        self,
        units: Units,
        changes: Mapping[HostName, HostChange],
        flows: Mapping[HostName, FlowSet],
        found: tuple[Violation, ...],
    ) -> Work[Verdict]:
        """Take the new flows back; if even the old ones break isolation now, leave none of these units."""
        back = {}
        for host, change in changes.items():
            restored = tuple(flow for flow in change.removed if isinstance(flow, Flow))
            others = flows[host].desired.keys() - {f.key for f in restored} if host in flows else set()
            # What clashed with a flow of somebody else never got in, and that flow stays.
            added = tuple(f for f in change.added if f.key not in others)
            back[host] = HostChange(removed=added, added=restored)
        held = _of_plans(found)
        wrong = yield from self._verifier.checking(None, back)
        harmful = [v for v in wrong if v.kind not in _HARMLESS]
        kept = {h: {u: flows[h].flows_of(u) if h in flows else () for u in us} for h, us in units.items()}
        if not harmful:
            return Verdict(kept, found, held)
        away = {
            host: HostChange(removed=tuple(flow for old in us.values() for flow in old))
            for host, us in kept.items()
        }
        yield from self._verifier.checking(None, away)
        return Verdict({h: dict.fromkeys(us, ()) for h, us in units.items()}, found, held)

    def load(
        self,
        meant: Iterable[IntentDelta],
        units: Units,
        plan_of: Callable[[HostName], PlanChange],
        revision: int,
    ) -> Work[Verdict]:
        """Judge a whole state, in pieces. Units of objects that a violation names get nothing.

        meant: all that is meant, in parts. What the static units hold has been examined before.
        """
        if self.mode is GateMode.OFF:
            return Verdict(units)
        self.checked += 1
        found: list[Violation] = []
        devices: dict[HostName, dict[int, int | None]] = {}
        for delta in meant:
            for host, change in _with_devices({}, delta, self._verifier).items():
                devices.setdefault(host, {}).update(change.devices)
            found += self._verifier.load(delta, {})
            yield
        # Of policies, which hosts have in common. (All of these flows live as long as units does.)
        known: dict[int, Rule] = {}
        for host in units.keys() | self._verifier.world.hosts.keys() | devices.keys():
            here = units.get(host, {})
            common = {id(flow) for unit, flows in here.items() if unit[0] == "policy" for flow in flows}
            change = self._change(None, here, plan_of(host))
            for flows in batches((f for f in change.added if id(f) in common), FLOWS_AT_ONCE):
                found += self._verifier.load(IntentDelta(), {host: HostChange(added=flows)}, known)
                yield
            for part in _parts(change, common, devices.get(host, {})):
                found += self._verifier.load(IntentDelta(), {host: part})
                yield
        found += yield from self._verifier.everything()
        if not found:
            return Verdict(units)
        self._report(tuple(found), revision)
        if self.mode is GateMode.WARN:
            return Verdict(units)
        self.refused += 1
        left = yield from self._without_culprits(units, found)
        return Verdict(left, tuple(found), _of_plans(found))

    def _without_culprits(self, units: Units, found: Iterable[Violation]) -> Work[Units]:
        """Take away the units of every object that is named, and if that is not enough all of the host's."""
        left = {host: dict(us) for host, us in units.items()}
        for _ in range(3):
            named = {name for v in found for name in v.objects}
            hosts = {v.host for v in found if v.host is not None and not v.objects}
            for host, us in left.items():
                gone = [u for u in us if host in hosts or str(u[-1]) in named]
                removed = tuple(flow for u in gone for flow in us[u])
                us.update(dict.fromkeys(gone, ()))
                if removed:
                    self._verifier.check(None, {host: HostChange(removed=removed)})
                yield
            everything = yield from self._verifier.everything()
            found = tuple(v for v in everything if v.kind not in _HARMLESS)
            if not found:
                return left
        return {host: dict.fromkeys(us, ()) for host, us in units.items()}

    def withheld(self, host: HostName, flows: Sequence[Flow]) -> None:
        """A switch does not take these flows: they are not there after all."""
        if self.mode is not GateMode.OFF:
            self._verifier.check(None, {host: HostChange(removed=flows)})

    def let_go(self) -> Work[None]:
        """Free what is known, in pieces; nobody may ask any more."""
        while self._verifier.hosts:
            self._verifier.hosts.popitem()
            yield

    def unsound_plans(self) -> frozenset[HostName]:
        """Return the hosts whose plan is wrong. Looks at everything: for when something was found wrong."""
        return _of_plans(self._verifier.check_everything())

    def forget(self, host: HostName, flows: FlowSet, plan: PlanChange) -> None:
        """A host is gone."""
        if self.mode is GateMode.OFF:
            return
        fdb: dict[int, FdbChange | None] = dict.fromkeys((*plan.networks, *plan.removed_vnis))
        change = HostChange(removed=tuple(flows.desired.values()), fdb=fdb)
        self._verifier.check(IntentDelta(hosts={host: None}), {host: change})

    @staticmethod
    def _change(
        flows: FlowSet | None, units: Mapping[Unit, tuple[Flow, ...]], plan: PlanChange | None
    ) -> HostChange:
        removed, added = (flows or FlowSet()).preview(units)
        fdb: dict[int, FdbChange | None] = {}
        if plan is not None:
            fdb.update(dict.fromkeys(plan.removed_vnis))
            for vni, change in plan.networks.items():
                upserted = cast("Mapping[int, IpAddress]", change.upserted)
                fdb[vni] = FdbChange(upserted=upserted, removed=tuple(change.removed))
        return HostChange(removed=tuple(removed), added=tuple(added), fdb=fdb)

    @staticmethod
    def _report(found: tuple[Violation, ...], revision: int) -> None:
        for violation in found[:10]:
            _log.error(
                "GATE: the change would break isolation",
                kind=violation.kind,
                message=violation.message,
                host=violation.host.host if violation.host else None,
                objects=violation.objects,
                revision=revision,
                packet=str(violation.packet) if violation.packet else None,
                path=violation.path,
            )


def _concerned(violation: Violation) -> Iterator[str]:
    """Yield the objects that a violation is about and what they are in: network, tenant, host."""
    for name in violation.objects:
        parts = name.split("/")
        yield from ("/".join(parts[:length]) for length in range(2, len(parts) + 1, 2))
    if violation.host is not None:
        yield str(violation.host)


def _of_plans(found: Iterable[Violation]) -> frozenset[HostName]:
    return frozenset(v.host for v in found if v.kind in (FDB, DEVICE) and v.host is not None)


def _with_devices(
    changes: dict[HostName, HostChange], delta: IntentDelta, verifier: Verifier
) -> dict[HostName, HostChange]:
    """Add the VXLAN devices whose OpenFlow port the change brings or takes away.

    What a bridge calls a device is the switch's own word (HostActor.has_port); so they are as meant.
    """
    devices: dict[HostName, dict[int, int | None]] = {}
    for name, new in delta.networks.items():
        old = verifier.world.networks.get(name)
        for host, ofport in (old.tunnels if old else {}).items():
            devices.setdefault(host, {})[ofport] = None
        for host, ofport in (new.tunnels if new else {}).items():
            devices.setdefault(host, {})[ofport] = new.vni if new else None
    for host, by_ofport in devices.items():
        change = changes.get(host, HostChange())
        changes[host] = HostChange(
            removed=change.removed, added=change.added, fdb=change.fdb, devices=by_ofport
        )
    return changes


def _parts(change: HostChange, done: Set[int], devices: Mapping[int, int | None]) -> Iterator[HostChange]:
    """Yield what a host comes to hold, in pieces, but for flows that are done (by their identity)."""
    for flows in batches((flow for flow in change.added if id(flow) not in done), FLOWS_AT_ONCE):
        yield HostChange(added=flows)
    for vni, fdb in change.fdb.items():
        yield HostChange(fdb={vni: fdb})
    if devices:
        yield HostChange(devices=devices)
