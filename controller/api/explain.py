"""What the proof found, as messages: steps with the names of tables, registers and objects. No I/O.

The one place that knows both the pipeline's names and the proof's results; neither of the two knows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from cloison.model import Direction
from cloison.names import HostName, TenantName
from cloison.v1 import verify_pb2
from controller.compiler import cookies
from controller.compiler.pipeline import EGRESS, INGRESS, TABLE_NAMES
from controller.compiler.registers import REGISTERS
from controller.verify.grammar import Refused
from controller.verify.packet import ETH_ARP, ETH_IPV4, ND_ROUTER_SOLICITATION, Packet, connected
from controller.verify.path import Fabric, HostState
from controller.verify.policy import PROFILE_OPEN, GroupName, PolicyIntent, admits
from controller.verify.reasons import why_nobody
from controller.verify.semantics import (
    DHCP4,
    DHCP6,
    SERVICES4,
    SERVICES6,
    Delivery,
    Judged,
    discovery,
    fates_of,
    served,
)
from controller.verify.steps import FDB, PORT, Names, Step, steps_of
from controller.verify.violation import Violation
from controller.verify.world import World

# Of two names in one field the first: a match shows the whole field.
NAMES = Names(TABLE_NAMES, {r.field.name: r.name for r in reversed(REGISTERS)})


def object_of(world: World, cookie: int) -> str:
    """Return the name of the resource that a flow serves; "" if it serves none."""
    found = cookies.unpack(cookie)
    if found is not None and found.kind is cookies.CookieKind.NETWORK:
        network = world.by_vni.get(found.object)
        return str(network.name) if network is not None else ""
    if found is not None and found.kind is cookies.CookieKind.PORT:
        port = world.by_number.get(found.object)
        return str(port.name) if port is not None else ""
    if found is not None and found.kind is cookies.CookieKind.POLICY:
        tenants = (name for name, policy in world.policies.items() if policy.number == found.object)
        return next((str(TenantName(name)) for name in tenants), "")
    return ""


def stage_of(step: Step) -> str:
    """Return the name of a step's stage."""
    if isinstance(step.stage, str):
        return step.stage
    return TABLE_NAMES.get(step.stage, f"table {step.stage}")


# What the local services are asked for, by port; other packets to their addresses are for none of them.
_ASKED = {53: "DNS", 80: "metadata"}
_DIRECTIONS = {EGRESS.number: Direction.EGRESS, INGRESS.number: Direction.INGRESS}


class Admission(NamedTuple):
    """Why policy lets a connection out, or in: a group, and what of it."""

    group: str
    why: str


def admissions_of(world: World, entry: tuple[HostName, int], packet: Packet) -> Mapping[int, Admission]:
    """Return which rules admit a packet's connection, by the number of the table that looks them up.

    By the meaning, as a flow may serve several rules; of a table that it does not pass there is none, nor of
    one that copies of it (of what is for a group) pass by other rules.
    """
    sender, known = world.by_ofport.get(entry), connected(packet)
    if sender is None:
        return {}
    found: dict[int, set[Admission]] = {}
    for judged in {fate.judged for fate in fates_of(world, sender, known)}:
        for table, admission in _admissions(world, judged, known).items():
            found.setdefault(table, set()).add(admission)
    return {table: next(iter(several)) for table, several in found.items() if len(several) == 1}


def _admissions(world: World, asked: Iterable[Judged], packet: Packet) -> dict[int, Admission]:
    """As admissions_of, of what is asked about one copy."""
    found: dict[int, Admission] = {}
    for judged in asked:
        policy = world.policy_of(judged.tenant)
        ends = {
            Direction.EGRESS: (judged.opener, judged.other),
            Direction.INGRESS: (judged.other, judged.opener),
        }
        for table, direction in _DIRECTIONS.items():
            admission = _admission(policy, direction, *ends[direction], packet)
            if admission is not None:
                found[table] = _both(found.get(table), admission)
    return found


def _both(before: Admission | None, then: Admission) -> Admission:
    """Between tenants a table is asked twice: for the sender's tenant, then for the receiver's."""
    return then if before is None else Admission(before.group, f"{before.why}; then {then.why}")


def _admission(
    policy: PolicyIntent, direction: Direction, own: int, remote: int, packet: Packet
) -> Admission | None:
    if own == PROFILE_OPEN:
        return Admission("", "no rule is needed: the port has no port security")
    rules: dict[GroupName, list[str]] = {}
    for group in policy.profiles.get(own, ()):
        for rule in policy.groups.get(group, ()):
            if rule.direction is direction and admits(policy, rule, remote, packet):
                rules.setdefault(group, []).append(rule.id)
    if not rules:
        return None
    words = (f"rule {', '.join(ids)} of {group}" for group, ids in rules.items())
    return Admission(str(next(iter(rules))), f"admitted by {'; '.join(words)}")


