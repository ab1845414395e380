"""What the gate or a switch refuses: it reaches no host by any other way, and holds up nobody else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from cloison.addresses import IpAddress
from cloison.model import AddressPair, RouterRoute
from cloison.names import HostName, PortName
from cloison.v1 import host_sync_pb2, port_pb2
from controller.compiler.cookies import unpack
from controller.compiler.pipeline import EXIT, FORWARD
from controller.compiler.view import PortView
from controller.flows import Flow
from controller.flows.delta import FlowDelta
from controller.openflow.fake import FakeSwitch
from controller.openflow.refusal import FlowError, SwitchRefused
from controller.reconcile import retrial
from controller.reconcile import tunnels as tunnels_module
from controller.reconcile import units as units_module
from controller.reconcile.views import Location
from controller.store.state import State
from controller.store.txn import Txn
from controller.verify.violation import BLACKHOLE
from tests.support.compiler_bugs import any_source, with_bug
from tests.support.hosts import SERVICE_OFPORT, MemoryHost, eventually
from tests.support.reconciling import (
    H1,
    H2,
    VNI,
    Controller,
    all_allowed,
    at_once,
    controller,
    pair,
    port_flows_of,
    port_like,
    settled,
    wire_of,
    with_base,
)
from tests.unit.test_reconciler_routers import ROUTER, flows_of, with_db


def refused_by_gate(made: Controller) -> int:
    return made.reconciler._gate.refused


def lie_about(monkeypatch: pytest.MonkeyPatch, port: PortName) -> list[IpAddress]:
    """Have the tunnel plans lead frames for a port elsewhere; empty the list to stop it."""
    lies: list[IpAddress] = [ip_address("192.0.2.99")]
    right = tunnels_module.location

    def location(state: State, name: PortName) -> Location | None:
        found = right(state, name)
        return replace(found, vtep=lies[0]) if found is not None and name == port and lies else found

    monkeypatch.setattr(tunnels_module, "location", location)
    return lies


async def test_a_plan_that_is_held_back_gets_out_by_no_side_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrial, "RETRY_MIN_S", 0.02)
    async with controller() as made:
        h1, h2, _, _ = await pair(made)
        p3 = PortName("acme", "web", "p3")
        lies = lie_about(monkeypatch, p3)
        await made.create_port(3, "h2")
        h2.plug("if3")
        await eventually(lambda: refused_by_gate(made), "refused")
        again = MemoryHost(made.reconciler, 1, h1.switch)
        again._ofport = 100
        await again.connect("if1")
        await asyncio.sleep(0)
        p4 = await made.create_port(4, "h2")
        h2.plug("if4")
        await eventually(lambda: made.store.state.bindings_of(p4), "another change of the plan")
        for _ in range(20):
            await asyncio.sleep(0.005)
            for host in (h1, again):
                assert wire_of(3) not in host.fdb.get(VNI, {})
        lies.clear()
        await made.change(H2, underlay_mtu=1600)
        third = again
        if again.session.closed_because is not None:
            third = MemoryHost(made.reconciler, 1, h1.switch)
            third._ofport = 100
            await third.connect("if1")
        await eventually(lambda: wire_of(3) in third.fdb.get(VNI, {}), "the right plan is sent")
        assert third.fdb[VNI][wire_of(3)] == b"\xc0\x00\x02\x02"
        await made.active(p3)
        await made.active(p4)


@pytest.mark.slow
async def test_who_shares_a_moment_with_a_wrong_flow_does_not_share_its_fate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        right = units_module.port_flows
        bugs = {12}

        def port_flows(view: PortView) -> tuple[Flow, ...]:
            flows = right(view)
            return with_bug(any_source, flows) if view.port_number in bugs else flows

        monkeypatch.setattr(units_module, "port_flows", port_flows)
        monkeypatch.setattr(retrial, "RETRY_MIN_S", 0.02)
        good, bad = port_like(made, p1, 11), port_like(made, p1, 12)
        h1.plug("if11")
        h1.plug("if12")
        at_once(made, [good], [bad])
        await eventually(lambda: made.store.state.revision == made.reconciler.revision, "followed")
        await eventually(lambda: bad.name in made.store.state.ports, "there")
        await made.active(good.name)
        await eventually(lambda: made.status(bad.name) == port_pb2.Port.ERROR, "refused")
        assert not port_flows_of(h1, 12)
        tracker, network = made.reconciler.tracker, bad.name.parent
        for name in (None, HostName("h1"), network.parent, network):
            realized, _, missing = await tracker.wait_realized(name, 0, 0.0)
            assert not realized
            reasons = {(c.reason, c.subjects) for c in missing}
            assert reasons == {("REFUSED_BY_GATE", (str(bad.name),))}, name
        assert (await tracker.wait_realized(good.name, 0, 0.0))[0]
        assert (await tracker.wait_realized(HostName("h2"), 0, 0.0))[0]
        waiting = asyncio.create_task(tracker.wait_realized(None, 0, 10.0))
        bugs.clear()
        await made.active(bad.name)
        assert (await waiting)[0], "who waits is told when it is over"


async def test_two_interfaces_of_one_number_bind_nothing_and_hold_up_nobody() -> None:
    """A hostile agent whose switch is away: nobody but itself can be asked, and it contradicts itself."""
    async with controller() as made:
        _, h2, _, _ = await pair(made)
        evil = MemoryHost(made.reconciler, 3)
        await evil.register()
        p5, p6 = await made.create_port(5, "h3"), await made.create_port(6, "h3")
        inventory = host_sync_pb2.Inventory(complete=True)
        inventory.interfaces.add(name="a", iface_id="if5", ofport=7)
        inventory.interfaces.add(name="b", iface_id="if6", ofport=7)
        made.reconciler.inventory(evil.session, inventory)
        await eventually(lambda: len(made.reconciler.tracker.refused.of(HostName("h3"))) == 2, "refused")
        assert not made.store.state.bindings_on(HostName("h3"))
        p4 = await made.create_port(4, "h2")
        h2.plug("if4")
        await made.active(p4)
        assert not refused_by_gate(made)
        made.reconciler.inventory(evil.session, host_sync_pb2.Inventory(removed_interfaces=["b"]))
        await eventually(lambda: made.store.state.bindings_of(p5), "the rest is plugged")
        taken = host_sync_pb2.Inventory(tunnel_ports=[host_sync_pb2.TunnelPort(vni=VNI, ofport=7)])
        made.reconciler.inventory(evil.session, taken)
        await eventually(lambda: not made.store.state.bindings_of(p5), "a device cannot have it as well")
        assert not made.store.state.tunnel_ports_on(HostName("h3"))
        assert not made.store.state.bindings_of(p6)
        assert not refused_by_gate(made)


async def test_interfaces_that_change_numbers_are_never_two_of_one_number() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        names = [f"if{n}" for n in range(1, 61)]
        await h1.connect(*names)
        await made.create_port(1, "h1")
        like = made.store.state.ports[PortName("acme", "web", "p1")]
        for n in range(2, 61):
            at_once(made, [port_like(made, like.name, n)])
        await eventually(lambda: len(made.store.state.bindings_on(H1)) == 60, "all plugged")
        made.reconciler.switch_gone(1)
        numbers = {i.name: i.ofport for i in h1.session.interfaces.values()}
        order = sorted(numbers)
        turned = dict(zip(order, [numbers[n] for n in (*order[1:], order[0])], strict=True))
        seen: list[int] = []

        def look() -> None:
            bindings = made.store.state.bindings_on(H1)
            seen.append(len(bindings) - len({b.ofport for b in bindings}))

        made.store.etcd.on_commit.append(look)
        inventory = host_sync_pb2.Inventory(
            interfaces=[
                host_sync_pb2.Interface(name=name, iface_id=name.removeprefix("tap-"), ofport=ofport)
                for name, ofport in turned.items()
            ]
        )
        made.reconciler.inventory(h1.session, inventory)

        def right() -> bool:
            bindings = made.store.state.bindings_on(H1)
            return {b.interface: b.ofport for b in bindings} == turned

        await eventually(right, "stored as they are now")
        look()
        assert set(seen) == {0}
        assert not refused_by_gate(made)


async def test_a_port_whose_number_is_unconfirmed_is_no_violation_where_its_peers_are() -> None:
    async with controller() as made:
        h1, h2, p1, p2 = await pair(made)
        (binding,) = made.store.state.bindings_of(p1)
        h1.switch.set_port(binding.ofport, "tap-of-somebody-else")
        await eventually(lambda: not port_flows_of(h1, 1), "flows withdrawn")
        await eventually(lambda: wire_of(1) not in h2.fdb[VNI], "nobody is led to it")
        assert made.status(p1) == port_pb2.Port.BUILDING
        assert not refused_by_gate(made)
        h1.switch.set_port(binding.ofport, binding.interface)
        await made.active(p1)
        await made.active(p2)
        assert wire_of(1) in h2.fdb[VNI]


async def test_a_switch_that_went_is_believed_to_be_as_it_was_judged() -> None:
    async with controller() as made:
        h1, h2, _, _ = await pair(made)
        h2.switch.set_port(h2.tunnel_ofports[VNI], "something-else")
        await settled(made)
        made.reconciler.switch_gone(2)
        p3 = await made.create_port(3, "h1")
        h1.plug("if3")
        await eventually(lambda: port_flows_of(h1, 3), "flows of p3")
        assert made.status(p3) == port_pb2.Port.BUILDING
        assert not refused_by_gate(made)


class PickySwitch(FakeSwitch):
    """Refuses flows of a port while that is in `dislikes`."""

    dislikes: set[int] = set()

    async def apply(self, delta: FlowDelta) -> None:
        bad = [f for f in delta.add if (c := unpack(f.cookie)) and c.object in self.dislikes and f.table == 0]
        if bad:
            raise SwitchRefused([FlowError(flow, 4, 9, "no") for flow in bad])
        await super().apply(delta)


async def test_what_a_switch_refused_is_not_believed_to_be_there() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1, PickySwitch(1, "h1"))
        h1.switch.dislikes = {1}  # type: ignore[attr-defined]
        await h1.connect("if1")
        p1 = await made.create_port(1, "h1")
        await eventually(lambda: made.status(p1) == port_pb2.Port.ERROR, "refused by the switch")
        h1.switch.dislikes = set()  # type: ignore[attr-defined]

        def move(txn: Txn, state: State) -> None:
            old = state.ports[p1]
            txn.update(old, replace(old, mac=0x020000000009))

        await made.commit(move)
        await made.active(p1)
        assert not refused_by_gate(made)


async def test_a_wrong_flow_that_harms_nobody_yet_is_found_when_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A port that may say any source is alone in its network; then another joins."""
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        # Local services would hear it at once, from whatever source.
        h1.switch.set_port(SERVICE_OFPORT, None)
        await with_base(made, "globex", 2)
        right = units_module.port_flows

        def port_flows(view: PortView) -> tuple[Flow, ...]:
            return with_bug(any_source, right(view)) if view.port_number == 12 else right(view)

        monkeypatch.setattr(units_module, "port_flows", port_flows)
        profile = await all_allowed(made, 16, "globex")
        alike = (port_like(made, p1, number, "globex") for number in (12, 13))
        ports = [replace(port, profile=profile) for port in alike]
        for port in ports:
            h1.plug(port.iface_id)
            at_once(made, [port])
            await eventually(lambda name=port.name: made.store.state.bindings_of(name), "plugged")  # type: ignore[misc]
            await eventually(lambda: made.reconciler.revision == made.store.state.revision, "followed")
        # The newcomer's flows are kept back, so it is deaf; but nothing that should not pass does.
        found = made.reconciler._gate._verifier.check_everything()
        assert {violation.kind for violation in found} <= {BLACKHOLE}
        assert made.status(ports[1].name) == port_pb2.Port.ERROR


