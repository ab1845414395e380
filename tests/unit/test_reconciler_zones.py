"""Connections: what a switch remembers of one guest is never another's, and a restart forgets nothing."""

from __future__ import annotations

from ipaddress import ip_address

from cloison.model import FixedIp
from cloison.names import PortName, SubnetName
from controller.openflow.fake import FakeSwitch
from controller.store.memory import MemoryEtcd
from tests.support.hosts import MemoryHost, TrackingSwitch, eventually
from tests.support.reconciling import (
    H1,
    Controller,
    beyond_static,
    controller,
    port_flows_of,
    settled,
    with_base,
)


def tracking(host: MemoryHost) -> TrackingSwitch:
    assert isinstance(host.switch, TrackingSwitch)
    return host.switch


def address(number: int) -> tuple[FixedIp, ...]:
    return (FixedIp(SubnetName("acme", "web", "v4"), ip_address(f"10.0.0.{number}")),)


def zone_of(made: Controller, name: PortName) -> int:
    (binding,) = made.store.state.bindings_of(name)
    return binding.ofport


async def one_port(made: Controller) -> tuple[MemoryHost, PortName]:
    await with_base(made)
    h1 = MemoryHost(made.reconciler, 1)
    await h1.connect("if1")
    port = await made.create_port(1, "h1")
    await made.active(port)
    await eventually(lambda: made.store.state.tunnel_ports, "the device reported")
    await settled(made)
    return h1, port


async def test_an_address_given_to_another_port_inherits_nothing() -> None:
    async with controller() as made:
        h1, first = await one_port(made)
        h1.plug("if2")
        second = await made.create_port(2, "h1", fixed_ips=address(9))
        await made.active(second)
        await made.delete_port(first)
        await made.change(second, fixed_ips=address(1))
        await settled(made)
        await made.active(second)
        assert not tracking(h1).inherited
        assert zone_of(made, second) in h1.switch.flushed


async def test_an_address_that_is_taken_back_leaves_no_connection() -> None:
    async with controller() as made:
        h1, port = await one_port(made)
        await made.change(port, fixed_ips=(*address(1), *address(8)))
        await settled(made)
        assert h1.switch.flushed == [zone_of(made, port)], "an address more costs no connection"
        await made.change(port, fixed_ips=address(8))
        await settled(made)
        await made.change(port, fixed_ips=(*address(1), *address(8)))
        await settled(made)
        assert not tracking(h1).inherited
        assert h1.switch.flushed == 2 * [zone_of(made, port)]


async def test_another_port_on_the_same_interface_inherits_nothing() -> None:
    """The guest stays where it is, talks on, and is somebody else from one moment to the next."""
    async with controller() as made:
        await with_base(made, "globex", 2)
        h1, port = await one_port(made)
        zone = zone_of(made, port)
        other = await made.create_port(11, "h1", tenant="globex")
        h1.switch.set_port(zone, "tap-if1")
        h1._report(
            interfaces=[{"name": "tap-if1", "iface_id": "if11", "ofport": zone}],
        )
        await made.active(other)
        assert zone_of(made, other) == zone
        assert port_flows_of(h1, 11)
        assert not port_flows_of(h1, 1)
        assert not tracking(h1).inherited


async def test_a_restart_drops_no_connection() -> None:
    etcd, again = MemoryEtcd(), None
    async with controller(etcd) as made:
        h1, port = await one_port(made)
    flushed, before = list(h1.switch.flushed), dict(tracking(h1).connections)
    assert before
    async with controller(etcd) as made:
        again = MemoryHost(made.reconciler, 1, h1.switch)
        again._ofport = 100
        await again.connect("if1")
        await made.active(port)
        await settled(made)
        assert h1.switch.flushed == flushed
        assert tracking(h1).connections == before


async def test_what_changed_while_no_controller_was_there_is_noticed() -> None:
    etcd = MemoryEtcd()
    async with controller(etcd) as made:
        h1, port = await one_port(made)
    async with controller(etcd) as made:
        await made.change(port, fixed_ips=address(8))
        again = MemoryHost(made.reconciler, 1, h1.switch)
        again._ofport = 100
        await again.connect("if1")
        await made.active(port)
        await settled(made)
        assert not tracking(h1).inherited
        assert len(h1.switch.flushed) == 2


async def test_a_zone_of_a_switch_with_a_past_is_flushed_before_its_first_flow() -> None:
    """Somebody had this number before, when nobody was watching."""
    async with controller() as made:
        await with_base(made)
        switch = TrackingSwitch(1, "h1")
        switch.connections[101] = {(7, 7)}
        h1 = MemoryHost(made.reconciler, 1, switch)
        await h1.connect("if1")
        port = await made.create_port(1, "h1")
        await made.active(port)
        assert zone_of(made, port) == 101
        assert not switch.inherited


async def test_a_flush_that_fails_is_repeated_before_anybody_gets_in(monkeypatch: object) -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect("if1")
        await eventually(lambda: h1.switch.flows, "filled")
        tracking(h1).connections[101] = {(7, 7)}
        tracking(h1).flushes_fail = 1
        port = await made.create_port(1, "h1")
        await made.active(port)
        assert not tracking(h1).inherited


async def test_unplugging_forgets_the_connections_before_the_number_is_anybody_elses() -> None:
    async with controller() as made:
        h1, port = await one_port(made)
        zone = zone_of(made, port)
        revision = await made.delete_port(port)
        realized, _, missing = await made.reconciler.tracker.wait_realized(port, revision, 5.0)
        assert realized, missing
        assert h1.switch.flushed[-1] == zone
        assert not tracking(h1).connections.get(zone)
        assert not beyond_static(h1)


async def test_a_switch_that_does_not_flush_has_confirmed_nothing() -> None:
    async with controller() as made:
        h1, port = await one_port(made)
        tracking(h1).flushes_fail = 10**9
        revision = await made.delete_port(port)
        await eventually(lambda: not port_flows_of(h1, 1), "flows are gone at once")
        assert not made.reconciler.hosts[H1].holds(revision), "the number may not be used again"
        assert isinstance(h1.switch, FakeSwitch)
