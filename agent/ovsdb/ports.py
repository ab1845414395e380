"""The ports of one bridge as the replica has them, each read again only when one of its rows has changed.

Reading a column of a row is slow in the client (it makes a datum of every value), and a host has thousands of
ports. Only for the database thread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from agent.ovsdb.view import InterfaceView

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


class PortRows:
    """Follows one bridge: `noted` for each change of a row, `of` to look."""

    def __init__(self) -> None:
        # Interfaces of a port, by its uuid; what is known of an interface, by its uuid and by its name.
        self._members: dict[Any, list[Any]] = {}
        self._known: dict[Any, PortRow] = {}
        self._by_name: dict[str, PortRow] = {}
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

    def of(self, bridge: Any) -> Mapping[str, PortRow]:
        """Return the interfaces of a bridge (its row) by name, internal ones and tunnels included."""
        touched, self._touched = self._touched, set()
        if self._moved or bridge is not self._bridge:
            self._bridge, self._moved = bridge, False
            known = self._walk(bridge, touched)
        elif not touched.isdisjoint(self._known):
            known = {u: _read(k.port, k.interface) if u in touched else k for u, k in self._known.items()}
        else:
            return self._by_name
        self._known, self._by_name = known, {row.name: row for row in known.values()}
        return self._by_name

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
    name, kind, ids = interface.name, interface.type, interface.external_ids
    ofport, error = max(0, _one(interface.ofport, 0)), _one(interface.error, "")
    device, trouble = kind in _DEVICE_TYPES, error
    if device and not _DEVICE_NAME.fullmatch(name):
        device, trouble = False, "the host cannot be kept from hearing a device of this name"
    view = InterfaceView(name, ids.get("iface-id", ""), ofport, trouble, device)
    return PortRow(port, interface, name, kind, ofport, error, ids, view)


def _one(values: list[Any], default: Any) -> Any:
    return values[0] if values else default
