"""The seam through which others learn what is realized: which port is ACTIVE, which host confirmed what.

The API reads it and waits on it; whoever implements it keeps it up to date from sessions and
acknowledgements. Nothing here is stored, and nothing here changes a host.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from cloison.model import Port
from cloison.names import HostName, PortName, ResourceName


@dataclass(frozen=True, slots=True)
class Condition:
    """Why a state is not (yet) what was asked for: a stable upper-snake word, a sentence, and names."""

    reason: str
    message: str
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusedInterface:
    """An interface on a host's bridge that binds no port, and why."""

    interface: str
    iface_id: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What is known of a host from its sessions; all zero for a host that never was connected."""

    agent_connected: bool = False
    switch_connected: bool = False
    realized_revision: int = 0
    drift_count: int = 0
    conditions: tuple[Condition, ...] = ()
    refused_interfaces: tuple[RefusedInterface, ...] = ()


@dataclass(frozen=True, slots=True)
class GateFigures:
    """What the gate does, and how many changes it has checked and refused since the start.

    compared, repaired: units compiled anew to be compared with what was kept, and those that differed.
    """

    mode: str = "off"
    checked: int = 0
    refused: int = 0
    compared: int = 0
    repaired: int = 0


class StatusChanges(Protocol):
    """Ports whose status changed since the subscription, each once however often it changed meanwhile."""

    def __aiter__(self) -> AsyncIterator[PortName]:
        """Return itself."""
        ...

    async def __anext__(self) -> PortName:
        """Return the next one."""
        ...

    def close(self) -> None:
        """End the subscription; a pending or later __anext__ raises StopAsyncIteration."""
        ...


class Tracker(Protocol):
    """What is realized, of the state in the store."""

    @property
    def epoch(self) -> int:
        """Fencing epoch of this controller."""
        ...

    @property
    def controller_id(self) -> str:
        """Name of this controller, as in its certificate."""
        ...

    def port_state(self, port: Port) -> tuple[int, tuple[Condition, ...], HostName | None]:
        """Return (cloison.v1.Port.State, why it is not ACTIVE, where it is plugged)."""
        ...

    def is_active(self, port: Port) -> bool:
        """Tell whether port_state would say ACTIVE."""
        ...

    def host_status(self, host: HostName) -> HostStatus:
        """Return what the sessions of a host say; never raises for an unknown one."""
        ...

    def gate_figures(self) -> GateFigures:
        """Return what the gate has done."""
        ...

    def realized_revision(self) -> int:
        """Return the highest revision that every connected host enforces."""
        ...

    async def wait_realized(
        self, name: ResourceName | None, revision: int, timeout_s: float
    ) -> tuple[bool, int, tuple[Condition, ...]]:
        """Wait until revision is enforced wherever it concerns the named resource (None: everywhere).

        Returns (realized, the revision waited for, what is missing); never raises on timeout.
        """
        ...

    def status_changes(self) -> StatusChanges:
        """Subscribe to ports whose status changes from now on."""
        ...
