"""Hosts as the reconciler sees them: a FakeSwitch and an agent that does what it is told, both in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from cloison.errors import Unavailable
from cloison.names import HostName
from cloison.service_link import SERVICE_LINK
from cloison.v1 import host_sync_pb2
from controller.compiler.pipeline import ADMISSION, CLAIMED
from controller.compiler.registers import CLAIMED_IP
from controller.flows.delta import FlowDelta
from controller.openflow.fake import FakeSwitch
from controller.reconcile.reconciler import Reconciler
from controller.reconcile.registration import Registration
from controller.reconcile.session import AgentSession

DEADLINE_S = 20.0
SERVICE_OFPORT = 99


async def eventually(check: Callable[[], object], what: str) -> None:
    """Return as soon as check() is true; fail naming what after DEADLINE_S."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    while not check():
        assert loop.time() < deadline, f"not within {DEADLINE_S} s: {what}"
        await asyncio.sleep(0.002)


class TrackingSwitch(FakeSwitch):
    """A switch whose guests never stop talking: a zone remembers who was let in through its port, until it is
    flushed. inherited: connections that somebody could use who did not open them.
    """

    def __init__(self, dpid: int, host_id: str | None = None) -> None:
        super().__init__(dpid, host_id)
        self.connections: dict[int, set[tuple[int, int]]] = {}
        self.inherited: list[str] = []
        self.flushes_fail = 0
        self.mute = False

    async def apply(self, delta: FlowDelta) -> None:
        """See Switch."""
        await super().apply(delta)
        for zone, guests in self._admitted().items():
            open_now = self.connections.setdefault(zone, set())
            self.inherited += [f"zone {zone}: {guests} has those of {other}" for other in open_now - guests]
            open_now |= guests

    async def ping(self) -> None:
        """See Switch."""
        if self.mute:
            await asyncio.Event().wait()
        await super().ping()

    async def flush_zones(self, zones: Iterable[int]) -> None:
        """See Switch."""
        if self.flushes_fail:
            self.flushes_fail -= 1
            raise Unavailable("the switch was lost")
        await super().flush_zones(zones)
        for zone in zones:
            # Who is let in while it is flushed goes on talking.
            self.connections[zone] = self._admitted().get(zone, set())

    def _admitted(self) -> dict[int, set[tuple[int, int]]]:
        """Who may talk: (cookie, IPv4 address) of each guest, by OpenFlow port."""
        found: dict[int, set[tuple[int, int]]] = {}
        for installed in self.flows.values():
            flow = installed.flow
            terms = {term.field.name: term.value for term in flow.match}
            source = terms.get("ipv4_src") or terms.get(CLAIMED_IP.field.name)
            if flow.table in (ADMISSION.number, CLAIMED.number) and source:
                found.setdefault(terms["in_port"], set()).add((flow.cookie, source))
        return found