@pytest.mark.parametrize("how", ["delete", "unplug"])
async def test_a_bridge_that_speaks_between_a_revision_and_its_round_is_no_violation(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A network's routes are compiled from a state without their next hop, which is still meant to be."""
    async with controller() as made:
        h1, h2, p3 = await with_db(made)
        route = RouterRoute(ip_network("192.0.2.0/24"), (ip_address("10.1.0.3"),))
        await made.commit(lambda txn, state: txn.create(replace(ROUTER, routes=(route,))))
        await made.change(p3, allowed_address_pairs=(AddressPair(ip_network("0.0.0.0/0")),))
        await settled(made)
        apply, device, spoken = made.store._mirror.apply, h1.tunnel_ofports[VNI], []

        def applied(*what: Any) -> object:
            changes = apply(*what)
            if not made.store.state.bindings_of(p3) and not spoken:
                spoken.append(made.store.state.revision > made.reconciler.revision)
                h1.switch.set_port(device, None)
            return changes

        monkeypatch.setattr(made.store._mirror, "apply", applied)
        if how == "delete":
            await made.delete_port(p3)
        else:
            h2.unplug("if3")
        await eventually(lambda: spoken, "the bridge has no such device any more")
        await settled(made)
        assert spoken == [True]
        assert not refused_by_gate(made)
        assert not any(f.goto == EXIT.number for f in flows_of(h1, FORWARD.number, VNI)), "no device, no way"
        h1.switch.set_port(device, f"vx{VNI:06x}")
        await eventually(lambda: made.reconciler.self_check.check_everything() == 0, "as if compiled anew")
        assert not refused_by_gate(made)
