"""Meters: there before the flows that name them, gone after those, put right when somebody alters them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloison.names import PortName
from controller.compiler.view import METERS_OF_CONNECTIONS, METERS_OF_SPREADING
from controller.flows.meters import Meter
from controller.openflow.fake import FakeSwitch
from controller.openflow.switch import Change
from controller.reconcile import host as host_module
from controller.reconcile.meters import CONNECTIONS_PER_S, SERVICES, SPREADING, HostMeters
from controller.store.memory import MemoryEtcd
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import H1, Controller, controller, port_flows_of, settled, with_base


def meter(number: int) -> Meter:
    return Meter(number, *SERVICES)


def meters(ofport: int) -> dict[int, Meter]:
    """Both meters of a port."""
    opening = METERS_OF_CONNECTIONS + ofport
    return {
        ofport: meter(ofport),
        opening: Meter(opening, CONNECTIONS_PER_S, 2 * CONNECTIONS_PER_S),
    }


def named(host: MemoryHost) -> set[int]:
    """The meters that some flow of the switch names."""
    return {i.flow.meter for i in host.switch.flows.values() if i.flow.meter is not None}


async def plugged(made: Controller) -> tuple[MemoryHost, PortName, int]:
    await with_base(made)
    h1 = MemoryHost(made.reconciler, 1)
    await h1.connect("if1")
    port = await made.create_port(1, "h1")
    await made.active(port)
    await eventually(lambda: made.store.state.tunnel_ports, "the device reported")
    await settled(made)
    (binding,) = made.store.state.bindings_of(port)
    return h1, port, binding.ofport


async def test_a_port_has_a_meter_as_long_as_it_has_flows() -> None:
    async with controller() as made:
        h1, port, ofport = await plugged(made)
        assert named(h1) == meters(ofport).keys()
        assert h1.switch.meters == meters(ofport)
        await made.delete_port(port)
        await eventually(lambda: not h1.switch.meters, "the meter goes with its port")


async def test_in_a_network_with_multicast_a_port_has_a_meter_for_what_it_sends_to_all() -> None:
    async with controller() as made:
        h1, port, ofport = await plugged(made)
        spreading = METERS_OF_SPREADING + ofport
        await made.change(port.parent, multicast=True)
        more = {**meters(ofport), spreading: Meter(spreading, *SPREADING)}
        await eventually(lambda: h1.switch.meters == more, "the third meter")
        await eventually(lambda: named(h1) == more.keys(), "and a flow that names it")
        await made.change(port.parent, multicast=False)
        await eventually(lambda: h1.switch.meters == meters(ofport), "as before")


async def put_in(switch: FakeSwitch, made: HostMeters, named: set[int], moved: set[int]) -> None:
    """What a step does before its flows."""
    wanted = made.wanted(named, moved)
    await made.took(switch, wanted, await switch.carry_out(Change(meters=wanted)))


async def test_the_operator_says_how_many_connections_a_port_may_open() -> None:
    switch, opening = FakeSwitch(1), METERS_OF_CONNECTIONS + 3
    await put_in(switch, HostMeters(connections_per_s=50), {3, opening}, set())
    assert switch.meters == {3: meter(3), opening: Meter(opening, 50, 100)}


async def test_only_what_has_moved_is_looked_at_once_all_is_right() -> None:
    switch, meters_of_host = FakeSwitch(1), HostMeters()
    named, moved = {3, 4}, {3, 4}
    await put_in(switch, meters_of_host, named, moved)
    await meters_of_host.tidy(switch, named, moved)
    assert moved == set()
    named, moved = {4, 5}, {3, 5}
    await put_in(switch, meters_of_host, named, moved)
    assert switch.meters.keys() == {3, 4, 5}
    await meters_of_host.tidy(switch, named, moved)
    assert switch.meters.keys() == {4, 5}
    # Another session: whatever is there is to be put right, whether or not it has moved.
    del switch.meters[4]
    switch.meters[9] = meter(9)
    await meters_of_host.read(switch)
    await put_in(switch, meters_of_host, named, moved)
    await meters_of_host.tidy(switch, named, moved)
    assert switch.meters == {4: meter(4), 5: meter(5)}


@pytest.mark.parametrize("busy", [False, True])
async def test_a_meter_that_somebody_altered_is_put_right(
    monkeypatch: pytest.MonkeyPatch, *, busy: bool
) -> None:
    monkeypatch.setattr(host_module, "METER_AUDIT_INTERVAL_S", 0.2)
    async with controller() as made:
        h1, _, ofport = await plugged(made)
        drifts = made.reconciler.hosts[H1].drift_count
        h1.switch.meters[ofport] = replace(meter(ofport), packets_per_s=10**6)
        h1.switch.meters[4711] = meter(4711)

        def right() -> bool:
            if busy:  # there is something to do for this host all the time
                made.reconciler.hosts[H1]._wake.set()
            return bool(h1.switch.meters == meters(ofport))

        await eventually(right, "as it should be")
        await eventually(lambda: made.reconciler.hosts[H1].drift_count > drifts, "counted")


async def test_a_meter_that_somebody_deleted_comes_back_with_its_flows() -> None:
    async with controller() as made:
        h1, _, ofport = await plugged(made)
        before = set(port_flows_of(h1, 1))
        h1.switch._delete_meter(ofport)
        assert set(port_flows_of(h1, 1)) < before
        await eventually(lambda: set(port_flows_of(h1, 1)) == before, "repaired")
        assert h1.switch.meters == meters(ofport)


async def test_what_a_restart_left_behind_is_tidied_up() -> None:
    etcd = MemoryEtcd()
    async with controller(etcd) as made:
        h1, port, ofport = await plugged(made)
    h1.switch.meters[4711] = None
    bundles = len(h1.switch.deltas)
    async with controller(etcd) as made:
        again = MemoryHost(made.reconciler, 1, h1.switch)
        again._ofport = 100
        await again.connect("if1")
        await made.active(port)
        await eventually(lambda: h1.switch.meters == meters(ofport), "tidy")
        assert len(h1.switch.deltas) == bundles
        assert made.reconciler.hosts[H1].drift_count == 0
