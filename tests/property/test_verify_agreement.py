"""Three independent answers to "who receives this packet of this connection": the meaning, the compiled flows
run step by step, and the symbolic engine. They must be one.

N=100000 in the environment runs that many packets instead of a few thousand.
"""

from __future__ import annotations

import os
from functools import partial
from random import Random

import pytest

from cloison.names import HostName
from controller.verify.exact import Judge, Trail
from controller.verify.explore import explore
from controller.verify.holding import Held
from controller.verify.intent import IntentDelta, PortIntent
from controller.verify.isolation import Verifier, change_to, verify_all
from controller.verify.packet import ETH_IPV4, HEADER_MASK, Packet
from controller.verify.path import Fabric, HostState
from controller.verify.semantics import Delivery, fates_of, meaning
from controller.verify.shapes import PACKETS as ALL_PACKETS
from controller.verify.space import Region
from controller.verify.world import World
from tests.support.worlds import Packets, compile_intent, random_intent

PACKETS = int(os.environ.get("N", "4000"))
PER_INTENT = 100


@pytest.mark.parametrize("part", range(6))
def test_meaning_is_what_compiled_flows_do(part: int) -> None:
    rng = Random(part)
    delivered = abroad = 0
    for number in range(PACKETS // PER_INTENT // 4):
        intent = random_intent(rng, peered=part >= 4)
        if not intent.ports:
            continue
        world = World(intent)
        assert not world.clashes
        fabric = Fabric(compile_intent(intent), world.by_vtep)
        packets = Packets(rng, world)
        for _ in range(PER_INTENT):
            host, ofport = packets.sender()
            packet = packets.make(host, ofport)
            if packets.services and rng.random() < 0.05:
                host, ofport = rng.choice(packets.services)
                packet = packets.from_services(host)
            wanted = meaning(world, host, ofport, packet)
            journey = fabric.walk(host, ofport, packet)
            assert not journey.looped
            if sorted(journey.deliveries, key=repr) != sorted(wanted, key=repr):
                pytest.fail(f"part {part} intent {number}: {host} {ofport} {packet}\n{wanted=}\n{journey=}")
            delivered += bool(wanted)
            if any(crosses(world, host, ofport, delivery) for delivery in wanted):
                abroad += 1
                assert accepted(world, world.by_ofport[host, ofport], packet), packet
    assert delivered > PACKETS / 80
    assert abroad or part < 4, "packets pass between tenants where there are peerings"


def crosses(world: World, host: HostName, ofport: int, delivery: Delivery) -> bool:
    """Tell whether a packet came out at a port of another tenant than the one it was sent by."""
    sender = world.by_ofport.get((host, ofport))
    receiver = world.by_ofport.get((delivery.host, delivery.ofport))
    return sender is not None and receiver is not None and sender.name.tenant != receiver.name.tenant


def accepted(world: World, sender: PortIntent, packet: Packet) -> bool:
    """Tell whether some peering of a sender's router lists where a packet is from, and where it is for."""
    four = packet.eth_type == ETH_IPV4
    source, target = (packet.ipv4_src, packet.ipv4_dst) if four else (packet.ipv6_src, packet.ipv6_dst)
    return any(
        route.crossing is not None
        and (source & route.crossing.range[1], target & route.range[1])
        == (route.crossing.range[0], route.range[0])
        and route.prefix.version == (4 if four else 6)
        for router in world.networks[sender.name.parent].routers
        for route in router.routes
    )


@pytest.mark.parametrize("part", range(3))
def test_symbolic_engine_says_the_same(part: int) -> None:
    rng = Random(100 + part)
    for _ in range(max(3, PACKETS // 1000)):
        intent = random_intent(rng, tenants=2, hosts=3, ports=3, peered=part == 2)
        world = World(intent)
        if not world.by_ofport:
            continue
        states = compile_intent(intent)
        judge = Judge(world, {host: held(state) for host, state in states.items()})
        fabric, packets = Fabric(states, world.by_vtep), Packets(rng, world)
        host, ofport = rng.choice(sorted(world.by_ofport))
        sender = world.by_ofport[host, ofport]
        trails = [t for start in ALL_PACKETS for t in judge.trails(host, ofport, start)]
        meant = [m for start in ALL_PACKETS for m in explore(start, partial(fates_of, world, sender))]
        for _ in range(PER_INTENT):
            packet = packets.make(host, ofport)
            journey = fabric.walk(host, ofport, packet)
            found = [symbolic_deliveries(judge, t, packet) for t in trails if holds(t.region, packet)]
            assert found, f"no part has {packet}"
            for deliveries in found:
                walked = [(d.host, d.ofport, d.packet) for d in journey.deliveries]
                assert sorted(deliveries, key=repr) == sorted(walked, key=repr), packet
            assert {fate for region, fate in meant if holds(region, packet)} == {
                fates_of(world, sender, packet)
            }


def held(state: HostState) -> Held:
    made = Held()
    for flow in state.flows:
        made.add(flow)
    made.fdb.update({vni: dict(fdb) for vni, fdb in state.fdb.items()})
    made.devices.update(state.devices)
    return made


def holds(region: Region, packet: Packet) -> bool:
    number = packet.pack()
    if (number ^ region.value) & region.mask:
        return False
    return all((number ^ value) & mask for value, mask in region.holes)


def symbolic_deliveries(
    judge: Judge, trail: Trail, packet: Packet
) -> list[tuple[HostName, int | None, Packet]]:
    """The deliveries of a trail, for one packet of it."""
    whole = Region(packet.pack(), (1 << 4096) - 1)
    found = []
    for host, ofport, frame, asked, _ in trail.deliveries:
        if not all(judge.allows(question, packet) for question in asked):
            continue
        value, _ = frame._replace(region=whole).known()
        # What is true of a packet although no header says it stays true of it.
        context = packet.pack() & ~HEADER_MASK
        found.append((host, ofport, Packet.unpack(value & HEADER_MASK | context)))
    return found


def test_every_compiled_state_is_proved_by_contracts_alone() -> None:
    """None needs the judge: he is slow, and what he has to say again with every change would be too."""
    rng = Random(7)
    for number in range(50):
        intent = random_intent(rng, peered=number >= 40)
        states = compile_intent(intent)
        assert verify_all(intent, states) == []
        verifier = Verifier()
        changes = {host: change_to(state) for host, state in states.items()}
        assert verifier.check(IntentDelta.whole(intent), changes) == []
        assert verifier.settled
