"""The seams of the agent.

What the loop needs of a kernel (edges are a part of their own) and of a bridge. agent.netlink and agent.ovsdb
have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agent.ovsdb.view import BridgeSpec, BridgeView, Change, TlsFiles
from agent.plan import (
    Actual,
    EdgeState,
    Fault,
    HostPlan,
    Operations,
    Scope,
    ServiceLink,
    Vtep,
    WantedEdge,
)
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


class EdgesKernel(Protocol):
    """Edges in the kernel, by number. Every method raises Unavailable."""

    async def numbers(self) -> set[int]:
        """Return the edges of which there is anything here."""

    async def ports(self, number: int) -> Mapping[str, int]:
        """Return the indexes of an edge's devices on the host, by leg."""

    async def read(self, number: int) -> EdgeState:
        """Return what there is of an edge."""

    async def apply(self, wanted: WantedEdge, actual: EdgeState) -> tuple[EdgeState, list[str]]:
        """Make an edge what is wanted; return what is there then, and what was refused, in words."""

    async def announce(self, wanted: WantedEdge) -> None:
        """Tell the link outside where the addresses are that an active edge answers for."""

    async def remove(self, number: int) -> None:
        """Take away all there is of an edge."""


class LocalServices(Protocol):
    """The services for the guests of this host."""

    def serve(self, plan: HostPlan) -> None:
        """Serve the ports of this plan from now on, and no others."""

    def attach(self, link: ServiceLink) -> None:
        """Take frames from this device; raises Unavailable if that cannot be."""


@dataclass(frozen=True, slots=True)
class Dial:
    """Where controllers are and how we prove who we are; files None means plain text."""

    endpoints: tuple[str, ...]
    server_name: str
    key: Path | None = None
    cert: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What is fixed for the life of the process. datapath_type None keeps that of an existing bridge.

    conntrack_limit: entries a port may have. bridge_mappings: the bridge of each physical network.
    """

    host: str
    vtep: Vtep
    bridge: str = "br-int"
    datapath_type: str | None = None
    new_datapath_type: str = "netdev"
    tls: TlsFiles | None = None
    audit_interval_s: float = 10.0
    conntrack_limit: int = 65536
    bridge_mappings: Mapping[str, str] = field(default_factory=dict)
