"""Follows one packet: by the meaning, by the flows (compiled or read), by the switches themselves.

Only hosts on the packet's way are read. A tenant's people get the answer without the operator's side of it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloison.errors import NotFound, Precondition, Unavailable
from cloison.names import HostName, PortName
from cloison.v1 import verify_pb2
from controller.api.attestation import host_state
from controller.api.explain import NAMES, admissions_of, drop_reason, receiver_name, step_message
from controller.api.expression import parse
from controller.api.honest import complete, shown
from controller.api.switch_trace import questions, same_outputs
from controller.compiler.pipeline import TABLE_NAMES
from controller.reconcile.reading import Holding, Observer, Picture
from controller.verify.grammar import OFPORT_MAX, Refused
from controller.verify.intent import PortIntent
from controller.verify.packet import Packet
from controller.verify.path import HOPS_MAX, Fabric, Journey
from controller.verify.semantics import Delivery, meaning
from controller.verify.steps import Step, steps_of
from controller.verify.world import World

_A_HOST = re.compile(r"hosts/[a-z0-9-]+")
SERVICES = "the local services"


@dataclass(slots=True)
class _Followed:
    """A packet's way. refused: why it could not be followed to its end."""

    journey: Journey
    steps: list[Step]
    held: Mapping[HostName, Holding]
    refused: str = ""
    traces: dict[str, str] = field(default_factory=dict)


