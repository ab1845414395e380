"""The two seams of the agent.

What the loop needs of a kernel and of a bridge. agent.netlink and agent.ovsdb have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.ovsdb.view import BridgeSpec, BridgeView, Change, TlsFiles
from agent.plan import Actual, Fault, Operations, Scope, Vtep
from cloison.model import Vni


class Kernel(Protocol):
    """A mirror of what is ours in the kernel, and what makes it true."""

    actual: Actual

    async def read(self) -> None:
        """Read everything of ours into `actual`; raises Unavailable."""

    async def refresh(self) -> Scope:
        """Look at what events hint at; return where `actual` was wrong; raises Unavailable."""

    async def apply(self, operations: Operations) -> list[Fault]:
        """Carry out all but links_delete, read back what was touched; return what was refused."""

    async def remove_links(self, vnis: Sequence[Vni]) -> list[Fault]:
        """Delete devices; return what was refused."""


class Bridge(Protocol):
    """The bridge of the host. `view` is the newest known state."""

    view: BridgeView

    async def apply(self, spec: BridgeSpec) -> list[Change]:
        """Make the bridge what spec says; return what differed; raises Unavailable."""

    async def revalidate(self) -> None:
        """Wait until the cached flows agree with the tables; raises Unavailable."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What is fixed for the life of the process. datapath_type None keeps that of an existing bridge."""

    host: str
    vtep: Vtep
    bridge: str = "br-int"
    datapath_type: str | None = None
    new_datapath_type: str = "netdev"
    tls: TlsFiles | None = None
    audit_interval_s: float = 10.0
