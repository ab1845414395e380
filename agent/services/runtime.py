"""The services of a running agent, put together: who is served follows from the plan, on disk as well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from agent.plan import SERVICE_AGENT_LINK, HostPlan, PortRecord, ServiceLink, Zone
from agent.services import nat_doors, routers
from agent.services.claims import Claims, Tell
from agent.services.dispatcher import Dispatcher, base_routes, last_routes
from agent.services.dns import DnsService
from agent.services.dns_forward import Forwarder, Resolver
from agent.services.dns_zones import Zones
from agent.services.edge import Edge
from agent.services.metadata import MetadataProxy
from agent.services.metadata_http import Upstream
from agent.services.nat_gate import NatGate
from agent.services.seams import ServicePort, ServicePorts
from cloison.errors import Unavailable
from cloison.model import Vni

_log = structlog.get_logger("agent.services")

REPORT_INTERVAL_S = 60.0
OPEN_RETRY_S = 10.0
# The longest that RFC 4861 has between advertisements (MaxRtrAdvInterval, section 6.2.1).
ADVERTISE_INTERVAL_S = 1800.0


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Where the services ask for what they do not know; without resolvers and upstream nobody is asked."""

    resolvers: Sequence[Resolver] = ()
    metadata: Upstream | None = None
    metadata_secret: bytes = b""


class Services:
    """All services of this host. Loses nothing by ending: the next process answers the same."""

    def __init__(
        self,
        settings: ServiceSettings,
        on_lost: Callable[[], None],
        on_claim: Tell = lambda _number, _address: None,
    ) -> None:
        """on_lost is called when the device went away; attach() is to be called then.

        on_claim is called when a guest announces an address of its pairs, or that it runs here.
        """
        self._claims = Claims(on_claim, time.monotonic)
        self._ports, self._zones = ServicePorts(), Zones()
        self._dns = DnsService(self._ports, self._zones, Forwarder(settings.resolvers), self._send)
        metadata = MetadataProxy(settings.metadata, settings.metadata_secret)
        self._gate = NatGate(self._ports, self._send, nat_doors.doors(self._dns, metadata))
        routes = [*base_routes(), *nat_doors.routes(self._dns, self._gate), *last_routes()]
        self._dispatcher = Dispatcher(self._ports, routes, self._claims)
        self._edge = Edge(self._ports, self._dispatcher, on_lost)
        # Of the plan that is served: a plan shares with the one before it what did not change.
        self._served_ports: Mapping[int, PortRecord] | None = None
        self._served_zones: Mapping[Vni, Zone] | None = None
        self._told: dict[str, int] = {}

    def serve(self, plan: HostPlan) -> None:
        """Serve the ports of this plan from now on, and no others."""
        if plan.zones is not self._served_zones:
            self._served_zones = plan.zones
            self._zones.replace(plan.zones)
        if plan.service_ports is self._served_ports:
            return
        self._served_ports = plan.service_ports
        before = {port.number: port for port in self._ports}
        ports = {number: r.port for number, r in plan.service_ports.items() if r.port is not None}
        if ports == before:
            return
        self._ports.replace(ports)
        self._edge.forget_others()
        self._claims.keep(ports.keys())
        self._gate.settle()
        for number in before.keys() & ports.keys():
            if before[number] != ports[number]:
                self._announce(ports[number], before[number])

    def attach(self, link: ServiceLink) -> None:
        """Take frames from this device; raises Unavailable if that cannot be."""
        try:
            self._edge.attach(SERVICE_AGENT_LINK, link.agent_ifindex)
        except OSError as err:
            raise Unavailable(f"{SERVICE_AGENT_LINK} cannot be read: {err.strerror}") from err

    def counts(self) -> dict[str, int]:
        """Return what became of the frames of guests since the start, by service or reason."""
        return {**self._dispatcher.counts, **self._edge.counts}

    async def run(self) -> None:
        """Keep what must be kept going; until cancelled."""
        try:
            await self._open_gate()
            repeat_s = time.monotonic() + ADVERTISE_INTERVAL_S
            while True:
                await asyncio.sleep(REPORT_INTERVAL_S)
                self._report()
                if time.monotonic() >= repeat_s:
                    repeat_s = time.monotonic() + ADVERTISE_INTERVAL_S
                    self._repeat()
        finally:
            self._edge.close()
            await self._dns.close()
            await self._gate.close()

    async def _open_gate(self) -> None:
        while True:
            try:
                await self._gate.open()
            except Unavailable as err:
                _log.error("no TCP for guests: no metadata", error=str(err))
                await asyncio.sleep(OPEN_RETRY_S)
            else:
                return

    def _report(self) -> None:
        self._edge.counts["kernel_drops"] += self._edge.kernel_drops()
        counts = self.counts()
        changed = {
            name: n - self._told.get(name, 0) for name, n in counts.items() if n != self._told.get(name)
        }
        self._told = counts
        if any(changed.values()):
            _log.info("guests served", interval_s=REPORT_INTERVAL_S, **dict(sorted(changed.items())))

    def _send(self, frame: bytes) -> None:
        self._edge.send(frame)

    def _repeat(self) -> None:
        """Routers are forgotten unless they are heard of again; nobody else says that they are there."""
        for port in self._ports:
            if port.routers:
                self._announce(port)

    def _announce(self, port: ServicePort, before: ServicePort | None = None) -> None:
        """Tell a guest at once what has changed; by DHCP it asks when it renews."""
        for frame in routers.advertisement(port, before=before):
            self._edge.send(frame)
