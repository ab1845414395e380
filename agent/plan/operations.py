"""The work between desired and actual, in the order in which it is safe.

What takes reach away comes first (firewall, entries that must go), then devices, then entries, then the
bridge takes and drops ports, and last the devices of networks that went are deleted, when no bridge uses
them any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.plan.actual import Actual, Firewall, Link
from agent.plan.model import HostPlan, NetworkPlan, Vtep
from agent.plan.scope import Scope
from cloison.addresses import Mac
from cloison.model import Vni


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """A device as it should be; the rest is the same for all."""

    vni: Vni
    mtu: int


@dataclass(frozen=True, slots=True)
class FdbPut:
    """One entry to write; `present` tells that the MAC has another VTEP now."""

    vni: Vni
    mac: Mac
    vtep: Vtep
    present: bool


@dataclass(frozen=True, slots=True)
class Operations:
    """What to do, field by field in this order (the bridge's part is its own, between fdb_put and
    links_delete).
    """

    firewall: Firewall | None = None
    fdb_delete: tuple[tuple[Vni, int], ...] = ()
    links_replace: tuple[LinkSpec, ...] = ()
    links_update: tuple[LinkSpec, ...] = ()
    links_create: tuple[LinkSpec, ...] = ()
    fdb_put: tuple[FdbPut, ...] = ()
    links_delete: tuple[Vni, ...] = ()

    def __bool__(self) -> bool:
        return any((self.firewall, self.fdb_delete, self.links_replace, self.links_update, self.links_create,
                    self.fdb_put, self.links_delete))  # fmt: skip


def operations(
    desired: HostPlan, actual: Actual, scope: Scope, *, local: Vtep, guarded: frozenset[str]
) -> Operations:
    """Return what must be done within scope so that actual becomes desired.

    local is this host's own VTEP; guarded are the bridge's interfaces, kept away from the host's IP
    stack. A network that cannot exist (see NetworkPlan.fault) is treated as absent.
    """
    found = _Found(desired, actual, local)
    if scope.everything:
        for vni in desired.networks.keys() | actual.links.keys():
            found.network(vni)
    else:
        for vni in scope.networks:
            found.network(vni)
        for vni, macs in scope.macs.items():
            if vni not in scope.networks:
                found.entries(vni, macs)
    return Operations(
        firewall=_firewall(desired, actual, guarded) if scope.everything or scope.firewall else None,
        fdb_delete=tuple(found.fdb_delete),
        links_replace=tuple(found.replace),
        links_update=tuple(found.update),
        links_create=tuple(found.create),
        fdb_put=tuple(found.fdb_put),
        links_delete=tuple(sorted(found.delete)),
    )


def _firewall(desired: HostPlan, actual: Actual, guarded: frozenset[str]) -> Firewall | None:
    wanted = Firewall(desired.peers, guarded, intact=True)
    return None if actual.firewall == wanted else wanted


class _Found:
    """Collects operations; every method looks only at the states."""

    def __init__(self, desired: HostPlan, actual: Actual, local: Vtep) -> None:
        self._desired, self._actual, self._local = desired, actual, local
        self.fdb_delete: list[tuple[Vni, int]] = []
        self.fdb_put: list[FdbPut] = []
        self.replace: list[LinkSpec] = []
        self.update: list[LinkSpec] = []
        self.create: list[LinkSpec] = []
        self.delete: list[Vni] = []

    def network(self, vni: Vni) -> None:
        """The device of a network and all its entries."""
        plan, link = self._wanted(vni), self._actual.links.get(vni)
        if plan is None:
            if link is not None:
                self.delete.append(vni)
            return
        if vni in self._actual.taken:
            return
        spec = LinkSpec(vni, plan.mtu)
        if link is None or not self._keeps(link):
            (self.create if link is None else self.replace).append(spec)
            self.fdb_put.extend(FdbPut(vni, mac, vtep, False) for mac, vtep in plan.fdb.items())
            return
        if link.mtu != plan.mtu or not link.up or link.learning:
            self.update.append(spec)
        self.entries(vni, plan.fdb.keys() | self._actual.fdb.get(vni, {}).keys())
        self.fdb_delete.extend(
            (vni, mac) for mac in sorted(self._actual.strays.get(vni, ())) if mac not in plan.fdb
        )

    def entries(self, vni: Vni, macs: Iterable[Mac]) -> None:
        """Some entries of a network whose device is there."""
        plan, link = self._wanted(vni), self._actual.links.get(vni)
        if plan is None or link is None or not self._keeps(link):
            return
        actual, strays = self._actual.fdb.get(vni, {}), self._actual.strays.get(vni, set())
        for mac in macs:
            want, have = plan.fdb.get(mac), actual.get(mac)
            if mac in strays:
                self.fdb_delete.append((vni, mac))
                have = None
            if want is None and have is not None:
                self.fdb_delete.append((vni, mac))
            elif want is not None and want != have:
                self.fdb_put.append(FdbPut(vni, mac, want, have is not None))

    def _wanted(self, vni: Vni) -> NetworkPlan | None:
        plan = self._desired.networks.get(vni)
        return None if plan is None or plan.fault else plan

    def _keeps(self, link: Link) -> bool:
        return link.sound and link.local == self._local
