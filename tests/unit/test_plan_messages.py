"""Plans as messages: what hosts have in common is put into messages once, and is what each would have got."""

from __future__ import annotations

from copy import deepcopy
from ipaddress import ip_address
from random import Random

import pytest

from cloison.addresses import Mac
from cloison.model import Vni
from cloison.names import HostName, NetworkName
from cloison.v1 import host_sync_pb2
from controller.reconcile.services import ServiceChange, ZoneChange
from controller.reconcile.session import AgentSession, plan_messages
from controller.reconcile.tunnels import NetworkChange, PlanChange
from tests.support.effort import examples


def network_change(rng: Random) -> NetworkChange:
    entries = {Mac(rng.randrange(9)): ip_address(f"192.0.2.{rng.randrange(3)}") for _ in range(3)}
    return NetworkChange(rng.choice((1400, 1450)), entries, {Mac(9 + rng.randrange(3))})


def zone_change(rng: Random) -> ZoneChange:
    return ZoneChange(NetworkName("acme", "web"), "test", {f"p{rng.randrange(9)}": (b"\x0a\x00\x00\x01",)})


def queued(session: AgentSession) -> list[host_sync_pb2.PlanDelta]:
    found = []
    while not session._queue.empty():
        message = session._queue.get_nowait()
        assert isinstance(message, host_sync_pb2.ControllerMessage)
        found.append(message.delta)
    return found


@pytest.mark.parametrize("seed", range(examples(40)))
async def test_what_is_shared_is_said_to_each_as_if_it_were_not(seed: int) -> None:
    rng, revision = Random(seed), 1
    networks = [network_change(rng) for _ in range(4)]
    zones = [zone_change(rng) for _ in range(3)]
    for _ in range(60):
        revision += rng.random() < 0.1
        chosen = {Vni(n): rng.choice(networks) for n in range(rng.randint(0, 2))}
        plan = PlanChange(
            networks=chosen,
            removed_vnis={Vni(7)} if rng.random() < 0.1 else set(),
            services=ServiceChange(zones={Vni(n): rng.choice(zones) for n in range(rng.randint(0, 2))}),
        )
        if rng.random() < 0.2:  # another one in the place of one that nobody knows any more
            networks[rng.randrange(4)], zones[rng.randrange(3)] = network_change(rng), zone_change(rng)
        expected = list(plan_messages(revision, deepcopy(plan)))
        session = AgentSession(HostName("h1"))
        session.send_plan(revision, plan)
        session.send_barrier(revision, revalidate=False, flows_changed=True)
        assert [delta for delta in queued(session) if delta.ByteSize()] == expected
