"""Live migration: a port plugged on two hosts lives on one, and moves to where its guest announces itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import ip_address, ip_network

import pytest

from cloison.addresses import Mac
from cloison.model import AddressPair
from cloison.names import HostName, PortName
from controller.compiler.headers import ETH_ARP, ETH_RARP
from controller.flows import Flow
from controller.flows.delta import FlowDelta
from controller.openflow.fake import FakeSwitch
from controller.reconcile.claims import ClaimRefused
from controller.reconcile.moves import move_txn
from controller.reconcile.plugged import live_binding, standby_bindings
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import (
    H1,
    H2,
    VNI,
    Controller,
    controller,
    pair,
    port_flows_of,
    settled,
    wire_of,
)

ADMISSION, FORWARD, METER = 0, 20, 31
H3 = HostName("h3")
MAC1 = Mac(0x020000000001)


async def migrating(made: Controller) -> tuple[MemoryHost, MemoryHost, MemoryHost, PortName]:
    """Port 1 lives on h1 and is plugged on h3 as well; port 2 on h2 talks to it."""
    h1, h2, p1, _ = await pair(made)
    h3 = MemoryHost(made.reconciler, 3)
    await h3.connect()
    await made.change(p1, requested_hosts=(H1, H3))
    h3.plug("if1")
    await eventually(lambda: stands_by(h3), "port 1 stands by on h3")
    await eventually(lambda: len(made.store.state.tunnel_ports) == 3, "its device is reported")
    await settled(made)
    return h1, h2, h3, p1


def terms(flow: Flow) -> dict[str, int]:
    return {term.field.name: term.value for term in flow.match}


def lives(host: MemoryHost) -> bool:
    return any(flow.table == FORWARD for flow in port_flows_of(host, 1))


def stands_by(host: MemoryHost) -> bool:
    """It may announce itself, and nothing of it goes further than to the agent."""
    flows = port_flows_of(host, 1)
    onward = {(flow.table, flow.goto) for flow in flows if flow.goto is not None}
    return onward == {(ADMISSION, METER), (METER, METER + 1)}


def leads(sender: MemoryHost, mac: int, vtep: bytes) -> bool:
    return sender.fdb[VNI].get(mac) == vtep


async def at(host: MemoryHost, other: MemoryHost, third: MemoryHost) -> None:
    """Port 1 lives on a host and stands by on another; everybody else sends to the first."""
    vtep = ip_address(f"192.0.2.{host.switch.dpid}").packed
    await eventually(lambda: lives(host) and stands_by(other), "flows")
    for sender in (other, third):
        await eventually(partial(leads, sender, wire_of(1), vtep), "forwarding entries")
    assert wire_of(1) not in host.fdb[VNI]


async def test_who_comes_second_stands_by() -> None:
    async with controller() as made:
        h1, h2, h3, p1 = await migrating(made)
        await at(h1, h3, h2)
        said = [(t["eth_type"], t["eth_src"], t.get("arp_spa"), t.get("arp_tpa"))
                for f in port_flows_of(h3, 1) if f.goto == METER for t in [terms(f)]]  # fmt: skip
        own = int(ip_address("10.0.0.1"))
        assert sorted(said, key=str) == [(ETH_ARP, MAC1, own, own), (ETH_RARP, MAC1, None, None)]
        port = made.store.state.ports[p1]
        assert [b.host for b in standby_bindings(made.store.state, port)] == [H3]
        await made.active(p1)
        assert made.reconciler.tracker.gate().refused == 0


async def test_it_moves_to_where_it_announces_itself_and_back() -> None:
    async with controller() as made:
        h1, h2, h3, p1 = await migrating(made)
        for there, left in ((h3, h1), (h1, h3), (h3, h1)):
            made.reconciler.claimed(there.session, 1, None)
            await at(there, left, h2)
            await made.active(p1)
        assert made.reconciler.tracker.port_state(made.store.state.ports[p1])[2] == H3
        assert made.reconciler.tracker.gate().refused == 0


async def test_its_services_move_with_it() -> None:
    async with controller() as made:
        h1, _, h3, _ = await migrating(made)
        assert 1 in h1.service_ports
        assert 1 not in h3.service_ports
        made.reconciler.claimed(h3.session, 1, None)
        await eventually(lambda: 1 in h3.service_ports and 1 not in h1.service_ports, "served on h3")


async def test_when_one_is_unplugged_the_other_lives() -> None:
    async with controller() as made:
        h1, h2, h3, p1 = await migrating(made)
        h1.unplug("if1")
        await eventually(lambda: lives(h3) and not port_flows_of(h1, 1), "it lives on h3")
        await made.active(p1)
        h1.plug("if1")
        await eventually(lambda: stands_by(h1), "h1 comes second now")
        made.reconciler.claimed(h1.session, 1, None)
        await at(h1, h3, h2)
        h3.unplug("if1")
        await eventually(lambda: not port_flows_of(h3, 1), "gone from h3")
        assert lives(h1)


async def test_the_end_of_a_migration() -> None:
    """The IaaS schedules it to the new host alone: whatever is plugged on the old one is refused."""
    async with controller() as made:
        h1, h2, h3, p1 = await migrating(made)
        made.reconciler.claimed(h3.session, 1, None)
        await at(h3, h1, h2)
        await made.change(p1, requested_hosts=(H3,))
        await eventually(lambda: not port_flows_of(h1, 1), "nothing left on h1")
        assert lives(h3)
        await eventually(lambda: not made.store.state.bindings.get((p1, H1)), "its binding is gone")


async def test_claimed_addresses_move_with_it() -> None:
    async with controller() as made:
        h1, h2, h3, p1 = await migrating(made)
        vip = ip_address("10.0.0.9")
        await made.change(p1, allowed_address_pairs=(AddressPair(ip_network("10.0.0.9/32")),))
        made.reconciler.claimed(h1.session, 1, vip)
        await eventually(lambda: wire_of(9) in h2.fdb[VNI], "it has the address")
        made.reconciler.claimed(h3.session, 1, None)
        vtep = ip_address("192.0.2.3").packed
        await eventually(lambda: h2.fdb[VNI].get(wire_of(9)) == vtep, "the address is on h3")
        port = made.store.state.ports[p1]
        live = live_binding(made.store.state, port)
        assert live is not None
        assert (live.host, live.claimed) == (H3, (vip,))
        assert [b.claimed for b in standby_bindings(made.store.state, port)] == [()]


async def test_a_new_number_does_not_change_where_it_lives() -> None:
    async with controller() as made:
        h1, h2, h3, p1 = await migrating(made)
        made.reconciler.claimed(h3.session, 1, None)
        await at(h3, h1, h2)
        ranks = {b.host: b.rank for b in made.store.state.bindings_of(p1)}
        h3._ofport += 7
        h3.plug("if1")
        before = made.store.state.bindings[p1, H3].ofport
        await eventually(lambda: made.store.state.bindings[p1, H3].ofport != before, "another number")
        await at(h3, h1, h2)
        assert {b.host: b.rank for b in made.store.state.bindings_of(p1)} == ranks


async def test_where_it_is_not_on_standby_it_cannot_move() -> None:
    async with controller() as made:
        *_, p1 = await migrating(made)
        state = made.store.state
        assert not move_txn(state, H1, 1)
        with pytest.raises(ClaimRefused, match="no port of that number"):
            move_txn(state, H2, 1)
        await made.change(p1, disabled=True)
        with pytest.raises(ClaimRefused, match="not on standby"):
            move_txn(made.store.state, H3, 1)


async def test_two_that_announce_at_the_same_moment_do_not_both_win() -> None:
    async with controller() as made:
        h1, h2, h3, _ = await migrating(made)
        made.reconciler.claimed(h3.session, 1, None)
        await at(h3, h1, h2)
        state = made.store.state
        first, late = move_txn(state, H1, 1), move_txn(state, H1, 1)
        assert (await made.store._commit(first)).committed
        assert not (await made.store._commit(late)).committed


async def test_the_order_of_a_move() -> None:
    """Nobody is sent to the new place before its flows are there; the old one is blocked when all know."""
    async with controller() as made:
        h1, h2, h3, _p1 = await migrating(made)
        seen: list[str] = []
        note(h3.switch, lambda: seen.append("flows there") if lives(h3) else None)
        note(h1.switch, lambda: seen.append("blocked here") if stands_by(h1) else None)
        old = h2._apply
        h2._apply = lambda delta: (seen.append("entries"), old(delta))  # type: ignore[assignment,func-returns-value]
        made.reconciler.claimed(h3.session, 1, None)
        await at(h3, h1, h2)
        assert [s for n, s in enumerate(seen) if s not in seen[:n]] == [
            "flows there",
            "entries",
            "blocked here",
        ]


async def test_a_move_waits_for_nobody_who_is_gone() -> None:
    async with controller() as made:
        h1, h2, h3, _p1 = await migrating(made)
        h2.mute = True
        made.reconciler.switch_gone(h3.switch.dpid)
        made.reconciler.claimed(h3.session, 1, None)
        await eventually(partial(leads, h2, wire_of(1), ip_address("192.0.2.3").packed), "forwarding entries")
        await eventually(lambda: stands_by(h1), "blocked")


def note(switch: FakeSwitch, then: Callable[[], object]) -> None:
    """Call a function after each change of a switch."""
    apply = switch.apply

    async def noted(delta: FlowDelta) -> None:
        await apply(delta)
        then()

    switch.apply = noted  # type: ignore[method-assign]


async def test_a_controller_that_starts_anew_knows_where_it_lives() -> None:
    async with controller() as made:
        h1, h2, h3, p1 = await migrating(made)
        made.reconciler.claimed(h3.session, 1, None)
        await at(h3, h1, h2)
        await made.reconciler._begin(None, made.store.subscribe())
        live = live_binding(made.store.state, made.store.state.ports[p1])
        assert live is not None
        assert live.host == H3
        desired = made.reconciler.hosts[H3].flows.flows_of(("port", p1))
        assert any(flow.table == FORWARD for flow in desired)
        assert made.reconciler.tracker.gate().refused == 0
