"""Interfaces that bind nothing, and why: by host, and by the iface-id they carry. Nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from cloison.names import HostName
from controller.reconcile.binding import Refusal, Verdict


class Refusals:
    """What agents reported and nobody could use. A look-up costs what it finds, whatever they report."""

    def __init__(self) -> None:
        self._by_host: dict[HostName, dict[str, Verdict]] = {}
        self._by_iface: dict[str, dict[tuple[HostName, str], Refusal]] = {}

    def of(self, host: HostName) -> tuple[Verdict, ...]:
        """Return the verdicts about interfaces of a host that bind nothing."""
        return tuple(self._by_host.get(host, {}).values())

    def why(self, iface_id: str) -> Refusal | None:
        """Return why some interface that carries an iface-id binds nothing, None if there is none."""
        return next(iter(self._by_iface.get(iface_id, {}).values()), None)

    def judged(self, host: HostName, verdicts: Iterable[Verdict]) -> None:
        """Take in new verdicts."""
        for verdict in verdicts:
            self.drop(host, (verdict.interface.name,))
            if verdict.refusal is not None:
                interface = verdict.interface
                self._by_host.setdefault(host, {})[interface.name] = verdict
                of_iface = self._by_iface.setdefault(interface.iface_id, {})
                of_iface[host, interface.name] = verdict.refusal

    def drop(self, host: HostName, interfaces: Iterable[str]) -> None:
        """Some interfaces of a host are gone, or judged anew."""
        here = self._by_host.get(host, {})
        for name in interfaces:
            verdict = here.pop(name, None)
            if verdict is None:
                continue
            of_iface = self._by_iface[verdict.interface.iface_id]
            del of_iface[host, name]
            if not of_iface:
                del self._by_iface[verdict.interface.iface_id]
        if not here:
            self._by_host.pop(host, None)

    def clear(self, host: HostName) -> None:
        """Nothing is known of a host any more."""
        self.drop(host, tuple(self._by_host.get(host, ())))
