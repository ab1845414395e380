"""A journey as steps for people: each flow a packet met, what it changed, where it went, where it ended.

Renders what path.py and switch.py found; decides nothing. Knows no names of tables, registers or objects but
those it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cloison.addresses import IpAddress, format_mac
from cloison.names import HostName
from controller.flows import Flow, Resubmit
from controller.flows.conntrack import ct_state_text
from controller.flows.text import field_text, flow_text, value_text
from controller.verify.packet import HEADER_FIELDS, REGISTERS, Packet
from controller.verify.path import Hop, HostState, Journey, fdb_lookup
from controller.verify.switch import Sent, act, entry_state, onward
from controller.verify.world import World

FDB, PORT = "FDB", "PORT"
# What gets it where no port does: the local services of the host.
SERVICES = "services"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to a packet.

    stage: number of a flow table, or FDB or PORT. flow: what matched in that table; None if nothing did.
    ended: this copy of the packet goes no further, and arrived nowhere. object: the port that got it.
    """

    host: HostName
    stage: int | str
    rule: str
    note: str = ""
    flow: Flow | None = None
    object: str = ""
    ended: bool = False
    vtep: IpAddress | None = None

    @property
    def refused(self) -> bool:
        """Tell whether it ended because no flow, or only the one for everything else, matched."""
        return self.ended and (self.flow is None or not self.flow.match)


@dataclass(frozen=True, slots=True)
class Names:
    """How to call tables and registers; numbers and regN where there is no name."""

    tables: Mapping[int, str]
    registers: Mapping[str, str]


def steps_of(
    world: World, hosts: Mapping[HostName, HostState], journey: Journey, names: Names
) -> Iterator[Step]:
    """Yield the steps of a journey in the order in which they happened."""
    for hop in journey.hops:
        yield from _in_bridge(hop, names)
        for sent in hop.run.sent:
            yield _out_of_bridge(world, hosts, hop.host, sent)


def _in_bridge(hop: Hop, names: Names) -> Iterator[Step]:
    state = entry_state(hop.in_port)
    packet, flows = hop.packet, hop.run.flows
    # Copies that are still to be followed, the next one first.
    waiting: list[tuple[Packet, dict[str, int]]] = []
    for number, flow in enumerate(flows):
        before, held = packet, dict(state)
        sent: list[Sent] = []
        copies: list[tuple[Packet, dict[str, int]]] = []
        for action in flow.actions:
            if isinstance(action, Resubmit):
                copies.append((packet, dict(state)))
            else:
                packet = act(flow, action, packet, state, sent)
        notes = (
            [f"{len(copies)} copies"] if copies else [*_changes(before, packet), *_loads(held, state, names)]
        )
        if state["ct_state"] and not held["ct_state"]:
            notes.append(ct_state_text(state["ct_state"], state["ct_state"]))
        ended = number == len(flows) - 1 and hop.run.missed_table is None and not hop.run.sent
        if ended:
            back = "would go back to where it came in" if flow.actions and sent else "dropped"
            notes.append(back)
        yield Step(hop.host, flow.table, flow_text(flow, names.tables), ", ".join(notes), flow, ended=ended)
        waiting = [*copies, *waiting]
        if onward(flow) is None and waiting:
            packet, state = waiting.pop(0)
    if hop.run.missed_table is not None:
        ended = not hop.run.sent
        yield Step(hop.host, hop.run.missed_table, "(no flow matches)", "dropped", ended=ended)


def _changes(before: Packet, after: Packet) -> Iterator[str]:
    for name in HEADER_FIELDS:
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield f"{field_text(name)} {value_text(name, old)} -> {value_text(name, new)}"


def _loads(before: Mapping[str, int], after: Mapping[str, int], names: Names) -> Iterator[str]:
    for name in REGISTERS:
        if before[name] != after[name]:
            yield f"{names.registers.get(name, name)}={after[name]}"


def _out_of_bridge(world: World, hosts: Mapping[HostName, HostState], host: HostName, sent: Sent) -> Step:
    vni = hosts[host].devices.get(sent.ofport)
    if vni is None:
        port = world.by_ofport.get((host, sent.ofport))
        rule = f"OpenFlow port {sent.ofport}"
        if sent.ofport == world.service_of(host):
            return Step(host, PORT, rule, "delivered to the local services of this host", object=SERVICES)
        if port is None:
            return Step(host, PORT, rule, "sent to where no port is known", object="")
        return Step(host, PORT, rule, f"delivered to {port.name}", object=str(port.name))
    vtep = fdb_lookup(hosts[host].fdb.get(vni, {}), sent.packet.eth_dst)
    mac, device = format_mac(sent.packet.eth_dst), f"vx{vni:06x}"
    network = world.by_vni.get(vni)
    whose = str(network.name) if network is not None else ""
    if vtep is None:
        return Step(host, FDB, f"no entry for {mac} dev {device}", "dropped", object=whose, ended=True)
    there = world.by_vtep.get(vtep)
    rule = f"{mac} dev {device} dst {vtep}"
    if there is None or vni not in hosts.get(there, HostState()).devices.values():
        nobody = "no host has this VTEP" if there is None else f"{there} has no device of VNI {vni}"
        return Step(host, FDB, rule, f"{nobody}: dropped there", object=whose, ended=True, vtep=vtep)
    return Step(host, FDB, rule, f"VNI {vni} to {there}", object=whose, vtep=vtep)