class Tracer:
    """Follows packets through what an observer sees."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    async def trace(
        self, port: PortName, text: str, to_port: PortName | None, *, live: bool
    ) -> verify_pb2.TraceResponse:
        """Follow a packet from a port. Raises NotFound, Precondition, InvalidIntent, Unavailable."""
        picture = await self._observer.picture()
        # Indexing takes a moment where there are many ports.
        world = await asyncio.to_thread(World, picture.intent)
        sender = _plugged(picture, port)
        receiver = _known(picture, to_port) if to_port is not None else None
        packet = complete(world, sender, parse(text), receiver)
        assert sender.host is not None, sender
        entry = (sender.host, sender.ofport)
        followed = await self._follow(picture, world, entry, packet, live=live)
        agree = not followed.refused and _as_meant(followed.journey, meaning(world, *entry, packet))
        if live:
            agree &= await self._ask_switches(followed)
        response = self._response(world, entry, packet, followed)
        response.packet, response.agree = shown(packet), agree
        response.switch_traces.update(followed.traces)
        return response

    async def _follow(
        self, picture: Picture, world: World, entry: tuple[HostName, int], packet: Packet, *, live: bool
    ) -> _Followed:
        held: dict[HostName, Holding] = {} if live else dict(picture.compiled)
        wanted = {entry[0]}
        for _ in range(HOPS_MAX + 1):
            if live and not wanted <= held.keys():
                read, unread = await self._observer.read(wanted - held.keys())
                if unread:
                    raise Unavailable("; ".join(f"{name}: {why}" for name, why in sorted(unread.items())))
                held.update(read)
            followed = _walk(world, held, entry, packet)
            wanted = {there for step in followed.steps if (there := _beyond(world, step)) is not None}
            if wanted <= held.keys() or followed.refused:
                break
        return followed

    async def _ask_switches(self, followed: _Followed) -> bool:
        """Ask Open vSwitch on each host of the way; return whether it does what the flows, as read, say."""
        agree = True
        for hop in followed.journey.hops:
            name, asked = str(hop.host), questions(hop)
            answers = [await self._observer.trace(hop.host, question) for question in asked]
            before = [followed.traces[name]] if name in followed.traces else []
            told = (f"asked: {q}\n{a}" for q, a in zip(asked, answers, strict=True))
            followed.traces[name] = "\n".join([*before, *told])
            agree &= same_outputs(hop, answers)
        return agree

    @staticmethod
    def _response(
        world: World, entry: tuple[HostName, int], packet: Packet, followed: _Followed
    ) -> verify_pb2.TraceResponse:
        steps, admissions = followed.steps, admissions_of(world, entry, packet)
        delivered = [receiver_name(world, d) for d in followed.journey.deliveries]
        reason = followed.refused
        if not reason and not delivered:
            reason = (
                "it goes round in a loop"
                if followed.journey.looped
                else drop_reason(world, entry, packet, steps)
            )
        response = verify_pb2.TraceResponse(
            meant=sorted(receiver_name(world, d) for d in meaning(world, *entry, packet)),
            delivered=sorted(delivered),
            drop_reason=reason,
            path=[step_message(world, step, admissions) for step in steps],
        )
        for host in dict.fromkeys(hop.host for hop in followed.journey.hops):
            for foreign in followed.held[host].foreign:
                response.path.add(
                    host=str(host),
                    stage=TABLE_NAMES.get(foreign.table, f"table {foreign.table}"),
                    rule=f"cookie={foreign.cookie:#x},priority={foreign.priority},(foreign)",
                    note="a flow that the proof does not understand: only ofproto/trace knows what it does",
                )
        return response


def _plugged(picture: Picture, name: PortName) -> PortIntent:
    port = _known(picture, name)
    if port.host is None or not 1 <= port.ofport <= OFPORT_MAX:
        raise Precondition(
            "NOT_PLUGGED", str(name), f"{name} is plugged nowhere, so nothing can be sent from it"
        )
    return port


def _known(picture: Picture, name: PortName) -> PortIntent:
    port = picture.intent.ports.get(name)
    if port is None:
        raise NotFound(str(name))
    return port


def _walk(
    world: World, held: Mapping[HostName, Holding], entry: tuple[HostName, int], packet: Packet
) -> _Followed:
    states = {name: host_state(holding) for name, holding in held.items()}
    try:
        journey = Fabric(states, world.by_vtep).walk(*entry, packet)
        return _Followed(journey, list(steps_of(world, states, journey, NAMES)), held)
    except Refused as refused:
        return _Followed(Journey((), ()), [], held, f"the proof cannot follow it: {refused}")


def _beyond(world: World, step: Step) -> HostName | None:
    """The host to which a forwarding entry leads."""
    return world.by_vtep.get(step.vtep) if step.vtep is not None else None


def _as_meant(journey: Journey, wanted: frozenset[Delivery]) -> bool:
    return not journey.looped and sorted(journey.deliveries, key=repr) == sorted(wanted, key=repr)


def for_tenant(response: verify_pb2.TraceResponse, tenant: str) -> verify_pb2.TraceResponse:
    """Return what a tenant's people may see: neither hosts nor flows, and of others not even names."""
    own = f"tenants/{tenant}/"

    def named(name: str) -> str:
        if name.startswith(SERVICES):
            return _without_hosts(name)
        return name if name.startswith(own) else "a port that is not yours"

    shown_ = verify_pb2.TraceResponse(
        packet=response.packet,
        meant=map(named, response.meant),
        delivered=map(named, response.delivered),
        agree=response.agree,
        drop_reason=_without_others(_without_hosts(response.drop_reason), tenant),
    )
    for step in response.path:
        resource = step.resource if step.resource.startswith(own) else ""
        # Which rule of theirs admitted it is for them to know; other notes are of flows.
        own_rule = resource.startswith((f"{own}securityGroups/", f"{own}peerings/"))
        # (Where it crosses to another tenant, that one's rules are told after it.)
        note = step.note.partition("; then ")[0] if own_rule else ""
        shown_.path.add(stage=step.stage, resource=resource, note=note)
    return shown_


def _without_others(text: str, tenant: str) -> str:
    return re.sub(rf"tenants/(?!{tenant}/)[a-z0-9-]+(/[A-Za-z0-9-]+)*", "something of another tenant", text)


def _without_hosts(text: str) -> str:
    return _A_HOST.sub("a host", text)
