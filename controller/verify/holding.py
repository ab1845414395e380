"""What the hosts hold, indexed, and how it changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field

from cloison.addresses import IpAddress
from cloison.names import HostName
from controller.flows import Flow, FlowKey
from controller.verify.contracts import regular
from controller.verify.packet import Cube
from controller.verify.rules import Rule, match_cube, prepare
from controller.verify.symbolic import Bridge


@dataclass(frozen=True, slots=True, kw_only=True)
class FdbChange:
    """What changes in the FDB of one network on one host; what is removed goes before what is put."""

    upserted: Mapping[int, IpAddress] = field(default_factory=dict)
    removed: Collection[int] = ()

    @property
    def macs(self) -> frozenset[int]:
        """The destination MACs concerned."""
        return frozenset((*self.removed, *self.upserted))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostChange:
    """What changes on one host. fdb: by VNI, None where the FDB goes; devices: VNI by OpenFlow port, or None.

    removed goes before added; a flow that is modified is in both.
    """

    removed: Iterable[Flow | FlowKey] = ()
    added: Iterable[Flow] = ()
    fdb: Mapping[int, FdbChange | None] = field(default_factory=dict)
    devices: Mapping[int, int | None] = field(default_factory=dict)


Matches = dict[int, tuple[Flow | FlowKey, Cube | None]]
"""By the identity of a flow, which is kept with it so that no other can have it meanwhile."""


class Held:
    """What one host holds."""

    __slots__ = ("bridge", "devices", "fdb", "irregular")

    def __init__(self) -> None:
        self.bridge = Bridge()
        self.fdb: dict[int, dict[int, IpAddress]] = {}
        self.devices: dict[int, int] = {}
        # Rules that break what the local contracts rest on (contracts.regular).
        self.irregular: set[tuple[int, int, int, int]] = set()

    def remove(self, flow: Flow | FlowKey, known: Matches | None = None) -> Cube | None:
        """Take out a flow; none of that key is no error. Return its match, None if none can have it.

        known: matches of flows that several hosts lose, by the flows' identity; for one change.
        """
        if known is None:
            match = match_cube(flow.match)
        elif id(flow) in known:
            match = known[id(flow)][1]
        else:
            match = match_cube(flow.match)
            known[id(flow)] = flow, match
        if match is None:
            return None
        key = (flow.table, flow.priority, *match)
        self.bridge.remove(key)
        self.irregular.discard(key)
        return match

    def add(self, flow: Flow, known: dict[int, Rule] | None = None) -> Rule:
        """Put in a flow. Raises Refused if it may not be, or if its key is taken.

        known: rules made of flows that several hosts get, by the flows' identity; for one change.
        """
        rule = known.get(id(flow)) if known is not None else None
        if rule is None:
            rule = prepare(flow)
            if known is not None:
                known[id(flow)] = rule
        self.bridge.add(rule)
        if not regular(rule):
            self.irregular.add(rule.key)
        return rule

    def change_fdb(self, vni: int, change: FdbChange | None) -> bool:
        """Change the FDB of a network; tell whether it was there and still is."""
        if change is None:
            self.fdb.pop(vni, None)
            return False
        fdb = self.fdb.get(vni)
        known = fdb is not None
        if fdb is None:
            fdb = self.fdb[vni] = {}
        for mac in change.removed:
            fdb.pop(mac, None)
        if change.upserted:
            fdb.update(change.upserted)
        return known

    def change_devices(self, devices: Mapping[int, int | None]) -> None:
        """Put in and take out devices, by OpenFlow port."""
        for ofport, vni in devices.items():
            if vni is None:
                self.devices.pop(ofport, None)
            else:
                self.devices[ofport] = vni


class Hosts(dict[HostName, Held]):
    """What every host holds; one that was never heard of holds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._holders: dict[int, set[HostName]] = {}

    def __missing__(self, name: HostName) -> Held:
        held = self[name] = Held()
        return held

    def hold(self, host: HostName, vni: int, *, holds: bool) -> None:
        """Note that a host has an FDB of a network, or has none any more."""
        holders = self._holders.setdefault(vni, set())
        (holders.add if holds else holders.discard)(host)

    def holders(self, vni: int) -> Set[HostName]:
        """Hosts that have an FDB of a network."""
        return self._holders.get(vni, frozenset())