class MemoryHost:
    """One host: registers, plugs what it is told, keeps its plan, acknowledges (unless `mute`)."""

    def __init__(self, reconciler: Reconciler, number: int, switch: FakeSwitch | None = None) -> None:
        self.name = HostName(f"h{number}")
        self.switch = switch or TrackingSwitch(number, self.name.host)
        self.session = AgentSession(self.name)
        self.fdb: dict[int, dict[int, bytes]] = {}
        self.senders: dict[int, set[bytes]] = {}
        self.verdicts: dict[str, host_sync_pb2.InterfaceVerdict] = {}
        self.service_ports: dict[int, host_sync_pb2.ServicePort] = {}
        self.zones: dict[int, dict[str, tuple[bytes, ...]]] = {}
        # Edges by number: each is plugged as soon as it is told of, like any interface.
        self.edges: dict[int, host_sync_pb2.Edge] = {}
        self.physical_networks: tuple[str, ...] = ()
        self.barriers: list[host_sync_pb2.Barrier] = []
        self.heard: list[host_sync_pb2.ControllerMessage] = []
        self.mute = False
        self._reconciler = reconciler
        self._number = number
        self._ofport = 100
        self.tunnel_ofports: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None

    async def register(self, vtep: str | None = None, epoch: int = 0) -> None:
        """Say Hello; as long as the controller is not ready, again and again, as an agent does."""
        registration = Registration(
            host=self.name,
            vtep=ip_address(vtep or f"192.0.2.{self._number}"),
            datapath_id=self._number,
            underlay_mtu=1500,
            agent_version="test",
            datapath_type="dummy",
            physical_networks=self.physical_networks,
        )
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while True:
            try:
                return await self._reconciler.register(registration, epoch)
            except Unavailable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.002)

    async def connect(self, *iface_ids: str) -> None:
        """Register, report what is plugged, and let the switch dial in."""
        await self.register()
        self._task = asyncio.create_task(self._obey())
        inventory = host_sync_pb2.Inventory(complete=True, interfaces=[self._interface(i) for i in iface_ids])
        await self._reconciler.quiet()
        self._reconciler.inventory(self.session, inventory)
        self.switch.set_port(SERVICE_OFPORT, SERVICE_LINK)
        self._reconciler.switch_connected(self.switch.dpid, self.switch)

    def plug(self, iface_id: str) -> None:
        """Report one more interface."""
        self._report(interfaces=[self._interface(iface_id)])

    def unplug(self, iface_id: str) -> None:
        """Report that an interface is gone."""
        self._report(removed_interfaces=[f"tap-{iface_id}"])

    def die(self) -> None:
        """End both sessions, as when everything in the host was killed."""
        self.disconnect_agent()
        self._reconciler.switch_gone(self.switch.dpid)

    def disconnect_agent(self) -> None:
        """End the stream."""
        if self._task is not None:
            self._task.cancel()
        self._reconciler.agent_gone(self.session)

    def _interface(self, iface_id: str) -> host_sync_pb2.Interface:
        self._ofport += 1
        self.switch.set_port(self._ofport, f"tap-{iface_id}")
        return host_sync_pb2.Interface(name=f"tap-{iface_id}", iface_id=iface_id, ofport=self._ofport)

    def _report(self, **fields: object) -> None:
        self._reconciler.inventory(self.session, host_sync_pb2.Inventory(**fields))  # type: ignore[arg-type]

    async def _obey(self) -> None:
        async for message in self.session.outgoing():
            self.heard.append(message)
            match message.WhichOneof("kind"):
                case "delta":
                    self._apply(message.delta)
                case "verdicts":
                    self.verdicts.update({v.iface_id: v for v in message.verdicts.verdicts})
                case "inspect":
                    if not self.mute:
                        for answer in self.answers(message.inspect):
                            self._reconciler.inspected(self.session, answer)
                case "barrier":
                    self._confirm(message.barrier)
            if message.HasField("then"):
                self._confirm(message.then)

    def _confirm(self, barrier: host_sync_pb2.Barrier) -> None:
        self.barriers.append(barrier)
        if not self.mute:
            self._reconciler.acked(self.session, host_sync_pb2.Ack(revision=barrier.revision))

    def answers(self, question: host_sync_pb2.Inspect) -> list[host_sync_pb2.Inspection]:
        """Say what there is, a network a message, or what trace() says."""
        if question.ofproto_trace:
            return [
                host_sync_pb2.Inspection(id=question.id, ofproto_trace=self.trace(question.ofproto_trace))
            ]
        ports = [host_sync_pb2.TunnelPort(vni=v, ofport=o) for v, o in self.tunnel_ofports.items()]
        vtep = bytes([192, 0, 2, self._number])
        made = [host_sync_pb2.Inspection(id=question.id, partial=True, vtep=vtep, tunnel_ports=ports)]
        for vni, entries in self.fdb.items():
            network = host_sync_pb2.NetworkDelta(vni=vni)
            for mac, vtep in entries.items():
                network.upserted.add(mac=mac, vtep=vtep)
            made.append(host_sync_pb2.Inspection(id=question.id, partial=True, networks=[network]))
        made[-1].partial = False
        return made

    def trace(self, flow: str) -> str:
        """What ofproto/trace would say; tests give it words."""
        return ""

    def _apply(self, delta: host_sync_pb2.PlanDelta) -> None:
        self._apply_services(delta)
        self._apply_edges(delta)
        for vni in delta.removed_vnis:
            del self.fdb[vni]
            self.senders.pop(vni, None)
            self.tunnel_ofports.pop(vni, None)
            self._report(removed_tunnel_ports=[vni])
        for network in delta.networks:
            if network.vni not in self.fdb:
                self.fdb[network.vni] = {}
                self._ofport += 1
                self.tunnel_ofports[network.vni] = self._ofport
                self.switch.set_port(self._ofport, f"vx{network.vni:06x}")
                port = host_sync_pb2.TunnelPort(vni=network.vni, ofport=self._ofport)
                self._report(tunnel_ports=[port])
            if network.HasField("senders"):
                self.senders[network.vni] = set(network.senders.addresses)
            entries = self.fdb[network.vni]
            entries.update({e.mac: e.vtep for e in network.upserted})
            for mac in network.removed_macs:
                del entries[mac]

    def _apply_edges(self, delta: host_sync_pb2.PlanDelta) -> None:
        for number in delta.removed_edges:
            self.unplug(self.edges.pop(number).iface_id)
        for edge in delta.edges:
            if edge.number not in self.edges:
                self.plug(edge.iface_id)
            self.edges[edge.number] = edge

    def _apply_services(self, delta: host_sync_pb2.PlanDelta) -> None:
        for number in delta.removed_service_ports:
            del self.service_ports[number]
        self.service_ports.update((port.number, port) for port in delta.service_ports)
        for vni in delta.removed_zones:
            del self.zones[vni]
        for zone in delta.zones:
            names = self.zones.setdefault(zone.vni, {})
            for name in zone.removed:
                del names[name]
            names.update((host.name, tuple(host.addresses)) for host in zone.upserted)
