"""Entries that come for ports elsewhere travel with what asks for their receipt; nothing else waits, and
nothing waits for a switch that does not answer any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloison.addresses import Mac
from cloison.model import Direction, Revision, SecurityGroupRule, Vni
from cloison.names import HostName, NetworkName, SecurityGroupName
from cloison.v1 import host_sync_pb2
from controller.flows.delta import FlowDelta
from controller.openflow.refusal import FlowError, SwitchRefused
from controller.reconcile.moves import move_txn
from controller.reconcile.services import ServiceChange, ZoneChange
from controller.reconcile.session import AgentSession
from controller.reconcile.tunnels import NetworkChange, PlanChange
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import VNI, Controller, SlowSwitch, controller, settled, wire_of, with_slow

WEB = SecurityGroupRule(id="r1", number=1, direction=Direction.INGRESS, protocol=6, port_min=80, port_max=80)
VTEP = IPv4Address("192.0.2.2")


@dataclass
class Scene:
    """Port 1 on h1, whose switch takes its time from now on; port 2 on h2, where port 3 is plugged."""

    made: Controller
    h1: MemoryHost
    slow: SlowSwitch
    h2: MemoryHost

    @property
    def deltas(self) -> list[host_sync_pb2.ControllerMessage]:
        """The changes of networks that h1 was told of, since this was begun."""
        return [message for message in self.h1.heard if message.delta.networks]

    async def add_port_3(self) -> None:
        """It has a group of its own, so that h1 gets flows and an entry."""
        group = await self.made.create_group("ga", WEB)
        await self.made.create_profile(16, group)
        groups = (SecurityGroupName("acme", "ga"),)
        await self.made.create_port(3, "h2", profile=16, security_groups=groups)
        await eventually(lambda: self.slow.asked, "flows of h1 are in the hands of its switch")
        await eventually(lambda: wire_of(3) in self.told, "its entry is due")

    @property
    def told(self) -> set[int]:
        """The MACs that h1 was told, or is to be told."""
        waiting = self.h1.session._waiting
        deltas = [m.delta for m in [*waiting, *self.h1.heard]]
        return {entry.mac for delta in deltas for n in delta.networks for entry in n.upserted}


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    async with controller() as made:
        slow, h1 = await with_slow(made)
        h2 = MemoryHost(made.reconciler, 2)
        await h1.connect("if1")
        await h2.connect("if2", "if3")
        for number, host in ((1, "h1"), (2, "h2")):
            await made.active(await made.create_port(number, host))
        await eventually(lambda: len(made.store.state.tunnel_ports) == 2, "both devices reported")
        await settled(made)
        slow.may_apply.clear()
        h1.heard.clear()
        yield Scene(made, h1, slow, h2)


async def test_an_entry_comes_with_the_question_for_its_receipt_when_flows_change_too() -> None:
    async with scene() as there:
        await there.add_port_3()
        assert there.deltas == []
        there.slow.may_apply.set()
        await settled(there.made)
        assert [message.HasField("then") for message in there.deltas] == [True]
        assert there.h1.fdb[VNI].keys() >= {wire_of(2), wire_of(3)}


async def test_an_entry_does_not_wait_where_no_flows_change() -> None:
    async with scene() as there:
        await there.made.create_port(3, "h2")
        await eventually(lambda: wire_of(3) in there.h1.fdb[VNI], "told")
        assert not there.slow.asked


async def test_nothing_waits_for_a_switch_that_was_lost() -> None:
    async with scene() as there:
        await there.add_port_3()
        assert there.deltas == []
        there.made.reconciler.switch_gone(there.slow.dpid)
        await eventually(lambda: wire_of(3) in there.h1.fdb[VNI], "told")


async def test_nothing_waits_for_flows_that_the_switch_does_not_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene() as there:
        may_fail = asyncio.Event()

        async def refuse(delta: FlowDelta) -> None:
            there.slow.asked = True
            await may_fail.wait()
            raise SwitchRefused([FlowError(None, "no")])

        monkeypatch.setattr(there.slow, "apply", refuse)
        await there.add_port_3()
        assert there.deltas == []
        may_fail.set()
        await eventually(lambda: wire_of(3) in there.h1.fdb[VNI], "told")


async def test_what_is_taken_away_does_not_wait_for_the_switch() -> None:
    async with scene() as there:
        await there.add_port_3()
        await there.made.delete_port(next(p for p in there.made.store.state.ports if p.port == "p2"))
        await eventually(lambda: wire_of(2) not in there.h1.fdb[VNI], "taken away")
        # And what came before it is told before it.
        assert wire_of(3) in there.h1.fdb[VNI]
        assert not there.slow.may_apply.is_set()


MORE = NetworkChange(1450, {Mac(1): VTEP}, only_more=True)
NAMES = ZoneChange(NetworkName("acme", "web"), "example", {"p3": (VTEP,)})


@pytest.mark.parametrize(
    ("change", "waits"),
    [
        (PlanChange(networks={VNI: MORE}), True),
        (PlanChange(networks={VNI: MORE}, services=ServiceChange(zones={VNI: NAMES})), True),
        (PlanChange(networks={VNI: MORE, Vni(7): NetworkChange(1450)}), False),
        (PlanChange(networks={VNI: MORE}, removed_vnis={Vni(7)}), False),
        (PlanChange(services=ServiceChange(ports={3: host_sync_pb2.ServicePort(number=3)})), False),
        (PlanChange(services=ServiceChange(removed_ports={3})), False),
        (PlanChange(services=ServiceChange(removed_zones={VNI})), False),
        (PlanChange(services=ServiceChange(zones={VNI: ZoneChange(NAMES.network, "", {}, {"p3"})})), False),
    ],
    ids=[
        "entry",
        "name",
        "new network",
        "network gone",
        "own port",
        "own port gone",
        "zone gone",
        "name gone",
    ],
)
def test_what_may_wait(change: PlanChange, waits: bool) -> None:
    assert change.can_wait == waits


async def test_an_entry_of_a_port_that_moves_does_not_wait() -> None:
    async with scene() as there:
        made = there.made
        there.slow.may_apply.set()
        h3 = MemoryHost(made.reconciler, 3)
        await h3.connect("if2")
        port = next(p for p in made.store.state.ports if p.port == "p2")
        await made.change(port, requested_hosts=(there.h2.name, h3.name))
        await eventually(lambda: len(made.store.state.bindings_of(port)) == 2, "it stands by on h3")
        await settled(made)
        there.slow.may_apply.clear()
        await there.add_port_3()
        await made.store.transact(lambda state: (move_txn(state, h3.name, 2), None))
        third = bytes([192, 0, 2, 3])
        await eventually(lambda: there.h1.fdb[VNI][wire_of(2)] == third, "moved")
        assert not there.slow.may_apply.is_set()


def said(messages: list[host_sync_pb2.ControllerMessage]) -> list[tuple[str, int]]:
    """What an agent hears, in order: kind and revision."""
    heard = []
    for message in messages:
        kind = message.WhichOneof("kind") or ""
        heard.append((kind, getattr(message, kind).revision))
        if message.HasField("then"):
            heard.append(("barrier", message.then.revision))
    return heard


async def drained(session: AgentSession) -> list[host_sync_pb2.ControllerMessage]:
    session.send_waiting()
    session.close("over")
    return [message async for message in session.outgoing()]


STEPS = st.lists(st.sampled_from(["plan", "waiting plan", "barrier", "go"]), max_size=12)


@given(STEPS)
def test_an_agent_hears_the_same_in_the_same_order_whatever_waits(steps: list[str]) -> None:
    async def play(*, waits: bool) -> list[tuple[str, int]]:
        session = AgentSession(HostName("h1"))
        for number, step in enumerate(steps, 1):
            revision = Revision(number)
            if step == "barrier":
                session.send_barrier(revision, revalidate=False, flows_changed=True)
            elif step == "go":
                session.send_waiting()
            else:
                plan = PlanChange(networks={VNI: MORE})
                session.send_plan(revision, plan, wait=waits and step == "waiting plan")
        return said(await drained(session))

    assert asyncio.run(play(waits=True)) == asyncio.run(play(waits=False))
