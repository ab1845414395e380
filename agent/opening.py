"""The first of a start: the state directory, and the bridge dials the controller that it last had.

For that the rest of the program is not needed, and to import it takes longer; a switch with many ports takes
a while to dial, and its controller to fill it. Nothing else of the bridge is touched here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.ovsdb import BridgeSpec, OvsBridge
from agent.seams import Dial, HostSettings
from agent.state import StateDirectory
from cloison.errors import Unavailable

WAIT_S = 1.0
"""So long the rest of the start waits for a database that does not answer."""


@dataclass(frozen=True, slots=True)
class Options:
    """The flags, checked; those of the services as they were given."""

    settings: HostSettings
    dial: Dial
    state_dir: Path
    ovsdb: str
    control: Path | None
    labels: dict[str, str]
    underlay_mtu: int | None
    resolvers: tuple[str, ...]
    metadata_url: str | None
    metadata_secret: Path | None


class Opening:
    """State directory and bridge; `changed` is called after each change of the bridge."""

    def __init__(self, options: Options) -> None:
        self._settings = options.settings
        self._seen = asyncio.Event()
        self.changed: Callable[[], None] = self._seen.set
        self.state = StateDirectory(options.state_dir)
        self.bridge = OvsBridge(
            options.ovsdb, options.settings.bridge, lambda: self.changed(), options.control
        )

    async def begin(self) -> None:
        """Take the directory, connect to the database, and let a bridge that is there dial.

        Raises Precondition if another agent holds the directory, or the fence cannot be read.
        """
        self.state.open()
        self.bridge.open()
        target = self.state.read_fence().openflow_target
        if not target:
            return
        try:
            async with asyncio.timeout(WAIT_S):
                await self._dial(target)
        except (Unavailable, TimeoutError):
            pass  # the reconciler does it, as soon as it can

    async def _dial(self, target: str) -> None:
        await self._seen.wait()
        if not self.bridge.view.exists:
            return
        settings = self._settings
        spec = BridgeSpec(
            name=settings.bridge,
            datapath_type=settings.datapath_type,
            new_datapath_type=settings.new_datapath_type,
            tls=settings.tls,
            target=target,
        )
        await self.bridge.apply(spec)
