"""The services of a running agent, put together: who is served follows from the plan, on disk as well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import is_not

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


def _differing(
    before: Mapping[int, PortRecord], after: Mapping[int, PortRecord]
) -> Iterator[tuple[int, PortRecord | None]]:
    """Yield the records that are not the same object as before; None for one that is gone."""
    # (By the interpreter's own means: a host has thousands of ports, of which one has changed.)
    differs = map(is_not, after.values(), map(before.get, after))
    for number in compress(after, differs):
        yield number, after[number]
    if len(before) + len(after) != 2 * len(before.keys() & after.keys()):
        for number in before.keys() - after.keys():
            yield number, None


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
        self._served_ports: Mapping[int, PortRecord] = {}
        self._served_zones: Mapping[Vni, Zone] | None = None
        self._told: dict[str, int] = {}

    def serve(self, plan: HostPlan) -> None:
        """Serve the ports of this plan from now on, and no others."""
        if plan.zones is not self._served_zones:
            self._served_zones = plan.zones
            self._zones.replace(plan.zones)
        if plan.service_ports is self._served_ports:
            return
        known, self._served_ports = self._served_ports, plan.service_ports
        changed = {
            number: None if record is None else record.port
            for number, record in _differing(known, plan.service_ports)
        }
        before = {number: self._ports.get(number) for number in changed}
        changed = {number: port for number, port in changed.items() if port != before[number]}
        if not changed:
            return
        self._ports.change(changed)
        known_before = {number: port for number in changed if (port := before[number]) is not None}
        if known_before:
            # (Of what is new there is nothing yet that would have to be forgotten.)
            self._edge.forget_others()
            self._claims.keep(self._ports.numbers)
            self._gate.settle()
        for number, old in known_before.items():
            port = changed[number]
            if port is not None:
                self._announce(port, old)

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
