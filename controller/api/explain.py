"""What the proof found, as messages: steps with the names of tables, registers and objects. No I/O.

The one place that knows both the pipeline's names and the proof's results; neither of the two knows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloison.names import HostName, TenantName
from cloison.v1 import verify_pb2
from controller.compiler import cookies
from controller.compiler.pipeline import TABLE_NAMES
from controller.compiler.registers import REGISTERS
from controller.verify.grammar import Refused
from controller.verify.intent import World
from controller.verify.packet import Packet
from controller.verify.path import Fabric, HostState
from controller.verify.reasons import why_nobody
from controller.verify.semantics import Delivery
from controller.verify.steps import FDB, PORT, Names, Step, steps_of
from controller.verify.violation import Violation

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


def step_message(world: World, step: Step) -> verify_pb2.TraceStep:
    """Return the message of a step."""
    resource, note = step.object, step.note
    if step.flow is not None:
        resource = object_of(world, step.flow.cookie)
        if not resource and step.flow.cookie != cookies.STATIC:
            foreign = f"cookie {step.flow.cookie:#x} is of no object of ours"
            note = f"{note}; {foreign}" if note else foreign
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
    """Return the name of the port that a delivery is to."""
    port = world.by_ofport.get((delivery.host, delivery.ofport))
    return str(port.name) if port is not None else f"OpenFlow port {delivery.ofport} of {delivery.host}"


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
