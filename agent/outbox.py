"""What waits to be told to a controller. Bounded by its form: the newest acknowledgement, the newest
inventory, at most DRIFTS_MAX reports of drift and CLAIMS_MAX claims (the oldest go first), and the answers to
questions, of which inspect.py makes no more while many are unsent.
"""

from __future__ import annotations

import asyncio
from collections import deque

from agent.ovsdb import BridgeView, InterfaceView, TunnelView
from cloison.addresses import IpAddress
from cloison.v1 import host_sync_pb2 as pb

DRIFTS_MAX = 256
CLAIMS_MAX = 1024


class Outbox:
    """Filled by the reconciler and the bridge; emptied by the stream."""

    def __init__(self) -> None:
        self._ack: pb.Ack | None = None
        self._drifts: deque[pb.Drift] = deque(maxlen=DRIFTS_MAX)
        self._inspections: deque[pb.Inspection] = deque()
        # In the order in which they were made; one that is made again is the latest.
        self._claims: dict[tuple[int, IpAddress | None], None] = {}
        self._view = BridgeView()
        self._told_view = self._view
        self._told_interfaces: dict[str, InterfaceView] = {}
        self._told_tunnels: dict[int, TunnelView] = {}
        self._filled = asyncio.Event()
        self._bridged = asyncio.Event()

    def ack(self, ack: pb.Ack) -> None:
        """Tell what this host runs; replaces an acknowledgement that was not sent yet."""
        self._ack = ack
        self._filled.set()

    def drift(self, drift: pb.Drift) -> None:
        """Tell that something was found wrong and put right."""
        self._drifts.append(drift)
        self._filled.set()

    def claim(self, number: int, address: IpAddress | None) -> None:
        """Tell that the guest of a port announced an address, or (None) itself; kept for a stream."""
        self._claims.pop((number, address), None)
        if len(self._claims) >= CLAIMS_MAX:
            del self._claims[next(iter(self._claims))]
        self._claims[number, address] = None
        self._filled.set()

    def inspection(self, answer: pb.Inspection) -> None:
        """Tell what was asked for; for the present stream only."""
        self._inspections.append(answer)
        self._filled.set()

    @property
    def inspections_unsent(self) -> int:
        """How many messages of answers wait."""
        return len(self._inspections)

    def inventory(self, view: BridgeView) -> None:
        """Tell what is on the bridge."""
        self._view = view
        self._filled.set()
        if view.datapath_id:
            self._bridged.set()
        else:
            self._bridged.clear()

    @property
    def bridged(self) -> bool:
        """Whether there is a bridge, which ovs-vswitchd has made."""
        return self._bridged.is_set()

    async def wait_bridged(self) -> None:
        """Wait until there is a bridge."""
        await self._bridged.wait()

    async def wait(self) -> None:
        """Wait until there may be something to send."""
        await self._filled.wait()

    def begin(self) -> pb.Inventory:
        """Start a new stream.

        Return the whole inventory; an acknowledgement and answers meant for the last one are dropped.
        """
        self._ack = None
        self._inspections.clear()
        self._told_view = self._view
        self._told_interfaces, self._told_tunnels = self._usable()
        message = pb.Inventory(complete=True)
        message.interfaces.extend(_interface(i) for i in self._told_interfaces.values())
        message.tunnel_ports.extend(_tunnel(t) for t in self._told_tunnels.values())
        return message

    def take(self) -> list[pb.AgentMessage]:
        """Return what is to be sent now, inventory first: an acknowledgement may rest on it."""
        self._filled.clear()
        messages = []
        inventory = self._changes()
        if inventory is not None:
            messages.append(pb.AgentMessage(inventory=inventory))
        if self._ack is not None:
            messages.append(pb.AgentMessage(ack=self._ack))
            self._ack = None
        while self._drifts:
            messages.append(pb.AgentMessage(drift=self._drifts.popleft()))
        for number, address in self._claims:
            said = address.packed if address is not None else b""
            claim = pb.AddressClaim(port_number=number, address=said)
            messages.append(pb.AgentMessage(address_claim=claim))
        self._claims.clear()
        while self._inspections:
            messages.append(pb.AgentMessage(inspection=self._inspections.popleft()))
        return messages

    def _usable(self) -> tuple[dict[str, InterfaceView], dict[int, TunnelView]]:
        interfaces = {name: i for name, i in self._view.interfaces.items() if i.usable}
        tunnels = {int(vni): tunnel for vni, tunnel in self._view.tunnels.items() if tunnel.usable}
        return interfaces, tunnels

    def _changes(self) -> pb.Inventory | None:
        if self._view is self._told_view:
            return None
        self._told_view = self._view
        interfaces, tunnels = self._usable()
        if (interfaces, tunnels) == (self._told_interfaces, self._told_tunnels):
            return None
        message = pb.Inventory()
        for name, interface in interfaces.items():
            if self._told_interfaces.get(name) != interface:
                message.interfaces.append(_interface(interface))
        for vni, tunnel in tunnels.items():
            told = self._told_tunnels.get(vni)
            if told is None or told.ofport != tunnel.ofport:
                message.tunnel_ports.append(_tunnel(tunnel))
        message.removed_interfaces.extend(sorted(self._told_interfaces.keys() - interfaces.keys()))
        message.removed_tunnel_ports.extend(sorted(self._told_tunnels.keys() - tunnels.keys()))
        self._told_interfaces, self._told_tunnels = interfaces, tunnels
        return message if message.ByteSize() else None


def _interface(view: InterfaceView) -> pb.Interface:
    return pb.Interface(name=view.name, iface_id=view.iface_id, ofport=view.ofport)


def _tunnel(view: TunnelView) -> pb.TunnelPort:
    return pb.TunnelPort(vni=int(view.vni), ofport=view.ofport)
