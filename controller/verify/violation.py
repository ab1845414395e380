"""What the proof found wrong: a kind, a sentence, the objects, and a packet with its way, table by table."""

from __future__ import annotations

from dataclasses import dataclass

from cloison.names import HostName, PortName
from controller.flows.text import flow_text
from controller.verify.attention import due, paid
from controller.verify.packet import Packet, connected
from controller.verify.path import Journey
from controller.verify.rules import prepare
from controller.verify.semantics import Delivery, fates_of
from controller.verify.world import World

LEAK = "leak"
SPOOF = "spoof"
BLACKHOLE = "blackhole"
ALTERED = "altered"
LOOP = "loop"
UNDEFINED = "undefined"
FORBIDDEN_FLOW = "forbidden-flow"
FDB = "fdb"
DEVICE = "device"
IDENTIFIER = "identifier"
REFLECTION = "reflection"
SELF_CHECK = "self-check"
STAGE = "stage"
UNPROVED = "unproved"


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which a state breaks its promise.

    kind: one of the constants above. host: where the offending flow or entry is, or where the packet entered.
    objects: resource names of those concerned. path: one line per step of packet, if there is one.
    """

    kind: str
    message: str
    host: HostName | None = None
    objects: tuple[str, ...] = ()
    packet: Packet | None = None
    in_port: int = 0
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n  ".join((f"{self.kind}: {self.message}", *self.path))


def path_lines(journey: Journey) -> tuple[str, ...]:
    """Return the way of a packet: each bridge it entered, each flow it met, where it came out."""
    lines = []
    for hop in journey.hops:
        lines.append(f"{hop.host} in_port={hop.in_port}: {hop.packet}")
        lines += [f"  {flow_text(flow)}" for flow in hop.run.flows]
        if hop.run.missed_table is not None:
            lines.append(f"  no flow of table {hop.run.missed_table} matches: dropped")
        lines += [f"  sent by OpenFlow port {sent.ofport}: {sent.packet}" for sent in hop.run.sent]
    return tuple(lines)


def of_packet(
    world: World, host: HostName, in_port: int, packet: Packet, wanted: frozenset[Delivery], journey: Journey
) -> Violation | None:
    """Return what is wrong with a packet's journey, None if it went as wanted."""
    got = journey.deliveries
    if journey.looped:
        kind, message = LOOP, "a packet goes round in a loop"
    elif sorted(got, key=repr) == sorted(wanted, key=repr):
        return None
    elif (
        packet.oversize
        and not wanted
        and {(d.host, d.ofport) for d in got} == {(host, world.service_of(host))}
    ):
        # What is too long for the overlay, and for nobody, the sender's own services may see.
        return None
    else:
        kind, message = _named(world, host, in_port, packet, wanted, got)
    sender = world.by_ofport.get((host, in_port))
    concerned = [sender, *(world.by_ofport.get((d.host, d.ofport)) for d in (*wanted, *got))]
    names = dict.fromkeys(str(p.name) for p in concerned if p is not None)
    return Violation(kind, message, host, tuple(names), packet, in_port, path_lines(journey))


def unheeded(
    world: World, host: HostName, in_port: int, packet: Packet, wanted: frozenset[Delivery], journey: Journey
) -> Violation | None:
    """Return what was not asked about a packet that went as wanted (attention.py); None if all was."""
    sender = world.by_ofport.get((host, in_port))
    if sender is None or not wanted:
        return None
    network = world.networks[sender.name.parent]
    asked = paid(prepare(flow) for hop in journey.hops for flow in hop.run.flows)
    got = next(iter(wanted))
    receiver = world.by_ofport.get((got.host, got.ofport))
    known = connected(packet)
    judged = any(
        fate.judged
        for fate in fates_of(world, sender, known)
        if (fate.host, fate.ofport) == (got.host, got.ofport)
    )
    away = receiver is None or receiver.name.tenant != sender.name.tenant
    wants = due(network, sender, receiver, known, abroad=away and judged)
    # Of several copies the journey does not say which asked what.
    if asked == wants and len(wanted) == 1:
        return None
    tracking = [a for a in asked if a[0] != "meter"] != [a for a in wants if a[0] != "meter"]
    missed = "connection tracking" if tracking else "its meter"
    message = f"what {sender.name} sends to {_name(world, got)} arrives, but not by way of {missed}"
    names = tuple(str(p.name) for p in (sender, receiver) if p is not None)
    return Violation(STAGE, message, host, names, packet, in_port, path_lines(journey))


def _named(
    world: World,
    host: HostName,
    in_port: int,
    packet: Packet,
    wanted: frozenset[Delivery],
    got: tuple[Delivery, ...],
) -> tuple[str, str]:
    sender = world.by_ofport.get((host, in_port))
    source = str(sender.name) if sender is not None else _nameless(world, host, in_port)
    right = {(d.host, d.ofport) for d in wanted}
    # What does not fit into the overlay its own host's services may see instead of nobody: that is no leak.
    services = world.service_of(host) if packet.oversize else None
    for delivery in got:
        if (delivery.host, delivery.ofport) in right or (delivery.host, delivery.ofport) == (host, services):
            continue
        target = world.by_ofport.get((delivery.host, delivery.ofport))
        where = str(target.name) if target else _nameless(world, delivery.host, delivery.ofport)
        return LEAK, f"{where} receives what {source} sends, and should not"
    if wanted and not right.intersection((d.host, d.ofport) for d in got):
        name = _name(world, next(iter(wanted)))
        return BLACKHOLE, f"{name} does not receive what {source} sends, and should"
    if len(got) > len(wanted):
        return ALTERED, f"{_name(world, got[0])} receives more than once what {source} sends"
    return ALTERED, f"{_name(world, got[0])} receives what {source} sends, but changed"


def _nameless(world: World, host: HostName, ofport: int) -> str:
    if ofport == world.service_of(host):
        return f"the local services of {host}"
    return f"OpenFlow port {ofport} of {host}, which no port has"


def _name(world: World, delivery: Delivery) -> PortName | str:
    port = world.by_ofport.get((delivery.host, delivery.ofport))
    return port.name if port is not None else _nameless(world, delivery.host, delivery.ofport)
