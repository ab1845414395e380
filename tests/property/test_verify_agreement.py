"""Three independent answers to "who receives this packet": the meaning, the compiled flows run step by step,
and the symbolic engine. They must be one.

N=100000 in the environment runs that many packets instead of a few thousand.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from controller.verify.intent import World
from controller.verify.path import Fabric
from controller.verify.semantics import meaning
from tests.support.worlds import Packets, compile_intent, random_intent

PACKETS = int(os.environ.get("N", "4000"))
PER_INTENT = 100


@pytest.mark.parametrize("part", range(4))
def test_meaning_is_what_compiled_flows_do(part: int) -> None:
    rng = Random(part)
    delivered = 0
    for number in range(PACKETS // PER_INTENT // 4):
        intent = random_intent(rng)
        if not intent.ports:
            continue
        world = World(intent)
        assert not world.clashes
        fabric = Fabric(compile_intent(intent), world.by_vtep)
        packets = Packets(rng, world)
        for _ in range(PER_INTENT):
            host, ofport = packets.sender()
            packet = packets.make(host, ofport)
            wanted = meaning(world, host, ofport, packet)
            journey = fabric.walk(host, ofport, packet)
            assert not journey.looped
            if list(journey.deliveries) != list(wanted):
                pytest.fail(f"part {part} intent {number}: {host} {ofport} {packet}\n{wanted=}\n{journey=}")
            delivered += bool(wanted)
    assert delivered > PACKETS / 40