def step_message(
    world: World, step: Step, admissions: Mapping[int, Admission] = MappingProxyType({})
) -> verify_pb2.TraceStep:
    """Return the message of a step; admissions: why policy let the packet pass."""
    resource, note = step.object, step.note
    if step.flow is not None:
        resource = object_of(world, step.flow.cookie)
        if not resource and step.flow.cookie != cookies.STATIC:
            foreign = f"cookie {step.flow.cookie:#x} is of no object of ours"
            note = f"{note}; {foreign}" if note else foreign
        admission = admissions.get(step.stage) if isinstance(step.stage, int) else None
        if admission is not None and not step.ended and step.flow.match:
            resource, note = admission.group, "; ".join(part for part in (note, admission.why) if part)
    return verify_pb2.TraceStep(
        host=str(step.host), stage=stage_of(step), rule=step.rule, resource=resource, note=note
    )


def drop_reason(world: World, sender: tuple[HostName, int], packet: Packet, steps: Iterable[Step]) -> str:
    """Return where a packet that nobody received ended, and why; "" if somebody did, or no copy ended."""
    gone = list(steps)
    last = next((step for step in reversed(gone) if step.ended), None)
    if last is None or any(step.stage == PORT for step in gone):
        return ""
    what = "no entry" if last.stage == FDB and last.vtep is None else last.note
    if last.flow is not None or isinstance(last.stage, int):
        what = "no flow" if last.refused else "dropped by a flow of that table"
        if last.flow is not None and last.flow.actions:
            what = "it would go back to where it came in"
    why = why_nobody(world, *sender, packet)
    if not why:
        why = "by the intent somebody should receive it, so the rules are at fault"
    return f"{stage_of(last)}: {what}: {why}"


def receiver_name(world: World, delivery: Delivery) -> str:
    """Return the name of the port that a delivery is to, or what the host's local services are to do."""
    port = world.by_ofport.get((delivery.host, delivery.ofport))
    if delivery.ofport == world.service_of(delivery.host):
        return f"the local services of {delivery.host}: {service_of(delivery.packet)}"
    return str(port.name) if port is not None else f"OpenFlow port {delivery.ofport} of {delivery.host}"


def service_of(packet: Packet) -> str:
    """Return what a packet asks the local services for, as people say it."""
    resolves = packet.eth_type == ETH_ARP or discovery(packet)
    if not served(packet) and not resolves:
        if packet.oversize:
            return "path MTU (it is too long for the overlay)"
        return "an answer in the router's stead (its address, no hop left, or no route)"
    if packet.eth_type == ETH_ARP or discovery(packet):
        return "address resolution"
    if (packet.udp_src, packet.udp_dst) == DHCP4 and packet.eth_type == ETH_IPV4:
        return "DHCP"
    if (packet.udp_src, packet.udp_dst) == DHCP6:
        return "DHCPv6"
    if packet.icmpv6_type == ND_ROUTER_SOLICITATION:
        return "router advertisement"
    names = (SERVICES4[0], SERVICES6[0])
    asked = "DNS" if names[packet.eth_type != ETH_IPV4] in (packet.ipv4_dst, packet.ipv6_dst) else "metadata"
    known = _ASKED.get(packet.tcp_dst or packet.udp_dst)
    return asked if known == asked else f"nothing that they do (their address of {asked})"


def violation_message(
    world: World, hosts: Mapping[HostName, HostState], found: Violation
) -> verify_pb2.Violation:
    """Return the message of a violation; its packet's way is walked once more, for the steps."""
    message = verify_pb2.Violation(
        kind=found.kind.upper().replace("-", "_"),
        message=found.message,
        subjects=found.objects,
        host=str(found.host) if found.host is not None else "",
    )
    if found.packet is not None and found.host is not None:
        message.packet = f"in_port={found.in_port},{found.packet}"
        message.path.extend(_walked(world, hosts, found.host, found.in_port, found.packet))
    if not message.path:
        message.path.extend(verify_pb2.TraceStep(host=message.host, rule=line.strip()) for line in found.path)
    return message


def _walked(
    world: World, hosts: Mapping[HostName, HostState], host: HostName, in_port: int, packet: Packet
) -> list[verify_pb2.TraceStep]:
    try:
        journey = Fabric(hosts, world.by_vtep).walk(host, in_port, packet)
        return [step_message(world, step) for step in steps_of(world, hosts, journey, NAMES)]
    except (Refused, KeyError):
        return []  # a flow that nobody understands: the violation says so in its own words
