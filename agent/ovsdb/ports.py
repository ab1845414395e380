"""The ports of one bridge as the replica has them, each read again only when one of its rows has changed.

Reading a column of a row is slow in the client, and a host has thousands of ports. Only for the database
thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from agent.ovsdb.view import InterfaceView, ServiceView, TunnelView
from agent.plan import edge_of_link, link_vni
from cloison.model import Vni
from cloison.service_link import SERVICE_LINK

IFINDEX = "cloison-ifindex"
_DEVICE_TYPES = ("", "system", "tap", "afxdp")
_DEVICE_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,15}")


@dataclass(frozen=True, slots=True)
class PortRow:
    """One interface of the bridge, with its row and that of its port; ofport is 0 until there is one."""

    port: Any
    interface: Any
    name: str
    type: str
    ofport: int
    error: str
    ids: Mapping[str, str]
    # As the interface of a workload, for those that are one.
    view: InterfaceView


@dataclass(slots=True)
class SeenPorts:
    """The interfaces of a bridge: all, by name, and those of each kind (but internal ones) as they are told.

    What was handed out is never changed in place: a mapping that is the same object has not changed.
    """

    by_name: Mapping[str, PortRow] = field(default_factory=dict)
    interfaces: Mapping[str, InterfaceView] = field(default_factory=dict)
    tunnels: Mapping[Vni, TunnelView] = field(default_factory=dict)
    service: ServiceView | None = None
    edges: Mapping[str, PortRow] = field(default_factory=dict)

    def put(self, rows: Iterable[PortRow]) -> None:
        """Take in rows that are new, or were read again; none may have another name or kind than before."""
        fresh = {row.name: row for row in rows}
        self.by_name = {**self.by_name, **fresh}
        edges = {name: row for name, row in fresh.items() if edge_of_link(name) is not None}
        if edges:
            self.edges = {**self.edges, **edges}
        interfaces: dict[str, InterfaceView] = {}
        tunnels: dict[Vni, TunnelView] = {}
        for row in fresh.values():
            vni = link_vni(row.name)
            if row.type == "internal":
                continue
            if row.name == SERVICE_LINK:
                self.service = ServiceView(row.ofport, row.error, _number(row.ids.get(IFINDEX, "")))
            elif vni is None:
                interfaces[row.name] = row.view
            else:
                tunnels[vni] = TunnelView(vni, row.ofport, row.error, _number(row.ids.get(IFINDEX, "")))
        if any(self.interfaces.get(name) != view for name, view in interfaces.items()):
            self.interfaces = {**self.interfaces, **interfaces}
        if any(self.tunnels.get(vni) != tunnel for vni, tunnel in tunnels.items()):
            self.tunnels = {**self.tunnels, **tunnels}


class PortRows:
    """Follows one bridge: `noted` for each change of a row, `of` to look."""

    def __init__(self) -> None:
        # Interfaces of a port, by its uuid; what is known of an interface, by its uuid.
        self._members: dict[Any, list[Any]] = {}
        self._known: dict[Any, PortRow] = {}
        self._seen = SeenPorts()
        self._touched: set[Any] = set()
        self._bridge: Any = None
        self._moved = True

    def noted(self, row: Any) -> None:
        """A row was inserted, changed or deleted."""
        table = row._table.name
        if table == "Interface":
            self._touched.add(row.uuid)
        elif table == "Port":
            self._members.pop(row.uuid, None)
            self._moved = True
        elif table == "Bridge":
            self._moved = True

    def of(self, bridge: Any) -> SeenPorts:
        """Return the interfaces of a bridge (its row), internal ones and tunnels included."""
        touched, self._touched = self._touched, set()
        if self._moved or bridge is not self._bridge:
            self._bridge, self._moved = bridge, False
            self._known, self._seen = self._walk(bridge, touched), SeenPorts()
            self._seen.put(self._known.values())
            return self._seen
        old = {uuid: self._known[uuid] for uuid in touched & self._known.keys()}
        fresh = {uuid: _read(row.port, row.interface) for uuid, row in old.items()}
        self._known.update(fresh)
        if any((row.name, row.type) != (old[u].name, old[u].type) for u, row in fresh.items()):
            self._seen, fresh = SeenPorts(), self._known
        if fresh:
            self._seen.put(fresh.values())
        return self._seen

    def _walk(self, bridge: Any, touched: Set[Any]) -> dict[Any, PortRow]:
        """Go through all ports of the bridge, and read those that are new or touched."""
        known, members = {}, {}
        for port in bridge.ports:
            interfaces = members[port.uuid] = self._members.get(port.uuid) or list(port.interfaces)
            for interface in interfaces:
                before = self._known.get(interface.uuid)
                same = before is not None and before.port is port and before.interface is interface
                fresh = not same or interface.uuid in touched
                known[interface.uuid] = _read(port, interface) if fresh or before is None else before
        self._members = members
        return known


def _read(port: Any, interface: Any) -> PortRow:
    # What is committed, past the client's attributes: those look for changes of a transaction in each column.
    data = interface._data
    name, kind = _one(data["name"], ""), _one(data["type"], "")
    ids = {key.value: value.value for key, value in data["external_ids"].values.items()}
    ofport, error = max(0, _one(data["ofport"], 0)), _one(data["error"], "")
    device, trouble = kind in _DEVICE_TYPES, error
    if device and not _DEVICE_NAME.fullmatch(name):
        device, trouble = False, "the host cannot be kept from hearing a device of this name"
    view = InterfaceView(name, ids.get("iface-id", ""), ofport, trouble, device)
    return PortRow(port, interface, name, kind, ofport, error, ids, view)


def _one(datum: Any, default: Any) -> Any:
    return next((atom.value for atom in datum.values), default)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
