"""The way out of a router, on its way to hosts: edges in plans, default routes, and who answers where."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from cloison.model import PROFILE_OPEN, RouterRoute
from cloison.names import HostName, PortName, ResourceName
from cloison.v1 import port_pb2
from controller.compiler.pipeline import ROUTE
from controller.compiler.tables.route import DEFAULT, EXIT
from controller.flows import Flow, Load, SetField
from controller.reconcile import keeper
from controller.reconcile.silence import SILENT_S, Silence
from controller.store import ids
from controller.store.state import State
from controller.store.txn import Txn
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import VNI, Controller, controller, pair, settled
from tests.support.ways_out import (
    GATEWAY_NUMBER,
    INET,
    R1,
    ROUTER,
    TRANSIT_VNI,
    Edges,
    edge_port,
    floating_ip,
    with_gateway,
)

H1, H2 = HostName("h1"), HostName("h2")


async def hosts_with_outside(made: Controller) -> tuple[MemoryHost, MemoryHost, PortName, PortName]:
    """As pair, both mapping physnet1."""
    h1, h2, p1, p2 = await pair(made)
    for host in (h1, h2):
        host.physical_networks = ("physnet1",)
        await host.register()
    return h1, h2, p1, p2


async def plugged(made: Controller, host: HostName, *others: HostName) -> None:
    """The edge of the gateway hosts lives on one, and stands by on others."""

    def where() -> set[HostName]:
        return {b.host for b in made.store.state.bindings_of(edge_port(None))}

    await eventually(lambda: where() == {host, *others}, "the edge is plugged")
    await made.active(edge_port(None))
    await settled(made)


def routed(host: MemoryHost, priority: int) -> list[Flow]:
    flows = (installed.flow for installed in host.switch.flows.values())
    return [
        f
        for f in flows
        if f.table == ROUTE.number
        and f.priority == priority
        and any((t.field.name, t.value) == ("reg0", VNI) for t in f.match)
    ]


def next_macs(flows: list[Flow]) -> list[int]:
    return [a.value for f in flows for a in f.actions if isinstance(a, SetField)]


def live_host(made: Controller) -> HostName | None:
    return made.reconciler.tracker.port_state(made.store.state.ports[edge_port(None)])[2]


def answers(host: MemoryHost, number: int = GATEWAY_NUMBER) -> list[tuple[str, str]]:
    """The floating IPs that an edge is told of."""
    return [(str(ip_address(f.address)), str(ip_address(f.fixed))) for f in host.edges[number].floating]


async def test_gateway_hosts_are_told_of_the_edge_and_one_answers() -> None:
    async with controller() as made:
        h1, h2, _, _ = await hosts_with_outside(made)
        await with_gateway(made)
        await plugged(made, H1, H2)
        live = live_host(made)
        assert {h.name for h in (h1, h2) if h.edges[GATEWAY_NUMBER].active} == {live}
        edge = h1.edges[GATEWAY_NUMBER]
        assert (edge.physical_network, edge.router) == ("physnet1", str(R1))
        assert [bytes(a) for a in edge.snat] == [ip_address("192.0.2.10").packed]
        assert [p.prefix_length for p in edge.inside_prefixes] == [24], "not the transit network"
        assert edge.inside_mtu == 1450
        assert h1.edges[GATEWAY_NUMBER].outside_mac != h2.edges[GATEWAY_NUMBER].outside_mac
        (out,) = routed(h1, DEFAULT)
        assert next_macs([out]) == [made.store.state.ports[edge_port(None)].mac]
        assert any(isinstance(a, Load) and a.value == TRANSIT_VNI for a in out.actions)
        assert not any(actor.blocked for actor in made.reconciler.hosts.values())
        assert not made.reconciler.tracker.gate_figures().refused


async def test_a_host_without_the_physical_network_has_no_edge() -> None:
    async with controller() as made:
        h1, h2, _, _ = await hosts_with_outside(made)
        h2.physical_networks = ()
        await h2.register()
        await with_gateway(made)
        await plugged(made, H1)
        assert not h2.edges
        h2.physical_networks = ("other", "physnet1")
        await h2.register()
        await plugged(made, H1, H2)
        assert live_host(made) == H1, "who comes later stands by"
        h1.physical_networks = ()
        await h1.register()
        await plugged(made, H2)
        assert not h1.edges
        assert h2.edges[GATEWAY_NUMBER].active


async def test_the_users_default_route_wins_over_the_gateways() -> None:
    async with controller() as made:
        h1, _, _, p2 = await hosts_with_outside(made)
        await with_gateway(made)
        await plugged(made, H1, H2)
        hop = ip_address("10.0.0.2")
        await made.commit(lambda txn, state: txn.reserve(ids.ip(p2.parent, hop), p2, "uid-p2"))
        await made.change(p2, profile=PROFILE_OPEN)
        chosen = RouterRoute(ip_network("0.0.0.0/0"), (hop,))
        await made.change(R1, routes=(chosen,))
        await settled(made)
        assert next_macs(routed(h1, DEFAULT)) == [made.store.state.ports[p2].mac]
        await made.change(R1, routes=())
        await settled(made)
        assert next_macs(routed(h1, DEFAULT)) == [made.store.state.ports[edge_port(None)].mac]


async def test_a_family_that_the_outside_lacks_has_no_default_route() -> None:
    async with controller() as made:
        h1, _, _, _ = await hosts_with_outside(made)
        await with_gateway(made)
        await plugged(made, H1, H2)
        (out,) = routed(h1, DEFAULT)
        assert any((t.field.name, t.value) == ("eth_type", 0x0800) for t in out.match)
        await made.change(INET, subnets=())
        await settled(made)
        assert not routed(h1, DEFAULT)


async def test_a_floating_ip_is_answered_by_the_edge_of_the_gateway_hosts() -> None:
    async with controller() as made:
        h1, h2, p1, p2 = await hosts_with_outside(made)
        await with_gateway(made)
        await plugged(made, H1, H2)
        await made.commit(lambda t, s: t.create(floating_ip("f1", "192.0.2.20", p1, "10.0.0.1")))
        await settled(made)
        assert answers(h1) == answers(h2) == [("192.0.2.20", "10.0.0.1")]
        await made.change(
            floating_ip("f1", "192.0.2.20", p1, None).name, port=p2, fixed=ip_address("10.0.0.2")
        )
        await settled(made)
        assert answers(h1) == answers(h2) == [("192.0.2.20", "10.0.0.2")]
        assert not routed(h1, EXIT + 1)


async def distributed(made: Controller, port: PortName, fixed: str) -> None:
    await made.commit(lambda t, s: t.create(floating_ip("f1", "192.0.2.20", port, fixed, distributed=True)))


async def test_a_distributed_floating_ip_goes_out_on_its_ports_host() -> None:
    async with controller(edge_changes=Edges()) as made:
        h1, h2, p1, _ = await hosts_with_outside(made)
        await with_gateway(made)
        await plugged(made, H1, H2)
        await distributed(made, p1, "10.0.0.1")
        await eventually(lambda: GATEWAY_NUMBER + 1 in h1.edges, "an edge of h1")
        await made.active(edge_port(H1))
        await settled(made)
        assert answers(h1, GATEWAY_NUMBER + 1) == [("192.0.2.20", "10.0.0.1")]
        assert h1.edges[GATEWAY_NUMBER + 1].active
        assert not answers(h1), "nobody else answers"
        (out,) = routed(h1, EXIT + 1)
        assert next_macs([out]) == [made.store.state.ports[edge_port(H1)].mac]
        assert any((t.field.name, t.value) == ("reg1", 1) for t in out.match)
        assert any(t.field.name == "ipv4_src" for t in out.match), "for that address alone"
        assert not routed(h2, EXIT + 1)
        assert set(h2.edges) == {GATEWAY_NUMBER}
        assert not made.reconciler.tracker.gate_figures().refused


@pytest.mark.parametrize("name", [None, R1, R1.parent, floating_ip("f1", "192.0.2.20", None, None).name])
async def test_who_waits_for_a_way_out_waits_for_its_edges(name: ResourceName | None) -> None:
    """They are made, and plugged, in revisions after the one that is waited for."""
    async with controller(edge_changes=Edges()) as made:
        h1, _, p1, _ = await hosts_with_outside(made)
        await with_gateway(made)
        await plugged(made, H1, H2)
        await distributed(made, p1, "10.0.0.1")
        tracker = made.reconciler.tracker
        realized, _, missing = await tracker.wait_realized(name, made.store.state.revision, 0.0)
        assert not realized
        realized, _, missing = await tracker.wait_realized(name, made.store.state.revision, 10.0)
        assert realized, missing
        assert made.status(edge_port(H1)) == port_pb2.Port.ACTIVE
        assert answers(h1, GATEWAY_NUMBER + 1) == [("192.0.2.20", "10.0.0.1")]


async def test_what_no_host_is_to_plug_is_not_waited_for() -> None:
    """A gateway without gateway hosts leads nowhere; that is what was asked for."""
    async with controller(edge_changes=Edges()) as made:
        await hosts_with_outside(made)
        await with_gateway(made)
        await made.change(INET, gateway_hosts=())
        await eventually(lambda: not made.store.state.ports[edge_port(None)].requested_hosts, "followed")
        await settled(made)


async def test_without_its_own_edge_a_distributed_floating_ip_goes_by_the_gateway() -> None:
    async with controller(edge_changes=Edges()) as made:
        h1, h2, p1, _ = await hosts_with_outside(made)
        h1.physical_networks = ()
        await h1.register()
        await with_gateway(made)
        await plugged(made, H2)
        await distributed(made, p1, "10.0.0.1")
        await settled(made)
        assert not h1.edges
        assert answers(h2) == [("192.0.2.20", "10.0.0.1")]
        assert not routed(h1, EXIT + 1)


async def test_an_edge_that_nothing_needs_goes_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "IDLE_S", 0.2)
    async with controller(edge_changes=Edges()) as made:
        h1, _, p1, _ = await hosts_with_outside(made)
        await with_gateway(made)
        await plugged(made, H1, H2)
        await distributed(made, p1, "10.0.0.1")
        await eventually(lambda: GATEWAY_NUMBER + 1 in h1.edges, "an edge of h1")
        await made.commit(lambda t, s: t.delete(s.floating_ips_at(p1)[0]))
        await eventually(lambda: set(h1.edges) == {GATEWAY_NUMBER}, "it is gone")
        await settled(made)
        assert not routed(h1, EXIT + 1)


@pytest.mark.slow
async def test_a_lost_gateway_host_is_replaced_and_takes_nothing_back() -> None:
    async with controller() as made:
        h1, h2, _, _ = await hosts_with_outside(made)
        await with_gateway(made)
        await plugged(made, H1, H2)
        hosts = {H1: h1, H2: h2}
        first = live_host(made)
        assert first is not None
        other = H2 if first == H1 else H1
        hosts[first].die()
        await eventually(lambda: live_host(made) == other, "the other one")
        await eventually(lambda: hosts[other].edges[GATEWAY_NUMBER].active, "it answers")
        back = MemoryHost(made.reconciler, 1 if first == H1 else 2)
        back.physical_networks = ("physnet1",)
        await back.connect("if1" if first == H1 else "if2")
        await eventually(lambda: GATEWAY_NUMBER in back.edges, "it is told of the edge again")
        await settled(made)
        assert live_host(made) == other
        assert not back.edges[GATEWAY_NUMBER].active


@pytest.mark.slow
async def test_a_gateway_host_that_falls_silent_is_replaced() -> None:
    """Its sessions are there for all that anybody says: as when its power is cut."""
    async with controller() as made:
        h1, h2, _, _ = await hosts_with_outside(made)
        await with_gateway(made)
        await plugged(made, H1, H2)
        first = live_host(made)
        assert first is not None
        silent, other = (h1, H2) if first == H1 else (h2, H1)
        silent.mute = silent.switch.mute = True
        await eventually(lambda: live_host(made) == other, "the other one")


@pytest.mark.parametrize("speaks", ["agent", "switch", "nobody"])
async def test_a_host_is_silent_when_neither_agent_nor_switch_answers(speaks: str) -> None:
    async with controller() as made:
        h1, _, _, _ = await hosts_with_outside(made)
        h1.mute, h1.switch.mute = speaks != "agent", speaks != "switch"
        told: list[bool] = []
        silence = Silence(made.reconciler.hosts, lambda: {H1}, lambda: told.append(True))
        silence.look(0.0)
        if speaks != "nobody":
            await eventually(silence._asked[H1].answer.done, "an answer")
        silence.look(SILENT_S, late=SILENT_S)
        assert not silence.silent, "the controller was late, not the host"
        if speaks != "nobody":
            await eventually(silence._asked[H1].answer.done, "an answer")
        silence.look(3 * SILENT_S)
        assert silence.silent == ({H1} if speaks == "nobody" else set())
        assert bool(told) == (speaks == "nobody")
        h1.mute = False
        made.reconciler.switch_gone(h1.switch.dpid)
        h1.disconnect_agent()
        silence.look(4 * SILENT_S)
        assert not silence.silent, "its sessions are over: that is known otherwise"


async def test_a_host_is_lost_without_both_sessions_for_a_while() -> None:
    """What the keeper thinks of hosts is asked, at times of our choice."""
    async with controller() as made:
        h1, _, _, _ = await hosts_with_outside(made)
        judge = made.reconciler._keeper._judge_hosts
        late = asyncio.get_running_loop().time() + 2 * keeper.GRACE_S
        assert judge(late) == (set(), None)
        h1.disconnect_agent()
        assert judge(late) == (set(), None), "its switch is there"
        made.reconciler.switch_gone(h1.switch.dpid)
        assert judge(late) == (set(), late + keeper.LOST_S)
        assert judge(late + keeper.LOST_S) == ({H1}, None)


async def test_a_host_that_never_came_since_the_start_has_time() -> None:
    async with controller() as made:
        await MemoryHost(made.reconciler, 1).register()
        judge = made.reconciler._keeper._judge_hosts
        begun = asyncio.get_running_loop().time()
        lost, at = judge(begun + 2 * keeper.LOST_S)
        assert not lost
        assert at is not None
        assert at > begun + keeper.GRACE_S - 2 * keeper.LOST_S
        assert judge(at) == ({H1}, None)


async def test_the_gateway_hosts_of_the_external_network_are_followed() -> None:
    async with controller(edge_changes=Edges()) as made:
        h1, h2, _, _ = await hosts_with_outside(made)
        await with_gateway(made)
        await plugged(made, H1, H2)
        await made.change(INET, gateway_hosts=(H2,))
        await plugged(made, H2)
        assert not h1.edges
        assert h2.edges[GATEWAY_NUMBER].active


async def test_an_edge_does_not_move_by_what_it_says() -> None:
    async with controller() as made:
        h1, h2, _, _ = await hosts_with_outside(made)
        await with_gateway(made)
        await plugged(made, H1, H2)
        first = live_host(made)
        stands_by = h2 if first == H1 else h1
        made.reconciler.claimed(stands_by.session, GATEWAY_NUMBER, None)
        await made.change(R1, routes=(RouterRoute(ip_network("198.51.100.0/24"), (ip_address("10.0.0.2"),)),))
        await settled(made)
        assert live_host(made) == first


async def test_a_router_without_gateway_leaves_nothing() -> None:
    async with controller() as made:
        h1, h2, _, _ = await hosts_with_outside(made)
        await with_gateway(made)
        await plugged(made, H1, H2)

        def remove(txn: Txn, state: State) -> None:
            (edge,) = state.edges_of(R1)
            txn.delete(edge)
            txn.delete(state.ports[edge.port])
            for binding in state.bindings_of(edge.port):
                txn.delete(binding)
            router = state.routers[R1]
            txn.update(router, replace(router, gateway=None, interfaces=ROUTER.interfaces[:1]))

        await made.commit(remove)
        await settled(made)
        assert not h1.edges
        assert not h2.edges
        assert not routed(h1, DEFAULT)


async def test_distributed_translation_sends_all_of_a_host_out_there() -> None:
    async with controller(edge_changes=Edges(addressed=True)) as made:
        h1, h2, _, _ = await hosts_with_outside(made)
        await with_gateway(made, distributed_snat=True)
        for host in (H1, H2):
            await eventually(lambda h=host: edge_port(h) in made.store.state.ports, f"an edge of {host}")
            await made.active(edge_port(host))
        await settled(made)
        for host in (h1, h2):
            (out,) = routed(host, EXIT)
            own = edge_port(host.name)
            assert next_macs([out]) == [made.store.state.ports[own].mac]
            edge = host.edges[made.store.state.ports[own].number]
            assert len(edge.snat) == 1
        assert not made.reconciler.tracker.gate_figures().refused


async def test_what_the_gateway_hosts_answer_for_goes_out_by_them_where_all_else_does_not() -> None:
    """An answer that left by the port's own host would have the address of that host's edge."""
    async with controller(edge_changes=Edges(addressed=True)) as made:
        h1, h2, p1, _ = await hosts_with_outside(made)
        await with_gateway(made, distributed_snat=True)
        await plugged(made, H1, H2)
        assert not routed(h1, EXIT + 1)
        one = floating_ip("f1", "192.0.2.20", p1, "10.0.0.1")
        await made.commit(lambda t, s: t.create(one))
        await settled(made)
        (out,) = routed(h1, EXIT + 1)
        assert next_macs([out]) == [made.store.state.ports[edge_port(None)].mac]
        assert any((t.field.name, t.value) == ("ipv4_src", 0x0A000001) for t in out.match)
        assert not routed(h2, EXIT + 1)
        for host in (h1, h2):
            host.unplug(f"edge{GATEWAY_NUMBER}")
        await eventually(lambda: [next_macs([f]) for f in routed(h1, EXIT + 1)] == [[]], "nobody answers")
        for host in (h1, h2):
            host.plug(f"edge{GATEWAY_NUMBER}")
        await eventually(
            lambda: all(map(next_macs, ([f] for f in routed(h1, EXIT + 1)))), "the gateway is back"
        )
        await made.change(one.name, distributed=True)
        await settled(made)
        assert not routed(h1, EXIT + 1), "all of it by its own host's edge"
        assert not made.reconciler.tracker.gate_figures().refused


@pytest.mark.slow
async def test_a_host_where_the_edge_but_stands_by_may_send_to_where_it_lives() -> None:
    async with controller() as made:
        h1, h2, _, _ = await hosts_with_outside(made)
        await with_gateway(made)
        await plugged(made, H1, H2)
        hosts = {H1: h1, H2: h2}
        live = live_host(made)
        assert live is not None
        other = H2 if live == H1 else H1
        heard = {bytes([192, 0, 2, 1]) if other == H1 else bytes([192, 0, 2, 2])}
        assert hosts[live].senders[TRANSIT_VNI] == heard
        assert not hosts[other].senders.get(TRANSIT_VNI), "nobody sends to where it stands by"
        hosts[live].die()
        await eventually(lambda: live_host(made) == other, "it moved")
        back = bytes([192, 0, 2, 1]) if live == H1 else bytes([192, 0, 2, 2])
        await eventually(lambda: hosts[other].senders.get(TRANSIT_VNI) == {back}, "the lost host, once back")
