"""The whole way of one packet: bridge, VXLAN device, forwarding database, the other host's device and bridge.

Concrete and simple, as switch.py. A VXLAN device neither learns nor floods: the frame goes to the VTEP of
the entry for its destination MAC, else of the entry for the zero MAC (the default destination,
vxlan_xmit in the kernel), else nowhere. It arrives in the device of the same VNI at the host with that VTEP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cloison.addresses import IpAddress
from cloison.names import HostName
from controller.flows import Flow
from controller.verify.packet import Packet
from controller.verify.semantics import Delivery
from controller.verify.switch import Run, Switch

# Bridges on the way of one packet; what is for all goes to one more for each host.
HOPS_MAX = 8
Fdb = Mapping[int, IpAddress]


@dataclass(frozen=True, slots=True)
class HostState:
    """What a host holds: flows of its bridge, FDB by VNI, the VNI behind each OpenFlow port of a device."""

    flows: Iterable[Flow] = ()
    fdb: Mapping[int, Fdb] = field(default_factory=dict)
    devices: Mapping[int, int] = field(default_factory=dict)


class Hop(NamedTuple):
    """One bridge on a packet's way, and what it did."""

    host: HostName
    in_port: int
    packet: Packet
    run: Run


@dataclass(frozen=True, slots=True)
class Journey:
    """Everything that happened to a packet. looped: it went through more bridges than any path has."""

    deliveries: tuple[Delivery, ...]
    hops: tuple[Hop, ...]
    looped: bool = False


class Fabric:
    """All hosts, with the underlay between them: a VTEP is reached at the host that has it."""

    def __init__(self, hosts: Mapping[HostName, HostState], by_vtep: Mapping[IpAddress, HostName]) -> None:
        self._switches: dict[HostName, Switch] = {}
        self._hosts = hosts
        self._by_vtep = by_vtep
        self._ofports = {
            (name, vni): ofport for name, state in hosts.items() for ofport, vni in state.devices.items()
        }

    def walk(self, host: HostName, in_port: int, packet: Packet) -> Journey:
        """Follow a packet that enters a host's bridge until every copy is delivered or dropped.

        Raises Refused for a flow that is not understood, on a host that the packet comes to.
        """
        pending = [(host, in_port, packet)]
        hops: list[Hop] = []
        deliveries: list[Delivery] = []
        while pending and len(hops) < HOPS_MAX + len(self._hosts):
            at, ofport, now = pending.pop(0)
            run = self._switch(at).run(now, ofport)
            hops.append(Hop(at, ofport, now, run))
            for sent in run.sent:
                vni = self._hosts[at].devices.get(sent.ofport)
                if vni is None:
                    deliveries.append(Delivery(at, sent.ofport, sent.packet))
                    continue
                arrival = self._carry(at, vni, sent.packet)
                if arrival is not None:
                    pending.append((*arrival, sent.packet))
        return Journey(tuple(deliveries), tuple(hops), bool(pending))

    def _switch(self, host: HostName) -> Switch:
        switch = self._switches.get(host)
        if switch is None:
            switch = self._switches[host] = Switch(self._hosts[host].flows)
        return switch

    def _carry(self, host: HostName, vni: int, packet: Packet) -> tuple[HostName, int] | None:
        vtep = fdb_lookup(self._hosts[host].fdb.get(vni, {}), packet.eth_dst)
        there = self._by_vtep.get(vtep) if vtep is not None else None
        ofport = self._ofports.get((there, vni)) if there is not None else None
        # A host's own VTEP: the frame comes back through the device; it is a path like any other.
        return None if there is None or ofport is None else (there, ofport)


def fdb_lookup(fdb: Fdb, mac: int) -> IpAddress | None:
    """Return the VTEP to which a device sends a frame with this destination MAC."""
    found = fdb.get(mac)
    return found if found is not None else fdb.get(0)
