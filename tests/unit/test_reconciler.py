"""The reconciler over a store and switches in memory: what hosts get, when a port is ACTIVE, restarts."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from cloison.errors import Precondition
from cloison.names import HostName
from cloison.v1 import port_pb2
from controller.compiler.cookies import CookieKind, unpack
from controller.flows import Flow, match
from controller.openflow.fake import FakeSwitch
from controller.store import ids
from controller.store.memory import MemoryEtcd
from controller.store.state import State
from controller.store.txn import Txn
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import (
    NETWORK,
    VNI,
    ack,
    beyond_static,
    controller,
    port_flows_of,
    settled,
    wire_of,
    with_base,
)


async def test_a_port_is_active_when_its_host_and_its_peers_have_confirmed() -> None:
    async with controller() as made:
        await with_base(made)
        h1, h2 = MemoryHost(made.reconciler, 1), MemoryHost(made.reconciler, 2)
        await h1.connect("if1")
        await h2.connect("if2")
        p1, p2 = await made.create_port(1, "h1"), await made.create_port(2, "h2")
        await made.active(p1)
        await made.active(p2)
        assert h1.fdb == {VNI: {wire_of(2): b"\xc0\x00\x02\x02"}}
        assert h2.fdb == {VNI: {wire_of(1): b"\xc0\x00\x02\x01"}}

        h2.mute = True
        p3 = await made.create_port(3, "h1")
        h1.plug("if3")
        await eventually(lambda: wire_of(3) in h2.fdb[VNI], "h2 told of p3")
        assert made.status(p3) == port_pb2.Port.BUILDING
        realized, _, missing = await made.reconciler.tracker.wait_realized(p3, 0, 0.05)
        assert not realized
        assert {c.subjects for c in missing} == {("hosts/h2",)}


async def test_a_port_that_goes_leaves_nothing() -> None:
    async with controller() as made:
        await with_base(made)
        h1, h2 = MemoryHost(made.reconciler, 1), MemoryHost(made.reconciler, 2)
        await h1.connect("if1")
        await h2.connect("if2")
        p1, p2 = await made.create_port(1, "h1"), await made.create_port(2, "h2")
        await made.active(p1)
        await made.active(p2)
        assert beyond_static(h1)
        first = await made.delete_port(p1)
        revision = await made.delete_port(p2)
        realized, _, missing = await made.reconciler.tracker.wait_realized(None, revision, 5.0)
        assert realized, missing
        assert not beyond_static(h1)
        assert not beyond_static(h2)
        assert h1.fdb == h2.fdb == {}
        for host, taken in ((h1, first), (h2, revision)):
            last = host.barriers[-1]
            assert last.revision >= taken
            assert last.revalidate, "revocation must wait for revalidation"
        await eventually(lambda: not made.store.state.tunnel_ports, "tunnel ports forgotten")


async def test_a_new_controller_finds_everything_in_place_and_touches_nothing() -> None:
    etcd = MemoryEtcd()
    async with controller(etcd) as first:
        await with_base(first)
        h1, h2 = MemoryHost(first.reconciler, 1), MemoryHost(first.reconciler, 2)
        await h1.connect("if1")
        await h2.connect("if2")
        names = [await first.create_port(1, "h1"), await first.create_port(2, "h2")]
        for name in names:
            await first.active(name)
        await eventually(lambda: len(first.store.state.tunnel_ports) == 2, "both devices reported")
        await settled(first)
    bundles = len(h1.switch.deltas)
    async with controller(etcd) as second:
        assert second.reconciler.epoch > first.reconciler.epoch
        assert second.status(names[0]) == port_pb2.Port.BUILDING
        again = MemoryHost(second.reconciler, 1, h1.switch), MemoryHost(second.reconciler, 2, h2.switch)
        # The switch comes before its agent: nothing may be taken for gone.
        second.reconciler.switch_connected(h1.switch.dpid, h1.switch)
        for host, plugged in zip(again, ("if1", "if2"), strict=True):
            host._ofport = 100
            await host.connect(plugged)
        for name in names:
            await second.active(name)
    assert len(h1.switch.deltas) == bundles, "a restart must not touch flows that are right"


async def test_drift_is_repaired_and_counted_a_restart_is_not() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect("if1")
        p1 = await made.create_port(1, "h1")
        await made.active(p1)
        await eventually(lambda: made.store.state.tunnel_ports, "the VXLAN device reported")
        await made.reconciler.tracker.wait_realized(None, made.store.state.revision, 5.0)
        wanted = {i.flow for i in h1.switch.flows.values()}
        assert made.reconciler.tracker.host_status(HostName("h1")).drift_count == 0
        victim = next(iter(beyond_static(h1)))
        evil = Flow(table=0, priority=65535, match=match(in_port=9), goto=20)
        h1.switch.tamper(add=(evil, replace(victim, cookie=7)))
        await eventually(lambda: {i.flow for i in h1.switch.flows.values()} == wanted, "repaired")
        status = made.reconciler.tracker.host_status(HostName("h1"))
        assert status.drift_count == 1


@pytest.mark.parametrize(
    ("scheduled", "plugged_on", "reason"),
    [
        (("h1",), ("h2",), "NOT_SCHEDULED_HERE"),
        ((), ("h1",), "NOT_SCHEDULED"),
        (("h1",), (), "NOT_PLUGGED"),
    ],
)
async def test_a_port_binds_only_where_it_is_scheduled(
    scheduled: tuple[str, ...], plugged_on: tuple[str, ...], reason: str
) -> None:
    async with controller() as made:
        await with_base(made)
        hosts = {f"h{n}": MemoryHost(made.reconciler, n) for n in (1, 2)}
        for name, host in hosts.items():
            await host.connect(*(["if1"] if name in plugged_on else []))
        port = await made.create_port(1, *scheduled)
        await eventually(lambda: reason in {r for r, _ in made.reasons(port)}, f"{reason} said")
        assert made.status(port) == port_pb2.Port.DOWN
        assert not any(hosts[name].verdicts["if1"].bound for name in plugged_on)
        assert not made.store.state.bindings
        assert all(not beyond_static(host) for host in hosts.values())


async def test_an_unknown_iface_id_is_refused_until_its_port_comes() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect("if1")
        await eventually(lambda: "if1" in h1.verdicts, "judged")
        assert h1.verdicts["if1"].condition.reason == "UNKNOWN_IFACE_ID"
        before = made.store.state.revision
        port = await made.create_port(1, "h1")
        await made.active(port)
        assert made.store.state.revision > before
        status = made.reconciler.tracker.host_status
        await eventually(lambda: not status(HostName("h1")).refused_interfaces, "verdict taken back")


async def test_a_vtep_of_another_host_is_refused_and_nothing_is_stored() -> None:
    async with controller() as made:
        await MemoryHost(made.reconciler, 1).register()
        before = made.store.state.revision
        with pytest.raises(Precondition, match=r"192\.0\.2\.1 is hosts/h1's") as refused:
            await MemoryHost(made.reconciler, 2).register(vtep="192.0.2.1")
        assert refused.value.subjects == ("hosts/h1",)
        assert made.store.state.revision == before
        assert HostName("h2") not in made.store.state.hosts


async def test_a_controller_that_was_replaced_is_turned_away_by_itself() -> None:
    async with controller() as made:
        with pytest.raises(Precondition, match="epoch"):
            await MemoryHost(made.reconciler, 1).register(epoch=made.reconciler.epoch + 1)
        assert not made.store.state.hosts


async def test_identifiers_are_free_only_after_every_host_confirmed() -> None:
    async with controller() as made:
        await with_base(made)
        h1, h2 = MemoryHost(made.reconciler, 1), MemoryHost(made.reconciler, 2)
        await h1.connect("if1")
        await h2.connect("if2")
        p1, p2 = await made.create_port(1, "h1"), await made.create_port(2, "h2")
        await made.active(p1)
        await made.active(p2)
        key = ids.ip(NETWORK, ip_address("10.0.0.1"))
        await made.commit(lambda txn, state: txn.reserve(key, p1, "uid-p1"))
        h2.mute = True

        def delete(txn: Txn, state: State) -> None:
            txn.delete(state.ports[p1])
            for binding in state.bindings_of(p1):
                txn.delete(binding)
            txn.release(state.reservations[key], state.bound_hosts(NETWORK))

        revision = await made.commit(delete)
        await eventually(lambda: wire_of(1) not in h2.fdb[VNI], "h2 told")
        await eventually(lambda: h2.barriers and h2.barriers[-1].revision >= revision, "and asked")
        assert made.store.state.reservations[key].released
        made.reconciler.acked(h2.session, ack(revision))
        await eventually(lambda: key not in made.store.state.reservations, "freed")


async def test_a_second_session_of_a_host_takes_over() -> None:
    async with controller() as made:
        await with_base(made)
        old, new = MemoryHost(made.reconciler, 1), MemoryHost(made.reconciler, 1)
        await old.connect("if1")
        await new.connect("if1")
        assert old.session.closed_because is not None
        old.disconnect_agent()
        port = await made.create_port(1, "h1")
        await made.active(port)
        assert made.reconciler.tracker.host_status(HostName("h1")).agent_connected


async def test_unplugging_takes_the_flows_away() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect("if1")
        port = await made.create_port(1, "h1")
        await made.active(port)
        h1.unplug("if1")
        await eventually(lambda: not beyond_static(h1), "flows gone")
        assert made.status(port) == port_pb2.Port.DOWN


async def test_moving_a_port_takes_it_off_its_old_host() -> None:
    async with controller() as made:
        await with_base(made)
        h1, h2 = MemoryHost(made.reconciler, 1), MemoryHost(made.reconciler, 2)
        await h1.connect("if1")
        await h2.connect("if1")
        port = await made.create_port(1, "h1")
        await made.active(port)

        def move(txn: Txn, state: State) -> None:
            old = state.ports[port]
            txn.update(old, replace(old, requested_hosts=(HostName("h2"),)))

        await made.commit(move)
        await eventually(lambda: not beyond_static(h1) and beyond_static(h2), "moved")
        await made.active(port)
        # (Where it was is taken down by that host's own worker, perhaps one transaction later.)
        there = made.store.state.bindings_of
        await eventually(lambda: {b.host for b in there(port)} == {HostName("h2")}, "bound there alone")


async def test_a_port_number_that_the_switch_gave_to_another_interface_gets_no_flows() -> None:
    """After a restart of the bridge a stored ofport may be somebody else's: the switch's word counts."""
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect("if1")
        port = await made.create_port(1, "h1")
        await made.active(port)
        (binding,) = made.store.state.bindings_of(port)
        known = len(h1.barriers)
        h1.switch.set_port(binding.ofport, "tap-of-somebody-else")
        await eventually(lambda: not port_flows_of(h1, 1), "flows withdrawn")
        assert ("OFPORT_UNCONFIRMED", ("hosts/h1",)) in made.reasons(port)
        await eventually(lambda: any(b.revalidate for b in h1.barriers[known:]), "revalidation asked for")
        h1.switch.set_port(binding.ofport, binding.interface)
        await made.active(port)
        assert port_flows_of(h1, 1)


async def test_a_bridge_that_came_back_with_other_numbers_gets_nothing_of_the_old() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect("if1")
        port = await made.create_port(1, "h1")
        await made.active(port)
        (binding,) = made.store.state.bindings_of(port)
        made.reconciler.switch_gone(h1.switch.dpid)
        empty = FakeSwitch(h1.switch.dpid, "h1")
        empty.set_port(binding.ofport, "tap-of-somebody-else")
        made.reconciler.switch_connected(empty.dpid, empty)
        await eventually(lambda: empty.deltas, "static flows sent")
        assert all(not d.modify and not d.delete for d in empty.deltas)
        assert all(unpack(flow.cookie).kind is not CookieKind.PORT for d in empty.deltas for flow in d.add)
        assert made.status(port) == port_pb2.Port.BUILDING


async def test_waiting_for_a_deletion_waits_for_the_hosts_it_concerns_only() -> None:
    async with controller() as made:
        await with_base(made)
        h1, h2, h3 = (MemoryHost(made.reconciler, n) for n in (1, 2, 3))
        await h1.connect("if1")
        await h2.connect("if2")
        await h3.register()  # known, but never connects
        p1, p2 = await made.create_port(1, "h1"), await made.create_port(2, "h2")
        await made.active(p1)
        await made.active(p2)
        h1.mute = True
        revision = await made.delete_port(p1)
        wait = made.reconciler.tracker.wait_realized
        realized, _, missing = await wait(p1, revision, 0.2)
        assert not realized
        assert {c.subjects for c in missing} == {("hosts/h1",)}
        made.reconciler.acked(h1.session, ack(revision))
        realized, _, missing = await wait(p1, revision, 5.0)
        assert realized, missing
