"""The two seams of the agent.

What the loop needs of a kernel and of a bridge. agent.netlink and agent.ovsdb have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.ovsdb.view import BridgeSpec, BridgeView, Change, TlsFiles
from agent.plan import Actual, Fault, HostPlan, Operations, Scope, ServiceLink, Vtep
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

    async def service_link(self) -> ServiceLink:
        """Return the devices of the local services, made or put right if need be; raises Unavailable."""

    async def remove_links(self, vnis: Sequence[Vni]) -> list[Fault]:
        """Delete devices; return what was refused."""


class Bridge(Protocol):
    """The bridge of the host. `view` is the newest known state."""

    view: BridgeView

    async def apply(self, spec: BridgeSpec) -> list[Change]:
        """Make the bridge what spec says; return what differed; raises Unavailable."""

    async def limit_connections(self, entries: int) -> None:
        """Let no port of the bridge have more conntrack entries than this; raises Unavailable."""

    async def revalidate(self, *, taken_away: bool) -> None:
        """Wait until the cached flows agree with the tables; raises Unavailable.

        taken_away False: flows were only added since the last time.
        """


class LocalServices(Protocol):
    """The services for the guests of this host."""

    def serve(self, plan: HostPlan) -> None:
        """Serve the ports of this plan from now on, and no others."""

    def attach(self, link: ServiceLink) -> None:
        """Take frames from this device; raises Unavailable if that cannot be."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What is fixed for the life of the process. datapath_type None keeps that of an existing bridge.

    conntrack_limit: entries a port may have.
    """

    host: str
    vtep: Vtep
    bridge: str = "br-int"
    datapath_type: str | None = None
    new_datapath_type: str = "netdev"
    tls: TlsFiles | None = None
    audit_interval_s: float = 10.0
    conntrack_limit: int = 65536
