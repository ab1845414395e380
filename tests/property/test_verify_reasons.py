"""The words for a drop: a reason exactly when the meaning has no receiver, and a step for every flow."""

from __future__ import annotations

from random import Random

from controller.api.explain import NAMES, drop_reason
from controller.verify.path import Fabric
from controller.verify.reasons import why_nobody
from controller.verify.semantics import meaning
from controller.verify.steps import PORT, SERVICES, steps_of
from controller.verify.world import World
from tests.support.worlds import Packets, compile_intent, random_intent

INTENTS, PACKETS = 60, 40


def test_reasons_and_steps_follow_what_happened() -> None:
    rng = Random(5)
    dropped = 0
    for _ in range(INTENTS):
        intent = random_intent(rng)
        world, states = World(intent), compile_intent(intent)
        if not world.ports:
            continue
        packets, fabric = Packets(rng, world), Fabric(states, world.by_vtep)
        for _ in range(PACKETS):
            host, ofport = packets.sender()
            packet = packets.make(host, ofport)
            wanted = meaning(world, host, ofport, packet)
            why = why_nobody(world, host, ofport, packet)
            assert bool(why) != bool(wanted), (why, str(packet))
            journey = fabric.walk(host, ofport, packet)
            steps = list(steps_of(world, states, journey, NAMES))
            arrived = [step.object for step in steps if step.stage == PORT]
            ports = [world.by_ofport.get((d.host, d.ofport)) for d in journey.deliveries]
            assert arrived == [str(port.name) if port is not None else SERVICES for port in ports]
            assert [s.flow for s in steps if s.flow is not None] == [
                f for h in journey.hops for f in h.run.flows
            ]
            reason = drop_reason(world, (host, ofport), packet, steps)
            assert bool(reason) != bool(wanted), (reason, str(packet))
            assert reason.endswith(why)
            dropped += not wanted
    assert 0 < dropped < INTENTS * PACKETS
