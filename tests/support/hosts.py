"""Hosts as the reconciler sees them: a FakeSwitch and an agent that does what it is told, both in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address

from cloison.names import HostName
from cloison.v1 import host_sync_pb2
from controller.openflow.fake import FakeSwitch
from controller.reconcile.reconciler import Reconciler
from controller.reconcile.registration import Registration
from controller.reconcile.session import AgentSession

DEADLINE_S = 5.0


async def eventually(check: Callable[[], object], what: str) -> None:
    """Return as soon as check() is true; fail naming what after DEADLINE_S."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    while not check():
        assert loop.time() < deadline, f"not within {DEADLINE_S} s: {what}"
        await asyncio.sleep(0.002)


class MemoryHost:
    """One host: registers, plugs what it is told, keeps its plan, acknowledges (unless `mute`)."""

    def __init__(self, reconciler: Reconciler, number: int, switch: FakeSwitch | None = None) -> None:
        self.name = HostName(f"h{number}")
        self.switch = switch or FakeSwitch(number, self.name.host)
        self.session = AgentSession(self.name)
        self.fdb: dict[int, dict[int, bytes]] = {}
        self.verdicts: dict[str, host_sync_pb2.InterfaceVerdict] = {}
        self.barriers: list[host_sync_pb2.Barrier] = []
        self.mute = False
        self._reconciler = reconciler
        self._number = number
        self._ofport = 100
        self.tunnel_ofports: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None

    async def register(self, vtep: str | None = None, epoch: int = 0) -> None:
        """Say Hello."""
        registration = Registration(
            host=self.name,
            vtep=ip_address(vtep or f"192.0.2.{self._number}"),
            datapath_id=self._number,
            underlay_mtu=1500,
            agent_version="test",
            datapath_type="dummy",
        )
        await self._reconciler.register(registration, epoch)

    async def connect(self, *iface_ids: str) -> None:
        """Register, report what is plugged, and let the switch dial in."""
        await self.register()
        self._task = asyncio.create_task(self._obey())
        inventory = host_sync_pb2.Inventory(complete=True, interfaces=[self._interface(i) for i in iface_ids])
        self._reconciler.inventory(self.session, inventory)
        self._reconciler.switch_connected(self.switch.dpid, self.switch)

    def plug(self, iface_id: str) -> None:
        """Report one more interface."""
        self._report(interfaces=[self._interface(iface_id)])

    def unplug(self, iface_id: str) -> None:
        """Report that an interface is gone."""
        self._report(removed_interfaces=[f"tap-{iface_id}"])

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
                    self.barriers.append(message.barrier)
                    if not self.mute:
                        ack = host_sync_pb2.Ack(revision=message.barrier.revision)
                        self._reconciler.acked(self.session, ack)

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
        for vni in delta.removed_vnis:
            del self.fdb[vni]
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
            entries = self.fdb[network.vni]
            entries.update({e.mac: e.vtep for e in network.upserted})
            for mac in network.removed_macs:
                del entries[mac]
