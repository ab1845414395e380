"""The parts of a running agent, and how they are put together. Knows every module but the command line.

Ending the agent changes nothing in the data plane: whatever runs goes on.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import structlog

from agent.edges import Edges
from agent.inspect import Inspector
from agent.lean import resume_collections
from agent.netlink import EdgeKernel, LinuxKernel, kernel_datapath_works
from agent.opening import Opening, Options
from agent.outbox import Outbox
from agent.reconcile import Reconciler
from agent.seams import HostSettings
from agent.services.dns_forward import parse_resolver
from agent.services.metadata_http import parse_upstream
from agent.services.runtime import Services, ServiceSettings
from agent.session import Session
from agent.state import PlanLog
from agent.stream import Identity, Stream
from cloison.lean import give_back

_log = structlog.get_logger("agent")

START_S = 5.0
"""After that what was needed for a start alone is no longer."""


class Agent:
    """The parts of one running agent."""

    def __init__(self, options: Options, opening: Opening) -> None:
        """opening has begun; what it opened is the agent's to close."""
        self._options, self._opening = options, opening
        settings = _settled(options.settings)
        self._state, self._bridge = opening.state, opening.bridge
        self._plan_log = PlanLog(self._state.plan_path)
        self._outbox = Outbox()
        self._kernel = LinuxKernel(settings.vtep, self._wake)
        self._services = Services(_services(options), self._services_lost, self._outbox.claim)
        self._edge_kernel = EdgeKernel(self._state.edges_path)
        edges = Edges(self._edge_kernel, settings.bridge_mappings, settings.bridge)
        self._reconciler = Reconciler(
            settings, self._kernel, self._bridge, self._plan_log, self._outbox, self._services, edges
        )
        self._inspector = Inspector(self._kernel, self._bridge, self._outbox, settings.vtep)
        identity = Identity(settings.host, settings.vtep, _version(), options.labels)
        self._stream = Stream(
            options.dial, identity, self._outbox, lambda: self._bridge.view, self._session,
            self._underlay_mtu, settings.bridge_mappings,
        )  # fmt: skip

    def _wake(self) -> None:
        self._reconciler.wake()

    def _services_lost(self) -> None:
        self._reconciler.audit()

    def _bridge_changed(self) -> None:
        self._outbox.inventory(self._bridge.view)
        self._reconciler.wake()

    def _session(self) -> tuple[Session, int]:
        plan = self._reconciler.plan
        fence = self._state.read_fence()
        self._inspector.forget()
        session = Session(
            self._options.settings.host, self._state, self._plan_log, self._reconciler, fence,
            self._inspector.ask,
        )  # fmt: skip
        return session, 0 if plan is None else plan.revision

    async def _underlay_mtu(self) -> int:
        return self._options.underlay_mtu or await self._kernel.underlay_mtu()

    def _recall(self) -> None:
        """Begin with what is on disk: the plan, and the controller the bridge may dial."""
        self._reconciler.set_target(self._state.read_fence().openflow_target)
        plan = self._plan_log.load()
        if plan is not None:
            self._reconciler.set_plan(plan)
            _log.info("plan recalled from disk", revision=plan.revision, networks=len(plan.networks))
        elif self._plan_log.trouble:
            _log.error("plan on disk not used; nothing is changed until a controller sends one",
                       error=self._plan_log.trouble)  # fmt: skip

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await self._kernel.open()
        tasks = []
        try:
            self._recall()
            # What the bridge is was told before there was anybody to hear it.
            self._opening.changed = self._bridge_changed
            self._bridge_changed()
            resume_collections()
            parts = (self._reconciler, self._stream, self._inspector, self._services)
            tasks = [asyncio.create_task(part.run()) for part in parts]
            asyncio.get_running_loop().call_later(START_S, give_back)
            _log.info("ready", host=self._options.settings.host)
            stopping = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # a part that ended is a defect of ours: fall, and be started again
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._bridge.close()
            self._edge_kernel.close()
            await self._kernel.close()
            self._plan_log.close()
            self._state.close()
        _log.info("stopped, data plane left as it is", host=self._options.settings.host)


def _version() -> str:
    try:
        return version("cloison")
    except PackageNotFoundError:
        return "unknown"


def _settled(settings: HostSettings) -> HostSettings:
    """Say of which type a bridge is that has to be made, if nobody has: of the kernel's, if that can be."""
    if settings.datapath_type is not None:
        return settings
    return replace(settings, new_datapath_type="system" if kernel_datapath_works() else "netdev")


def _services(options: Options) -> ServiceSettings:
    secret, url = options.metadata_secret, options.metadata_url
    return ServiceSettings(
        resolvers=[parse_resolver(text) for text in options.resolvers],
        metadata=None if url is None else parse_upstream(url),
        metadata_secret=b"" if secret is None else secret.read_bytes().strip(),
    )
