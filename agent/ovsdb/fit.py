"""Up to when the database is known to be as it should, and what has changed in it since.

So that the next look need not be at every port. Only for the database thread.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from typing import Any

from agent.ovsdb.view import BridgeSpec
from agent.plan import edge_of_link, link_vni
from cloison.service_link import SERVICE_LINK


class Fit:
    """`noted` for each change of a row, `found` after a look at everything, `left` before the next one."""

    def __init__(self) -> None:
        self._spec: BridgeSpec | None = None
        self._seqno = 0
        # Since the last look: changes of any row; interfaces; whether there was a change of another table.
        self._notices = 0
        self._interfaces: set[Any] = set()
        self._moved = False

    def noted(self, row: Any) -> None:
        """A row was inserted, changed or deleted."""
        self._notices += 1
        if row._table.name == "Interface":
            self._interfaces.add(row.uuid)
        else:
            self._moved = True

    def found(self, idl: Any, spec: BridgeSpec) -> None:
        """The database, as the replica has it now, is as spec says."""
        self._spec, self._seqno = spec, idl.change_seqno
        self._notices, self._moved = 0, False
        self._interfaces.clear()

    def left(self, idl: Any, spec: BridgeSpec) -> set[str] | None:
        """Return the interfaces whose verdicts have to be looked at, by name; None: so has everything."""
        known = self._spec
        # (A replica that was emptied has told of no row.)
        if known is None or self._moved or idl.change_seqno != self._seqno + self._notices:
            return None
        if known is not spec and replace(known, verdicts=spec.verdicts) != spec:
            return None
        names = {row.name for row in self._rows(idl)}
        if any(map(_is_own, names)):
            return None
        return names | _differing(known, spec)

    def _rows(self, idl: Any) -> list[Any]:
        rows = idl.tables["Interface"].rows
        return [rows[uuid] for uuid in self._interfaces if uuid in rows]


def _differing(known: BridgeSpec, spec: BridgeSpec) -> Set[str]:
    if known.verdicts is spec.verdicts:
        return set()
    return {name for name, said in spec.verdicts.items() if known.verdicts.get(name) is not said}


def _is_own(name: str) -> bool:
    """Tell whether there is more to an interface than what became of it."""
    return name == SERVICE_LINK or link_vni(name) is not None or edge_of_link(name) is not None
